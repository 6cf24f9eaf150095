//! A plugin for `witgate:plugin@9.0.0`, which no gateway offers yet: it has to be refused by name and number.

#[cfg(target_family = "wasm")]
#[allow(
    unsafe_code,
    reason = "what `export!` makes of a function is unsafe to call"
)]
mod component {
    wit_bindgen::generate!({ world: "plugin", path: "wit" });

    struct FromTheFuture;

    impl exports::witgate::plugin::manifest::Guest for FromTheFuture {
        fn describe(settings: String) -> Result<String, String> {
            witgate::plugin::log::write(&settings);
            Ok("{}".to_owned())
        }
    }

    export!(FromTheFuture);
}

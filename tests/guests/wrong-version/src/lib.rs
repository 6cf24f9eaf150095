//! A plugin built for `witgate:plugin@0.1.0`, which the gateway does not offer any more: it is
//! rejected with a line that says to rebuild it.

#[cfg(target_family = "wasm")]
#[allow(
    unsafe_code,
    reason = "what `export!` makes of a function is unsafe to call"
)]
mod component {
    wit_bindgen::generate!({ world: "plugin", path: "wit" });

    struct Old;

    impl exports::witgate::plugin::manifest::Guest for Old {
        fn describe(settings: String) -> Result<String, String> {
            witgate::plugin::log::write(witgate::plugin::log::Level::Info, &settings);
            Ok("{}".to_owned())
        }
    }

    export!(Old);
}

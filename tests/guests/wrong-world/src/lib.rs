//! A valid component that exports nothing of the gateway's contract: the gateway has to reject it.

#[cfg(target_family = "wasm")]
#[allow(
    unsafe_code,
    reason = "what `export!` makes of a function is unsafe to call"
)]
mod component {
    wit_bindgen::generate!({
        inline: "
            package other:thing@1.0.0;

            world clock {
                export now: func() -> u64;
            }
        ",
    });

    struct Clock;

    impl Guest for Clock {
        fn now() -> u64 {
            0
        }
    }

    export!(Clock);
}

//! Never returns: the gateway has to stop it at its deadline.
//! `../everywhere.rs` documents the settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(_: &str) -> Result<(), Error> {
    loop {
        std::hint::spin_loop();
    }
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

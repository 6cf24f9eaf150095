//! Returns an error with the text `erred on purpose in HOOK`.
//! `../everywhere.rs` documents the settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(hook: &str) -> Result<(), Error> {
    Err(Error::new(format!("erred on purpose in {hook}")))
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

//! Panics: the gateway has to show the text, `trapped on purpose in HOOK`, and go on.
//! `../everywhere.rs` documents the settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(hook: &str) -> Result<(), Error> {
    panic!("trapped on purpose in {hook}")
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

//! Sleeps for an hour: the gateway has to wake up at its deadline. `../everywhere.rs` documents the
//! settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(_: &str) -> Result<(), Error> {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    Ok(())
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

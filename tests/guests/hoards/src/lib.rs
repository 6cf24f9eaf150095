//! Allocates memory without end: the gateway has to stop it at its limit.
//! `../everywhere.rs` documents the settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(_: &str) -> Result<(), Error> {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        // Written to, or the optimiser would remove the unused memory.
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

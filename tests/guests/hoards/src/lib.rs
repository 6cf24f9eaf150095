//! Takes memory without end: the gateway has to refuse it more than its limit.
//! `../everywhere.rs` tells the settings.

#[path = "../../everywhere.rs"]
mod everywhere;

use everywhere::Everywhere;
use witgate_plugin::Error;

fn misbehave(_: &str) -> Result<(), Error> {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        // Written to, or the optimiser would see that nobody looks.
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

witgate_plugin::export!(Everywhere: RequestHook, AttemptHook, FailureHook, ResponseHook);

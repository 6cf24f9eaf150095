//! Fails in each request, and says in its manifest that it may be skipped. No settings.

use witgate_plugin::{
    Error, Manifest, NoSettings, OnError, Plugin, Request, RequestHook, Verdict, export,
};

struct Skips;

impl Plugin for Skips {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("fails and may be skipped").on_error(OnError::Skip)
    }
}

impl RequestHook for Skips {
    fn on_request(&mut self, _: &mut Request) -> Result<Verdict, Error> {
        Err("failed on purpose".into())
    }
}

export!(Skips: RequestHook);

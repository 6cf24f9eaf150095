//! Has every hook and does nothing: exchanges have to work as if it did not exist. Any settings.

use witgate_plugin::{
    AttemptHook, Error, FailureHook, Guard, Manifest, Plugin, RequestHook, ResponseHook, Value,
    export, serde_json::Map,
};

struct Declines;

impl Plugin for Declines {
    type Settings = Map<String, Value>;

    fn new(_: Map<String, Value>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        let every = || Guard::new().kinds(["messages", "count_tokens"]);
        Manifest::new("is called and does nothing")
            .request(every())
            .attempt(every())
            .failure(every())
            .response(every())
    }
}

impl RequestHook for Declines {}
impl AttemptHook for Declines {}
impl FailureHook for Declines {}
impl ResponseHook for Declines {}

export!(Declines: RequestHook, AttemptHook, FailureHook, ResponseHook);

//! Wants the network, which no plugin has: the gateway has to refuse it and name the import, `wasi:sockets`. No settings.

use std::net::TcpStream;

use witgate_plugin::{Error, Manifest, Plugin, Request, RequestHook, Verdict, export};

#[derive(Default)]
struct Ungranted;

impl Plugin for Ungranted {
    fn describe() -> Result<Manifest, Error> {
        Ok(Manifest::new("calls home"))
    }
}

impl RequestHook for Ungranted {
    fn on_request(&mut self, _: &mut Request) -> Result<Verdict, Error> {
        TcpStream::connect("127.0.0.1:9").map_err(|error| error.to_string())?;
        Ok(Verdict::proceed())
    }
}

export!(Ungranted: RequestHook);

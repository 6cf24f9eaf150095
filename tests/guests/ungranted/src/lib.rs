//! Opens a connection in each request, although no plugin has a network: the gateway has to fail
//! it and say so. No settings.

use std::net::TcpStream;

use witgate_plugin::{Error, Manifest, NoSettings, Plugin, Request, RequestHook, Verdict, export};

struct Ungranted;

impl Plugin for Ungranted {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("calls home")
    }
}

impl RequestHook for Ungranted {
    fn on_request(&mut self, _: &mut Request) -> Result<Verdict, Error> {
        TcpStream::connect("127.0.0.1:9").map_err(|error| error.to_string())?;
        Ok(Verdict::Proceed)
    }
}

export!(Ungranted: RequestHook);

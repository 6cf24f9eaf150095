//! Tries to reach files, the environment and its input in each request, and logs what it found: a
//! line `found nothing`, or one line for each thing that it could reach. It prints two lines. No
//! settings.

use std::{
    env, fs,
    io::{self, Read, Write},
};

use witgate_plugin::{
    Error, Manifest, NoSettings, Plugin, Request, RequestHook, Verdict, export, log,
};

struct LooksAround;

/// What could be reached, each with its name.
fn found() -> Vec<&'static str> {
    let mut input = String::new();
    let attempts = [
        ("a file", fs::read("/etc/passwd").is_ok()),
        ("a file beside it", fs::read("witgate.toml").is_ok()),
        ("the root folder", fs::read_dir("/").is_ok()),
        ("the current folder", fs::read_dir(".").is_ok()),
        ("metadata", fs::metadata("/").is_ok()),
        ("writing", fs::write("/tmp/looks-around", "x").is_ok()),
        ("writing beside it", fs::write("looks-around", "x").is_ok()),
        (
            "making a folder",
            fs::create_dir("/tmp/looks-around.d").is_ok(),
        ),
        ("removing", fs::remove_file("/tmp/looks-around").is_ok()),
        ("a link", fs::hard_link("/etc/passwd", "x").is_ok()),
        (
            "the working folder",
            env::current_dir().is_ok_and(|dir| dir.read_dir().is_ok()),
        ),
        ("a variable", env::vars().next().is_some()),
        ("an argument", env::args().next().is_some()),
        (
            "input",
            io::stdin()
                .read_to_string(&mut input)
                .is_ok_and(|read| read > 0),
        ),
    ];
    let reached = attempts.into_iter().filter(|(_, reached)| *reached);
    reached.map(|(name, _)| name).collect()
}

impl Plugin for LooksAround {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("looks around")
    }
}

impl RequestHook for LooksAround {
    fn on_request(&mut self, _: &mut Request) -> Result<Verdict, Error> {
        let found = found();
        for what in &found {
            log::info(format!("found {what}"));
        }
        if found.is_empty() {
            log::info("found nothing");
        }
        let printed = writeln!(io::stdout(), "printed to stdout").and_then(|()| {
            // The line ends with the exchange.
            write!(io::stderr(), "printed to stderr")
        });
        printed.map_err(|error| error.to_string())?;
        Ok(Verdict::Proceed)
    }
}

export!(LooksAround: RequestHook);

//! Caps `max_tokens`, as the examples in `plugins/examples` do in other languages.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `most` | the largest value that is sent; 8192 by default |

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, Operation, Plugin, Request, Target, Verdict, export,
};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    most: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { most: 8192 }
    }
}

struct CapTokens(Settings);

impl Plugin for CapTokens {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        match settings.most {
            0 => Err("settings: `most`: expected a number of tokens".into()),
            _ => Ok(Self(settings)),
        }
    }

    fn describe(&self) -> Manifest {
        Manifest::new("caps max_tokens").attempt(Guard::new().path("$.max_tokens"))
    }
}

impl AttemptHook for CapTokens {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let most = self.0.most;
        if let Some(found) = request.first::<u64>("$.max_tokens")?
            && found > most
        {
            request.patch([Operation::replace("/max_tokens", most)])?;
            request.note(&format!("max_tokens {found} capped to {most}"));
        }
        Ok(Verdict::Proceed)
    }
}

export!(CapTokens: AttemptHook);

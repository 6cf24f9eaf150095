//! Replaces secrets in requests by placeholders, and restores them in responses.
//!
//! The model reads `[[secret-0f3a…]]` where the client wrote a key. What the model says about it,
//! in texts and in the input of tools, has the key again when it reaches the client. The same
//! secret has the same placeholder on every turn, so conversations and prompt caches are kept.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `patterns` | regular expressions (I-Regexp, RFC 9485) of secrets, of at most 1,000 bytes each |
//!
//! Only the secrets cross into the plugin, not the texts around them, so a long body costs it
//! nothing.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use witgate_plugin::{
    Error, Event, EventVerdict, Guard, HeldText, Manifest, Plugin, Request, RequestHook, Response,
    ResponseHook, Verdict, export, kv, random,
};

/// How a placeholder begins and ends.
const OPEN: &str = "[[secret-";
const CLOSE: &str = "]]";

/// Longer than any placeholder.
const LONGEST: usize = 40;

/// How long a placeholder is remembered after its last use.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The plugin's settings.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    patterns: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let patterns = [
            "AKIA[0-9A-Z]{16}",
            r"sk\-ant\-[A-Za-z0-9_\-]{20,200}",
            "gh[pousr]_[A-Za-z0-9]{36,255}",
            r"xox[abpr]\-[A-Za-z0-9\-]{10,200}",
        ];
        Self {
            patterns: patterns.map(str::to_owned).into(),
        }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct RedactSecrets {
    /// All patterns as one.
    pattern: String,
    /// The secrets of this exchange, by their placeholders.
    secrets: BTreeMap<String, String>,
    held: HeldText,
}

impl Plugin for RedactSecrets {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.patterns.is_empty() {
            return Err("settings: `patterns`: got an empty list, expected expressions".into());
        }
        Ok(Self {
            pattern: format!("({})", settings.patterns.join(")|(")),
            secrets: BTreeMap::new(),
            held: HeldText::between(OPEN, CLOSE, LONGEST),
        })
    }

    fn describe(&self) -> Manifest {
        let pattern = self.pattern.replace('\\', r"\\").replace('\'', r"\'");
        Manifest::new("replaces secrets in requests, and restores them in responses")
            .request(
                Guard::new()
                    .kinds(["messages", "count_tokens"])
                    .path(format!("$..[?search(@, '{pattern}')]")),
            )
            .response(HeldText::guard().watching())
    }
}

impl RequestHook for RedactSecrets {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let mut parts = Vec::new();
        for found in request.find_in_texts(&self.pattern)? {
            let placeholder = placeholder(&found.part.text)?;
            parts.push(found.part.with(placeholder.as_str()));
            self.secrets.insert(placeholder, found.part.text);
        }
        if parts.is_empty() {
            return Ok(Verdict::Proceed);
        }
        request.note(&format!("secrets replaced: {}", self.secrets.len()));
        request.replace_parts(parts)?;
        request.watch_response();
        Ok(Verdict::Proceed)
    }
}

impl ResponseHook for RedactSecrets {
    fn on_event(&mut self, _: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let Self { held, secrets, .. } = self;
        held.on_event(event, |found| Ok(secrets.get(found).cloned()))
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        Ok(self.held.on_end())
    }
}

/// The placeholder of a secret: a random one at first, and the same from then on, also for
/// exchanges at the same time.
fn placeholder(secret: &str) -> Result<String, Error> {
    let new = format!("{OPEN}{:016x}{CLOSE}", random::u64());
    let kept = kv::set_if_absent(secret, &new, REMEMBERED_FOR)?;
    let kept = String::from_utf8_lossy(&kept).into_owned();
    // Each use prolongs it.
    kv::set(secret, &kept, REMEMBERED_FOR)?;
    Ok(kept)
}

export!(RedactSecrets: RequestHook, ResponseHook);

#[cfg(test)]
mod tests;

//! Leaves out what a server does not know, once one of its errors has said so.
//!
//! Clients are updated more often than the servers that imitate Anthropic's API, and a field, a
//! beta or a tool that is too new fails every request. The error names it. The plugin learns that
//! for the upstream and model, retries once without it, and leaves it out for a day.
//!
//! It never removes a message, a text, or a tool that the conversation has used, and it learns
//! nothing where the target does not lack `new-features`.

mod complaint;
mod drop;
mod item;
mod kinds;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Failure, FailureHook, Guard, Manifest, OnError, Plugin, Request, Target,
    Verdict, export, learned,
};

use item::{Item, Part};

/// The feature that a target lacks if it may be older than the client.
const NEW_FEATURES: &str = "new-features";

/// A version of the API that a target may lack. The one before it allows all that it allows.
const NEW_VERSION: &str = "2026-10-21";

/// The version of the API that every server knows.
const OLD_VERSION: &str = "2023-06-01";

const KINDS: [&str; 2] = ["messages", "count_tokens"];

/// What is learned in one exchange at most.
const MOST: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// More words by which an error says that something is unknown, in lower case.
    wordings: Vec<String>,
}

#[derive(Default)]
struct DropUnsupported {
    settings: Settings,
    /// What was learned in this exchange, by target.
    learned: BTreeMap<String, BTreeSet<Item>>,
}

impl Plugin for DropUnsupported {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.wordings.iter().any(String::is_empty) {
            return Err(Error::new("`wordings` has an empty text, expected words"));
        }
        Ok(Self {
            settings,
            learned: BTreeMap::new(),
        })
    }

    fn describe(&self) -> Manifest {
        let guard = || Guard::new().kinds(KINDS).dialects(["anthropic"]);
        let version = guard()
            .lacks([NEW_VERSION])
            .header("anthropic-version", [NEW_VERSION]);
        Manifest::new("leaves out what the upstream has said that it does not know")
            .on_error(OnError::Skip)
            .attempt(guard().lacks([NEW_FEATURES]).remembers_target())
            .attempt(version)
            .failure(guard().lacks([NEW_FEATURES]).status([400, 422]))
    }
}

impl AttemptHook for DropUnsupported {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let mut known: BTreeSet<Item> = learned::recall(target)?;
        if target.lacks(NEW_VERSION) {
            known.insert(Item::new(Part::Version, NEW_VERSION));
        }
        drop::drop_from(request, &known)?;
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for DropUnsupported {
    fn on_failure(
        &mut self,
        request: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let found = kinds::read(request, &failure.body(), &self.settings.wordings);
        let Some(what) = item::list(&found) else {
            return self.take_back(target);
        };
        let lessons: usize = self.learned.values().map(BTreeSet::len).sum();
        if lessons + found.len() > MOST {
            return Ok(());
        }
        let learned = self.learned.entry(target.key()).or_default();
        learned.extend(found.iter().cloned());
        learned::learn(failure, target, &what, |known: &mut BTreeSet<Item>| {
            known.extend(found);
        })?;
        Ok(())
    }
}

impl DropUnsupported {
    /// Forgets what was learned about a target in this exchange, since the retry has failed without
    /// teaching more.
    fn take_back(&mut self, target: &Target) -> Result<(), Error> {
        let learned = self.learned.remove(&target.key()).unwrap_or_default();
        let Some(what) = item::list(&learned) else {
            return Ok(());
        };
        learned::forget(target, &what, |known: &mut BTreeSet<Item>| {
            known.retain(|item| !learned.contains(item));
        })
    }
}

export!(DropUnsupported: AttemptHook, FailureHook);

#[cfg(test)]
mod tests;

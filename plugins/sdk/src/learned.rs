//! What an upstream's errors teach about a target, remembered for a day.
//!
//! Servers and models differ in what they accept, and their errors say so. A failure hook reads the
//! error with a table of kinds ([`first`]) and takes the lesson in ([`learn`]), which requests one
//! more attempt if it is new. The attempt hook applies everything that is known ([`recall`]) to
//! this and later requests, and the guard [`remembers_target`](crate::Guard::remembers_target)
//! calls it only where something is known.
//!
//! What is known is one value per target, kept in [`kv`] under [`Target::key`], so it is forgotten
//! when the configuration of the upstream changes.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::Error,
    failure::{Failure, RetryTarget},
    kv::{self, KvError},
    log,
    request::Target,
};

const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What the first reader of a table that understands an error makes of it, and the name of that
/// kind of error, for the log.
///
/// A table has one row per kind of error: its name and a reader. Rows that are specific come
/// before general ones. `call` calls a reader with what it needs.
pub fn first<Reader, Lesson>(
    table: &[(&'static str, Reader)],
    call: impl Fn(&Reader) -> Option<Lesson>,
) -> Option<(&'static str, Lesson)> {
    table
        .iter()
        .find_map(|(kind, reader)| Some((*kind, call(reader)?)))
}

/// What is known about a target; the default if nothing is. An unreadable entry counts as none.
pub fn recall<Known: Default + DeserializeOwned>(target: &Target) -> Result<Known, KvError> {
    let known = kv::get(&target.key())?;
    let known = known.and_then(|known| serde_json::from_slice(&known).ok());
    Ok(known.unwrap_or_default())
}

/// Takes a lesson in. If it is new, it is remembered and logged, and there is another attempt with
/// the same account. Returns whether it was: otherwise another attempt would fail in the same way.
/// `what` says what the upstream rejected.
pub fn learn<Known: Clone + Default + PartialEq + Serialize + DeserializeOwned>(
    failure: &mut Failure,
    target: &Target,
    what: &str,
    take: impl FnOnce(&mut Known),
) -> Result<bool, Error> {
    let before: Known = recall(target)?;
    let mut known = before.clone();
    take(&mut known);
    if known == before {
        return Ok(false);
    }
    kv::set(&target.key(), serde_json::to_vec(&known)?, REMEMBERED_FOR)?;
    log::info(format!(
        "upstream `{}` rejected {what} for model `{}`; the retry avoids that, and it is remembered for a day",
        target.upstream(),
        target.mapped_model()
    ));
    failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
    Ok(true)
}

/// Takes a lesson back, when the retry with it failed in the same way: what did not help must not
/// change later requests.
pub fn forget<Known: Default + PartialEq + Serialize + DeserializeOwned>(
    target: &Target,
    what: &str,
    take_back: impl FnOnce(&mut Known),
) -> Result<(), Error> {
    let mut known: Known = recall(target)?;
    take_back(&mut known);
    match known == Known::default() {
        true => kv::delete(&target.key())?,
        false => kv::set(&target.key(), serde_json::to_vec(&known)?, REMEMBERED_FOR)?,
    }
    log::info(format!(
        "upstream `{}` rejected the retry without {what} too, so that is not remembered",
        target.upstream()
    ));
    Ok(())
}

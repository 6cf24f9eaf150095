//! Acts on an error: rewrites it for the client, sets cooldowns and prepares the next attempt.

use std::time::{Duration, SystemTime};

use serde_json::json;
use witgate_plugin::{Error, Failure, RetryTarget, Target, kv, log};

use super::{
    Capabilities, Classified, Failed, Next, Room, UpstreamError, Used, classify, room, wait,
};
use crate::names::hash;

/// How long the plugin remembers what an upstream rejects. The server may be updated meanwhile.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The cooldown of an account without credit, in which it may be topped up.
const OUT_OF_CREDIT_COOLDOWN: Duration = Duration::from_secs(3600);

/// Reads the upstream's error. `None` if there was no response, or if it contains no error.
pub(crate) fn read(failure: &Failure, upstream: &str) -> Option<Failed> {
    let (status, body) = (failure.status(), failure.body());
    let reported = match UpstreamError::parse(&body) {
        _ if status == 0 => None,
        None if status == 404 => Some(UpstreamError::page(&body)),
        reported => reported,
    }?;
    let classified = classify(Some(status), &reported, upstream);
    Some(Failed {
        reported,
        classified,
    })
}

/// Rewrites the failure in Anthropic's format for the client.
pub(crate) fn set_error(failure: &mut Failure, classified: &Classified) -> Result<(), Error> {
    if failure.status() != classified.status {
        failure.set_status(classified.status)?;
    }
    failure.set_error_type(classified.kind)?;
    set_body(failure, classified.kind, &classified.message)
}

/// Sets the cooldown and the retry target that the error calls for.
pub(crate) fn set_cooldown(failure: &mut Failure, failed: &Failed) -> Result<(), Error> {
    let Failed {
        reported,
        classified,
    } = failed;
    match classified.next {
        Next::ByStatus if classified.status == 429 => {
            let header = |name: &str| {
                let provided = reported.headers.iter().find(|(own, _)| own == name);
                let own = failure.header(name).into_iter().next();
                own.or_else(|| provided.map(|(_, value)| value.clone()))
            };
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            if let Some(wait) = wait(header, &reported.message, since_1970.unwrap_or_default()) {
                failure.set_cooldown(wait);
            }
        }
        Next::ByStatus => {}
        Next::OutOfCredit => {
            failure.set_cooldown(OUT_OF_CREDIT_COOLDOWN);
            failure.set_retry(RetryTarget::OtherAccount, Duration::ZERO);
        }
        Next::OtherAccount => failure.set_retry(RetryTarget::OtherAccount, Duration::ZERO),
    }
    Ok(())
}

/// Requests another attempt if the error states what the upstream accepts instead.
///
/// Returns the number of output tokens for that attempt if the context had no room for more.
pub(crate) fn learn(
    failure: &mut Failure,
    failed: &Failed,
    used: &Used,
    target: &Target,
) -> Result<Option<u64>, Error> {
    let Failed {
        reported,
        classified,
    } = failed;
    if let Some(Room { asked, left }) = room(reported, used) {
        // The upstream's own message would be taken for a prompt that is too long.
        let message = format!(
            "max_tokens: {asked} > {left}, which is all that the prompt leaves of the model's context (to limit it, set `max_output` in the settings of `dialect-openai`)"
        );
        set_body(failure, classified.kind, &message)?;
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        return Ok(Some(left));
    }
    let mut capabilities = recall(target)?;
    if capabilities.take(reported, used) {
        log::info(format!(
            "upstream `{}` rejected a part of the request for model `{}`; retrying with the alternative",
            target.upstream(),
            target.mapped_model()
        ));
        kv::set(
            &key(target),
            serde_json::to_vec(&capabilities)?,
            REMEMBERED_FOR,
        )?;
        // The request is at fault, whatever the status: the account needs no cooldown.
        let fault = Classified {
            status: 400,
            kind: "invalid_request_error",
            ..classified.clone()
        };
        set_error(failure, &fault)?;
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
    }
    Ok(None)
}

/// Loads what was learned about this upstream and model.
pub(crate) fn recall(target: &Target) -> Result<Capabilities, Error> {
    let capabilities = kv::get(&key(target))?;
    // An unreadable entry counts as none.
    let capabilities =
        capabilities.and_then(|capabilities| serde_json::from_slice(&capabilities).ok());
    Ok(capabilities.unwrap_or_default())
}

/// The store's key, hashed because a model's name may be longer than a key can be.
fn key(target: &Target) -> String {
    format!(
        "{:016x}",
        hash(&[&target.upstream(), &target.mapped_model()])
    )
}

fn set_body(failure: &mut Failure, kind: &str, message: &str) -> Result<(), Error> {
    let error = json!({ "type": kind, "message": message });
    Ok(failure.set_body(json!({ "type": "error", "error": error }))?)
}

//! What is done about an error: the client is told, the account rests, the next attempt does better.

use std::time::{Duration, SystemTime};

use serde_json::json;
use witgate_plugin::{Error, Failure, RetryTarget, Target, kv, log};

use super::{Failed, Learned, Meaning, Next, Room, Said, Used, meaning, room, wait};
use crate::names::hash;

/// How long is remembered what an upstream refuses. It may be taught better.
const LEARNT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long an account without money rests: until somebody has paid.
const SPENT_FOR: Duration = Duration::from_secs(3600);

/// What the upstream's answer says. None if it is none, or one that nothing can be read from.
pub(crate) fn read(failure: &Failure, upstream: &str) -> Option<Failed> {
    let (status, body) = (failure.status(), failure.body());
    let said = match Said::parse(&body) {
        _ if status == 0 => None,
        None if status == 404 => Some(Said::page(&body)),
        said => said,
    }?;
    let meaning = meaning(Some(status), &said, upstream);
    Some(Failed { said, meaning })
}

/// Tells the client in Anthropic's words.
pub(crate) fn tell(failure: &mut Failure, meaning: &Meaning) -> Result<(), Error> {
    if failure.status() != meaning.status {
        failure.set_status(meaning.status)?;
    }
    failure.set_error_type(meaning.kind)?;
    say(failure, meaning.kind, &meaning.message)
}

/// Lets an account rest that has no money, or for as long as it is told to.
pub(crate) fn rest(failure: &mut Failure, failed: &Failed) -> Result<(), Error> {
    let Failed { said, meaning } = failed;
    match meaning.next {
        Next::AsEver if meaning.status == 429 => {
            let header = |name: &str| {
                let behind = said.headers.iter().find(|(own, _)| own == name);
                let own = failure.header(name).into_iter().next();
                own.or_else(|| behind.map(|(_, value)| value.clone()))
            };
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            if let Some(wait) = wait(header, &said.message, since_1970.unwrap_or_default()) {
                failure.set_cooldown(wait);
            }
        }
        Next::AsEver => {}
        Next::Spent => {
            failure.set_cooldown(SPENT_FOR);
            failure.set_retry(RetryTarget::OtherAccount, Duration::ZERO);
        }
        Next::Other => failure.set_retry(RetryTarget::OtherAccount, Duration::ZERO),
    }
    Ok(())
}

/// Asks for another attempt where a refusal tells how to do it better. Returns how many tokens the answer may have in it, if
/// that is the matter.
pub(crate) fn learn(
    failure: &mut Failure,
    failed: &Failed,
    used: &Used,
    target: &Target,
) -> Result<Option<u64>, Error> {
    let Failed { said, meaning } = failed;
    if let Some(Room { asked, left }) = room(said, used) {
        // In the upstream's words it would look like a prompt that is too long.
        let message = format!(
            "max_tokens: {asked} > {left}, which is what the prompt leaves of the model's context (`max_output` in the settings of `dialect-openai` limits it)"
        );
        say(failure, meaning.kind, &message)?;
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        return Ok(Some(left));
    }
    let mut learned = recall(target)?;
    if learned.take(said, used) {
        log::info(format!(
            "`{}` refused `{}` something that can be said otherwise: trying again",
            target.upstream(),
            target.mapped_model()
        ));
        kv::set(&key(target), serde_json::to_vec(&learned)?, LEARNT_FOR)?;
        // Whatever status it came with, it is the request's fault: the account need not rest.
        let fault = Meaning {
            status: 400,
            kind: "invalid_request_error",
            ..meaning.clone()
        };
        tell(failure, &fault)?;
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
    }
    Ok(None)
}

/// What this upstream was found out to want for this model.
pub(crate) fn recall(target: &Target) -> Result<Learned, Error> {
    let learned = kv::get(&key(target))?;
    // Nothing readable is as good as nothing.
    let learned = learned.and_then(|learned| serde_json::from_slice(&learned).ok());
    Ok(learned.unwrap_or_default())
}

/// A client's name for a model may be longer than a key.
fn key(target: &Target) -> String {
    format!(
        "{:016x}",
        hash(&[&target.upstream(), &target.mapped_model()])
    )
}

fn say(failure: &mut Failure, kind: &str, message: &str) -> Result<(), Error> {
    let error = json!({ "type": kind, "message": message });
    Ok(failure.set_body(json!({ "type": "error", "error": error }))?)
}

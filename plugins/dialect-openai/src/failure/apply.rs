//! Acts on an error: rewrites it for the client, sets cooldowns and prepares the next attempt.

use std::time::{Duration, SystemTime};

use serde_json::json;
use witgate_plugin::{Error, ErrorType, Failure, RetryTarget, Target, learned};

use super::{
    Capabilities, Classified, Failed, Next, TooLong, UpstreamError, Used, classify, lessons,
    too_long, wait,
};
use crate::settings::{MaxTokens, Options};

/// The cooldown of an account without credit. Other accounts are used meanwhile, and a bill that is
/// paid is noticed soon.
const OUT_OF_CREDIT_COOLDOWN: Duration = Duration::from_secs(300);

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

/// What the next attempt does differently because of this conversation. It is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Correction {
    /// It asks for so many output tokens, which is all that the context has room for.
    MaxTokens(u64),
    /// It is answered without the upstream, which reports a response that ended before its first
    /// word as an error.
    Truncated,
}

/// Requests another attempt if the error states what the upstream accepts instead, and remembers
/// it if it holds for other conversations, too.
pub(crate) fn correct(
    failure: &mut Failure,
    failed: &Failed,
    used: &Used,
    target: &Target,
    options: &Options,
) -> Result<Option<Correction>, Error> {
    let Failed {
        reported,
        classified,
    } = failed;
    if !is_about_request(classified) {
        return Ok(None);
    }
    match too_long(reported, used, &options.overflow_wordings) {
        Some(TooLong::Prompt(message)) => {
            set_error(failure, &refused(message))?;
            return Ok(None);
        }
        Some(TooLong::Response { asked, left }) => {
            // The upstream's own message would be taken for a prompt that is too long.
            let message = format!(
                "max_tokens: {asked} > {left}, which is all that the prompt leaves of the model's context (to limit it, set `max_output` in the settings of `dialect-openai`)"
            );
            set_error(failure, &refused(message))?;
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
            return Ok(Some(Correction::MaxTokens(left)));
        }
        None => {}
    }
    if used.max_tokens.is_some() && is_truncated(&reported.message)
        || is_too_small(&reported.message, used)
    {
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        return Ok(Some(Correction::Truncated));
    }
    learn(failure, failed, used, target)?;
    Ok(None)
}

/// Remembers what the error teaches. If that is new, the next attempt makes use of it.
fn learn(
    failure: &mut Failure,
    failed: &Failed,
    used: &Used,
    target: &Target,
) -> Result<(), Error> {
    let Some((kind, lesson)) = lessons::read(&failed.reported, used) else {
        return Ok(());
    };
    let take = |capabilities: &mut Capabilities| capabilities.learn(lesson);
    if learned::learn(failure, target, kind, take)? {
        set_error(failure, &refused(failed.classified.message.clone()))?;
    }
    Ok(())
}

/// Whether the error may be about the request, and not about the account or the server's state.
/// Local servers use status 500 for requests that they cannot process.
fn is_about_request(classified: &Classified) -> bool {
    classified.next == Next::ByStatus
        && matches!(classified.status, 400 | 404 | 413 | 415 | 422 | 500 | 501)
}

/// An error for which the request is at fault, whatever the status was: the account needs no
/// cooldown.
fn refused(message: String) -> Classified {
    Classified {
        status: 400,
        kind: ErrorType::InvalidRequest.as_str(),
        message,
        next: Next::ByStatus,
    }
}

/// "Could not finish the message because max_tokens or model output limit was reached."
fn is_truncated(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    let limit = ["max_tokens", "max_completion_tokens", "output limit"];
    lower.contains("could not finish") && limit.iter().any(|words| lower.contains(words))
}

/// Whether a limit of a few tokens, which a client sends to probe a model, is rejected by name
/// under the very name that such models accept. Only its size can be the reason.
fn is_too_small(message: &str, used: &Used) -> bool {
    const SMALLEST: u64 = 16;
    let lower = message.to_ascii_lowercase();
    matches!(used.max_tokens, Some((MaxTokens::MaxCompletionTokens, size)) if size < SMALLEST)
        && lower.contains("not supported")
        && lower.contains("max_tokens")
}

fn set_body(failure: &mut Failure, kind: &str, message: &str) -> Result<(), Error> {
    let error = json!({ "type": kind, "message": message });
    Ok(failure.set_body(json!({ "type": "error", "error": error }))?)
}

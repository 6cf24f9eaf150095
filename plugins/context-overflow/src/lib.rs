//! Rewords context overflows of upstreams that have their own words for them.
//!
//! A client compacts a conversation when it reads Anthropic's words for a prompt that is too long.
//! Servers that speak the Messages API often answer in other words, or in another shape. An error
//! in Anthropic's envelope is never changed.
//!
//! If only the prompt and `max_tokens` together are too much, the request is sent again with the
//! `max_tokens` that fit.

mod envelope;

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Failure, FailureHook, Guard, Manifest, Operation, Plugin, Request,
    RetryTarget, Target, Verdict,
    dialect::{Overflow, OverflowWordings},
    export, json,
};

const KINDS: [&str; 2] = ["messages", "count_tokens"];

/// With fewer tokens left, a response is of no use: the conversation has to be compacted.
const LEAST_LEFT: u64 = 1_024;

struct ContextOverflow {
    settings: Settings,
    /// The `max_tokens` of the next attempt.
    left: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Phrases that mean a context overflow, in addition to what is recognised by sense.
    wordings: OverflowWordings,
}

impl Plugin for ContextOverflow {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            left: None,
        })
    }

    fn describe(&self) -> Manifest {
        let failures = Guard::new().kinds(KINDS).status([400, 413, 422, 500]);
        Manifest::new("rewords context overflows so that clients compact")
            .attempt(Guard::new().retries().path("$.max_tokens"))
            .failure(failures)
    }
}

impl AttemptHook for ContextOverflow {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        if let Some(left) = self.left.take() {
            request.patch([Operation::replace_json("/max_tokens", left.to_string())])?;
        }
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for ContextOverflow {
    fn on_failure(
        &mut self,
        request: &Request,
        _: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let body = failure.body();
        if envelope::is_anthropic(&body) {
            return Ok(());
        }
        let asked: Option<u64> = request.first("$.max_tokens")?;
        let Some(overflow) = self.settings.wordings.read_body(&body, asked) else {
            return Ok(());
        };
        failure.set_status(400)?;
        failure.set_error_type("invalid_request_error")?;
        let error = json!({ "type": "invalid_request_error", "message": overflow.message() });
        failure.set_body(json!({ "type": "error", "error": error }))?;
        let budget: Option<u64> = request.first("$.thinking.budget_tokens")?;
        self.left = left(&overflow, asked, budget);
        if self.left.is_some() {
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        }
        Ok(())
    }
}

/// The `max_tokens` with which the request fits, if that is fewer and still of use. The budget for
/// thinking is part of them.
fn left(overflow: &Overflow, asked: Option<u64>, budget: Option<u64>) -> Option<u64> {
    let least = budget.map_or(LEAST_LEFT, |budget| budget.saturating_add(LEAST_LEFT));
    overflow
        .left()
        .filter(|left| asked.is_some_and(|asked| (least..asked).contains(left)))
}

export!(ContextOverflow: AttemptHook, FailureHook);

#[cfg(test)]
mod tests;

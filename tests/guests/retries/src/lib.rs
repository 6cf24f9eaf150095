//! Makes of a failed attempt what the settings say, and nothing without them.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `when` | the statuses of its guard; by default all |
//! | `retry` | `same`, `other` or `never` |
//! | `after_ms` | how long to wait before; 0 by default |
//! | `rest_ms` | how long the account rests |
//! | `status`, `kind`, `body` | what the client reads in place of what came |
//! | `mark` | after a failure, add the member `failed_with` (status, error type, body) to the body of the next attempt |

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Failure, FailureHook, Guard, Manifest, Operation, Plugin, Request, Retry,
    Target, Value, Verdict, export, json, settings,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    when: Option<Vec<u16>>,
    retry: Option<Whom>,
    after_ms: u64,
    rest_ms: Option<u64>,
    status: Option<u16>,
    kind: Option<String>,
    body: Option<Value>,
    mark: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Whom {
    Same,
    Other,
    Never,
}

/// What the last attempt came to, remembered for the next.
#[derive(Default)]
struct Retries {
    failed_with: Option<Value>,
}

impl Plugin for Retries {
    fn describe() -> Result<Manifest, Error> {
        let settings: Settings = settings()?;
        let kinds = || Guard::new().kinds(["messages", "count_tokens"]);
        let failure = match settings.when {
            Some(when) => kinds().status(when),
            None => kinds(),
        };
        Ok(Manifest::new("asks for retries as it is told")
            .attempt(kinds())
            .failure(failure))
    }
}

impl AttemptHook for Retries {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let settings: Settings = settings()?;
        if let (Some(failed_with), true) = (self.failed_with.take(), settings.mark) {
            request.patch([Operation::add("/failed_with", failed_with)])?;
        }
        Ok(Verdict::proceed())
    }
}

impl FailureHook for Retries {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        let settings: Settings = settings()?;
        self.failed_with = Some(json!([failure.status(), failure.kind(), failure.body()]));
        if let Some(whom) = settings.retry {
            let whom = match whom {
                Whom::Same => Retry::Same,
                Whom::Other => Retry::Other,
                Whom::Never => Retry::Never,
            };
            failure.set_retry(whom, Duration::from_millis(settings.after_ms))?;
        }
        if let Some(ms) = settings.rest_ms {
            failure.set_rest(Duration::from_millis(ms))?;
        }
        if let Some(status) = settings.status {
            failure.set_status(status)?;
        }
        if let Some(kind) = settings.kind {
            failure.set_kind(&kind)?;
        }
        if let Some(body) = settings.body {
            failure.set_body(body)?;
        }
        Ok(())
    }
}

export!(Retries: AttemptHook, FailureHook);

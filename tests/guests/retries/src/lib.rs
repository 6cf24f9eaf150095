//! Changes a failed attempt as the settings say. Without settings it does nothing.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `when` | the statuses of its guard; by default all |
//! | `retry` | `same-account`, `other-account` or `never` |
//! | `after_ms` | the delay before the retry; 0 by default |
//! | `cooldown_ms` | the cooldown of the account |
//! | `status`, `error_type`, `body` | what the client gets instead |
//! | `mark` | after a failure, add the member `failed_with` (status, error type, body) to the body of the next attempt |

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Failure, FailureHook, Guard, Manifest, Operation, Plugin, Request,
    RetryTarget, Target, Value, Verdict, export, json,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    when: Option<Vec<u16>>,
    retry: Option<RetryOn>,
    after_ms: u64,
    cooldown_ms: Option<u64>,
    status: Option<u16>,
    error_type: Option<String>,
    body: Option<Value>,
    mark: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RetryOn {
    SameAccount,
    OtherAccount,
    Never,
}

/// How the last attempt failed, for the next one.
struct Retries {
    settings: Settings,
    failed_with: Option<Value>,
}

impl Plugin for Retries {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            failed_with: None,
        })
    }

    fn describe(&self) -> Manifest {
        let kinds = || Guard::new().kinds(["messages", "count_tokens"]);
        let failure = match &self.settings.when {
            Some(when) => kinds().status(when.iter().copied()),
            None => kinds(),
        };
        Manifest::new("asks for retries as the settings say")
            .attempt(kinds())
            .failure(failure)
    }
}

impl AttemptHook for Retries {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        if let (Some(failed_with), true) = (self.failed_with.take(), self.settings.mark) {
            request.patch([Operation::add("/failed_with", failed_with)])?;
        }
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Retries {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        let settings = &self.settings;
        self.failed_with = Some(json!([
            failure.status(),
            failure.error_type(),
            failure.body()
        ]));
        if let Some(account) = settings.retry {
            let target = match account {
                RetryOn::SameAccount => RetryTarget::SameAccount,
                RetryOn::OtherAccount => RetryTarget::OtherAccount,
                RetryOn::Never => RetryTarget::Never,
            };
            failure.set_retry(target, Duration::from_millis(settings.after_ms));
        }
        if let Some(ms) = settings.cooldown_ms {
            failure.set_cooldown(Duration::from_millis(ms));
        }
        if let Some(status) = settings.status {
            failure.set_status(status)?;
        }
        if let Some(error_type) = &settings.error_type {
            failure.set_error_type(error_type)?;
        }
        if let Some(body) = &settings.body {
            failure.set_body(body.clone())?;
        }
        Ok(())
    }
}

export!(Retries: AttemptHook, FailureHook);

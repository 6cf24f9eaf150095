//! A failed attempt as one call sees it, and what the plugin may change.

use std::{borrow::Cow, time::Duration};

use witgate_contract::{EditError, failure, header, status};

use crate::message::{Failure, RetryRequest};

/// One call's view of a failure. Its changes take effect when the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct FailureView(pub(in crate::pipeline) Failure);

impl FailureView {
    pub(in crate::pipeline) fn header(&self, name: &str) -> Vec<String> {
        match header::name(name) {
            Ok(name) => header::Edits::default().values(&name, &self.0.headers),
            Err(_) => Vec::new(),
        }
    }

    pub(in crate::pipeline) fn body(&self) -> Cow<'_, str> {
        failure::shown(&self.0.body)
    }

    pub(in crate::pipeline) fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        status::check_error(status)?;
        self.0.status = status;
        self.0.corrected = true;
        Ok(())
    }

    pub(in crate::pipeline) fn set_error_type(&mut self, kind: String) -> Result<(), EditError> {
        failure::check_error_type(&kind)?;
        self.0.kind = kind;
        self.0.corrected = true;
        Ok(())
    }

    pub(in crate::pipeline) fn set_body(&mut self, body: String) -> Result<(), EditError> {
        failure::check_body(&body)?;
        self.0.body = body.into();
        self.0.corrected = true;
        Ok(())
    }

    pub(in crate::pipeline) fn set_retry(&mut self, retry: RetryRequest) {
        self.0.retry = Some(retry);
    }

    pub(in crate::pipeline) fn set_cooldown(&mut self, cooldown: Duration) {
        self.0.cooldown = Some(cooldown);
    }
}

//! A failed attempt as a plugin sees it, and what it may say about it.

use std::time::Duration;

use serde_json::value::RawValue;
use wasmtime::component::Resource;

use super::{Host, clip, header_name, header_values};
use crate::{
    message::{Failure, RetryWish},
    pipeline::bindings::{EditError, exchange::HostFailure},
};

/// How much of the upstream's answer is shown.
const SHOWN: usize = 64 << 10;
const BODY_LIMIT: usize = 1 << 20;
/// The client would not wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Longer than any quota's window; accounts take no more.
const LONGEST_REST: Duration = Duration::from_secs(8 * 24 * 3600);

/// One call's view of a failure; what it says counts when the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct FailureView(pub(in crate::pipeline) Failure);

impl FailureView {
    fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        if !(400..=599).contains(&status) {
            return Err(EditError::BadValue(format!(
                "status {status} is no error, 400 to 599 is"
            )));
        }
        self.0.status = status;
        self.0.corrected = true;
        Ok(())
    }

    fn set_kind(&mut self, kind: String) -> Result<(), EditError> {
        let simple = |c: char| c.is_ascii_lowercase() || c == '_';
        if kind.is_empty() || kind.len() > 64 || !kind.chars().all(simple) {
            let text = format!(
                "`{}` is no error type such as `rate_limit_error`",
                clip(&kind)
            );
            return Err(EditError::BadValue(text));
        }
        self.0.kind = kind;
        self.0.corrected = true;
        Ok(())
    }

    fn set_body(&mut self, body: String) -> Result<(), EditError> {
        if body.len() > BODY_LIMIT {
            let text = format!(
                "a body of {} bytes, at most {BODY_LIMIT} are allowed",
                body.len()
            );
            return Err(EditError::TooMuch(text));
        }
        serde_json::from_str::<&RawValue>(&body)
            .map_err(|error| EditError::BadValue(format!("the body is not JSON: {error}")))?;
        self.0.body = body.into();
        self.0.corrected = true;
        Ok(())
    }

    fn set_retry(&mut self, whom: &str, after_ms: u64) -> Result<(), EditError> {
        let after = Duration::from_millis(after_ms).min(LONGEST_WAIT);
        self.0.retry = Some(match whom {
            "same" => RetryWish::Same(after),
            "other" => RetryWish::Other(after),
            "never" => RetryWish::Never,
            _ => {
                let text = format!("`{}` is none of `same`, `other` and `never`", clip(whom));
                return Err(EditError::BadValue(text));
            }
        });
        Ok(())
    }
}

type Edited<T> = wasmtime::Result<Result<T, EditError>>;

impl HostFailure for Host {
    fn status(&mut self, view: Resource<FailureView>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&view)?.0.status)
    }

    fn kind(&mut self, view: Resource<FailureView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.0.kind.clone())
    }

    fn header(
        &mut self,
        view: Resource<FailureView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        let failure = &self.table.get(&view)?.0;
        Ok(match header_name(&name) {
            Ok(name) => header_values(&name, &failure.headers, &[]),
            Err(_) => Vec::new(),
        })
    }

    fn body(&mut self, view: Resource<FailureView>) -> wasmtime::Result<String> {
        let body = &self.table.get(&view)?.0.body;
        Ok(String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned())
    }

    fn set_status(&mut self, view: Resource<FailureView>, status: u16) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_status(status))
    }

    fn set_kind(&mut self, view: Resource<FailureView>, kind: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_kind(kind))
    }

    fn set_body(&mut self, view: Resource<FailureView>, body: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_body(body))
    }

    fn set_retry(
        &mut self,
        view: Resource<FailureView>,
        whom: String,
        after_ms: u64,
    ) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_retry(&whom, after_ms))
    }

    fn set_rest(&mut self, view: Resource<FailureView>, ms: u64) -> Edited<()> {
        self.table.get_mut(&view)?.0.rest = Some(Duration::from_millis(ms).min(LONGEST_REST));
        Ok(Ok(()))
    }

    fn drop(&mut self, view: Resource<FailureView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

//! A failed attempt as a plugin sees it, and what the plugin may change.

use wasmtime::component::Resource;
use witgate_contract::{failure, header, status};

use super::Host;
use crate::{
    message::{Failure, RetryRequest},
    pipeline::bindings::{EditError, RetryTarget, exchange::HostFailure},
};

/// One call's view of a failure. Its changes take effect when the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct FailureView(pub(in crate::pipeline) Failure);

impl FailureView {
    fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        status::check_error(status)?;
        self.0.status = status;
        self.0.corrected = true;
        Ok(())
    }

    fn set_error_type(&mut self, error_type: String) -> Result<(), EditError> {
        failure::check_error_type(&error_type)?;
        self.0.kind = error_type;
        self.0.corrected = true;
        Ok(())
    }

    fn set_body(&mut self, body: String) -> Result<(), EditError> {
        failure::check_body(&body)?;
        self.0.body = body.into();
        self.0.corrected = true;
        Ok(())
    }

    fn set_retry(&mut self, target: RetryTarget, after_ms: u32) {
        let after = failure::retry_delay(after_ms.into());
        self.0.retry = Some(match target {
            RetryTarget::SameAccount => RetryRequest::SameAccount(after),
            RetryTarget::OtherAccount => RetryRequest::OtherAccount(after),
            RetryTarget::Never => RetryRequest::Never,
        });
    }
}

type Edited<T> = wasmtime::Result<Result<T, EditError>>;

impl HostFailure for Host {
    fn status(&mut self, view: Resource<FailureView>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&view)?.0.status)
    }

    fn error_type(&mut self, view: Resource<FailureView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.0.kind.clone())
    }

    fn header(
        &mut self,
        view: Resource<FailureView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        let headers = &self.table.get(&view)?.0.headers;
        Ok(match header::name(&name) {
            Ok(name) => header::Edits::default().values(&name, headers),
            Err(_) => Vec::new(),
        })
    }

    fn body(&mut self, view: Resource<FailureView>) -> wasmtime::Result<String> {
        Ok(failure::shown(&self.table.get(&view)?.0.body).into_owned())
    }

    fn set_status(&mut self, view: Resource<FailureView>, status: u16) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_status(status))
    }

    fn set_error_type(&mut self, view: Resource<FailureView>, error_type: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_error_type(error_type))
    }

    fn set_body(&mut self, view: Resource<FailureView>, body: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_body(body))
    }

    fn set_retry(
        &mut self,
        view: Resource<FailureView>,
        target: RetryTarget,
        after_ms: u32,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.set_retry(target, after_ms);
        Ok(())
    }

    fn set_cooldown(&mut self, view: Resource<FailureView>, ms: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.0.cooldown = Some(failure::cooldown(ms.into()));
        Ok(())
    }

    fn drop(&mut self, view: Resource<FailureView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

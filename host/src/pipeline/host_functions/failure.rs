//! The failure's functions of the contract, on the view that a call lends.

use wasmtime::component::Resource;
use witgate_contract::failure;

use super::{Edited, Host, edited};
use crate::{
    message::RetryRequest,
    pipeline::{
        bindings::{RetryTarget, exchange::HostFailure},
        views::FailureView,
    },
};

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
        Ok(self.table.get(&view)?.header(&name))
    }

    fn body(&mut self, view: Resource<FailureView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.body().into_owned())
    }

    fn set_status(&mut self, view: Resource<FailureView>, status: u16) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_status(status))
    }

    fn set_error_type(&mut self, view: Resource<FailureView>, error_type: String) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_error_type(error_type))
    }

    fn set_body(&mut self, view: Resource<FailureView>, body: String) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_body(body))
    }

    fn set_retry(
        &mut self,
        view: Resource<FailureView>,
        target: RetryTarget,
        after_ms: u32,
    ) -> wasmtime::Result<()> {
        let after = failure::retry_delay(after_ms.into());
        self.table.get_mut(&view)?.set_retry(match target {
            RetryTarget::SameAccount => RetryRequest::SameAccount(after),
            RetryTarget::OtherAccount => RetryRequest::OtherAccount(after),
            RetryTarget::Never => RetryRequest::Never,
        });
        Ok(())
    }

    fn set_cooldown(&mut self, view: Resource<FailureView>, ms: u32) -> wasmtime::Result<()> {
        let cooldown = failure::cooldown(ms.into());
        self.table.get_mut(&view)?.set_cooldown(cooldown);
        Ok(())
    }

    fn drop(&mut self, view: Resource<FailureView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

//! The answers and refusals that a plugin makes. They are checked when a hook returns one.

use wasmtime::component::Resource;
use witgate_contract::{
    limits,
    verdict::{AnswerDraft, RefusalDraft},
};

use super::Host;
use crate::pipeline::bindings::exchange::{HostAnswer, HostRefusal};

impl Host {
    /// Stores a new draft. The number is limited, since drafts take the gateway's memory, not the
    /// plugin's.
    fn draft<T: Send + 'static>(&mut self, draft: T) -> wasmtime::Result<Resource<T>> {
        if self.drafts >= limits::DRAFTS {
            return Err(wasmtime::Error::msg(format!(
                "more than {} answers and refusals at a time",
                limits::DRAFTS
            )));
        }
        let handle = self.table.push(draft)?;
        self.drafts += 1;
        Ok(handle)
    }

    /// Takes out the draft that a hook returned.
    pub(in crate::pipeline) fn take_draft<T: 'static>(
        &mut self,
        handle: Resource<T>,
    ) -> wasmtime::Result<T> {
        let draft = self.table.delete(handle)?;
        self.drafts -= 1;
        Ok(draft)
    }
}

impl HostAnswer for Host {
    fn new(&mut self, body: String) -> wasmtime::Result<Resource<AnswerDraft>> {
        self.draft(AnswerDraft::new(body))
    }

    fn set_status(&mut self, draft: Resource<AnswerDraft>, status: u16) -> wasmtime::Result<()> {
        self.table.get_mut(&draft)?.set_status(status);
        Ok(())
    }

    fn set_header(
        &mut self,
        draft: Resource<AnswerDraft>,
        name: String,
        value: String,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&draft)?.set_header(&name, &value);
        Ok(())
    }

    fn set_note(&mut self, draft: Resource<AnswerDraft>, note: String) -> wasmtime::Result<()> {
        self.table.get_mut(&draft)?.set_note(&note);
        Ok(())
    }

    fn drop(&mut self, draft: Resource<AnswerDraft>) -> wasmtime::Result<()> {
        self.take_draft(draft)?;
        Ok(())
    }
}

impl HostRefusal for Host {
    fn new(
        &mut self,
        status: u16,
        error_type: String,
        message: String,
    ) -> wasmtime::Result<Resource<RefusalDraft>> {
        self.draft(RefusalDraft::new(status, error_type, message))
    }

    fn set_details(
        &mut self,
        draft: Resource<RefusalDraft>,
        details: String,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&draft)?.set_details(details);
        Ok(())
    }

    fn set_try_next(
        &mut self,
        draft: Resource<RefusalDraft>,
        try_next: bool,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&draft)?.set_try_next(try_next);
        Ok(())
    }

    fn drop(&mut self, draft: Resource<RefusalDraft>) -> wasmtime::Result<()> {
        self.take_draft(draft)?;
        Ok(())
    }
}

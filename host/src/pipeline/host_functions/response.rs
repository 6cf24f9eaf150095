//! The response's functions of the contract, on the view that a call lends.

use wasmtime::component::Resource;

use super::{Edited, Host, edited};
use crate::pipeline::{bindings::exchange::HostResponse, views::ResponseView};

impl HostResponse for Host {
    fn status(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&view)?.head.status.as_u16())
    }

    fn header(
        &mut self,
        view: Resource<ResponseView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&view)?.header(&name))
    }

    fn set_header(
        &mut self,
        view: Resource<ResponseView>,
        name: String,
        values: Vec<String>,
    ) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_header(&name, &values))
    }

    fn id(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.id.to_string())
    }

    fn upstream(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.target.upstream.to_string())
    }

    fn dialect(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.target.dialect.to_string())
    }

    fn mapped_model(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.target.model.to_string())
    }

    fn requested_model(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        let target = &self.table.get(&view)?.head.target;
        Ok(target.requested_model.to_string())
    }

    fn session(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .table
            .get(&view)?
            .head
            .session
            .as_deref()
            .map(str::to_owned))
    }

    fn conversation(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.conversation.id().to_string())
    }

    fn streaming(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&view)?.head.streaming)
    }

    fn complete(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&view)?.complete)
    }

    fn note(&mut self, view: Resource<ResponseView>, line: String) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.notes.add(&line);
        Ok(())
    }

    fn drop(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

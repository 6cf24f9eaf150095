//! The response as a plugin sees it, besides its events.

use std::sync::Arc;

use wasmtime::component::Resource;
use witgate_contract::{header, note::Notes};

use super::Host;
use crate::pipeline::{
    ResponseHead,
    bindings::{EditError, exchange::HostResponse},
};

/// One call's view of the response. Header edits stay in it until the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ResponseView {
    pub(in crate::pipeline) head: Arc<ResponseHead>,
    pub(in crate::pipeline) edits: header::Edits,
    /// Why no header can be set, if so.
    pub(in crate::pipeline) closed: Option<&'static str>,
    pub(in crate::pipeline) complete: bool,
    /// Lines for the record.
    pub(in crate::pipeline) notes: Notes,
}

impl ResponseView {
    fn set_header(&mut self, name: &str, values: &[String]) -> Result<(), EditError> {
        let name = header::name(name)?;
        if let Some(why) = self.closed {
            let text = format!("{why}, `{name}` cannot be set");
            return Err(EditError::NotAllowed(text));
        }
        header::check_in_response(&name)?;
        Ok(self.edits.set(name, values)?)
    }
}

impl HostResponse for Host {
    fn status(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&view)?.head.status.as_u16())
    }

    fn header(
        &mut self,
        view: Resource<ResponseView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        let view = self.table.get(&view)?;
        Ok(match header::name(&name) {
            Ok(name) => view.edits.values(&name, &view.head.headers),
            Err(_) => Vec::new(),
        })
    }

    fn set_header(
        &mut self,
        view: Resource<ResponseView>,
        name: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<(), EditError>> {
        Ok(self.table.get_mut(&view)?.set_header(&name, &values))
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

//! The answer as a plugin sees it, besides its events.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::{HeaderEdit, Host, header_edit, header_name, header_values, is_framing, take_note};
use crate::pipeline::{
    AnswerHead,
    bindings::{EditError, exchange::HostResponse},
};

/// Header edits of one call.
const HEADER_EDITS: usize = 64;

/// One call's view of the answer. Header edits stay in it until the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ResponseView {
    pub(in crate::pipeline) head: Arc<AnswerHead>,
    pub(in crate::pipeline) edits: Vec<HeaderEdit>,
    /// Why no header can be set, where that is so.
    pub(in crate::pipeline) closed: Option<&'static str>,
    pub(in crate::pipeline) complete: bool,
    /// Lines for the record.
    pub(in crate::pipeline) notes: Vec<String>,
}

impl ResponseView {
    fn set_header(&mut self, name: &str, values: &[String]) -> Result<(), EditError> {
        let name = header_name(name)?;
        if let Some(why) = self.closed {
            let text = format!("{why}, `{name}` cannot be set");
            return Err(EditError::NotAllowed(text));
        }
        if is_framing(&name) {
            return Err(EditError::NotAllowed(format!(
                "`{name}` belongs to the gateway"
            )));
        }
        if self.edits.len() >= HEADER_EDITS {
            let text = format!("more than {HEADER_EDITS} header edits in one call");
            return Err(EditError::TooMuch(text));
        }
        self.edits.push(header_edit(name, values)?);
        Ok(())
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
        Ok(match header_name(&name) {
            Ok(name) => header_values(&name, &view.head.headers, &view.edits),
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

    fn model(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.target.model.to_string())
    }

    fn asked_model(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.head.target.asked_model.to_string())
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
        take_note(&mut self.table.get_mut(&view)?.notes, &line);
        Ok(())
    }

    fn drop(&mut self, view: Resource<ResponseView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

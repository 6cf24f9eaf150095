//! The response as one call sees it, besides its events.

use std::sync::Arc;

use witgate_contract::{EditError, header, note::Notes};

use crate::pipeline::{
    ResponseHead,
    trace::{HeaderChange, header_changes},
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
    pub(in crate::pipeline) fn header(&self, name: &str) -> Vec<String> {
        match header::name(name) {
            Ok(name) => self.edits.values(&name, &self.head.headers),
            Err(_) => Vec::new(),
        }
    }

    /// The header edits so far, each with the values before.
    pub(in crate::pipeline) fn header_changes(&self) -> Vec<HeaderChange> {
        header_changes(&self.edits, &self.head.headers)
    }

    pub(in crate::pipeline) fn set_header(
        &mut self,
        name: &str,
        values: &[String],
    ) -> Result<(), EditError> {
        let name = header::name(name)?;
        if let Some(why) = self.closed {
            let text = format!("{why}, `{name}` cannot be set");
            return Err(EditError::NotAllowed(text));
        }
        header::check_in_response(&name)?;
        self.edits.set(name, values, &self.head.headers)
    }
}

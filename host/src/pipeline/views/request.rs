//! The request as one call sees it: all of it can be read, and edited where the hook allows it.

use std::sync::Arc;

use http::HeaderMap;
use witgate_contract::{
    EditError,
    body::{self, Node},
    header, limits,
    note::Notes,
    path,
};
use witgate_document::{Document, Match, Operation, Outline, Part};

use crate::{
    ids::ExchangeId,
    message::{Conversation, Request, RequestKind},
    off_worker,
    pipeline::trace::{HeaderChange, header_changes},
};

/// What a hook may edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum EditScope {
    /// The request hook: everything but the path.
    Edit,
    /// The attempt hook: the path as well.
    Redirect,
    /// The failure hook.
    Read,
}

/// One call's view of the request. Edits stay in it until the call has succeeded.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct RequestView {
    scope: EditScope,
    pub(in crate::pipeline) kind: RequestKind,
    path: String,
    query: String,
    pub(in crate::pipeline) id: ExchangeId,
    pub(in crate::pipeline) session: Option<Arc<str>>,
    pub(in crate::pipeline) conversation: Conversation,
    headers: Arc<HeaderMap>,
    header_edits: header::Edits,
    redirect: Option<(String, String)>,
    body: Document,
    /// The last outline that the plugin asked for.
    outline: Option<Outline>,
    journal: Journal,
}

/// What one call did to the request.
#[derive(Default)]
pub(in crate::pipeline) struct Journal {
    /// Edits of body, headers and path.
    pub(in crate::pipeline) count: u32,
    /// Edits of the body, in order, up to [`limits::RECEIPT_EDITS`].
    pub(in crate::pipeline) edits: Vec<Operation>,
    /// The number of body edits beyond that.
    pub(in crate::pipeline) left_out: u32,
    /// Lines for the record.
    pub(in crate::pipeline) notes: Notes,
    /// Whether the plugin asks for the response.
    pub(in crate::pipeline) watches: bool,
    size: usize,
}

impl RequestView {
    /// Takes the request's parts for the time of a call: the body is shared, the others are moved.
    /// [`Self::give_back`] returns them.
    pub(in crate::pipeline) fn lend(request: &mut Request, scope: EditScope) -> Self {
        let headers = std::mem::take(&mut request.headers);
        let path = std::mem::take(&mut request.path);
        let query = std::mem::take(&mut request.query);
        Self::with(request, scope, headers, path, query)
    }

    /// A view of a request that cannot be edited.
    pub(in crate::pipeline) fn read_only(request: &Request) -> Self {
        let (path, query) = (request.path.clone(), request.query.clone());
        Self::with(
            request,
            EditScope::Read,
            request.headers.clone(),
            path,
            query,
        )
    }

    fn with(
        request: &Request,
        scope: EditScope,
        headers: Arc<HeaderMap>,
        path: String,
        query: String,
    ) -> Self {
        Self {
            scope,
            kind: request.kind,
            path,
            query,
            id: request.id.clone(),
            session: request.session.clone(),
            conversation: request.conversation.clone(),
            headers,
            header_edits: header::Edits::default(),
            redirect: None,
            body: request.body.clone(),
            outline: None,
            journal: Journal::default(),
        }
    }

    /// Returns the lent parts to the request. With `keep` the edits take effect and are returned;
    /// without it the request is as before the call.
    pub(in crate::pipeline) fn give_back(self, request: &mut Request, keep: bool) -> Journal {
        request.headers = self.headers;
        request.path = self.path;
        request.query = self.query;
        if !keep {
            return Journal::default();
        }
        if !self.header_edits.is_empty() {
            self.header_edits.apply(Arc::make_mut(&mut request.headers));
        }
        if let Some((path, query)) = self.redirect {
            request.path = path;
            request.query = query;
        }
        if self.journal.count > 0 {
            request.body = self.body;
        }
        self.journal
    }

    /// The header edits so far, each with the values before.
    pub(in crate::pipeline) fn header_changes(&self) -> Vec<HeaderChange> {
        header_changes(&self.header_edits, &self.headers)
    }

    /// The path and query that the plugin set, if it did.
    pub(in crate::pipeline) fn redirected(&self) -> Option<String> {
        let (path, query) = self.redirect.as_ref()?;
        Some(match query.is_empty() {
            true => path.clone(),
            false => format!("{path}?{query}"),
        })
    }

    pub(in crate::pipeline) fn header(&self, name: &str) -> Vec<String> {
        match header::name(name) {
            Ok(name) if !header::is_reserved_in_requests(&name) => {
                self.header_edits.values(&name, &self.headers)
            }
            _ => Vec::new(),
        }
    }

    pub(in crate::pipeline) fn path(&self) -> &str {
        self.redirect.as_ref().map_or(&self.path, |(path, _)| path)
    }

    pub(in crate::pipeline) fn query(&self) -> &str {
        let redirect = self.redirect.as_ref();
        redirect.map_or(&self.query, |(_, query)| query)
    }

    /// Whether a query or an edit of the body may take long.
    pub(in crate::pipeline) fn is_large(&self) -> bool {
        off_worker::is_large(&self.body)
    }

    fn editable(&self) -> Result<(), EditError> {
        match self.scope {
            EditScope::Read => Err(EditError::NotAllowed(
                "the request cannot be edited in `on-failure`; ask for a retry and edit in the next `on-attempt`"
                    .to_owned(),
            )),
            EditScope::Edit | EditScope::Redirect => Ok(()),
        }
    }

    pub(in crate::pipeline) fn set_header(
        &mut self,
        name: &str,
        values: &[String],
    ) -> Result<(), EditError> {
        self.editable()?;
        let name = header::name(name)?;
        header::check_in_request(&name)?;
        self.header_edits.set(name, values, &self.headers)?;
        self.journal.count += 1;
        Ok(())
    }

    pub(in crate::pipeline) fn set_path(&mut self, target: &str) -> Result<(), EditError> {
        self.editable()?;
        if self.scope != EditScope::Redirect {
            return Err(EditError::NotAllowed(
                "the path can be set in `on-attempt` only".to_owned(),
            ));
        }
        let (path, query) = path::parse(target)?;
        self.redirect = Some((path.to_owned(), query.to_owned()));
        self.journal.count += 1;
        Ok(())
    }

    pub(in crate::pipeline) fn matches(&self, query: &str) -> Result<bool, EditError> {
        let path = body::query(query)?;
        Ok(self.body.matches(&path)?)
    }

    pub(in crate::pipeline) fn select(&self, query: &str) -> Result<Vec<String>, EditError> {
        body::select(&self.body, query)
    }

    pub(in crate::pipeline) fn read(&self, query: &str) -> Result<Vec<Node>, EditError> {
        body::read(&self.body, query)
    }

    pub(in crate::pipeline) fn patch(&mut self, edits: Vec<Operation>) -> Result<(), EditError> {
        self.editable()?;
        self.body.patch(&edits)?;
        self.journal.note_all(edits);
        Ok(())
    }

    pub(in crate::pipeline) fn remove_all(&mut self, query: &str) -> Result<u32, EditError> {
        self.editable()?;
        let path = body::query(query)?;
        let (removed, places) = self.body.remove_all_noted(&path)?;
        // From the last to the first, so that the journal is a patch that applies in order.
        for at in places.into_iter().rev() {
            self.journal.note(Operation::Remove { at });
        }
        Ok(removed)
    }

    pub(in crate::pipeline) fn outline(&mut self, longest: u32) -> Result<&Outline, EditError> {
        let outline = body::outline(&self.body, longest, fastrand::u64(..))?;
        Ok(self.outline.insert(outline))
    }

    pub(in crate::pipeline) fn rewrite(&mut self, body: &str) -> Result<(), EditError> {
        self.editable()?;
        let value = body::rewrite(&mut self.body, self.outline.as_ref(), body)?;
        self.journal.note(Operation::Replace {
            at: String::new(),
            value,
        });
        Ok(())
    }

    pub(in crate::pipeline) fn find_matches(
        &self,
        query: &str,
        regex: &str,
    ) -> Result<Vec<Match>, EditError> {
        body::find_matches(&self.body, query, regex)
    }

    pub(in crate::pipeline) fn replace_matches(
        &mut self,
        query: &str,
        regex: &str,
        replacement: &str,
    ) -> Result<u32, EditError> {
        self.editable()?;
        let edits = body::replace_matches(&mut self.body, query, regex, replacement)?;
        let count = u32::try_from(edits.len()).unwrap_or(u32::MAX);
        self.journal.note_all(edits);
        Ok(count)
    }

    pub(in crate::pipeline) fn replace_parts(&mut self, parts: Vec<Part>) -> Result<(), EditError> {
        self.editable()?;
        let edits = body::replace_parts(&mut self.body, parts)?;
        self.journal.note_all(edits);
        Ok(())
    }

    pub(in crate::pipeline) fn note(&mut self, line: &str) {
        self.journal.notes.add(line);
    }

    pub(in crate::pipeline) fn watch_response(&mut self) {
        self.journal.watches = true;
    }
}

impl Journal {
    fn note_all(&mut self, edits: Vec<Operation>) {
        for edit in edits {
            self.note(edit);
        }
    }

    fn note(&mut self, edit: Operation) {
        let size = match &edit {
            // A test changes nothing.
            Operation::Test { .. } => return,
            Operation::Add { at, value } | Operation::Replace { at, value } => {
                at.len() + value.len()
            }
            Operation::Remove { at } => at.len(),
            Operation::ReplacePart { at, text, .. } => at.len() + text.len(),
            Operation::Move { from, to } | Operation::Copy { from, to } => from.len() + to.len(),
        };
        self.count = self.count.saturating_add(1);
        // The fixed text of an operation.
        self.size = self.size.saturating_add(size + 32);
        if self.size > limits::RECEIPT_EDITS {
            self.left_out = self.left_out.saturating_add(1);
        } else {
            self.edits.push(edit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_a_bounded_text_and_counts_what_is_left_out() {
        let mut journal = Journal::default();
        for n in 0..2_000 {
            journal.note(Operation::Remove {
                at: format!("/messages/{n}/cache_control"),
            });
        }
        journal.note(Operation::Test {
            at: "/a".to_owned(),
            value: "1".into(),
        });
        assert_eq!(journal.count, 2_000, "a test is not an edit");
        assert_eq!(journal.edits.len() + journal.left_out as usize, 2_000);
        assert!(Operation::write_list(&journal.edits).len() <= limits::RECEIPT_EDITS);
    }
}

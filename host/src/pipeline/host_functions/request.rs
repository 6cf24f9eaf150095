//! The request as a plugin sees it: all of it can be read, and edited where the hook allows it.

use http::HeaderMap;
use wasmtime::component::Resource;
use witgate_contract::{body, header, limits, note::Notes, path};
use witgate_document::{Document, Operation as Edit, Outline};

use super::Host;
use crate::{
    ids::ExchangeId,
    message::{Request, RequestKind},
    pipeline::bindings::{
        EditError,
        exchange::{self, HostRequest, Node, Operation},
    },
};
use std::sync::Arc;

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
    kind: RequestKind,
    path: String,
    query: String,
    id: ExchangeId,
    session: Option<Arc<str>>,
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
    pub(in crate::pipeline) edits: Vec<Edit>,
    /// The number of body edits beyond that.
    pub(in crate::pipeline) left_out: u32,
    /// Lines for the record.
    pub(in crate::pipeline) notes: Notes,
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

    fn editable(&self) -> Result<(), EditError> {
        match self.scope {
            EditScope::Read => Err(EditError::NotAllowed(
                "the request cannot be edited in `on-failure`; ask for a retry and edit in the next `on-attempt`"
                    .to_owned(),
            )),
            EditScope::Edit | EditScope::Redirect => Ok(()),
        }
    }

    fn set_header(&mut self, name: &str, values: &[String]) -> Result<(), EditError> {
        self.editable()?;
        let name = header::name(name)?;
        header::check_in_request(&name)?;
        self.header_edits.set(name, values)?;
        self.journal.count += 1;
        Ok(())
    }

    fn set_path(&mut self, target: &str) -> Result<(), EditError> {
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

    fn matches(&self, query: &str) -> Result<bool, EditError> {
        let path = body::query(query)?;
        Ok(self.body.matches(&path)?)
    }

    fn read(&self, query: &str) -> Result<Vec<Node>, EditError> {
        let node = |body::Node { at, value }| Node { pointer: at, value };
        Ok(body::read(&self.body, query)?
            .into_iter()
            .map(node)
            .collect())
    }

    fn patch(&mut self, edits: Vec<Operation>) -> Result<(), EditError> {
        self.editable()?;
        let edits: Vec<Edit> = edits.into_iter().map(edit).collect();
        self.body.patch(&edits)?;
        for edit in edits {
            self.journal.note(edit);
        }
        Ok(())
    }

    fn remove_all(&mut self, query: &str) -> Result<u32, EditError> {
        self.editable()?;
        let path = body::query(query).map_err(EditError::from)?;
        let (removed, places) = self.body.remove_all_noted(&path)?;
        // From the last to the first, so that the journal is a patch that applies in order.
        for at in places.into_iter().rev() {
            self.journal.note(Edit::Remove { at });
        }
        Ok(removed)
    }

    fn outline(&mut self, longest: u32) -> Result<exchange::Outline, EditError> {
        let outline = body::outline(&self.body, longest, fastrand::u64(..))?;
        let outlined = exchange::Outline {
            body: outline.text().to_owned(),
            prefix: outline.prefix().to_owned(),
        };
        self.outline = Some(outline);
        Ok(outlined)
    }

    fn rewrite(&mut self, body: String) -> Result<(), EditError> {
        self.editable()?;
        let value = body::rewrite(&mut self.body, self.outline.as_ref(), &body)?;
        self.journal.note(Edit::Replace {
            at: String::new(),
            value,
        });
        Ok(())
    }
}

impl Journal {
    fn note(&mut self, edit: Edit) {
        let size = match &edit {
            // A test changes nothing.
            Edit::Test { .. } => return,
            Edit::Add { at, value } | Edit::Replace { at, value } => at.len() + value.len(),
            Edit::Remove { at } => at.len(),
            Edit::Move { from, to } | Edit::Copy { from, to } => from.len() + to.len(),
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

fn edit(operation: Operation) -> Edit {
    match operation {
        Operation::Add(Node { pointer, value }) => Edit::Add {
            at: pointer,
            value: value.into(),
        },
        Operation::Remove(pointer) => Edit::Remove { at: pointer },
        Operation::Replace(Node { pointer, value }) => Edit::Replace {
            at: pointer,
            value: value.into(),
        },
        Operation::Move(way) => Edit::Move {
            from: way.from,
            to: way.to,
        },
        Operation::Copy(way) => Edit::Copy {
            from: way.from,
            to: way.to,
        },
        Operation::Test(Node { pointer, value }) => Edit::Test {
            at: pointer,
            value: value.into(),
        },
    }
}

type Edited<T> = wasmtime::Result<Result<T, EditError>>;

impl HostRequest for Host {
    fn kind(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.kind.as_str().to_owned())
    }

    fn method(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.kind.method().to_owned())
    }

    fn path(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        let view = self.table.get(&view)?;
        Ok(view
            .redirect
            .as_ref()
            .map_or(&view.path, |(path, _)| path)
            .clone())
    }

    fn query(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        let view = self.table.get(&view)?;
        Ok(view
            .redirect
            .as_ref()
            .map_or(&view.query, |(_, query)| query)
            .clone())
    }

    fn id(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.id.to_string())
    }

    fn session(&mut self, view: Resource<RequestView>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&view)?.session.as_deref().map(str::to_owned))
    }

    fn header(
        &mut self,
        view: Resource<RequestView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        let view = self.table.get(&view)?;
        Ok(match header::name(&name) {
            Ok(name) if !header::is_reserved_in_requests(&name) => {
                view.header_edits.values(&name, &view.headers)
            }
            _ => Vec::new(),
        })
    }

    fn set_header(
        &mut self,
        view: Resource<RequestView>,
        name: String,
        values: Vec<String>,
    ) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_header(&name, &values))
    }

    fn set_path(&mut self, view: Resource<RequestView>, path_and_query: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.set_path(&path_and_query))
    }

    fn matches(&mut self, view: Resource<RequestView>, query: String) -> Edited<bool> {
        Ok(self.table.get(&view)?.matches(&query))
    }

    fn select(&mut self, view: Resource<RequestView>, query: String) -> Edited<Vec<String>> {
        let view = self.table.get(&view)?;
        Ok(body::select(&view.body, &query).map_err(EditError::from))
    }

    fn read(&mut self, view: Resource<RequestView>, query: String) -> Edited<Vec<Node>> {
        Ok(self.table.get(&view)?.read(&query))
    }

    fn patch(&mut self, view: Resource<RequestView>, edits: Vec<Operation>) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.patch(edits))
    }

    fn remove_all(&mut self, view: Resource<RequestView>, query: String) -> Edited<u32> {
        Ok(self.table.get_mut(&view)?.remove_all(&query))
    }

    fn outline(&mut self, view: Resource<RequestView>, longest: u32) -> Edited<exchange::Outline> {
        Ok(self.table.get_mut(&view)?.outline(longest))
    }

    fn rewrite(&mut self, view: Resource<RequestView>, body: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.rewrite(body))
    }

    fn note(&mut self, view: Resource<RequestView>, line: String) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.journal.notes.add(&line);
        Ok(())
    }

    fn drop(&mut self, view: Resource<RequestView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_a_bounded_text_and_counts_what_is_left_out() {
        let mut journal = Journal::default();
        for n in 0..2_000 {
            journal.note(Edit::Remove {
                at: format!("/messages/{n}/cache_control"),
            });
        }
        journal.note(Edit::Test {
            at: "/a".to_owned(),
            value: "1".into(),
        });
        assert_eq!(journal.count, 2_000, "a test is not an edit");
        assert_eq!(journal.edits.len() + journal.left_out as usize, 2_000);
        assert!(Edit::write_list(&journal.edits).len() <= limits::RECEIPT_EDITS);
    }
}

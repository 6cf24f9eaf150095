//! The request as a plugin sees it: all of it can be read, and edited where the hook allows it.

use http::HeaderMap;
use wasmtime::component::Resource;
use witgate_document::{Document, Error, Operation as Edit, Outline, Path};

use super::{
    HeaderEdit, Host, clip, header_edit, header_name, header_values, is_framing, take_note,
};
use crate::{
    ids::ExchangeId,
    message::{self, Request, RequestKind},
    pipeline::bindings::{
        EditError,
        exchange::{HostRequest, Node, Operation, Outlined},
    },
};
use std::sync::Arc;

/// How much of the edits of one call is kept as text for the receipt.
const PATCH_LIMIT: usize = 16 << 10;
/// The JSON text that one `read` may hand out: more than any rule needs, less than would take the plugin's memory.
const READ_LIMIT: usize = 16 << 20;
const QUERY_LIMIT: usize = 16 << 10;
const PATH_LIMIT: usize = 8 << 10;
/// Header edits of one call.
const HEADER_EDITS: usize = 64;

/// What the hook allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum May {
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
    may: May,
    kind: RequestKind,
    method: http::Method,
    path: String,
    query: String,
    id: ExchangeId,
    session: Option<Arc<str>>,
    headers: Arc<HeaderMap>,
    header_edits: Vec<HeaderEdit>,
    redirect: Option<(String, String)>,
    body: Document,
    /// The last that was asked for.
    outline: Option<Outline>,
    journal: Journal,
}

/// What one call did to the request.
#[derive(Default)]
pub(in crate::pipeline) struct Journal {
    /// Edits of body, headers and path.
    pub(in crate::pipeline) count: u32,
    /// Those of the body, in order, as far as [`PATCH_LIMIT`] goes.
    pub(in crate::pipeline) edits: Vec<Edit>,
    /// Edits of the body beyond it.
    pub(in crate::pipeline) left_out: u32,
    /// Lines for the record.
    pub(in crate::pipeline) notes: Vec<String>,
    size: usize,
}

impl RequestView {
    /// Takes the request's parts over for the time of a call; the body is shared, the rest is moved. [`Self::give_back`]
    /// returns them.
    pub(in crate::pipeline) fn lend(request: &mut Request, may: May) -> Self {
        let headers = std::mem::take(&mut request.headers);
        let path = std::mem::take(&mut request.path);
        let query = std::mem::take(&mut request.query);
        Self::with(request, may, headers, path, query)
    }

    /// A view of a request that cannot be edited.
    pub(in crate::pipeline) fn read_only(request: &Request) -> Self {
        let (path, query) = (request.path.clone(), request.query.clone());
        Self::with(request, May::Read, request.headers.clone(), path, query)
    }

    fn with(
        request: &Request,
        may: May,
        headers: Arc<HeaderMap>,
        path: String,
        query: String,
    ) -> Self {
        Self {
            may,
            kind: request.kind,
            method: request.method.clone(),
            path,
            query,
            id: request.id.clone(),
            session: request.session.clone(),
            headers,
            header_edits: Vec::new(),
            redirect: None,
            body: request.body.clone(),
            outline: None,
            journal: Journal::default(),
        }
    }

    /// Returns what was lent. With `keep` the edits take effect and are told, else it is as if the call had not been.
    pub(in crate::pipeline) fn give_back(self, request: &mut Request, keep: bool) -> Journal {
        request.headers = self.headers;
        request.path = self.path;
        request.query = self.query;
        if !keep {
            return Journal::default();
        }
        if !self.header_edits.is_empty() {
            super::apply_headers(Arc::make_mut(&mut request.headers), self.header_edits);
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
        match self.may {
            May::Read => Err(EditError::NotAllowed(
                "the request cannot be edited in `on-failure`; ask for a retry and edit in the next `on-attempt`"
                    .to_owned(),
            )),
            May::Edit | May::Redirect => Ok(()),
        }
    }

    fn set_header(&mut self, name: &str, values: &[String]) -> Result<(), EditError> {
        self.editable()?;
        let name = header_name(name)?;
        if is_hidden(&name) {
            let text = format!(
                "`{name}` belongs to the gateway: credentials, host and framing are its own"
            );
            return Err(EditError::NotAllowed(text));
        }
        if self.header_edits.len() >= HEADER_EDITS {
            return Err(EditError::TooMuch(format!(
                "more than {HEADER_EDITS} header edits in one call"
            )));
        }
        self.header_edits.push(header_edit(name, values)?);
        self.journal.count += 1;
        Ok(())
    }

    fn set_path(&mut self, target: &str) -> Result<(), EditError> {
        self.editable()?;
        if self.may != May::Redirect {
            return Err(EditError::NotAllowed(
                "the path can be set in `on-attempt` only".to_owned(),
            ));
        }
        let (path, query) = check_path(target)?;
        self.redirect = Some((path, query));
        self.journal.count += 1;
        Ok(())
    }

    fn read(&self, query: &str) -> Result<Vec<Node>, EditError> {
        let nodes = self.body.read(&parse(query)?).map_err(edit_error)?;
        let size: usize = nodes.iter().map(|node| node.value.len()).sum();
        if size > READ_LIMIT {
            let text = format!(
                "the query selects {size} bytes, at most {READ_LIMIT} are handed out at once"
            );
            return Err(EditError::TooMuch(text));
        }
        let text = |node: witgate_document::Node| {
            let value = std::str::from_utf8(&node.value).map_err(|_| {
                EditError::BadDocument(format!("the value at `{}` is not UTF-8", clip(&node.at)))
            })?;
            Ok(Node {
                value: value.to_owned(),
                at: node.at,
            })
        };
        nodes.into_iter().map(text).collect()
    }

    fn patch(&mut self, edits: Vec<Operation>) -> Result<(), EditError> {
        self.editable()?;
        let edits: Vec<Edit> = edits.into_iter().map(edit).collect();
        self.body.patch(&edits).map_err(edit_error)?;
        for edit in edits {
            self.journal.note(edit);
        }
        Ok(())
    }

    fn remove_all(&mut self, query: &str) -> Result<u32, EditError> {
        self.editable()?;
        let path = parse(query)?;
        let (removed, places) = self.body.remove_all_noted(&path).map_err(edit_error)?;
        // From the last to the first, so that what is written down is a patch that can be applied in order.
        for at in places.into_iter().rev() {
            self.journal.note(Edit::Remove { at });
        }
        Ok(removed)
    }

    fn outline(&mut self, longest: u32) -> Result<Outlined, EditError> {
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        let outline = self
            .body
            .outline(longest, fastrand::u64(..))
            .map_err(edit_error)?;
        let size = outline.text().len();
        if size > READ_LIMIT {
            let text = format!(
                "the outline has {size} bytes, at most {READ_LIMIT} are handed out at once"
            );
            return Err(EditError::TooMuch(text));
        }
        let outlined = Outlined {
            body: outline.text().to_owned(),
            prefix: outline.prefix().to_owned(),
        };
        self.outline = Some(outline);
        Ok(outlined)
    }

    fn rewrite(&mut self, body: String) -> Result<(), EditError> {
        self.editable()?;
        let text = match &self.outline {
            Some(outline) => outline.fill(&body),
            None => Outline::none().fill(&body),
        };
        let value = text.map_err(edit_error)?;
        self.body.rewrite(value.clone());
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
        // What an operation's own words take.
        self.size = self.size.saturating_add(size + 32);
        if self.size > PATCH_LIMIT {
            self.left_out = self.left_out.saturating_add(1);
        } else {
            self.edits.push(edit);
        }
    }
}

/// Credentials, `host` and framing headers: never shown to a plugin, never set by one.
fn is_hidden(name: &http::HeaderName) -> bool {
    const CREDENTIALS: [&str; 5] = [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "x-goog-api-key",
        "cookie",
    ];
    CREDENTIALS.contains(&name.as_str()) || is_framing(name)
}

fn parse(query: &str) -> Result<Path, EditError> {
    if query.len() > QUERY_LIMIT {
        let text = format!(
            "a query of {} bytes, at most {QUERY_LIMIT} are allowed",
            query.len()
        );
        return Err(EditError::TooMuch(text));
    }
    Path::parse(query).map_err(edit_error)
}

/// Splits a legal path from its query.
fn check_path(text: &str) -> Result<(String, String), EditError> {
    let refuse = |why: &str| {
        Err(EditError::BadQuery(format!(
            "`{}` is not a legal path: {why}",
            clip(text)
        )))
    };
    if text.len() > PATH_LIMIT {
        return refuse("it is too long");
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Err(why) = message::check_path(path) {
        return refuse(why);
    }
    if query.contains('#') || text.parse::<http::uri::PathAndQuery>().is_err() {
        return refuse("it has a character that must be escaped");
    }
    Ok((path.to_owned(), query.to_owned()))
}

fn edit(operation: Operation) -> Edit {
    match operation {
        Operation::Add(Node { at, value }) => Edit::Add {
            at,
            value: value.into(),
        },
        Operation::Remove(at) => Edit::Remove { at },
        Operation::Replace(Node { at, value }) => Edit::Replace {
            at,
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
        Operation::Test(Node { at, value }) => Edit::Test {
            at,
            value: value.into(),
        },
    }
}

fn edit_error(error: Error) -> EditError {
    let text = error.to_string();
    match error {
        Error::BadPath(_) => EditError::BadQuery(text),
        Error::BadDocument { .. } => EditError::BadDocument(text),
        Error::BadValue(_) => EditError::BadValue(text),
        Error::NotApplicable(_) => EditError::NotApplicable(text),
        Error::TooMuch(_) => EditError::TooMuch(text),
    }
}

type Edited<T> = wasmtime::Result<Result<T, EditError>>;

impl HostRequest for Host {
    fn kind(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.kind.as_str().to_owned())
    }

    fn method(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.method.to_string())
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
        Ok(match header_name(&name) {
            Ok(name) if !is_hidden(&name) => {
                header_values(&name, &view.headers, &view.header_edits)
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

    fn select(&mut self, view: Resource<RequestView>, query: String) -> Edited<Vec<String>> {
        let view = self.table.get(&view)?;
        Ok(parse(&query).and_then(|path| view.body.select(&path).map_err(edit_error)))
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

    fn outline(&mut self, view: Resource<RequestView>, longest: u32) -> Edited<Outlined> {
        Ok(self.table.get_mut(&view)?.outline(longest))
    }

    fn rewrite(&mut self, view: Resource<RequestView>, body: String) -> Edited<()> {
        Ok(self.table.get_mut(&view)?.rewrite(body))
    }

    fn note(&mut self, view: Resource<RequestView>, line: String) -> wasmtime::Result<()> {
        take_note(&mut self.table.get_mut(&view)?.journal.notes, &line);
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
    fn a_path_stays_below_the_base_url() {
        let good = [
            ("/v1/messages", ("/v1/messages", "")),
            (
                "/v1beta/models/m:generate?alt=sse",
                ("/v1beta/models/m:generate", "alt=sse"),
            ),
            ("/a/..b/c", ("/a/..b/c", "")),
            ("/m%2Fn/x?a=../b//c;d", ("/m%2Fn/x", "a=../b//c;d")),
        ];
        for (text, (path, query)) in good {
            let checked = check_path(text).map_err(|error| format!("{error:?}"));
            assert_eq!(checked, Ok((path.to_owned(), query.to_owned())));
        }
        let bad = [
            "",
            "v1",
            "//evil.example/x",
            "/../x",
            "/a/..",
            "/a/%2e%2E/x",
            "/a/%2e.%2fx",
            "/a/%6d",
            "/a//b",
            "/a;b=c/d",
            "/a\\..\\x",
            "/a b",
            "/a#b",
            "/a?b#c",
            "/a\r\nx: y",
            "http://evil.example/",
        ];
        for text in bad {
            assert!(
                matches!(check_path(text), Err(EditError::BadQuery(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn credentials_host_and_framing_are_hidden() {
        for name in [
            "Authorization",
            "x-api-key",
            "x-goog-api-key",
            "host",
            "content-length",
            "te",
        ] {
            assert!(
                is_hidden(&header_name(name).map_err(|_| name).unwrap()),
                "{name}"
            );
        }
        assert!(!is_hidden(
            &header_name("anthropic-beta").map_err(|_| ()).unwrap()
        ));
    }

    #[test]
    fn the_journal_keeps_a_bounded_text_and_counts_the_rest() {
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
        assert_eq!(journal.count, 2_000, "a test is no edit");
        assert_eq!(journal.edits.len() + journal.left_out as usize, 2_000);
        assert!(Edit::write_list(&journal.edits).len() <= PATCH_LIMIT);
    }
}

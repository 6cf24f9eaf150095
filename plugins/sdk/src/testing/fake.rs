//! The gateway's side natively: the same functions that the bindings have on wasm, over values that a test sets.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use bytes::Bytes;
use witgate_document::{
    Document, Error as DocumentError, Operation as DocumentOperation, Outline, Path,
};

use crate::{
    edit::{EditError, FromTo, Node, Operation},
    log::Level,
    outline::Outline as Outlined,
};

/// Headers that the gateway neither shows nor lets a plugin set.
const RESERVED: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-goog-api-key",
];

/// Which edits the hook that is being called may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Request,
    Attempt,
    Failure,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: String,
    pub(crate) path: RefCell<String>,
    pub(crate) query: RefCell<String>,
    pub(crate) session: Option<String>,
    pub(crate) headers: Headers,
    pub(crate) body: RefCell<Document>,
    pub(crate) outline: RefCell<Option<Outline>>,
    pub(crate) notes: Notes,
    pub(crate) moment: Cell<Moment>,
}

impl Request {
    pub(crate) fn kind(&self) -> String {
        self.kind.clone()
    }

    pub(crate) fn method(&self) -> String {
        "POST".to_owned()
    }

    pub(crate) fn path(&self) -> String {
        self.path.borrow().clone()
    }

    pub(crate) fn query(&self) -> String {
        self.query.borrow().clone()
    }

    pub(crate) fn id(&self) -> String {
        ID.to_owned()
    }

    pub(crate) fn session(&self) -> Option<String> {
        self.session.clone()
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        self.headers.values(name)
    }

    pub(crate) fn set_header(&self, name: &str, values: &[String]) -> Result<(), EditError> {
        self.may_edit()?;
        self.headers.set(name, values)
    }

    pub(crate) fn set_path(&self, path_and_query: &str) -> Result<(), EditError> {
        if self.moment.get() != Moment::Attempt {
            return Err(EditError::NotAllowed(
                "the path is set in `on-attempt` only".to_owned(),
            ));
        }
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let climbs = path.split('/').any(|part| part == "..");
        if !path.starts_with('/') || path.starts_with("//") || climbs {
            return Err(EditError::BadValue(format!(
                "`{path_and_query}` is no path below the base URL"
            )));
        }
        self.path.replace(path.to_owned());
        self.query.replace(query.to_owned());
        Ok(())
    }

    pub(crate) fn select(&self, path: &str) -> Result<Vec<String>, EditError> {
        Ok(self.body.borrow().select(&parsed(path)?)?)
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<Node>, EditError> {
        let nodes = self.body.borrow().read(&parsed(path)?)?;
        nodes
            .into_iter()
            .map(|node| {
                let value = String::from_utf8(node.value.to_vec())
                    .map_err(|_| EditError::BadDocument(format!("no UTF-8 at `{}`", node.at)))?;
                Ok(Node { at: node.at, value })
            })
            .collect()
    }

    pub(crate) fn patch(&self, edits: &[Operation]) -> Result<(), EditError> {
        self.may_edit()?;
        let edits: Vec<DocumentOperation> = edits.iter().cloned().map(Into::into).collect();
        Ok(self.body.borrow_mut().patch(&edits)?)
    }

    pub(crate) fn remove_all(&self, path: &str) -> Result<u32, EditError> {
        self.may_edit()?;
        Ok(self.body.borrow_mut().remove_all(&parsed(path)?)?)
    }

    pub(crate) fn outline(&self, longest: u32) -> Result<Outlined, EditError> {
        let outline = self.body.borrow().outline(longest as usize, SEED)?;
        let outlined = Outlined {
            body: outline.text().to_owned(),
            prefix: outline.prefix().to_owned(),
        };
        self.outline.replace(Some(outline));
        Ok(outlined)
    }

    pub(crate) fn rewrite(&self, body: &str) -> Result<(), EditError> {
        self.may_edit()?;
        let text = match &*self.outline.borrow() {
            Some(outline) => outline.fill(body)?,
            None => Outline::none().fill(body)?,
        };
        self.body.borrow_mut().rewrite(text);
        Ok(())
    }

    pub(crate) fn note(&self, line: &str) {
        self.notes.take(line);
    }

    fn may_edit(&self) -> Result<(), EditError> {
        if self.moment.get() == Moment::Failure {
            return Err(EditError::NotAllowed(
                "the request is read-only in `on-failure`".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What stand-ins are made of; in the gateway it is random.
const SEED: u64 = 0x5eed_5eed_5eed_5eed;

/// Lines for the record, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(RefCell<Vec<String>>);

impl Notes {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    fn take(&self, line: &str) {
        let mut lines = self.0.borrow_mut();
        if !lines.iter().any(|told| told == line) {
            lines.push(line.to_owned());
        }
    }
}

/// The id of every exchange in tests.
const ID: &str = "exchange-1";

fn parsed(path: &str) -> Result<Path, EditError> {
    Ok(Path::parse(path)?)
}

impl From<DocumentError> for EditError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::BadPath(what) => Self::BadQuery(what),
            DocumentError::BadDocument { at, what } => {
                Self::BadDocument(format!("{what} at byte {at}"))
            }
            DocumentError::BadValue(what) => Self::BadValue(what),
            DocumentError::NotApplicable(what) => Self::NotApplicable(what),
            DocumentError::TooMuch(what) => Self::TooMuch(what),
        }
    }
}

impl From<Operation> for DocumentOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Add(Node { at, value }) => Self::Add {
                at,
                value: Bytes::from(value),
            },
            Operation::Remove(at) => Self::Remove { at },
            Operation::Replace(Node { at, value }) => Self::Replace {
                at,
                value: Bytes::from(value),
            },
            Operation::Move(FromTo { from, to }) => Self::Move { from, to },
            Operation::Copy(FromTo { from, to }) => Self::Copy { from, to },
            Operation::Test(Node { at, value }) => Self::Test {
                at,
                value: Bytes::from(value),
            },
        }
    }
}

/// Header lines in order; names are compared without case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(RefCell<Vec<(String, String)>>);

impl Headers {
    pub(crate) fn add(&self, name: &str, value: &str) {
        self.0
            .borrow_mut()
            .push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        if is_reserved(name) {
            return Vec::new();
        }
        self.0
            .borrow()
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn set(&self, name: &str, values: &[String]) -> Result<(), EditError> {
        if is_reserved(name) {
            return Err(EditError::NotAllowed(format!(
                "the header `{name}` belongs to the gateway"
            )));
        }
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(EditError::BadQuery(format!("`{name}` is no header name")));
        }
        if let Some(bad) = values
            .iter()
            .find(|value| value.contains(['\r', '\n', '\0']))
        {
            return Err(EditError::BadValue(format!("{bad:?} is no header value")));
        }
        let mut lines = self.0.borrow_mut();
        lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        lines.extend(values.iter().map(|value| (name.to_owned(), value.clone())));
        Ok(())
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// What RFC 9110 allows in a header name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) upstream: String,
    pub(crate) dialect: String,
    pub(crate) account: Option<String>,
    pub(crate) model: String,
    pub(crate) asked_model: String,
    pub(crate) attempt: u32,
    pub(crate) lacks: Vec<String>,
}

impl Target {
    pub(crate) fn upstream(&self) -> String {
        self.upstream.clone()
    }

    pub(crate) fn dialect(&self) -> String {
        self.dialect.clone()
    }

    pub(crate) fn account(&self) -> Option<String> {
        self.account.clone()
    }

    pub(crate) fn model(&self) -> String {
        self.model.clone()
    }

    pub(crate) fn asked_model(&self) -> String {
        self.asked_model.clone()
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn lacks(&self, what: &str) -> bool {
        self.lacks.iter().any(|word| word == what)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: Cell<u16>,
    pub(crate) kind: RefCell<String>,
    pub(crate) headers: Headers,
    pub(crate) body: RefCell<String>,
    pub(crate) retry: RefCell<Option<(String, u64)>>,
    pub(crate) rest: Cell<Option<u64>>,
}

impl Failure {
    pub(crate) fn status(&self) -> u16 {
        self.status.get()
    }

    pub(crate) fn kind(&self) -> String {
        self.kind.borrow().clone()
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        self.headers.values(name)
    }

    pub(crate) fn body(&self) -> String {
        self.body.borrow().clone()
    }

    pub(crate) fn set_status(&self, status: u16) -> Result<(), EditError> {
        if !(400..600).contains(&status) {
            return Err(EditError::BadValue(format!(
                "{status} is no status of a failure (400 to 599)"
            )));
        }
        self.status.set(status);
        Ok(())
    }

    pub(crate) fn set_kind(&self, kind: &str) -> Result<(), EditError> {
        self.kind.replace(kind.to_owned());
        Ok(())
    }

    pub(crate) fn set_body(&self, body: &str) -> Result<(), EditError> {
        serde_json::from_str::<serde::de::IgnoredAny>(body)
            .map_err(|error| EditError::BadValue(error.to_string()))?;
        self.body.replace(body.to_owned());
        Ok(())
    }

    pub(crate) fn set_retry(&self, whom: &str, after_ms: u64) -> Result<(), EditError> {
        if !["same", "other", "never"].contains(&whom) {
            return Err(EditError::BadValue(format!(
                "`{whom}` is not `same`, `other` or `never`"
            )));
        }
        self.retry.replace(Some((whom.to_owned(), after_ms)));
        Ok(())
    }

    pub(crate) fn set_rest(&self, ms: u64) -> Result<(), EditError> {
        self.rest.set(Some(ms));
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) target: Target,
    pub(crate) session: Option<String>,
    pub(crate) streaming: bool,
    /// The first event or the body has gone to the client.
    pub(crate) begun: bool,
    pub(crate) complete: bool,
    pub(crate) notes: Notes,
}

impl Response {
    pub(crate) fn note(&self, line: &str) {
        self.notes.take(line);
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        self.headers.values(name)
    }

    pub(crate) fn set_header(&self, name: &str, values: &[String]) -> Result<(), EditError> {
        if self.begun {
            return Err(EditError::NotAllowed(
                "the answer's head has gone to the client".to_owned(),
            ));
        }
        self.headers.set(name, values)
    }

    pub(crate) fn id(&self) -> String {
        ID.to_owned()
    }

    pub(crate) fn upstream(&self) -> String {
        self.target.upstream()
    }

    pub(crate) fn dialect(&self) -> String {
        self.target.dialect()
    }

    pub(crate) fn model(&self) -> String {
        self.target.model()
    }

    pub(crate) fn asked_model(&self) -> String {
        self.target.asked_model()
    }

    pub(crate) fn session(&self) -> Option<String> {
        self.session.clone()
    }

    pub(crate) fn streaming(&self) -> bool {
        self.streaming
    }

    pub(crate) fn complete(&self) -> bool {
        self.complete
    }
}

/// What a plugin reaches by plain functions: settings, state and the log.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) settings: String,
    pub(crate) kv: HashMap<String, Entry>,
    pub(crate) lines: Vec<(Level, String)>,
    /// The time on the test's own clock.
    pub(crate) now_ms: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    value: Vec<u8>,
    until_ms: u64,
}

impl Surroundings {
    pub(crate) const fn empty(settings: String, kv: HashMap<String, Entry>) -> Self {
        Self {
            settings,
            kv,
            lines: Vec::new(),
            now_ms: 0,
        }
    }

    fn live(&self, key: &str) -> Option<&Entry> {
        self.kv
            .get(key)
            .filter(|entry| self.now_ms < entry.until_ms)
    }
}

thread_local! {
    /// Those of the exchange whose hook is being called; of nobody in the test of a plain function.
    static AROUND: RefCell<Surroundings> =
        RefCell::new(Surroundings::empty("{}".to_owned(), HashMap::new()));
}

/// Calls a hook in these surroundings, and leaves in them what it did.
pub(crate) fn within<T>(around: &mut Surroundings, act: impl FnOnce() -> T) -> T {
    let before = AROUND.replace(around.clone());
    let result = act();
    *around = AROUND.replace(before);
    result
}

pub(crate) fn settings() -> String {
    AROUND.with_borrow(|around| around.settings.clone())
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(AROUND.with_borrow(|around| around.live(key).map(|entry| entry.value.clone())))
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
    if key.len() > 1 << 10 {
        return Err(format!(
            "the key has {} bytes, at most 1 KiB is kept",
            key.len()
        ));
    }
    if value.len() > 1 << 20 {
        return Err(format!(
            "the value has {} bytes, at most 1 MiB is kept",
            value.len()
        ));
    }
    AROUND.with_borrow_mut(|around| {
        let until_ms = around.now_ms.saturating_add(ttl_ms);
        let value = value.to_vec();
        around.kv.insert(key.to_owned(), Entry { value, until_ms });
    });
    Ok(())
}

pub(crate) fn kv_delete(key: &str) -> Result<(), String> {
    AROUND.with_borrow_mut(|around| around.kv.remove(key));
    Ok(())
}

pub(crate) fn kv_increment(key: &str, delta: i64, ttl_ms: u64) -> Result<i64, String> {
    AROUND.with_borrow_mut(|around| {
        let (number, until_ms) = match around.live(key) {
            None => (0, around.now_ms.saturating_add(ttl_ms)),
            Some(entry) => {
                let number = std::str::from_utf8(&entry.value)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok())
                    .ok_or_else(|| format!("`{key}` is no number"))?;
                (number, entry.until_ms)
            }
        };
        let sum = number
            .checked_add(delta)
            .ok_or_else(|| format!("`{key}` overflows"))?;
        let value = sum.to_string().into_bytes();
        around.kv.insert(key.to_owned(), Entry { value, until_ms });
        Ok(sum)
    })
}

pub(crate) fn log(level: Level, message: &str) {
    AROUND.with_borrow_mut(|around| around.lines.push((level, message.to_owned())));
}

//! A native fake of the gateway: the same functions as the bindings on wasm, over values that a
//! test sets. `witgate_contract` decides what is allowed, as in the gateway.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use witgate_contract::{
    RequestKind, body, failure, guard, header, kv, limits,
    note::{self, Notes},
    path, status,
};
use witgate_document::{Document, Match, Operation as DocumentOperation, Outline, Part};

use crate::{
    edit::{EditError, FromTo, Node, Operation, TextMatch, TextPart},
    failure::RetryTarget,
    kv::KvError,
    log::Level,
    outline::Outline as Outlined,
};

/// Which edits the hook that is being called may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Request,
    Attempt,
    Failure,
}

/// The effects of one call besides edits of the body. They are kept if the call succeeds.
#[derive(Debug, Clone, Default)]
struct Journal {
    headers: header::Edits,
    notes: Notes,
    outline: Option<Outline>,
    /// Whether the plugin asks for the response.
    watches: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    pub(crate) path: RefCell<String>,
    pub(crate) query: RefCell<String>,
    pub(crate) session: Option<String>,
    pub(crate) conversation: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RefCell<Document>,
    pub(crate) notes: Notes,
    pub(crate) moment: Cell<Moment>,
    /// Whether the plugin has asked for the response.
    pub(crate) watched: bool,
    call: RefCell<Journal>,
}

impl Request {
    pub(crate) fn new(kind: RequestKind, body: Document) -> Self {
        Self {
            kind,
            path: kind.path().to_owned().into(),
            query: String::new().into(),
            session: None,
            conversation: None,
            headers: HeaderMap::new(),
            body: body.into(),
            notes: Notes::default(),
            moment: Moment::Request.into(),
            watched: false,
            call: RefCell::default(),
        }
    }

    /// Keeps the effects of the call.
    pub(crate) fn settle(&mut self) {
        let Journal {
            headers,
            notes,
            watches,
            ..
        } = self.call.take();
        headers.apply(&mut self.headers);
        keep(&mut self.notes, notes);
        self.watched |= watches;
    }

    pub(crate) fn kind(&self) -> String {
        self.kind.as_str().to_owned()
    }

    pub(crate) fn method(&self) -> String {
        self.kind.method().to_owned()
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

    pub(crate) fn conversation(&self) -> String {
        conversation(self.conversation.as_ref().or(self.session.as_ref()))
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        match header::name(name) {
            Ok(name) if !header::is_reserved_in_requests(&name) => {
                self.call.borrow().headers.values(&name, &self.headers)
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn set_header(&self, name: &str, values: &[String]) -> Result<(), EditError> {
        self.may_edit()?;
        let name = header::name(name)?;
        header::check_in_request(&name)?;
        let mut call = self.call.borrow_mut();
        call.headers.set(name, values, &self.headers)
    }

    pub(crate) fn set_path(&self, path_and_query: &str) -> Result<(), EditError> {
        self.may_edit()?;
        if self.moment.get() != Moment::Attempt {
            return Err(EditError::NotAllowed(
                "the path can be set in `on-attempt` only".to_owned(),
            ));
        }
        let (path, query) = path::parse(path_and_query)?;
        self.path.replace(path.to_owned());
        self.query.replace(query.to_owned());
        Ok(())
    }

    pub(crate) fn matches(&self, path: &str) -> Result<bool, EditError> {
        let path = body::query(path)?;
        Ok(self.body.borrow().matches(&path)?)
    }

    pub(crate) fn select(&self, path: &str) -> Result<Vec<String>, EditError> {
        body::select(&self.body.borrow(), path)
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<Node>, EditError> {
        let nodes = body::read(&self.body.borrow(), path)?;
        let node = |body::Node { at, value }| Node { pointer: at, value };
        Ok(nodes.into_iter().map(node).collect())
    }

    pub(crate) fn patch(&self, edits: &[Operation]) -> Result<(), EditError> {
        self.may_edit()?;
        let edits: Vec<DocumentOperation> = edits.iter().cloned().map(Into::into).collect();
        Ok(self.body.borrow_mut().patch(&edits)?)
    }

    pub(crate) fn remove_all(&self, path: &str) -> Result<u32, EditError> {
        self.may_edit()?;
        let path = body::query(path)?;
        Ok(self.body.borrow_mut().remove_all(&path)?)
    }

    pub(crate) fn find_matches(
        &self,
        path: &str,
        regex: &str,
    ) -> Result<Vec<TextMatch>, EditError> {
        let found = body::find_matches(&self.body.borrow(), path, regex)?;
        Ok(found.into_iter().map(TextMatch::from).collect())
    }

    pub(crate) fn replace_matches(
        &self,
        path: &str,
        regex: &str,
        replacement: &str,
    ) -> Result<u32, EditError> {
        self.may_edit()?;
        let mut body = self.body.borrow_mut();
        let edits = body::replace_matches(&mut body, path, regex, replacement)?;
        Ok(u32::try_from(edits.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn replace_parts(&self, parts: &[TextPart]) -> Result<(), EditError> {
        self.may_edit()?;
        let parts = parts.iter().cloned().map(Part::from).collect();
        body::replace_parts(&mut self.body.borrow_mut(), parts)?;
        Ok(())
    }

    pub(crate) fn watch_response(&self) {
        if self.moment.get() != Moment::Failure {
            self.call.borrow_mut().watches = true;
        }
    }

    pub(crate) fn outline(&self, longest: u32) -> Result<Outlined, EditError> {
        let outline = body::outline(&self.body.borrow(), longest, SEED)?;
        let outlined = Outlined {
            body: outline.text().to_owned(),
            prefix: outline.prefix().to_owned(),
        };
        self.call.borrow_mut().outline = Some(outline);
        Ok(outlined)
    }

    pub(crate) fn rewrite(&self, body: &str) -> Result<(), EditError> {
        self.may_edit()?;
        let call = self.call.borrow();
        body::rewrite(&mut self.body.borrow_mut(), call.outline.as_ref(), body)?;
        Ok(())
    }

    pub(crate) fn note(&self, line: &str) {
        if self.moment.get() != Moment::Failure {
            self.call.borrow_mut().notes.add(line);
        }
    }

    fn may_edit(&self) -> Result<(), EditError> {
        if self.moment.get() == Moment::Failure {
            return Err(EditError::NotAllowed(
                "the request cannot be edited in `on-failure`; ask for a retry and edit in the next `on-attempt`"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// The seed of placeholders; in the gateway it is random.
const SEED: u64 = 0x5eed_5eed_5eed_5eed;

/// Adds the notes of a call that succeeded to those of the exchange.
fn keep(kept: &mut Notes, of_call: Notes) {
    for line in of_call.lines() {
        kept.add(line);
    }
}

/// Adds a header that the client sends. Reserved headers never reach a plugin or a guard.
///
/// # Panics
///
/// If the name or the value is malformed.
#[track_caller]
pub(crate) fn sent_by_client(headers: &mut HeaderMap, name: &str, value: &str) {
    let reserved = header::name(name).is_ok_and(|name| header::is_reserved_in_requests(&name));
    if !reserved {
        sent(headers, name, value);
    }
}

/// Adds a header that the upstream sends.
///
/// # Panics
///
/// If the name or the value is malformed.
#[track_caller]
pub(crate) fn sent(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = header::name(name).expect("the header's name is valid");
    let value = value.parse().expect("the header's value is valid");
    headers.append(name, value);
}

/// The id of every exchange in tests.
const ID: &str = "exchange-1";

impl From<Operation> for DocumentOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Add(Node { pointer, value }) => Self::Add {
                at: pointer,
                value: Bytes::from(value),
            },
            Operation::Remove(pointer) => Self::Remove { at: pointer },
            Operation::Replace(Node { pointer, value }) => Self::Replace {
                at: pointer,
                value: Bytes::from(value),
            },
            Operation::Move(FromTo { from, to }) => Self::Move { from, to },
            Operation::Copy(FromTo { from, to }) => Self::Copy { from, to },
            Operation::Test(Node { pointer, value }) => Self::Test {
                at: pointer,
                value: Bytes::from(value),
            },
        }
    }
}

impl From<TextPart> for Part {
    fn from(part: TextPart) -> Self {
        let offset = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
        Self {
            at: part.pointer,
            start: offset(part.start),
            end: offset(part.end),
            text: part.text,
        }
    }
}

impl From<Part> for TextPart {
    fn from(part: Part) -> Self {
        let offset = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            pointer: part.at,
            start: offset(part.start),
            end: offset(part.end),
            text: part.text,
        }
    }
}

impl From<Match> for TextMatch {
    fn from(found: Match) -> Self {
        let groups = found.groups.into_iter();
        Self {
            part: found.part.into(),
            groups: groups.map(|group| group.map(TextPart::from)).collect(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) upstream: String,
    pub(crate) dialect: String,
    pub(crate) account: Option<String>,
    pub(crate) mapped_model: String,
    pub(crate) requested_model: String,
    pub(crate) attempt: u32,
    pub(crate) lacks: BTreeSet<String>,
    /// Changes with the upstream's configuration.
    pub(crate) version: u64,
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

    pub(crate) fn mapped_model(&self) -> String {
        self.mapped_model.clone()
    }

    pub(crate) fn requested_model(&self) -> String {
        self.requested_model.clone()
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn lacks(&self, feature: &str) -> bool {
        self.lacks.contains(feature)
    }

    pub(crate) fn key(&self) -> String {
        self.facts(self.attempt).key()
    }

    /// The facts that guards are checked against.
    pub(crate) fn facts(&self, attempt: u32) -> guard::Target<'_> {
        guard::Target {
            upstream: &self.upstream,
            version: self.version,
            model: &self.mapped_model,
            dialect: &self.dialect,
            lacks: &self.lacks,
            attempt,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: Cell<u16>,
    pub(crate) error_type: RefCell<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RefCell<String>,
    pub(crate) retry: Cell<Option<(RetryTarget, Duration)>>,
    pub(crate) cooldown: Cell<Option<Duration>>,
}

impl Failure {
    pub(crate) fn status(&self) -> u16 {
        self.status.get()
    }

    pub(crate) fn error_type(&self) -> String {
        self.error_type.borrow().clone()
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        values(name, &header::Edits::default(), &self.headers)
    }

    pub(crate) fn body(&self) -> String {
        failure::shown(self.body.borrow().as_bytes()).into_owned()
    }

    pub(crate) fn set_status(&self, status: u16) -> Result<(), EditError> {
        status::check_error(status)?;
        self.status.set(status);
        Ok(())
    }

    pub(crate) fn set_error_type(&self, error_type: &str) -> Result<(), EditError> {
        failure::check_error_type(error_type)?;
        self.error_type.replace(error_type.to_owned());
        Ok(())
    }

    pub(crate) fn set_body(&self, body: &str) -> Result<(), EditError> {
        failure::check_body(body)?;
        self.body.replace(body.to_owned());
        Ok(())
    }

    pub(crate) fn set_retry(&self, target: RetryTarget, after_ms: u32) {
        let after = failure::retry_delay(after_ms.into());
        self.retry.set(Some((target, after)));
    }

    pub(crate) fn set_cooldown(&self, ms: u32) {
        self.cooldown.set(Some(failure::cooldown(ms.into())));
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) target: Target,
    pub(crate) session: Option<String>,
    pub(crate) conversation: Option<String>,
    pub(crate) streaming: bool,
    /// The reason why no header can be set, if there is one.
    pub(crate) closed: Option<&'static str>,
    pub(crate) complete: bool,
    pub(crate) notes: Notes,
    call: RefCell<Journal>,
}

impl Response {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            status: 200,
            headers: HeaderMap::new(),
            target,
            session: None,
            conversation: None,
            streaming: true,
            closed: None,
            complete: false,
            notes: Notes::default(),
            call: RefCell::default(),
        }
    }

    /// Keeps or drops the effects of the call.
    pub(crate) fn settle(&mut self, succeeded: bool) {
        let Journal { headers, notes, .. } = self.call.take();
        if succeeded {
            headers.apply(&mut self.headers);
            keep(&mut self.notes, notes);
        }
    }

    pub(crate) fn note(&self, line: &str) {
        self.call.borrow_mut().notes.add(line);
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        values(name, &self.call.borrow().headers, &self.headers)
    }

    pub(crate) fn set_header(&self, name: &str, values: &[String]) -> Result<(), EditError> {
        let name = header::name(name)?;
        if let Some(reason) = self.closed {
            return Err(EditError::NotAllowed(format!(
                "{reason}, `{name}` cannot be set"
            )));
        }
        header::check_in_response(&name)?;
        let mut call = self.call.borrow_mut();
        call.headers.set(name, values, &self.headers)
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

    pub(crate) fn mapped_model(&self) -> String {
        self.target.mapped_model()
    }

    pub(crate) fn requested_model(&self) -> String {
        self.target.requested_model()
    }

    pub(crate) fn session(&self) -> Option<String> {
        self.session.clone()
    }

    pub(crate) fn conversation(&self) -> String {
        conversation(self.conversation.as_ref().or(self.session.as_ref()))
    }

    pub(crate) fn streaming(&self) -> bool {
        self.streaming
    }

    pub(crate) fn complete(&self) -> bool {
        self.complete
    }
}

fn conversation(id: Option<&String>) -> String {
    id.map_or("conversation", String::as_str).to_owned()
}

fn values(name: &str, edits: &header::Edits, headers: &HeaderMap) -> Vec<String> {
    header::name(name).map_or_else(|_| Vec::new(), |name| edits.values(&name, headers))
}

/// What a plugin reaches with plain functions: settings, state and the log.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) settings: String,
    pub(crate) kv: kv::Space,
    pub(crate) lines: Vec<(Level, String)>,
    /// The number of lines that this exchange has logged, dropped ones included.
    pub(crate) logged: u32,
    /// The time on the test's own clock, which only the test advances.
    pub(crate) now: Instant,
    /// The number of random bytes that were used.
    random: u64,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            settings: "{}".to_owned(),
            kv: kv::Space::default(),
            lines: Vec::new(),
            logged: 0,
            now: Instant::now(),
            random: 0,
        }
    }
}

impl Surroundings {
    /// Whether the plugin's space has an entry under this key.
    pub(crate) fn has_entry(&self, key: &str) -> bool {
        self.kv.contains(key, self.now)
    }
}

thread_local! {
    /// The surroundings of the exchange whose hook is running. The default in tests of plain
    /// functions.
    static AROUND: RefCell<Surroundings> = RefCell::default();
}

/// Calls a hook in these surroundings, and stores its effects in them.
pub(crate) fn within<T>(around: &mut Surroundings, act: impl FnOnce() -> T) -> T {
    let before = AROUND.replace(std::mem::take(around));
    let result = act();
    *around = AROUND.replace(before);
    result
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    in_kv(|space, now| space.get(key, now))
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u32) -> Result<(), KvError> {
    let ttl = Duration::from_millis(ttl_ms.into());
    in_kv(|space, now| space.set(key, value.to_vec(), ttl, now))
}

pub(crate) fn kv_set_if_absent(key: &str, value: &[u8], ttl_ms: u32) -> Result<Vec<u8>, KvError> {
    let ttl = Duration::from_millis(ttl_ms.into());
    in_kv(|space, now| space.set_if_absent(key, value.to_vec(), ttl, now))
}

pub(crate) fn kv_delete(key: &str) -> Result<(), KvError> {
    in_kv(|space, _| space.delete(key))
}

pub(crate) fn kv_increment(key: &str, delta: i64, ttl_ms: u32) -> Result<i64, KvError> {
    let ttl = Duration::from_millis(ttl_ms.into());
    in_kv(|space, now| space.increment(key, delta, ttl, now))
}

fn in_kv<T>(
    act: impl FnOnce(&mut kv::Space, Instant) -> Result<T, kv::KvError>,
) -> Result<T, KvError> {
    AROUND
        .with_borrow_mut(|around| act(&mut around.kv, around.now))
        .map_err(|error| match error {
            kv::KvError::KeyTooLong(_) => KvError::KeyTooLong,
            kv::KvError::ValueTooLong(_) => KvError::ValueTooLong,
            kv::KvError::NotANumber => KvError::NotANumber,
            kv::KvError::Overflow => KvError::Overflow,
        })
}

/// Fills with numbers that look random and are the same in every run: SplitMix64 of a counter.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    AROUND.with_borrow_mut(|around| {
        for byte in bytes {
            around.random = around.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = around.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = mixed.to_le_bytes()[7];
        }
    });
}

pub(crate) fn log(level: Level, message: &str) {
    AROUND.with_borrow_mut(|around| {
        around.logged = around.logged.saturating_add(1);
        if around.logged <= limits::LOG_LINES {
            let line = note::log_line(message).into_owned();
            around.lines.push((level, line));
        }
    });
}

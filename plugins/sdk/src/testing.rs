//! Runs a plugin natively, in `cargo test`, on the gateway's own document engine.
//!
//! ```
//! # use witgate_plugin::{
//! #     AttemptHook, Error, Guard, Manifest, NoSettings, Plugin, Request, Target, Verdict,
//! # };
//! # struct NoTopK;
//! # impl Plugin for NoTopK {
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings) -> Result<Self, Error> {
//! #         Ok(Self)
//! #     }
//! #     fn describe(&self) -> Manifest {
//! #         Manifest::new("removes top_k").attempt(Guard::new().path("$.top_k"))
//! #     }
//! # }
//! # impl AttemptHook for NoTopK {
//! #     fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
//! #         request.remove_all("$.top_k")?;
//! #         Ok(Verdict::Proceed)
//! #     }
//! # }
//! use witgate_plugin::{Hook, testing::Exchange};
//!
//! let mut exchange = Exchange::<NoTopK>::new(r#"{"model": "m", "top_k": 5, "messages": []}"#);
//! assert!(exchange.would_call(Hook::Attempt));
//! exchange.on_attempt().unwrap();
//! assert_eq!(exchange.body(), r#"{"model": "m", "messages": []}"#);
//! ```
//!
//! A hook is called as the gateway calls it: an attempt starts from the request as the request hook
//! left it, the edits of a call that fails are taken back, and one instance sees the whole
//! exchange. [`Exchange::stream`] shows the events that the guards let through, and checks that
//! what is left is a message. Guards do not prevent the calls of a single hook;
//! [`Exchange::would_call`], [`would_show`](Exchange::would_show) and
//! [`would_handle`](Exchange::would_handle) evaluate them. What is allowed, and every limit except
//! deadlines and memory, is as in the gateway: `witgate_contract` decides for both.

use std::{collections::BTreeSet, time::Duration};

use http::HeaderMap;
use serde_json::{Value, json};
use witgate_contract::{
    RequestKind,
    event::{self, delta_type, event_type_str},
    guard::{Facts, KvKey},
    manifest as contract,
    message_order::{MessageOrder, Step, is_end},
    verdict::is_json,
};
use witgate_document::{Document, Path};

use crate::{
    error::Error,
    failure::{Failure, RetryTarget},
    hooks::{AttemptHook, FailureHook, Plugin, RequestHook, ResponseHook},
    host::{self, Moment, Surroundings},
    log::Level,
    manifest::{Hook, Manifest},
    request::{Request, Target},
    response::{Event, EventVerdict, Response},
    settings,
    verdict::{Refusal, Verdict},
};

/// One exchange: a request, its target, and the one instance of the plugin that sees it.
#[derive(Debug)]
pub struct Exchange<Rule> {
    rule: Option<Rule>,
    /// The request as the request hook left it.
    received: host::Request,
    /// The request as the last hook left it: what would be sent.
    sent: host::Request,
    /// The request before a dialect translated it. Failure hooks get this one.
    untranslated: Option<host::Request>,
    target: host::Target,
    response: host::Response,
    around: Surroundings,
}

impl<Rule: Plugin> Exchange<Rule> {
    /// An exchange of kind `messages` with this body, a JSON text or a [`Value`], to an upstream
    /// named `test`.
    pub fn new(body: impl ToString) -> Self {
        let body = Document::new(body.to_string());
        let model = Path::parse("$.model")
            .and_then(|path| body.read(&path))
            .ok()
            .and_then(|nodes| serde_json::from_slice::<String>(&nodes.first()?.value).ok())
            .unwrap_or_default();
        let received = host::Request::new(RequestKind::Messages, body);
        let target = host::Target {
            upstream: "test".to_owned(),
            dialect: "anthropic".to_owned(),
            account: None,
            requested_model: model.clone(),
            mapped_model: model,
            attempt: 0,
            lacks: BTreeSet::new(),
            version: 0,
        };
        let response = host::Response::new(target.clone());
        Self {
            rule: None,
            sent: received.clone(),
            untranslated: None,
            received,
            target,
            response,
            around: Surroundings::default(),
        }
    }

    /// Makes it an exchange of kind `count_tokens`.
    #[must_use]
    pub fn count_tokens(self) -> Self {
        self.kind(RequestKind::CountTokens)
    }

    /// Makes it an exchange of kind `models`, which has no body.
    #[must_use]
    pub fn models(self) -> Self {
        self.kind(RequestKind::Models)
    }

    fn kind(self, kind: RequestKind) -> Self {
        self.change(|received, _| {
            received.kind = kind;
            received.path = kind.path().to_owned().into();
        })
    }

    /// The client sends this header. Credentials, `host` and framing headers never reach a plugin.
    ///
    /// # Panics
    ///
    /// If the name or the value is malformed.
    #[must_use]
    #[track_caller]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.change(|received, _| host::sent_by_client(&mut received.headers, name, value))
    }

    /// The client sends this query string, without the question mark.
    #[must_use]
    pub fn query(self, query: &str) -> Self {
        self.change(|received, _| received.query = query.to_owned().into())
    }

    /// The client names this session.
    #[must_use]
    pub fn session(mut self, session: &str) -> Self {
        self.response.session = Some(session.to_owned());
        self.change(|received, _| received.session = Some(session.to_owned()))
    }

    /// The request continues this conversation. Otherwise its id is the session, or always the same
    /// if there is no session.
    #[must_use]
    pub fn conversation(mut self, id: &str) -> Self {
        self.response.conversation = Some(id.to_owned());
        self.change(|received, _| received.conversation = Some(id.to_owned()))
    }

    /// The target lacks this feature.
    #[must_use]
    pub fn lacks(self, feature: &str) -> Self {
        self.change(|_, target| {
            target.lacks.insert(feature.to_owned());
        })
    }

    /// The upstream's name.
    #[must_use]
    pub fn upstream(self, name: &str) -> Self {
        self.change(|_, target| target.upstream = name.to_owned())
    }

    /// The upstream's configuration is another one than in exchanges without this.
    #[must_use]
    pub fn reconfigured(self) -> Self {
        self.change(|_, target| target.version += 1)
    }

    /// The upstream's protocol.
    #[must_use]
    pub fn dialect(self, name: &str) -> Self {
        self.change(|_, target| target.dialect = name.to_owned())
    }

    /// Sends the next attempts to another upstream, which lacks these features.
    pub fn fail_over(&mut self, upstream: &str, lacks: &[&str]) {
        self.target.upstream = upstream.to_owned();
        self.target.lacks = lacks.iter().map(|&feature| feature.to_owned()).collect();
    }

    /// The account's name.
    #[must_use]
    pub fn account(self, name: &str) -> Self {
        self.change(|_, target| target.account = Some(name.to_owned()))
    }

    /// The model that the route maps to. It is written into the body when an attempt begins.
    #[must_use]
    pub fn mapped_to(self, model: &str) -> Self {
        self.change(|_, target| target.mapped_model = model.to_owned())
    }

    /// The client wants JSON, not a stream.
    #[must_use]
    pub fn not_streaming(mut self) -> Self {
        self.response.streaming = false;
        self
    }

    /// The upstream's response has this header.
    #[must_use]
    #[track_caller]
    pub fn answered_with(mut self, name: &str, value: &str) -> Self {
        host::sent(&mut self.response.headers, name, value);
        self
    }

    /// The plugin's settings, as a [`Value`].
    #[must_use]
    pub fn settings(mut self, settings: impl Into<Value>) -> Self {
        self.around.settings = settings.into().to_string();
        self
    }

    /// Another exchange with a new instance of the plugin, and with the same settings and contents
    /// of [`kv`](crate::kv).
    #[must_use]
    pub fn next(self, body: impl ToString) -> Self {
        let mut next = Self::new(body);
        next.around = self.around;
        next.around.logged = 0;
        next
    }

    /// Advances the clock of [`kv`](crate::kv).
    pub fn wait(&mut self, time: Duration) {
        self.around.now += time;
    }

    #[track_caller]
    fn change(mut self, act: impl FnOnce(&mut host::Request, &mut host::Target)) -> Self {
        act(&mut self.received, &mut self.target);
        self.sent = self.received.clone();
        self.response.target = self.target.clone();
        self
    }

    /// The plugin's manifest, with the current settings.
    pub fn describe(&mut self) -> Result<Manifest, Error> {
        let settings = self.around.settings.clone();
        host::within(&mut self.around, || {
            Ok(Rule::new(settings::read(&settings)?)?.describe())
        })
    }

    /// Whether the guards of a hook hold for this exchange. The conditions on a failure and on
    /// events (`status`, `events`, `deltas`) are assumed to hold: ask
    /// [`would_handle`](Self::would_handle) and [`would_show`](Self::would_show). An attempt guard
    /// is checked for the next attempt, a failure guard for the current one.
    ///
    /// # Panics
    ///
    /// If the plugin rejects its settings, the gateway would reject its manifest, or the body is
    /// not JSON where a guard's path reads it.
    #[track_caller]
    pub fn would_call(&mut self, hook: Hook) -> bool {
        let manifest = self.described();
        let (attempt, request) = match hook {
            Hook::Request => (None, &self.received),
            Hook::Attempt => (Some(self.target.attempt + 1), &self.received),
            Hook::Failure | Hook::Response => (Some(self.target.attempt.max(1)), &self.sent),
        };
        let facts = Facts {
            kind: request.kind,
            headers: (hook != Hook::Response).then_some(&request.headers),
            target: attempt.map(|attempt| self.target.facts(attempt)),
            remembers: &|key| match key {
                KvKey::Target => self.around.has_entry(&self.target.key()),
                KvKey::Conversation => self.around.has_entry(&request.conversation()),
            },
            watching: request.watched,
        };
        let body = request.body.borrow();
        let guard = manifest.guard(hook.into());
        guard.is_some_and(|guard| guard.holds(facts, &body).expect("the body can be read"))
    }

    /// Whether the response hook would be called with this event: all conditions of its guards.
    ///
    /// # Panics
    ///
    /// As [`would_call`](Self::would_call).
    #[track_caller]
    pub fn would_show(&mut self, event: &Event) -> bool {
        let manifest = self.described();
        self.shows(&manifest, event)
    }

    /// Whether the failure hook would be called with this failure: all conditions of its guards.
    ///
    /// # Panics
    ///
    /// As [`would_call`](Self::would_call).
    #[track_caller]
    pub fn would_handle(&mut self, failed: &Failed) -> bool {
        let manifest = self.described();
        let facts = Facts {
            kind: self.sent.kind,
            headers: Some(&self.sent.headers),
            target: Some(self.target.facts(self.target.attempt.max(1))),
            remembers: &|_| false,
            watching: false,
        };
        let body = self
            .untranslated
            .as_ref()
            .unwrap_or(&self.sent)
            .body
            .borrow();
        let guard = manifest.guard(contract::Hook::Failure);
        guard.is_some_and(|guard| guard.holds_for_failure(facts, failed.status(), &body))
    }

    fn shows(&self, manifest: &contract::Manifest, event: &Event) -> bool {
        if manifest.dialect.is_some() {
            return true;
        }
        let facts = Facts {
            kind: self.sent.kind,
            headers: None,
            target: Some(self.target.facts(self.target.attempt.max(1))),
            remembers: &|_| false,
            watching: self.sent.watched,
        };
        let kind = event_type_str(&event.name, &event.data);
        let delta = delta_type(event.data.as_bytes());
        let guard = manifest.guard(contract::Hook::Response);
        guard.is_some_and(|guard| guard.holds_for_event(facts, &kind, delta.as_deref()))
    }

    /// The manifest as the gateway reads it, for a plugin that has every hook.
    #[track_caller]
    fn described(&mut self) -> contract::Manifest {
        let manifest = self.describe().expect("the settings are accepted");
        contract::Manifest::parse(&manifest.to_json(), &contract::Hook::ALL)
            .expect("the manifest is valid")
    }

    /// The current body: as the client sent it, with the edits made since.
    ///
    /// # Panics
    ///
    /// If the body is not UTF-8.
    #[track_caller]
    pub fn body(&self) -> String {
        let bytes = self.sent.body.borrow().bytes();
        String::from_utf8(bytes.to_vec()).expect("the body is UTF-8")
    }

    /// The path and query string that the request is sent to.
    pub fn path_and_query(&self) -> String {
        let (path, query) = (self.sent.path(), self.sent.query());
        if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        }
    }

    /// The current values of a request header.
    pub fn request_header(&self, name: &str) -> Vec<String> {
        self.sent.header(name)
    }

    /// The current values of a response header.
    pub fn response_header(&self, name: &str) -> Vec<String> {
        self.response.header(name)
    }

    /// The notes that the plugin has added to the record, of the current request and of the
    /// response.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.sent.notes.clone();
        for line in self.response.notes.lines() {
            notes.add(line);
        }
        notes.into_lines()
    }

    /// The lines that the plugin has logged.
    pub fn log(&self) -> &[(Level, String)] {
        &self.around.lines
    }

    /// Calls a hook of the exchange's one plugin.
    fn call<T>(
        &mut self,
        act: impl FnOnce(&mut Rule, &mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut around = std::mem::take(&mut self.around);
        let settings = around.settings.clone();
        let rule = self.rule.take();
        let (result, rule) = host::within(&mut around, || {
            let made = match rule {
                Some(rule) => Ok(rule),
                None => settings::read(&settings).and_then(Rule::new),
            };
            match made {
                Ok(mut rule) => (act(&mut rule, self), Some(rule)),
                Err(error) => (Err(error), None),
            }
        });
        self.around = around;
        self.rule = rule;
        result
    }

    fn edit(
        &mut self,
        moment: Moment,
        from: host::Request,
        act: impl FnOnce(&mut Rule, &mut Request, &Target) -> Result<Verdict, Error>,
    ) -> Result<Verdict, Error> {
        self.sent = from.clone();
        let result = self.call(|rule, exchange| {
            exchange.sent.moment.set(moment);
            let mut request = Request::over(&exchange.sent);
            act(rule, &mut request, &Target::over(&exchange.target))
        });
        let result = result.or_else(refused).and_then(checked);
        match result {
            Ok(_) => self.sent.settle(),
            Err(_) => self.sent = from,
        }
        result
    }
}

impl<Rule: RequestHook> Exchange<Rule> {
    /// Calls the request hook.
    pub fn on_request(&mut self) -> Result<Verdict, Error> {
        let result = self.edit(
            Moment::Request,
            self.received.clone(),
            |rule, request, _| rule.on_request(request),
        );
        self.received = self.sent.clone();
        result
    }
}

impl<Rule: AttemptHook> Exchange<Rule> {
    /// Begins the next attempt and calls the attempt hook.
    ///
    /// # Panics
    ///
    /// If a model is [mapped](Self::mapped_to) in a body that has none.
    #[track_caller]
    pub fn on_attempt(&mut self) -> Result<Verdict, Error> {
        self.target.attempt += 1;
        self.response.target = self.target.clone();
        let from = self.received.clone();
        if self.target.mapped_model != self.target.requested_model {
            let model =
                serde_json::to_string(&self.target.mapped_model).expect("a text serialises");
            let edit = crate::Operation::replace_json("/model", model);
            from.patch(&[edit]).expect("the body has a model");
        }
        let is_dialect = self.describe().is_ok_and(|manifest| manifest.is_dialect());
        self.untranslated = is_dialect.then(|| from.clone());
        self.edit(Moment::Attempt, from, AttemptHook::on_attempt)
    }
}

impl<Rule: FailureHook> Exchange<Rule> {
    /// Calls the failure hook with a failure, which afterwards has what the hook set.
    pub fn on_failure(&mut self, failed: &mut Failed) -> Result<(), Error> {
        let before = failed.clone();
        let result = self.call(|rule, exchange| {
            let shown = exchange.untranslated.as_ref().unwrap_or(&exchange.sent);
            shown.moment.set(Moment::Failure);
            rule.on_failure(
                &Request::over(shown),
                &Target::over(&exchange.target),
                &mut Failure::over(&failed.host),
            )
        });
        if result.is_err() {
            *failed = before;
        }
        result
    }
}

impl<Rule: ResponseHook> Exchange<Rule> {
    /// Calls the response hook with one event.
    pub fn on_event(&mut self, event: Event) -> Result<EventVerdict, Error> {
        let result = self.respond(|rule, response| {
            let verdict = rule.on_event(response, event)?;
            if let EventVerdict::Replace(events) = &verdict {
                check_events(events)?;
            }
            Ok(verdict)
        });
        match &result {
            Ok(EventVerdict::Keep) => self.begun(),
            Ok(EventVerdict::Replace(events)) if !events.is_empty() => self.begun(),
            _ => {}
        }
        result
    }

    /// Ends the response completely, and calls the response hook.
    pub fn on_end(&mut self) -> Result<Vec<Event>, Error> {
        self.response.complete = true;
        self.end()
    }

    /// Truncates the response, and calls the response hook. A `message_stop` that it returns does
    /// not reach the client.
    pub fn on_cut(&mut self) -> Result<Vec<Event>, Error> {
        self.response.complete = false;
        let mut events = self.end()?;
        events.retain(|event| event_type_str(&event.name, &event.data) != "message_stop");
        Ok(events)
    }

    fn end(&mut self) -> Result<Vec<Event>, Error> {
        self.respond(|rule, response| {
            let events = rule.on_end(response)?;
            check_events(&events)?;
            Ok(events)
        })
    }

    /// Calls the response hook with a response that is not a message.
    pub fn on_body(&mut self, body: impl ToString) -> Result<Option<String>, Error> {
        self.response.complete = true;
        self.respond(|rule, response| {
            let body = rule.on_body(response, body.to_string())?;
            match &body {
                Some(text) if !is_json(text) => {
                    Err(Error::new("the body that it returned is not JSON"))
                }
                _ => Ok(body),
            }
        })
    }

    fn respond<T>(
        &mut self,
        act: impl FnOnce(&mut Rule, &mut Response) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_early = |manifest: Manifest| manifest.is_dialect() || manifest.is_wire();
        if self.response.closed.is_none() && self.describe().is_ok_and(is_early) {
            self.response.closed = Some(
                "a dialect or wire plugin cannot set headers: it is not known yet whether this is the \
                 answer",
            );
        }
        let result = self.call(|rule, exchange| act(rule, &mut Response::over(&exchange.response)));
        self.response.settle(result.is_ok());
        result
    }

    fn begun(&mut self) {
        self.response.closed = Some("the answer has begun");
    }

    /// Sends a whole response through the response hook and returns what the client gets.
    ///
    /// As in the gateway, the hook is called with the events that its guards let through, and what
    /// it returns at the end goes before the end of the message. If it leaves something that is
    /// not a message, that is an error. [`message`] makes the events of one.
    pub fn stream(&mut self, events: impl IntoIterator<Item = Event>) -> Result<Vec<Event>, Error> {
        self.relay(events.into_iter().collect(), true)
    }

    /// Like [`stream`](Self::stream), with a response that is cut after these events.
    pub fn stream_cut(
        &mut self,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Vec<Event>, Error> {
        self.relay(events.into_iter().collect(), false)
    }

    fn relay(&mut self, events: Vec<Event>, complete: bool) -> Result<Vec<Event>, Error> {
        let manifest = self.described();
        let sees_messages =
            manifest.dialect.is_none() && manifest.stage == contract::Stage::Messages;
        let mut received = MessageOrder::default();
        let mut follows = sees_messages;
        let (mut out, mut last, mut shown) = (Vec::new(), Vec::new(), false);
        for event in events {
            follows &= received
                .take(&Step::of(&event.name, &event.data), true)
                .is_ok();
            let ends = is_end(&event_type_str(&event.name, &event.data));
            let shows = self.shows(&manifest, &event);
            shown |= shows;
            let passed = match shows {
                true => self.shown(event)?,
                false => vec![(event, false)],
            };
            match ends && sees_messages {
                true => last.extend(passed),
                false => out.extend(passed),
            }
        }
        let made = match (shown, complete) {
            (false, _) => Vec::new(),
            (true, true) => self.on_end()?,
            (true, false) => self.on_cut()?,
        };
        out.extend(made.into_iter().map(|event| (event, true)));
        out.extend(last);
        if follows {
            check_order(&out, complete && received.end().is_ok())?;
        }
        Ok(out.into_iter().map(|(event, _)| event).collect())
    }

    /// What the hook makes of one event, and whether it has made it.
    fn shown(&mut self, event: Event) -> Result<Vec<(Event, bool)>, Error> {
        Ok(match self.on_event(event.clone())? {
            EventVerdict::Keep => vec![(event, false)],
            EventVerdict::Discard => Vec::new(),
            EventVerdict::Replace(events) => {
                events.into_iter().map(|event| (event, true)).collect()
            }
        })
    }
}

/// Checks that what a hook has left of a message is one.
fn check_order(events: &[(Event, bool)], complete: bool) -> Result<(), Error> {
    let mut order = MessageOrder::default();
    let taken = events
        .iter()
        .try_for_each(|(event, made)| order.take(&Step::of(&event.name, &event.data), *made));
    let ended = taken.and_then(|()| match complete {
        true => order.end(),
        false => Ok(()),
    });
    ended.map_err(|why| Error::new(format!("it does not leave a message: {why}")))
}

/// Calls a function with a request that has this body, as in an attempt hook, and returns the body
/// that it leaves: a rule in a function of its own needs no plugin to be tested.
///
/// ```
/// use witgate_plugin::testing::edit;
///
/// let left = edit(r#"{"top_k": 5, "model": "m"}"#, |request| {
///     request.remove_all("$.top_k")?;
///     Ok(())
/// });
/// assert_eq!(left?, r#"{ "model": "m"}"#);
/// # Ok::<(), witgate_plugin::Error>(())
/// ```
///
/// # Errors
///
/// Those of the function.
///
/// # Panics
///
/// If the body is not UTF-8 afterwards.
pub fn edit(
    body: impl ToString,
    act: impl FnOnce(&mut Request) -> Result<(), Error>,
) -> Result<String, Error> {
    let host = host::Request::new(RequestKind::Messages, Document::new(body.to_string()));
    host.moment.set(Moment::Attempt);
    act(&mut Request::over(&host))?;
    let bytes = host.body.borrow().bytes();
    Ok(String::from_utf8(bytes.to_vec()).expect("the body is UTF-8"))
}

/// The events of a message with one text, in these pieces.
///
/// ```
/// use witgate_plugin::testing::message;
///
/// let names: Vec<_> = message(&["Hel", "lo"]).into_iter().map(|event| event.name).collect();
/// assert_eq!(names, ["message_start", "content_block_start", "content_block_delta",
///     "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
/// ```
#[must_use]
pub fn message(pieces: &[&str]) -> Vec<Event> {
    let named = |data: Value| Event::new(data["type"].as_str().unwrap_or_default(), data.clone());
    let start = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": 1, "output_tokens": 0 },
    });
    let mut events = vec![
        named(json!({ "type": "message_start", "message": start })),
        Event::block_start(0, json!({ "type": "text", "text": "" })),
    ];
    events.extend(pieces.iter().map(|piece| Event::text_delta(0, piece)));
    events.extend([
        Event::block_stop(0),
        named(json!({
            "type": "message_delta",
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": 1 },
        })),
        named(json!({ "type": "message_stop" })),
    ]);
    events
}

/// Turns an error about a malformed body into a refusal: the client gets an error, and the plugin
/// has not failed.
fn refused(error: Error) -> Result<Verdict, Error> {
    if error.is_bad_document() {
        let message = format!("the body is not valid JSON: {error}");
        return Ok(Refusal::invalid_request(message).into());
    }
    Err(error)
}

/// Checks a verdict as the gateway does: one that cannot be used is the plugin's failure.
fn checked(verdict: Verdict) -> Result<Verdict, Error> {
    match &verdict {
        Verdict::Proceed => {}
        Verdict::Answer(answer) => {
            answer
                .draft()
                .finish()
                .map_err(|why| Error::new(format!("its answer cannot be used: {why}")))?;
        }
        Verdict::Refuse(refusal) => {
            refusal
                .draft()
                .finish()
                .map_err(|why| Error::new(format!("its refusal cannot be used: {why}")))?;
        }
    }
    Ok(verdict)
}

fn check_events(events: &[Event]) -> Result<(), Error> {
    for event in events {
        event::check(&event.name, &event.data)
            .map_err(|why| Error::new(format!("an event that it returned is invalid: {why}")))?;
    }
    Ok(())
}

impl From<Hook> for contract::Hook {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Request => Self::Request,
            Hook::Attempt => Self::Attempt,
            Hook::Failure => Self::Failure,
            Hook::Response => Self::Response,
        }
    }
}

/// A failed attempt, with what the failure hook set.
#[derive(Debug, Clone)]
pub struct Failed {
    host: host::Failure,
}

impl Failed {
    /// An upstream's response with this status, Anthropic error type and body; status 0 without a
    /// response.
    pub fn new(status: u16, error_type: &str, body: impl ToString) -> Self {
        Self {
            host: host::Failure {
                status: status.into(),
                error_type: error_type.to_owned().into(),
                headers: HeaderMap::new(),
                body: body.to_string().into(),
                retry: None.into(),
                cooldown: None.into(),
            },
        }
    }

    /// The upstream's response has this header.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        host::sent(&mut self.host.headers, name, value);
        self
    }

    /// The status that decides about retries and cooldowns.
    pub fn status(&self) -> u16 {
        self.host.status()
    }

    /// The error type that the client gets.
    pub fn error_type(&self) -> String {
        self.host.error_type()
    }

    /// The body that the client gets.
    pub fn body(&self) -> String {
        self.host.body.borrow().clone()
    }

    /// The retry that the hook has asked for, if any.
    pub fn retry(&self) -> Option<(RetryTarget, Duration)> {
        self.host.retry.get()
    }

    /// The cooldown of the account, if the hook has set one.
    pub fn cooldown(&self) -> Option<Duration> {
        self.host.cooldown.get()
    }
}

/// Accessors for tests.
impl Verdict {
    /// The answer as `{"body", "status", "headers", "note"}`, with what was set.
    ///
    /// # Panics
    ///
    /// If the verdict is a different one.
    #[track_caller]
    pub fn expect_answer(&self) -> Value {
        match self {
            Self::Answer(answer) => as_value(&answer.to_json()),
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    /// The refusal as `{"status", "type", "message", "details", "try_next"}`, with what was set.
    ///
    /// # Panics
    ///
    /// If the verdict is a different one.
    #[track_caller]
    pub fn expect_refusal(&self) -> Value {
        match self {
            Self::Refuse(refusal) => as_value(&refusal.to_json()),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Whether the exchange continues.
    pub fn is_proceed(&self) -> bool {
        matches!(self, Self::Proceed)
    }
}

fn as_value(json: &str) -> Value {
    serde_json::from_str(json).expect("a verdict prints as valid JSON")
}

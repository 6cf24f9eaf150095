//! Runs the operations that the settings list, and reports the result of each as a text.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `request`, `attempt` | operations of that hook if the request has `x-run` with the hook's name; it then answers with their results |
//! | `failure` | operations of the failure hook; their results become the message of the error |
//! | `first`, `later` | operations of the response hook at its first and second event; their results become an event at the end |
//! | `body` | operations of the response hook for a body; their results become the body |
//! | `models` | operations of the attempt hook for kind `models`; their results go to the log |
//! | `verdicts` | by the value of `x-run`: an answer or a refusal with which the request hook ends |
//! | `events` | events that replace the first one, before any results |
//!
//! Each result is a string: `ok` with what was returned, or the error.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use witgate_plugin::{
    Answer, AttemptHook, EditError, Error, Event, EventVerdict, Failure, FailureHook, Guard,
    Manifest, Node, Operation as Edit, Plugin, Refusal, Request, RequestHook, Response,
    ResponseHook, RetryTarget, Target, TextPart, Value, Verdict, export, json, kv, log,
};

/// What the hooks do.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    request: Vec<Operation>,
    attempt: Vec<Operation>,
    failure: Vec<Operation>,
    first: Vec<Operation>,
    later: Vec<Operation>,
    body: Vec<Operation>,
    models: Vec<Operation>,
    verdicts: BTreeMap<String, Decision>,
    events: Vec<(String, String)>,
}

/// A text, or a repeated one to reach a limit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Times(String, usize),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Times(text, times) => text.repeat(*times),
        }
    }
}

/// One operation: `{"set_header": ["x-a", ["b"]]}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    /// Kind, method, path and query.
    Head,
    Header(String),
    SetHeader(Text, Vec<Text>),
    SetPath(Text),
    Select(Text),
    /// Only the lengths are reported.
    Read(Text),
    RemoveAll(Text),
    /// A query and an expression.
    FindMatches(Text, Text),
    /// A query, an expression and a replacement.
    ReplaceMatches(Text, Text, Text),
    /// The string, the first byte, the byte after the last, and the new text.
    ReplacePart(String, u32, u32, Text),
    Add(String, Text),
    Remove(String),
    Test(String, Value),
    /// Only the length is reported.
    Outline(u32),
    Rewrite(Text),
    Note(Text),
    Log(Text),
    KvGet(Text),
    KvSet(Text, Text),
    KvSetIfAbsent(Text, Text),
    KvDelete(Text),
    KvIncrement(Text, i64),
    FailureHead,
    SetStatus(u16),
    SetErrorType(Text),
    SetBody(Value),
    /// A JSON string of this length.
    SetLongBody(usize),
    /// `same-account`, `other-account` or `never`, and milliseconds.
    SetRetry(String, u64),
    SetCooldown(u64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Decision {
    Answer(u16, BTreeMap<String, String>),
    Refuse(u16, String),
}

/// What the operations of a hook act on.
enum Scene<'a, 'b, 'c> {
    Request(&'a mut Request<'b>),
    Failure(&'a Request<'b>, &'a mut Failure<'c>),
    Response(&'a mut Response<'b>),
}

/// The plugin.
#[derive(Debug)]
pub struct Operations {
    settings: Settings,
    events: u32,
    results: Vec<String>,
}

impl Plugin for Operations {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            events: 0,
            results: Vec::new(),
        })
    }

    fn describe(&self) -> Manifest {
        let every = || Guard::new().kinds(["messages", "count_tokens", "models"]);
        Manifest::new("does operations and reports their results")
            .request(every())
            .attempt(every())
            .failure(every())
            .response(every())
    }
}

impl RequestHook for Operations {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let run = request.header("x-run").pop().unwrap_or_default();
        if run == "request" {
            return Ok(answer(in_request(request, &self.settings.request)));
        }
        Ok(match self.settings.verdicts.get(&run) {
            None => Verdict::Proceed,
            Some(Decision::Answer(status, headers)) => {
                let answer = Answer::new(json!({"run": run})).status(*status);
                let named = headers.iter();
                let named = named.fold(answer, |answer, (name, value)| answer.header(name, value));
                named.into()
            }
            Some(Decision::Refuse(status, error_type)) => {
                Refusal::new(*status, error_type, run).into()
            }
        })
    }
}

impl AttemptHook for Operations {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        if request.kind() == "models" {
            for line in in_request(request, &self.settings.models) {
                log::info(line);
            }
        }
        Ok(match request.header("x-run").first() {
            Some(run) if run == "attempt" => answer(in_request(request, &self.settings.attempt)),
            _ => Verdict::Proceed,
        })
    }
}

impl FailureHook for Operations {
    fn on_failure(
        &mut self,
        request: &Request,
        _: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let results = run(&self.settings.failure, Scene::Failure(request, failure));
        let message = Value::from(results).to_string();
        failure
            .set_body(json!({"type": "error", "error": {"type": "results", "message": message}}))?;
        Ok(())
    }
}

impl ResponseHook for Operations {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        self.events += 1;
        let operations = match self.events {
            1 => &self.settings.first,
            2 => &self.settings.later,
            _ => return Ok(EventVerdict::Keep),
        };
        self.results.extend(in_response(response, operations));
        if self.events == 1 && !self.settings.events.is_empty() {
            let events = self.settings.events.clone().into_iter();
            let events = events.map(|(name, data)| Event { name, data });
            return Ok(EventVerdict::Replace(events.chain([event]).collect()));
        }
        Ok(EventVerdict::Keep)
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        Ok(vec![Event::new(
            "results",
            json!({ "results": self.results }),
        )])
    }

    fn on_body(&mut self, response: &mut Response, _: String) -> Result<Option<String>, Error> {
        let results = in_response(response, &self.settings.body);
        Ok(Some(json!({ "results": results }).to_string()))
    }
}

fn answer(results: Vec<String>) -> Verdict {
    Answer::new(json!({ "results": results })).into()
}

fn in_request(request: &mut Request, operations: &[Operation]) -> Vec<String> {
    run(operations, Scene::Request(request))
}

fn in_response(response: &mut Response, operations: &[Operation]) -> Vec<String> {
    run(operations, Scene::Response(response))
}

fn run(operations: &[Operation], mut scene: Scene<'_, '_, '_>) -> Vec<String> {
    let one = |operation| match scene.act(operation) {
        Ok(value) => format!("ok: {value}"),
        Err(error) => error,
    };
    operations.iter().map(one).collect()
}

impl Scene<'_, '_, '_> {
    fn act(&mut self, operation: &Operation) -> Result<Value, String> {
        match operation {
            Operation::Log(line) => log::info(line.text()),
            Operation::KvGet(key) => {
                let value = kv::get(&key.text()).map_err(|error| error.to_string())?;
                return Ok(value.map(|value| value.len()).into());
            }
            Operation::KvSet(key, value) => {
                kv::set(&key.text(), value.text(), LONG).map_err(|error| error.to_string())?;
            }
            Operation::KvSetIfAbsent(key, value) => {
                let kept = kv::set_if_absent(&key.text(), value.text(), LONG);
                let kept = kept.map_err(|error| error.to_string())?;
                return Ok(String::from_utf8_lossy(&kept).into());
            }
            Operation::KvDelete(key) => {
                kv::delete(&key.text()).map_err(|error| error.to_string())?
            }
            Operation::KvIncrement(key, delta) => {
                let sum = kv::increment(&key.text(), *delta, LONG);
                return sum.map(Value::from).map_err(|error| error.to_string());
            }
            other => {
                let done = match self {
                    Self::Request(request) => in_a_request(request, other),
                    Self::Failure(request, failure) => in_a_failure(request, failure, other),
                    Self::Response(response) => in_a_response(response, other),
                };
                return done.map_err(|error| error.to_string());
            }
        }
        Ok(Value::Null)
    }
}

const LONG: Duration = Duration::from_secs(3_600);

fn in_a_request(request: &mut Request, operation: &Operation) -> Result<Value, EditError> {
    match operation {
        Operation::SetHeader(name, values) => {
            request.set_header(&name.text(), values.iter().map(Text::text))?;
        }
        Operation::SetPath(path) => request.set_path(&path.text())?,
        Operation::RemoveAll(query) => return Ok(request.remove_all(&query.text())?.into()),
        Operation::ReplaceMatches(query, regex, new) => {
            let count = request.replace_matches(&query.text(), &regex.text(), &new.text())?;
            return Ok(count.into());
        }
        Operation::ReplacePart(pointer, start, end, text) => request.replace_parts([TextPart {
            pointer: pointer.clone(),
            start: *start,
            end: *end,
            text: text.text(),
        }])?,
        Operation::Add(at, value) => request.patch([Edit::add_json(at, value.text())])?,
        Operation::Remove(at) => request.patch([Edit::remove(at)])?,
        Operation::Test(at, value) => request.patch([Edit::test(at, value.clone())])?,
        Operation::Outline(longest) => {
            let outline = request.outline(*longest)?;
            return Ok(outline.body.len().into());
        }
        Operation::Rewrite(body) => request.rewrite(body.text())?,
        Operation::Note(line) => request.note(&line.text()),
        read => return in_a_readable(request, read),
    }
    Ok(Value::Null)
}

fn in_a_readable(request: &Request, operation: &Operation) -> Result<Value, EditError> {
    Ok(match operation {
        Operation::Head => json!([
            request.kind(),
            request.method(),
            request.path(),
            request.query()
        ]),
        Operation::Header(name) => request.header(name).into(),
        Operation::Select(query) => request.select(&query.text())?.into(),
        Operation::Read(query) => {
            let nodes = request.read(&query.text())?;
            let length = |node: &Node| json!([node.pointer, node.value.len()]);
            nodes.iter().map(length).collect()
        }
        Operation::FindMatches(query, regex) => {
            let found = request.find_matches(&query.text(), &regex.text())?;
            let part = |part: &TextPart| json!([part.pointer, part.start, part.end, part.text]);
            let first = found.first().map(|found| {
                let groups = found.groups.iter();
                json!([
                    part(&found.part),
                    groups
                        .map(|group| group.as_ref().map(part))
                        .collect::<Vec<_>>()
                ])
            });
            json!([found.len(), first])
        }
        other => unknown(other),
    })
}

fn in_a_failure(
    request: &Request,
    failure: &mut Failure,
    operation: &Operation,
) -> Result<Value, EditError> {
    match operation {
        Operation::FailureHead => {
            return Ok(json!([
                failure.status(),
                failure.error_type(),
                failure.body().len()
            ]));
        }
        Operation::Header(name) => return Ok(failure.header(name).into()),
        Operation::SetStatus(status) => failure.set_status(*status)?,
        Operation::SetErrorType(name) => failure.set_error_type(&name.text())?,
        Operation::SetBody(body) => failure.set_body(body.clone())?,
        Operation::SetLongBody(length) => failure.set_body("x".repeat(*length - 2))?,
        Operation::SetRetry(target, ms) => {
            let target = match target.as_str() {
                "same-account" => RetryTarget::SameAccount,
                "other-account" => RetryTarget::OtherAccount,
                _ => RetryTarget::Never,
            };
            failure.set_retry(target, Duration::from_millis(*ms));
        }
        Operation::SetCooldown(ms) => failure.set_cooldown(Duration::from_millis(*ms)),
        read => return in_a_readable(request, read),
    }
    Ok(Value::Null)
}

fn in_a_response(response: &mut Response, operation: &Operation) -> Result<Value, EditError> {
    match operation {
        Operation::Header(name) => return Ok(response.header(name).into()),
        Operation::SetHeader(name, values) => {
            response.set_header(&name.text(), values.iter().map(Text::text))?;
        }
        Operation::Note(line) => response.note(&line.text()),
        other => return Ok(unknown(other)),
    }
    Ok(Value::Null)
}

/// A mistake in the test: this hook does not have the operation.
fn unknown(operation: &Operation) -> Value {
    panic!("{operation:?} is not an operation of this hook")
}

export!(Operations: RequestHook, AttemptHook, FailureHook, ResponseHook);

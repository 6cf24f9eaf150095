//! The folders below `tests/cases/dialect-openai`, each played as the gateway would play it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use witgate_plugin::{
    Event,
    testing::{Exchange, Failed},
};

use crate::DialectOpenai;

pub(super) struct Case {
    pub(super) folder: PathBuf,
}

/// What came out of a case.
#[derive(Default)]
pub(super) struct Outcome {
    /// The body and the path.
    pub(super) sent: Option<(Value, String)>,
    pub(super) status: u16,
    /// To a client that wants a stream, as it is spelt.
    pub(super) events: Option<String>,
    pub(super) body: Option<Value>,
    pub(super) notes: String,
}

pub(super) fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/dialect-openai");
    let folders = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    folders.into_iter().map(|folder| Case { folder }).collect()
}

impl Case {
    /// What came out otherwise than the folder says, a line each.
    pub(super) fn wrong(&self) -> Vec<String> {
        let came = self.play();
        let name = self.folder.file_name().unwrap().to_string_lossy();
        let mut wrong = Vec::new();
        let mut check = |what: &str, came: String, wanted: String| {
            if came != wanted {
                wrong.push(format!(
                    "{name}: {what}\n  came   {came}\n  wanted {wanted}"
                ));
            }
        };
        let spelt = |value: Option<Value>| value.unwrap_or_default().to_string();
        let sorted = |mut value: Value| {
            value.sort_all_objects();
            value
        };
        let (body, path) = came.sent.unzip();
        check(
            "sent",
            spelt(body.map(sorted)),
            spelt(self.json("sent.json").map(sorted)),
        );
        check("path", path.unwrap_or_default(), self.line("sent.txt"));
        check("notes", came.notes, self.line("notes.txt"));
        let status = self
            .text("status.txt")
            .map_or(200, |status| status.trim().parse().unwrap());
        let reply = self.json("reply.json").map(sorted);
        // Two replies are the gateway's own words: a credential that was refused, and a prompt that is too long.
        let said = reply
            .as_ref()
            .and_then(|reply| reply["error"]["message"].as_str())
            .unwrap_or_default();
        if status != 502 && !said.starts_with("prompt is too long") {
            check("status", came.status.to_string(), status.to_string());
            check("reply", spelt(came.body.map(sorted)), spelt(reply));
        }
        check(
            "events",
            came.events.unwrap_or_default(),
            self.text("reply.sse").unwrap_or_default(),
        );
        wrong
    }

    pub(super) fn play(&self) -> Outcome {
        let mut request = self.json("request.json").unwrap();
        let streams = request["stream"] == json!(true);
        strip(&mut request);
        let mut exchange = Exchange::<DialectOpenai>::new(&request)
            .dialect("openai")
            .upstream("up")
            .account("ada")
            .settings(self.json("settings.json").unwrap_or_else(|| json!({})));
        if let Some(session) = session(&request) {
            exchange = exchange.session(&session);
        }
        if self.line("kind.txt") == "count_tokens" {
            exchange = exchange.count_tokens();
        }
        let verdict = exchange.on_attempt().unwrap();
        if !verdict.is_proceed() {
            let refusal = verdict.expect_refusal();
            let error = json!({ "type": refusal["type"], "message": refusal["message"] });
            return Outcome {
                status: u16::try_from(refusal["status"].as_u64().unwrap()).unwrap(),
                body: Some(json!({ "type": "error", "error": error })),
                ..Outcome::default()
            };
        }
        let mut outcome = Outcome {
            sent: Some((parsed(&exchange.body()), exchange.path_and_query())),
            status: 200,
            ..Outcome::default()
        };
        if let Some(http) = self.text("upstream.http") {
            outcome.fail(&mut exchange, http_error(&http));
        } else {
            let whole = self
                .text("upstream.json")
                .map(|data| vec![event("", &data)]);
            let stream = self.text("upstream.sse").map(|text| events(&text));
            let came = exchange.stream(stream.or(whole).unwrap()).unwrap();
            outcome.answer(&mut exchange, came, streams);
        }
        outcome.notes = exchange.notes().join("\n");
        outcome
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    fn line(&self, file: &str) -> String {
        self.text(file).unwrap_or_default().trim().to_owned()
    }

    fn json(&self, file: &str) -> Option<Value> {
        self.text(file).map(|text| parsed(&text))
    }
}

impl Outcome {
    /// An error as first event is a failed attempt; a client that wants JSON gets any error as one.
    fn answer(&mut self, exchange: &mut Exchange<DialectOpenai>, came: Vec<Event>, streams: bool) {
        let error = came.iter().position(|event| event.name == "error");
        match error {
            Some(at) if at == 0 || !streams => {
                let envelope = parsed(&came[at].data);
                let kind = envelope["error"]["type"].as_str().unwrap();
                self.fail(exchange, Failed::new(status_of(kind), kind, &envelope));
            }
            _ if streams => self.events = Some(spelt(&came)),
            _ => self.body = Some(collected(&came)),
        }
    }

    fn fail(&mut self, exchange: &mut Exchange<DialectOpenai>, mut failed: Failed) {
        exchange.on_failure(&mut failed).unwrap();
        self.status = failed.status();
        self.body = serde_json::from_str(&failed.body()).ok();
    }
}

/// The session as the gateway finds it.
fn session(request: &Value) -> Option<String> {
    let user: Value = serde_json::from_str(request["metadata"]["user_id"].as_str()?).ok()?;
    Some(user["session_id"].as_str()?.to_owned())
}

/// What other plugins have done before.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.shift_remove("cache_control");
            members.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The events of a stream, as the gateway cuts them.
pub(super) fn events(text: &str) -> Vec<Event> {
    let parts = text.split("\n\n").filter(|part| !part.trim().is_empty());
    let read = |part: &str| {
        let field = |name: &str| {
            let lines = part.lines().filter_map(move |line| line.strip_prefix(name));
            lines
                .map(|line| line.trim_start().to_owned())
                .collect::<Vec<_>>()
        };
        event(&field("event:").concat(), &field("data:").join("\n"))
    };
    let events = parts.map(read);
    // What is only a comment is none.
    events.filter(|event| !event.data.is_empty()).collect()
}

pub(super) fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.to_owned(),
        data: data.to_owned(),
    }
}

fn spelt(events: &[Event]) -> String {
    let each = events
        .iter()
        .map(|event| format!("event: {}\ndata: {}\n\n", event.name, event.data));
    each.collect()
}

/// The message that the events make.
fn collected(events: &[Event]) -> Value {
    let mut message = Value::Null;
    let mut blocks: Vec<Value> = Vec::new();
    let mut input = String::new();
    for event in events {
        let mut data = parsed(&event.data);
        match event.name.as_str() {
            "message_start" => message = data["message"].take(),
            "content_block_start" => blocks.push(data["content_block"].take()),
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                let delta = &data["delta"];
                match delta["partial_json"].as_str() {
                    Some(more) => input.push_str(more),
                    None => {
                        for key in ["text", "thinking"] {
                            let Some(more) = delta[key].as_str() else {
                                continue;
                            };
                            block[key] = json!(block[key].as_str().unwrap().to_owned() + more);
                        }
                    }
                }
            }
            "content_block_stop" if !input.is_empty() => {
                blocks.last_mut().unwrap()["input"] = parsed(&std::mem::take(&mut input));
            }
            "message_delta" => {
                for key in ["stop_reason", "stop_sequence"] {
                    message[key] = data["delta"][key].take();
                }
                message["usage"] = data["usage"].take();
            }
            _ => {}
        }
    }
    message["content"] = Value::Array(blocks);
    message
}

/// Status line, header lines, an empty line, body.
fn http_error(text: &str) -> Failed {
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let words = lines.next().unwrap();
    let status = words.split(' ').find_map(|word| word.parse().ok()).unwrap();
    let failed = Failed::new(status, kind_of(status), body.trim());
    lines.fold(failed, |failed, line| {
        let (name, value) = line.split_once(": ").unwrap();
        failed.header(name, value)
    })
}

fn kind_of(status: u16) -> &'static str {
    match status {
        429 => "rate_limit_error",
        404 => "not_found_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "billing_error" => 402,
        "not_found_error" => 404,
        "rate_limit_error" => 429,
        "overloaded_error" => 529,
        _ => 500,
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

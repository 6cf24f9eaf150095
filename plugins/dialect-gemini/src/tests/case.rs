//! The folders below `tests/cases/dialect-gemini`, each run as the gateway would run it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use witgate_plugin::{
    Event, Value, json, serde_json,
    testing::{Exchange, Failed},
};

use crate::DialectGemini;

pub(super) struct Case {
    name: String,
    folder: PathBuf,
}

/// What became of a case.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) sent: Option<(String, String)>,
    pub(super) status: u16,
    /// To a streaming client.
    pub(super) events: Option<Vec<Event>>,
    /// To all others, and errors.
    pub(super) reply: Option<Value>,
    pub(super) retry_after: Option<u64>,
    pub(super) notes: Vec<String>,
}

pub(super) fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/dialect-gemini");
    let mut cases: Vec<Case> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|folder| Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder,
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

impl Case {
    /// Where what came out is not what the folder says, a line each.
    pub(super) fn differences(&self) -> Vec<String> {
        let came = self.run();
        let mut wrong = Vec::new();
        let mut check = |what: &str, came: Value, wanted: Value| {
            if came != wanted {
                wrong.push(format!(
                    "{} {what}:\n  came   {came}\n  wanted {wanted}",
                    self.name
                ));
            }
        };
        let (path, body) = came
            .sent
            .map_or((Value::Null, Value::Null), |(path, body)| {
                (json!(path), parsed(&body))
            });
        check(
            "path",
            path,
            self.file("sent.txt")
                .map_or(Value::Null, |text| json!(text.trim())),
        );
        check("sent", body, self.json("sent.json").unwrap_or_default());
        let notes = self.file("notes.txt").unwrap_or_default();
        check("notes", json!(came.notes), notes.lines().collect());
        let status = self
            .file("status.txt")
            .map_or(200, |text| text.trim().parse().unwrap());
        check("status", json!(came.status), json!(status));
        let wait: Option<u64> = self
            .file("headers.txt")
            .and_then(|text| text.trim().strip_prefix("retry-after: ")?.parse().ok());
        check("retry-after", json!(came.retry_after), json!(wait));
        let stream = self.file("reply.sse").map(|text| events(&text));
        check(
            "events",
            told(came.events.as_deref()),
            told(stream.as_deref()),
        );
        let reply = self.json("reply.json").unwrap_or_default();
        // These two are written by the gateway: a refused credential of its own, and the words of a prompt that is too long.
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        if came.status != 502 && !message.starts_with("prompt is too long") {
            check("reply", came.reply.unwrap_or_default(), reply);
        }
        wrong
    }

    pub(super) fn run(&self) -> Outcome {
        let body = self.file("request.json").unwrap();
        let streams = parsed(&body)["stream"] == json!(true);
        let counts = self
            .file("kind.txt")
            .is_some_and(|kind| kind.trim() == "count_tokens");
        let settings = self.json("settings.json").unwrap_or_else(|| json!({}));
        let mut exchange = Exchange::<DialectGemini>::new(body)
            .dialect("gemini")
            .upstream("up")
            .account("ada")
            .settings(settings);
        if counts {
            exchange = exchange.count_tokens();
        }
        let verdict = exchange.on_attempt().unwrap();
        if !verdict.is_proceed() {
            let refusal = verdict.expect_refusal();
            let status = u16::try_from(refusal["status"].as_u64().unwrap()).unwrap();
            let error = json!({ "type": refusal["type"], "message": refusal["message"] });
            return Outcome {
                status,
                reply: Some(json!({ "type": "error", "error": error })),
                ..Outcome::default()
            };
        }
        let mut outcome = Outcome {
            sent: Some((exchange.path_and_query(), exchange.body())),
            status: 200,
            ..Outcome::default()
        };
        if counts && let Some(body) = self.file("upstream.json") {
            outcome.reply = exchange.on_body(body).unwrap().map(|body| parsed(&body));
        } else if let Some(http) = self.file("upstream.http") {
            fail(&mut exchange, &mut outcome, &failed(&http));
        } else {
            let stream = self.file("upstream.sse").map(|text| events(&text));
            let whole = || vec![event("", &self.file("upstream.json").unwrap())];
            let events = exchange.stream(stream.unwrap_or_else(whole)).unwrap();
            answered(&mut exchange, &mut outcome, events, streams);
        }
        outcome.notes = exchange.notes();
        outcome
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    fn json(&self, name: &str) -> Option<Value> {
        self.file(name).map(|text| parsed(&text))
    }
}

/// An error as first event is a failed attempt, and for who wants no stream any error is.
fn answered(
    exchange: &mut Exchange<DialectGemini>,
    outcome: &mut Outcome,
    events: Vec<Event>,
    streams: bool,
) {
    let error = events.iter().position(|event| event.name == "error");
    match error {
        Some(at) if at == 0 || !streams => {
            let envelope = parsed(&events[at].data);
            let kind = envelope["error"]["type"].as_str().unwrap();
            fail(exchange, outcome, &Failed::new(200, kind, &envelope));
        }
        _ if streams => outcome.events = Some(events),
        _ => outcome.reply = Some(collected(&events)),
    }
}

fn fail(exchange: &mut Exchange<DialectGemini>, outcome: &mut Outcome, failed: &Failed) {
    let mut failed = failed.clone();
    exchange.on_failure(&mut failed).unwrap();
    outcome.status = match failed.status() {
        401 => 502,
        status => status,
    };
    outcome.reply = Some(parsed(&failed.body()));
    outcome.retry_after = failed
        .rest()
        .filter(|_| outcome.status == 429)
        .map(|rest| rest.as_millis().div_ceil(1_000) as u64);
}

/// Status, headers, a blank line, body.
fn failed(http: &str) -> Failed {
    let (head, body) = http.split_once("\n\n").unwrap_or((http, ""));
    let status = head.lines().next().unwrap().trim().parse().unwrap();
    Failed::new(status, "api_error", body.trim_end_matches('\n'))
}

fn events(stream: &str) -> Vec<Event> {
    let stream = stream.replace("\r\n", "\n");
    let cut = |text: &str| {
        let of = |key: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(key));
            lines
                .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
                .collect()
        };
        let data = of("data:");
        (!data.is_empty()).then(|| event(&of("event:").concat(), &data.join("\n")))
    };
    stream.split("\n\n").filter_map(cut).collect()
}

fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.to_owned(),
        data: data.to_owned(),
    }
}

fn told(events: Option<&[Event]>) -> Value {
    let each = |event: &Event| json!([event.name, parsed(&event.data)]);
    events.map_or(Value::Null, |events| events.iter().map(each).collect())
}

#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The message that the events make.
fn collected(events: &[Event]) -> Value {
    let mut message = Value::Null;
    let mut input = String::new();
    for event in events {
        let data = parsed(&event.data);
        let last = |message: &mut Value| message["content"].as_array_mut().unwrap().pop().unwrap();
        match event.name.as_str() {
            "message_start" => message = data["message"].clone(),
            "content_block_start" => {
                input.clear();
                message["content"]
                    .as_array_mut()
                    .unwrap()
                    .push(data["content_block"].clone());
            }
            "content_block_delta" => {
                let mut block = last(&mut message);
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = data["delta"][key].as_str() {
                        block[key] = json!(format!("{}{more}", block[key].as_str().unwrap()));
                    }
                }
                input.extend(data["delta"]["partial_json"].as_str());
                if block["type"] == "tool_use" {
                    block["input"] = parsed(&input);
                }
                message["content"].as_array_mut().unwrap().push(block);
            }
            "message_delta" => {
                for key in ["stop_reason", "stop_sequence"] {
                    message[key] = data["delta"][key].clone();
                }
                message["usage"] = data["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

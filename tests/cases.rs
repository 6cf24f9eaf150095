//! Runs each folder of `tests/cases` as a test of its own through the built gateway: once with the
//! upstream's response in one piece, and once with each byte as a separate chunk.
//!
//! `tests/cases/README.md` describes the files of a case, and how to run, ignore and bless one.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use support::{
    Answer, Gateway, Reply, Upstream,
    case::{self, Case, NOTHING, Scripted},
    cases::{self, dialect},
    component::root,
    upstream::head,
};

/// If set, the results are written into the case instead of compared.
const UPDATE: &str = "UPDATE_CASES";

/// How the upstream's body is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pieces {
    One,
    Bytes,
}

/// A gateway with one dialect, and its upstream, which answers what the current case says.
struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    next: Arc<Mutex<Option<Answer>>>,
}

/// Idle gateways, by dialect and settings.
#[derive(Default)]
struct Stages(Mutex<BTreeMap<String, Vec<Stage>>>);

/// The result of a case.
struct Outcome {
    /// The path below the base URL and the body of each request to the upstream.
    sent: Vec<(String, Value)>,
    reply: Reply,
    notes: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let update = env::var_os(UPDATE).is_some_and(|value| value == "1");
    let stages: Arc<Stages> = Arc::default();
    let cases = cases::all();
    let mut trials = vec![Trial::test("every_dialect_has_cases", {
        let cases = cases.clone();
        move || every_dialect_has_cases(&cases)
    })];
    trials.extend(cases.into_iter().map(|case| {
        let stages = Arc::clone(&stages);
        let name = format!("dialect-{}/{}", dialect(&case), case.name());
        let ignored = case.own("ignored.txt");
        let reason = ignored.as_deref().unwrap_or_default().trim().to_owned();
        Trial::test(name, move || run(&case, &stages, update))
            .with_ignored_flag(ignored.is_some())
            .with_kind(reason)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn every_dialect_has_cases(cases: &[Case]) -> Result<(), Failed> {
    let tested: BTreeSet<String> = cases
        .iter()
        .map(|case| format!("dialect-{}", dialect(case)))
        .collect();
    let plugins = fs::read_dir(root().join("plugins"))?;
    let names = plugins.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let dialects: BTreeSet<String> = names.filter(|name| name.starts_with("dialect-")).collect();
    if tested == dialects {
        return Ok(());
    }
    Err(format!("there are cases of {tested:?} and plugins {dialects:?}").into())
}

fn run(case: &Case, stages: &Stages, update: bool) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for pieces in [Pieces::One, Pieces::Bytes] {
        let outcome = stages.play(case, pieces);
        if update && pieces == Pieces::One {
            outcome.bless(case)?;
        }
        let differences = outcome.differences(case);
        wrong.extend(
            differences
                .into_iter()
                .map(|line| format!("{pieces:?}: {line}")),
        );
    }
    wrong.extend(case.flaws());
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.push(format!("{UPDATE}=1 writes the result into the case"));
    Err(wrong.join("\n").into())
}

impl Stages {
    fn play(&self, case: &Case, pieces: Pieces) -> Outcome {
        let settings = case.text("settings.json").unwrap().unwrap_or_default();
        let key = format!("{} {settings}", dialect(case));
        let free = self.0.lock().unwrap().get_mut(&key).and_then(Vec::pop);
        let stage = free.unwrap_or_else(|| Stage::start(dialect(case), &settings));
        let outcome = stage.play(case, pieces);
        // A failed attempt puts the account on cooldown, so the next case needs another gateway.
        if outcome.sent.is_empty() || !outcome.failed() {
            self.0.lock().unwrap().entry(key).or_default().push(stage);
        }
        outcome
    }
}

impl Stage {
    fn start(dialect: &str, settings: &str) -> Self {
        let next: Arc<Mutex<Option<Answer>>> = Arc::default();
        let scripted = Arc::clone(&next);
        let upstream = Upstream::with(move |_| {
            let answer = scripted.lock().unwrap().take();
            answer.unwrap_or_else(|| Answer::status(418))
        });
        let mut builder = Gateway::echo().retry("max_attempts = 1").tables(&format!(
            "[[upstream]]\nname = \"up\"\npreset = \"{dialect}\"\nbase_url = \"{}/base\"\n\
             accounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]",
            upstream.url()
        ));
        if !settings.is_empty() {
            let settings: Value = serde_json::from_str(settings).unwrap();
            let settings = toml(&settings);
            builder = builder.tables(&format!(
                "[plugin.dialect-{dialect}]\nsettings = {settings}"
            ));
        }
        Self {
            gateway: builder.start(),
            upstream,
            next,
        }
    }

    fn play(&self, case: &Case, pieces: Pieces) -> Outcome {
        *self.next.lock().unwrap() = answer(case, pieces);
        let (before, from) = (self.upstream.received().len(), self.gateway.mark());
        let body = case.text("request.json").unwrap().unwrap_or_default();
        let reply = match case.text("kind.txt").unwrap().as_deref().map(str::trim) {
            None => self.gateway.message(body),
            Some("count_tokens") => self.gateway.post("/v1/messages/count_tokens", body),
            Some("models") => self.gateway.get("/v1/models"),
            Some(other) => panic!("kind.txt: got `{other}`, expected `count_tokens` or `models`"),
        };
        let record = self.gateway.line_from(from, &["exchange", "status="]).1;
        let received = self.upstream.received();
        let sent = received[before..].iter().map(|request| {
            let path = request.path.strip_prefix("/base");
            (path.unwrap_or(&request.path).to_owned(), request.json())
        });
        Outcome {
            sent: sent.collect(),
            reply,
            notes: notes(&record, dialect(case)),
        }
    }
}

impl Outcome {
    /// Whether the client got an error, at once or within a stream.
    fn failed(&self) -> bool {
        self.reply.status != 200 || self.reply.text().contains("event: error")
    }

    /// The differences to what the case says.
    fn differences(&self, case: &Case) -> Vec<String> {
        let mut wrong = Vec::new();
        match (&self.sent[..], case.asks()) {
            ([], false) => {}
            ([(path, body)], true) => {
                let wanted = case.text("sent.txt").unwrap().unwrap_or_default();
                wrong.extend(differs("sent.txt", path, wanted.trim()));
                let wanted = case.json("sent.json").unwrap().unwrap_or_default();
                if *body != wanted {
                    wrong.extend(differs("sent", &case::pretty(body), &case::pretty(&wanted)));
                }
            }
            (sent, asks) => {
                let expected = usize::from(asks);
                wrong.push(format!(
                    "the upstream got {} requests, expected {expected}",
                    sent.len()
                ));
            }
        }
        let status = case.text("status.txt").unwrap();
        let status = status.as_deref().map_or("200", str::trim);
        wrong.extend(differs("status", &self.reply.status.to_string(), status));
        for header in case
            .text("headers.txt")
            .unwrap()
            .unwrap_or_default()
            .lines()
        {
            let (name, value) = header.split_once(": ").unwrap();
            wrong.extend(differs(
                name,
                self.reply.header(name).unwrap_or_default(),
                value,
            ));
        }
        wrong.extend(self.reply_differences(case));
        let notes = case.text("notes.txt").unwrap().unwrap_or_default();
        wrong.extend(differs("notes", &lines(&self.notes), &notes));
        wrong
    }

    fn reply_differences(&self, case: &Case) -> Vec<String> {
        if let Some(events) = case.text("reply.sse").unwrap() {
            return differs("events", &self.reply.text(), &events);
        }
        let Ok(body) = self.body() else {
            return vec![format!("the reply is not JSON: {}", self.reply.text())];
        };
        let wanted = case.json("reply.json").unwrap().unwrap_or_default();
        match body == wanted {
            true => self.wrong_request_id(),
            false => differs("body", &case::pretty(&body), &case::pretty(&wanted)),
        }
    }

    /// The body of a reply without the id that the gateway puts into its errors.
    fn body(&self) -> serde_json::Result<Value> {
        let mut body: Value = serde_json::from_slice(&self.reply.body)?;
        if let Some(members) = body.as_object_mut() {
            members.shift_remove("request_id");
        }
        Ok(body)
    }

    /// The id in the body changes each time, but always equals the one in the header.
    fn wrong_request_id(&self) -> Vec<String> {
        let body = self.reply.json();
        let (inside, header) = (body["request_id"].as_str(), self.reply.header("request-id"));
        match inside.is_none() || inside == header {
            true => vec![],
            false => vec![format!(
                "request_id is {inside:?}, in the header {header:?}"
            )],
        }
    }

    /// Writes the result into the case.
    fn bless(&self, case: &Case) -> Result<(), Failed> {
        match &self.sent[..] {
            [] => {
                case.write("sent.txt", Some(&format!("{NOTHING}\n")))?;
                case.write("sent.json", None)?;
                case.write("sent.merge.json", None)?;
            }
            [(path, body)] => {
                case.write("sent.txt", Some(&format!("{path}\n")))?;
                case.write_sent(body)?;
            }
            _ => return Err("cannot be blessed: the upstream got several requests".into()),
        }
        let kind = self.reply.header("content-type").unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            case.write("reply.json", None)?;
            case.write("reply.sse", Some(&self.reply.text()))?;
        } else {
            case.write("reply.sse", None)?;
            case.write("reply.json", Some(&case::pretty(&self.body()?)))?;
        }
        let status = self.reply.status;
        let status = (status != 200).then(|| format!("{status}\n"));
        case.write("status.txt", status.as_deref())?;
        let named = case.text("headers.txt").unwrap().unwrap_or_default();
        let headers = named.lines().filter_map(|line| {
            let name = line.split_once(": ")?.0;
            Some(format!("{name}: {}", self.reply.header(name)?))
        });
        let headers = lines(&headers.collect::<Vec<_>>());
        case.write(
            "headers.txt",
            Some(headers.as_str()).filter(|text| !text.is_empty()),
        )?;
        let notes = lines(&self.notes);
        case.write(
            "notes.txt",
            Some(notes.as_str()).filter(|text| !text.is_empty()),
        )?;
        Ok(())
    }
}

/// The notes of the dialect in the log line of an exchange.
fn notes(record: &str, dialect: &str) -> Vec<String> {
    let Some((_, text)) = record.split_once(" notes=") else {
        return vec![];
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let notes = values.next().and_then(Result::ok);
    let notes = notes.unwrap_or_else(|| panic!("not a quoted text: {text}"));
    let prefix = format!("dialect-{dialect}: ");
    let mine = notes.strip_prefix(&prefix);
    let mine = mine.unwrap_or_else(|| panic!("a note of another plugin: {notes}"));
    mine.split(&format!("; {prefix}"))
        .map(str::to_owned)
        .collect()
}

/// The upstream's answer in this case.
fn answer(case: &Case, pieces: Pieces) -> Option<Answer> {
    let Scripted {
        status,
        headers,
        body,
    } = case.answers().unwrap().into_iter().next()?;
    if pieces == Pieces::One {
        return Some(Answer::Whole {
            status,
            headers,
            body,
        });
    }
    let mut bytes = head(status, &headers).into_bytes();
    bytes.extend(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let chunk = |byte: &u8| [b'1', b'\r', b'\n', *byte, b'\r', b'\n'];
    bytes.extend(body.iter().flat_map(chunk));
    bytes.extend(b"0\r\n\r\n");
    Some(Answer::Raw(bytes))
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A line if the two texts differ, with the place of the difference.
fn differs(what: &str, got: &str, wanted: &str) -> Vec<String> {
    if got == wanted {
        return vec![];
    }
    let pairs = got.bytes().zip(wanted.bytes());
    let at = pairs.take_while(|(a, b)| a == b).count();
    let near = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(120)..text.len().min(at + 200)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    vec![format!(
        "{what} at {at}:\n    got      {}\n    expected {}",
        near(got),
        near(wanted)
    )]
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(name, value)| format!("{name:?} = {}", toml(value));
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{ {} }}", members.join(", "))
        }
        // All other values are written alike in both formats.
        other => other.to_string(),
    }
}

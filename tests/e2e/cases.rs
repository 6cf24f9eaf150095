//! The dialects' cases (tests/cases/dialect-*), through the built binary: each once with the upstream's answer in one piece, and
//! once with every byte of it as a chunk of its own.
//!
//! | file | what it says |
//! | --- | --- |
//! | `request.json` | the client's body |
//! | `kind.txt` | `count_tokens` or `models`, where it is no message |
//! | `sent.json`, `sent.txt` | the body that the upstream gets, and path and query below the base URL; without them it is not asked |
//! | `upstream.sse`, `upstream.json`, `upstream.http` | what it answers; the last one with status line and headers |
//! | `reply.sse`, `reply.json` | what the client gets; without it, an error in the gateway's own words |
//! | `status.txt`, `headers.txt` | the status, if it is not 200, and headers that are there |
//! | `notes.txt` | the record's notes, one in a line |
//! | `settings.json` | the plugin's settings |
//! | `foreign.txt` | whose shape the upstream's answer has, if it is not the provider's own |

use std::{
    collections::BTreeMap,
    fs, iter,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::support::{Answer, Gateway, Reply, Upstream, component::root, upstream::head};

const FILES: [&str; 14] = [
    "request.json",
    "kind.txt",
    "sent.json",
    "sent.txt",
    "upstream.sse",
    "upstream.json",
    "upstream.http",
    "reply.sse",
    "reply.json",
    "status.txt",
    "headers.txt",
    "notes.txt",
    "settings.json",
    "foreign.txt",
];

/// Gateways that run at the same time.
const WORKERS: usize = 3;

/// How the upstream's body comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pieces {
    One,
    Bytes,
}

struct Case {
    folder: PathBuf,
}

/// A gateway with one dialect, and its upstream, which says what the case at hand wants.
struct Stage {
    dialect: &'static str,
    upstream: Upstream,
    gateway: Gateway,
    next: Arc<Mutex<Option<Answer>>>,
}

#[test]
fn every_case_of_dialect_gemini_comes_out_as_it_says() {
    every_case_comes_out_as_it_says("gemini");
}

#[test]
fn every_case_of_dialect_openai_comes_out_as_it_says() {
    every_case_comes_out_as_it_says("openai");
}

#[test]
fn every_folder_of_cases_is_run() {
    let folders = folders_in(&root().join("tests/cases"));
    let names: Vec<_> = folders
        .iter()
        .map(|folder| folder.file_name().unwrap())
        .collect();
    assert_eq!(names, ["dialect-gemini", "dialect-openai"]);
}

#[track_caller]
fn every_case_comes_out_as_it_says(dialect: &'static str) {
    let folders = folders_in(
        &root()
            .join("tests/cases")
            .join(format!("dialect-{dialect}")),
    );
    assert!(folders.len() >= 40, "only {} cases", folders.len());
    let mut stages: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for folder in folders {
        let case = Case { folder };
        case.has_known_files();
        // After a failure the account rests, so such a case has a gateway of its own.
        let fails = if case.fails() { case.name() } else { "" };
        let settings = case.text("settings.json").unwrap_or_default();
        let key = format!("{fails} {settings}");
        stages.entry(key).or_default().push(case);
    }
    let left: Vec<_> = stages
        .values()
        .flat_map(|cases| [Pieces::One, Pieces::Bytes].map(|pieces| (cases, pieces)))
        .collect();
    let left = Mutex::new(left.into_iter());
    let wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let next = || left.lock().unwrap().next();
            let played = iter::from_fn(next).map(|(cases, pieces)| play(dialect, cases, pieces));
            played.flatten().collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What came out otherwise than it should.
fn play(dialect: &'static str, cases: &[Case], pieces: Pieces) -> Vec<String> {
    let stage = Stage::set(dialect, cases[0].text("settings.json"));
    let wrong = cases.iter().filter_map(|case| {
        let wrong = stage.play(case, pieces);
        (!wrong.is_empty()).then(|| format!("{}, {pieces:?}: {}", case.name(), wrong.join("\n  ")))
    });
    wrong.collect()
}

impl Stage {
    fn set(dialect: &'static str, settings: Option<String>) -> Self {
        let next: Arc<Mutex<Option<Answer>>> = Arc::default();
        let told = Arc::clone(&next);
        let upstream = Upstream::with(move |_| {
            let answer = told.lock().unwrap().take();
            answer.unwrap_or_else(|| Answer::status(418))
        });
        let settings = settings.map_or_else(String::new, |settings| {
            let settings: Value = serde_json::from_str(&settings).unwrap();
            format!("[plugin.dialect-{dialect}]\nsettings = {}", toml(&settings))
        });
        let gateway = Gateway::echo()
            .retry("max_attempts = 1")
            .tables(&settings)
            .tables(&format!(
                "[[upstream]]\nname = \"up\"\npreset = \"{dialect}\"\nbase_url = \"{}/base\"\naccounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]",
                upstream.url()
            ))
            .start();
        Self {
            dialect,
            upstream,
            gateway,
            next,
        }
    }

    /// What came out otherwise than this case says.
    fn play(&self, case: &Case, pieces: Pieces) -> Vec<String> {
        *self.next.lock().unwrap() = case.answer(pieces);
        let (asked, from) = (self.upstream.received().len(), self.gateway.mark());
        let body = case.text("request.json").unwrap_or_default();
        let reply = match case.text("kind.txt").as_deref().map(str::trim) {
            None => self.gateway.message(body),
            Some("count_tokens") => self.gateway.post("/v1/messages/count_tokens", body),
            Some("models") => self.gateway.get("/v1/models"),
            Some(other) => panic!("{}: no such kind: {other}", case.name()),
        };
        let record = self.gateway.line_from(from, &["exchange", "status="]).1;
        let mut wrong = self.sent(case, asked);
        wrong.extend(replied(case, &reply));
        wrong.extend(self.noted(case, &record));
        wrong
    }

    fn sent(&self, case: &Case, asked: usize) -> Vec<String> {
        let received = self.upstream.received();
        let Some(path) = case.text("sent.txt") else {
            let none = received.len() == asked;
            return if none {
                vec![]
            } else {
                vec!["the upstream was asked".to_owned()]
            };
        };
        let [request] = &received[asked..] else {
            return vec![format!("{} requests came upstream", received.len() - asked)];
        };
        let mut wrong = differs("path", &request.path, &format!("/base{}", path.trim()));
        if let Some(body) = case.text("sent.json") {
            let (got, wanted) = (
                request.json(),
                serde_json::from_str::<Value>(&body).unwrap(),
            );
            if got != wanted {
                wrong.extend(differs("sent", &got.to_string(), &wanted.to_string()));
            }
        }
        wrong
    }

    fn noted(&self, case: &Case, record: &str) -> Vec<String> {
        let notes = case.text("notes.txt").unwrap_or_default();
        let notes: Vec<String> = notes
            .lines()
            .map(|note| format!("dialect-{}: {note}", self.dialect))
            .collect();
        let wanted = format!(" notes={:?}", notes.join("; "));
        let has = record.contains(" notes=");
        if notes.is_empty() && !has || !notes.is_empty() && record.contains(&wanted) {
            return vec![];
        }
        vec![format!("no{wanted} in {record}")]
    }
}

fn replied(case: &Case, reply: &Reply) -> Vec<String> {
    let status = case
        .text("status.txt")
        .map_or(200, |status| status.trim().parse().unwrap());
    let mut wrong = differs("status", &reply.status.to_string(), &status.to_string());
    for header in case.text("headers.txt").unwrap_or_default().lines() {
        let (name, value) = header.split_once(": ").unwrap();
        wrong.extend(differs(name, reply.header(name).unwrap_or_default(), value));
    }
    if let Some(events) = case.text("reply.sse") {
        wrong.extend(differs("events", &reply.text(), &events));
    } else if let Some(body) = case.text("reply.json") {
        let (mut got, wanted) = (reply.json(), serde_json::from_str::<Value>(&body).unwrap());
        // The gateway puts it into its errors, and it is another one each time.
        let id = got.as_object_mut().and_then(|got| got.remove("request_id"));
        let header = reply.header("request-id").map(Value::from);
        if id.is_some() && id != header {
            wrong.push(format!("request_id: {id:?}, in the header {header:?}"));
        }
        if got != wanted {
            wrong.extend(differs("body", &got.to_string(), &wanted.to_string()));
        }
    } else {
        let got = reply.json();
        let kind = got["error"]["type"].as_str();
        wrong.extend(differs("error", kind.unwrap_or_default(), "api_error"));
        let said = got["error"]["message"].as_str().unwrap_or_default();
        if !said.contains("`up`") {
            wrong.push(format!("nothing of the upstream in: {said}"));
        }
    }
    wrong
}

/// A line if these are two, with the places where they part.
fn differs(what: &str, got: &str, wanted: &str) -> Vec<String> {
    if got == wanted {
        return vec![];
    }
    let at = got
        .bytes()
        .zip(wanted.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let near = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(120)..text.len().min(at + 200)];
        String::from_utf8_lossy(bytes).into_owned()
    };
    vec![format!(
        "{what} at {at}:\n    got    {}\n    wanted {}",
        near(got),
        near(wanted)
    )]
}

impl Case {
    fn name(&self) -> &str {
        self.folder.file_name().unwrap().to_str().unwrap()
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    #[track_caller]
    fn has_known_files(&self) {
        for entry in fs::read_dir(&self.folder).unwrap() {
            let name = entry.unwrap().file_name();
            let known = FILES.iter().any(|file| name == *file);
            assert!(known, "{}: nobody reads {name:?}", self.name());
        }
    }

    /// Whether the upstream will have done something that its account rests for.
    fn fails(&self) -> bool {
        let failed = |file| {
            self.text(file)
                .is_some_and(|text| text.contains(r#""type":"error""#))
        };
        self.text("upstream.http").is_some()
            || self.text("status.txt").is_some()
            || failed("reply.sse")
    }

    fn answer(&self, pieces: Pieces) -> Option<Answer> {
        let (status, headers, body) = if let Some(events) = self.text("upstream.sse") {
            (200, vec![header("content-type: text/event-stream")], events)
        } else if let Some(body) = self.text("upstream.json") {
            (200, vec![header("content-type: application/json")], body)
        } else {
            let whole = self.text("upstream.http")?.replace("\r\n", "\n");
            let (head, body) = whole.split_once("\n\n").unwrap();
            let mut lines = head.lines();
            let words = lines.next().unwrap();
            let status = words.split(' ').find_map(|word| word.parse().ok());
            (
                status.unwrap(),
                lines.map(header).collect(),
                body.to_owned(),
            )
        };
        let body = body.into_bytes();
        if pieces == Pieces::One {
            return Some(Answer::Whole {
                status,
                headers,
                body,
            });
        }
        let mut bytes = head(status, &headers).into_bytes();
        bytes.extend(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
        bytes.extend(
            body.iter()
                .flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']),
        );
        bytes.extend(b"0\r\n\r\n");
        Some(Answer::Raw(bytes))
    }
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.to_owned(), value.to_owned())
}

/// The folders in this one, in order; what is no folder has no business there.
#[track_caller]
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{error}: {}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let file = paths.iter().find(|path| !path.is_dir());
    assert_eq!(file, None, "no case");
    paths
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(toml).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{name:?} = {}", toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        // What is left is spelt alike in both.
        other => other.to_string(),
    }
}

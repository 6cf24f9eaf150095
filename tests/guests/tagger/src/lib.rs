//! Edits, answers or refuses the request as the settings say. Without settings it does nothing.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `by_conversation` | a conversation keeps the version that it began with |
//! | `in` | `attempt` (default) or `request`: the hook in which it acts |
//! | `kinds` | the kinds of its guards; by default `["messages"]` |
//! | `path`, `lacks` | those of its guards |
//! | `remembers` | `target` or `conversation`: that of the attempt guard |
//! | `remember` | the request hook remembers the conversation of a request with `x-remember` |
//! | `only_attempt` | act in this attempt only |
//! | `remove_all` | a list of JSONPaths |
//! | `patch` | a JSON Patch as RFC 6902 writes it |
//! | `headers` | an object from names to lists of values |
//! | `send_to` | another path and query |
//! | `echo` | a JSONPath; what it selects is written to the log, as `AT VALUE` |
//! | `show` | sets the header `x-tagger` to what the plugin sees of request and target |
//! | `count` | a key whose number in kv is incremented; the sum becomes the header `x-tagger-count` |
//! | `answer` | the body of an answer, with the header `x-tagger: answered` and the note `tagged` |
//! | `refuse` | a refusal: `{"status", "type", "message", "details", "try_next"}` |

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use witgate_plugin::{
    Answer, AttemptHook, EditError, Error, Guard, Manifest, Operation, Plugin, Refusal, Reload,
    Request, RequestHook, Target, Value, Verdict, export, kv, log,
};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    by_conversation: bool,
    r#in: Option<String>,
    kinds: Option<Vec<String>>,
    path: Option<String>,
    lacks: Option<Vec<String>>,
    remembers: Option<String>,
    remember: bool,
    only_attempt: Option<u32>,
    remove_all: Vec<String>,
    patch: Vec<Edit>,
    headers: BTreeMap<String, Vec<String>>,
    send_to: Option<String>,
    echo: Option<String>,
    show: bool,
    count: Option<String>,
    answer: Option<Value>,
    refuse: Option<Refuse>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Edit {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    status: u16,
    r#type: String,
    message: String,
    details: Option<Value>,
    #[serde(default)]
    try_next: bool,
}

impl From<Edit> for Operation {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::Add { path, value } => Self::add(path, value),
            Edit::Remove { path } => Self::remove(path),
            Edit::Replace { path, value } => Self::replace(path, value),
            Edit::Move { from, path } => Self::move_to(from, path),
            Edit::Copy { from, path } => Self::copy_to(from, path),
            Edit::Test { path, value } => Self::test(path, value),
        }
    }
}

struct Tagger {
    settings: Settings,
}

impl Plugin for Tagger {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    fn describe(&self) -> Manifest {
        let Settings {
            kinds,
            path,
            lacks,
            remembers,
            ..
        } = self.settings.clone();
        let mut guard = Guard::new();
        if let Some(kinds) = kinds {
            guard = guard.kinds(kinds);
        }
        if let Some(path) = path {
            guard = guard.path(path);
        }
        let request = guard.clone();
        if let Some(lacks) = lacks {
            guard = guard.lacks(lacks);
        }
        guard = match remembers.as_deref() {
            Some("target") => guard.remembers_target(),
            Some("conversation") => guard.remembers_conversation(),
            _ => guard,
        };
        let manifest = Manifest::new("edits as the settings say")
            .request(request)
            .attempt(guard);
        match self.settings.by_conversation {
            true => manifest.reload(Reload::Conversation),
            false => manifest,
        }
    }
}

impl RequestHook for Tagger {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        if self.settings.remember && !request.header("x-remember").is_empty() {
            kv::set(&request.conversation(), b"1", Duration::from_secs(60))?;
        }
        match self.settings.r#in.as_deref() {
            Some("request") => act(self.settings.clone(), request, None),
            _ => Ok(Verdict::Proceed),
        }
    }
}

impl AttemptHook for Tagger {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let settings = self.settings.clone();
        let elsewhere = settings.r#in.as_deref().unwrap_or("attempt") != "attempt";
        if elsewhere
            || settings
                .only_attempt
                .is_some_and(|only| only != target.attempt())
        {
            return Ok(Verdict::Proceed);
        }
        act(settings, request, Some(target))
    }
}

fn act(
    settings: Settings,
    request: &mut Request,
    target: Option<&Target>,
) -> Result<Verdict, Error> {
    if let Some(path) = settings.echo {
        for node in request.read(&path)? {
            log::info(format!("{} {}", node.pointer, node.value));
        }
    }
    for path in settings.remove_all {
        request.remove_all(&path)?;
    }
    if !settings.patch.is_empty() {
        request.patch(settings.patch.into_iter().map(Operation::from))?;
    }
    for (name, values) in settings.headers {
        request.set_header(&name, values)?;
    }
    if let Some(path) = settings.send_to {
        request.set_path(&path)?;
    }
    if settings.show {
        show(request, target)?;
    }
    if let Some(key) = settings.count {
        let sum = kv::increment(&key, 1, Duration::from_secs(60))?;
        request.set_header("x-tagger-count", [sum.to_string()])?;
    }
    if let Some(body) = settings.answer {
        let answer = Answer::new(body).header("x-tagger", "answered");
        return Ok(answer.note("tagged").into());
    }
    Ok(settings.refuse.map_or(Verdict::Proceed, refusal))
}

fn show(request: &mut Request, target: Option<&Target>) -> Result<(), EditError> {
    let mut seen = format!(
        "{} {} {}?{} session={} conversation={} key={}",
        request.kind(),
        request.method(),
        request.path(),
        request.query(),
        request.session().unwrap_or_default(),
        request.conversation(),
        request.header("x-api-key").len() + request.header("authorization").len(),
    );
    if let Some(target) = target {
        seen.push_str(&format!(
            " upstream={} dialect={} account={} model={} asked={} attempt={}",
            target.upstream(),
            target.dialect(),
            target.account().unwrap_or_default(),
            target.mapped_model(),
            target.requested_model(),
            target.attempt(),
        ));
    }
    request.set_header("x-tagger", [seen])
}

fn refusal(refuse: Refuse) -> Verdict {
    let mut refusal = Refusal::new(refuse.status, refuse.r#type, refuse.message);
    if let Some(details) = refuse.details {
        refusal = refusal.details(details);
    }
    if refuse.try_next {
        refusal = refusal.try_next();
    }
    refusal.into()
}

export!(Tagger: RequestHook, AttemptHook);

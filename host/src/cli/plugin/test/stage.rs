//! The gateway that the exchanges of cases run through: one for each target and settings.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};

use super::{
    Outcome, Subject,
    case::{self, Case, Scripted},
    cut,
    message::Message,
    outcome::Sent,
};
use crate::{
    cli::{Code, Failure},
    kit::{self, Answer, Exchange, Kit, Setup, SetupError, Target},
    pipeline::{PluginInfo, Step},
};

/// The gateways that were started, by target and settings.
pub(super) struct Stages<'a> {
    subject: &'a Subject,
    started: BTreeMap<String, Stage>,
}

/// A gateway with the tested plugin, and its upstream.
pub(super) struct Stage {
    kit: Kit,
    plugin: String,
    /// Whether the upstream speaks the Messages API.
    pub(super) is_plain: bool,
}

impl<'a> Stages<'a> {
    pub(super) fn new(subject: &'a Subject) -> Self {
        Self {
            subject,
            started: BTreeMap::new(),
        }
    }

    /// The exchange of a case, and the gateway for it, which remembers nothing. The inner error
    /// says why the case cannot be read.
    pub(super) fn of(
        &mut self,
        case: &Case,
    ) -> Result<Result<(Exchange, &mut Stage), String>, Failure> {
        let read = || -> Result<_, String> {
            let target = case.text("target.txt")?.unwrap_or_default();
            let settings = case
                .json("settings.json")?
                .unwrap_or_else(|| Map::new().into());
            let Value::Object(settings) = settings else {
                return Err("settings.json: expected an object".to_owned());
            };
            Ok((exchange(case)?, target.trim().to_owned(), settings))
        };
        let (exchange, target, settings) = match read() {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let target = match self.target(&target) {
            Ok(target) => target,
            Err(why) => return Ok(Err(format!("target.txt: {why}"))),
        };
        let stage = self.start(target, settings)?;
        Ok(Ok((exchange, stage)))
    }

    /// The target in a text. Without one it speaks the dialect that the plugin is named after.
    pub(super) fn target(&self, text: &str) -> Result<Target, String> {
        let mut target = Target::parse(text)?;
        let dialect = self.subject.name.as_str().strip_prefix("dialect-");
        if let Some(dialect) = dialect
            && target.dialect.is_none()
            && target.preset.is_none()
        {
            target.dialect = Some(dialect.to_owned());
        }
        Ok(target)
    }

    /// A gateway for this target and these settings that remembers nothing.
    pub(super) fn start(
        &mut self,
        target: Target,
        settings: Map<String, Value>,
    ) -> Result<&mut Stage, Failure> {
        let stage = self.get(&target, &settings)?;
        stage.forget();
        Ok(stage)
    }

    /// The gateway for this target and these settings, with what it remembers.
    pub(super) fn get(
        &mut self,
        target: &Target,
        settings: &Map<String, Value>,
    ) -> Result<&mut Stage, Failure> {
        let key = format!("{target:?} {settings:?}");
        Ok(match self.started.entry(key) {
            Entry::Occupied(started) => started.into_mut(),
            Entry::Vacant(place) => place.insert(Stage::start(
                self.subject,
                target.clone(),
                settings.clone(),
            )?),
        })
    }
}

impl Stage {
    fn start(
        subject: &Subject,
        target: Target,
        settings: Map<String, Value>,
    ) -> Result<Self, Failure> {
        let is_plain = target.is_anthropic();
        let plugin = subject.name.to_string();
        let setup = Setup {
            plugins: subject.file.iter().cloned().collect(),
            with_builtins: true,
            settings: BTreeMap::from([(plugin.clone(), settings)]),
            target,
            cached: true,
        };
        let kit = Kit::new(&setup).map_err(|error| {
            let code = match &error {
                SetupError::Target(_) => Code::Arguments,
                SetupError::Plugins(_) => Code::Plugin,
                SetupError::Failed(_) => Code::Other,
            };
            Failure::new(code, error)
        })?;
        Ok(Self {
            kit,
            plugin,
            is_plain,
        })
    }

    /// Forgets what earlier exchanges left.
    pub(super) fn forget(&mut self) {
        self.kit.restart();
    }

    pub(super) fn run(&mut self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let done = self.kit.run(exchange)?;
        Ok(outcome(done, &self.plugin))
    }

    /// Runs an exchange whose client leaves after this many bytes of the response.
    pub(super) fn leave(&mut self, exchange: &Exchange, after: usize) -> Result<(), Failure> {
        Ok(self.kit.leave(exchange, after)?)
    }

    /// What the guards of the tested plugin name.
    pub(super) fn guards(&self) -> Words {
        let mut words = Words::default();
        let list = self.kit.list().into_iter();
        for plugin in list.filter(|plugin| plugin.name.as_str() == self.plugin) {
            words.add(&plugin);
        }
        words
    }

    /// Everything that a target can lack, by the guards of all plugins.
    pub(super) fn all_lacks(&self) -> BTreeSet<String> {
        let mut words = Words::default();
        for plugin in self.kit.list() {
            words.add(&plugin);
        }
        words.lacks
    }

    /// Runs an exchange again with its last answer cut after every event and at about `most` other
    /// places, if that is a stream. Returns the number of places, or why what the client got is
    /// wrong.
    pub(super) fn cut(
        &mut self,
        exchange: &Exchange,
        whole: &Outcome,
        most: usize,
    ) -> Result<Result<usize, String>, Failure> {
        let Some(last) = exchange.answers.last().filter(|last| is_stream(last)) else {
            return Ok(Ok(0));
        };
        let (last, stream, whole) = (last.clone(), last.body(), whole.message());
        let places = cut::places(&stream, most);
        for place in &places {
            let mut cut = exchange.clone();
            if let Some(answer) = cut.answers.last_mut() {
                *answer = last.cut_at(*place);
            }
            self.forget();
            let outcome = self.run(&cut)?;
            let received = String::from_utf8_lossy(&stream[..*place]);
            let received = self.is_plain.then(|| Message::of_stream(&received));
            if let Some(flaw) = flaw(&outcome, &whole, received.as_ref()) {
                let text = outcome.text();
                let what = format!(
                    "cut after {place} bytes of the upstream's answer: {flaw}\nthe client gets:\n{text}"
                );
                return Ok(Err(what));
            }
        }
        Ok(Ok(places.len()))
    }
}

/// What guards name.
#[derive(Default)]
pub(super) struct Words {
    pub(super) lacks: BTreeSet<String>,
    pub(super) dialects: BTreeSet<String>,
}

impl Words {
    /// Adds what the guards of a plugin name.
    fn add(&mut self, plugin: &PluginInfo) {
        // By hook.
        let guards: Value = serde_json::from_str(&plugin.guards).unwrap_or_default();
        let alternatives = guards.as_object().into_iter().flat_map(Map::values);
        for guard in alternatives.filter_map(Value::as_array).flatten() {
            for (key, words) in [("lacks", &mut self.lacks), ("dialects", &mut self.dialects)] {
                let named = guard[key].as_array().into_iter().flatten();
                words.extend(named.filter_map(|word| word.as_str().map(str::to_owned)));
            }
        }
    }
}

pub(super) fn wrong_target(why: String) -> Failure {
    Failure::new(Code::Arguments, format!("target.txt: {why}"))
}

/// Why an outcome is wrong for an exchange whose answer was cut.
fn flaw(outcome: &Outcome, whole: &Message, received: Option<&Message>) -> Option<String> {
    if let Some(failure) = outcome.failures.first() {
        return Some(format!("the plugin fails: {failure}"));
    }
    let message = outcome.message();
    let is_silent = outcome.is_stream() && !message.complete && message.error.is_none();
    if is_silent && outcome.whole {
        return Some("the stream ends without an error".to_owned());
    }
    cut::flaw(&message, whole, received)
}

fn is_stream(answer: &Answer) -> bool {
    let kind = answer.headers.get(http::header::CONTENT_TYPE);
    answer.status == StatusCode::OK
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The exchange of a case.
fn exchange(case: &Case) -> Result<Exchange, String> {
    let kind = case.text("kind.txt")?;
    let path = match kind.as_deref().map(str::trim) {
        None => "/v1/messages",
        Some("count_tokens") => "/v1/messages/count_tokens",
        Some("models") => "/v1/models",
        Some(other) => {
            let expected = "expected `count_tokens` or `models`";
            return Err(format!("kind.txt: got `{other}`, {expected}"));
        }
    };
    let mut headers = HeaderMap::new();
    for line in case
        .text("request.headers.txt")?
        .unwrap_or_default()
        .lines()
    {
        let (name, value) = header(line)
            .ok_or_else(|| format!("request.headers.txt: `{line}` is not `name: value`"))?;
        headers.append(name, value);
    }
    let answers = case
        .answers()?
        .into_iter()
        .map(answer)
        .collect::<Result<_, _>>()?;
    let body = case.text("request.json")?.unwrap_or_default();
    let method = match path {
        "/v1/models" => Method::GET,
        _ => Method::POST,
    };
    Ok(Exchange {
        method,
        path: path.to_owned(),
        headers,
        answers,
        ..Exchange::of(body)
    })
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = case::header(line)?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

pub(super) fn answer(scripted: Scripted) -> Result<Answer, String> {
    let mut answer = Answer::of(scripted.body);
    answer.status = StatusCode::from_u16(scripted.status)
        .map_err(|_| format!("{} is not a status", scripted.status))?;
    answer.headers.clear();
    for (name, value) in &scripted.headers {
        let (name, value) = header(&format!("{name}: {value}"))
            .ok_or_else(|| format!("`{name}: {value}` is not a header"))?;
        answer.headers.append(name, value);
    }
    Ok(answer)
}

/// What matters of a result of the kit.
fn outcome(done: kit::Outcome, plugin: &str) -> Outcome {
    let steps = done.trace.steps.iter().filter(|step| step.plugin == plugin);
    let failures = steps.filter_map(|step| Some(format!("{} (in {})", step.failure()?, step.hook)));
    let failures = failures.collect();
    let corrects = |step: &Step| {
        let call = step.call.as_ref().filter(|_| step.plugin == plugin);
        call.is_some_and(|call| !call.corrections.is_empty())
    };
    let corrected = done.trace.steps.iter().any(corrects);
    let notes = done.trace.end.iter().flat_map(|end| &end.notes);
    let notes = notes.filter(|(by, _)| by == plugin);
    Outcome {
        notes: notes.map(|(_, note)| note.clone()).collect(),
        failures,
        corrected,
        plugin: plugin.to_owned(),
        sent: done.sent.into_iter().map(sent).collect(),
        status: done.reply.status.as_u16(),
        headers: done.reply.headers,
        body: done.reply.body,
        whole: done.reply.complete,
    }
}

fn sent(sent: kit::Sent) -> Sent {
    Sent {
        path: sent.path,
        headers: sent.headers,
        body: Bytes::clone(&sent.body),
    }
}

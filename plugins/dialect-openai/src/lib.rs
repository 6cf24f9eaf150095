//! Lets upstreams that speak OpenAI's chat completions answer Messages requests.
//!
//! Servers that speak it differ in what they take and in how they answer: what can be told from an answer is taken as it
//! comes, what cannot is a setting, and what an upstream refuses is learnt and tried the other way.

mod answer;
mod failure;
mod models;
mod names;
mod request;
mod settings;

use std::time::{Duration, SystemTime};

use serde_json::json;
use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Plugin,
    Refusal, Request, Response, ResponseHook, Retry, Target, Verdict, dialect::Asked, export, kv,
    log,
};

use answer::{Answer, Around};
use failure::{Learned, Meaning, Next, Room, Said, Used};
use names::Names;
use request::Wanted;
use settings::{Options, Reasoning, Settings};

const DIALECT: &str = "openai";

/// Texts with more bytes than this stay with the gateway. Names and ids have less.
const LONGEST: u32 = 1_024;

/// How long is remembered what an upstream refuses. It may be taught better.
const LEARNT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long an account without money rests: until somebody has paid.
const SPENT_FOR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct DialectOpenai {
    answer: Answer,
    names: Names,
    stop_sequences: Vec<String>,
    hides_thinking: bool,
    used: Used,
    /// What the attempt before told of the room for an answer.
    room: Option<u64>,
    /// An error in place of a stream's first event, which the failure hook hears of.
    failed: Option<answer::Failed>,
}

impl Plugin for DialectOpenai {
    fn describe() -> Result<Manifest, Error> {
        Settings::read(witgate_plugin::settings()?)?;
        let guard = || Guard::new().kinds(["messages", "count_tokens", "models"]);
        Ok(
            Manifest::new("translates to OpenAI's chat completions and back")
                .dialect(DIALECT)
                .attempt(guard())
                .failure(guard())
                .response(guard()),
        )
    }
}

impl AttemptHook for DialectOpenai {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        match request.kind().as_str() {
            "models" => {
                request.set_path("/models")?;
                Ok(Verdict::proceed())
            }
            "count_tokens" => Ok(Verdict::refuse(Refusal::invalid_request(
                "capability_rejected: count_tokens (a server of chat completions does not count; the plugin `estimate-tokens` does, where the upstream `lacks` it)",
            ))),
            _ => self.messages(request, target),
        }
    }
}

impl DialectOpenai {
    fn messages(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let learned = recall(target)?;
        let mut options = options(target)?;
        learned.apply(&mut options);
        let wanted = Wanted {
            model: target.model(),
            session: request.session(),
            options: &options,
            learned: &learned,
            room: self.room.take(),
        };
        let (outline, asked) = Asked::read(request, LONGEST)?;
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Verdict::refuse(refusal)),
        };
        // A thought that the upstream wants to read again must have been seen.
        self.hides_thinking = !asked.shows_thinking && options.reasoning == Reasoning::None;
        self.stop_sequences.clone_from(&asked.stop_sequences);
        let translated = match request::translate(asked, &outline, &wanted) {
            Ok(translated) => translated,
            Err(refusal) => return Ok(Verdict::refuse(refusal)),
        };
        request.rewrite(serde_json::to_string(&translated.body)?)?;
        request.set_path("/chat/completions")?;
        if let Some(note) = translated.note {
            request.note(&note);
        }
        self.answer = Answer::default();
        self.names = translated.names;
        self.used = translated.used;
        Ok(Verdict::proceed())
    }
}

impl FailureHook for DialectOpenai {
    fn on_failure(
        &mut self,
        _: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let upstream = target.upstream();
        let (said, meaning) = match self.failed.take() {
            Some(failed) => (failed.said, failed.meaning),
            None if failure.status() == 0 => return Ok(()),
            None => {
                let Some(said) = Said::parse(&failure.body()) else {
                    return Ok(());
                };
                let meaning = failure::meaning(Some(failure.status()), &said, &upstream);
                (said, meaning)
            }
        };
        if failure.status() != meaning.status {
            failure.set_status(meaning.status)?;
        }
        failure.set_kind(meaning.kind)?;
        tell(failure, meaning.kind, &meaning.message)?;
        self.learn(&said, &meaning, target, failure)?;
        rest(&said, &meaning, failure)
    }
}

impl DialectOpenai {
    /// Asks for another attempt where the refusal tells how to do it better.
    fn learn(
        &mut self,
        said: &Said,
        meaning: &Meaning,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        if !matches!(meaning.status, 400 | 422 | 500) {
            return Ok(());
        }
        if let Some(Room { asked, left }) = failure::room(said, &self.used) {
            // In the upstream's words it would look like a prompt that is too long.
            let message = format!(
                "max_tokens: {asked} > {left}, which is what the prompt leaves of the model's context (`max_output` in the settings of `dialect-openai` limits it)"
            );
            tell(failure, meaning.kind, &message)?;
            self.room = Some(left);
            failure.set_retry(Retry::Same, Duration::ZERO)?;
            return Ok(());
        }
        let mut learned = recall(target)?;
        if learned.take(said, &self.used) {
            log::info(format!(
                "`{}` refused `{}` something that can be said otherwise: trying again",
                target.upstream(),
                target.model()
            ));
            kv::set(&key(target), serde_json::to_vec(&learned)?, LEARNT_FOR)?;
            failure.set_retry(Retry::Same, Duration::ZERO)?;
        }
        Ok(())
    }

    fn around<T>(
        &mut self,
        response: &Response,
        act: impl FnOnce(&mut Answer, &Around<'_>) -> T,
    ) -> T {
        let around = Around {
            id: &response.id(),
            model: &response.asked_model(),
            upstream: &response.upstream(),
            names: &self.names,
            stop_sequences: &self.stop_sequences,
            hides_thinking: self.hides_thinking,
        };
        act(&mut self.answer, &around)
    }
}

impl ResponseHook for DialectOpenai {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let events = self.around(response, |answer, around| answer.take(&event, around));
        if let Some(failed) = self.answer.failed() {
            self.failed = Some(failed);
        }
        if let Some(note) = self.answer.note() {
            response.note(&note);
        }
        Ok(match events.is_empty() {
            true => EventVerdict::Discard,
            false => EventVerdict::Replace(events),
        })
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let complete = response.complete();
        let events = self.around(response, |answer, around| answer.finish(complete, around));
        if let Some(note) = self.answer.note() {
            response.note(&note);
        }
        Ok(events)
    }

    fn on_body(&mut self, _: &mut Response, body: String) -> Result<Option<String>, Error> {
        Ok(Some(models::models(&body)?.to_string()))
    }
}

/// Lets an account rest that has no money, or for as long as it is told to.
fn rest(said: &Said, meaning: &Meaning, failure: &mut Failure) -> Result<(), Error> {
    match meaning.next {
        Next::AsEver if meaning.status == 429 => {
            let header = |name: &str| {
                let behind = said.headers.iter().find(|(own, _)| own == name);
                let own = failure.header(name).into_iter().next();
                own.or_else(|| behind.map(|(_, value)| value.clone()))
            };
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            if let Some(wait) = failure::wait(header, &said.message, now) {
                failure.set_rest(wait)?;
            }
        }
        Next::AsEver => {}
        Next::Spent => {
            failure.set_rest(SPENT_FOR)?;
            failure.set_retry(Retry::Other, Duration::ZERO)?;
        }
        Next::Other => failure.set_retry(Retry::Other, Duration::ZERO)?,
    }
    Ok(())
}

fn tell(failure: &mut Failure, kind: &str, message: &str) -> Result<(), Error> {
    let error = json!({ "type": kind, "message": message });
    Ok(failure.set_body(json!({ "type": "error", "error": error }))?)
}

fn options(target: &Target) -> Result<Options, Error> {
    Ok(Settings::read(witgate_plugin::settings()?)?.of(&target.upstream()))
}

/// What this upstream was found out to want for this model.
fn recall(target: &Target) -> Result<Learned, Error> {
    let learned = kv::get(&key(target))?;
    // Nothing readable is as good as nothing.
    Ok(learned
        .and_then(|learned| serde_json::from_slice(&learned).ok())
        .unwrap_or_default())
}

fn key(target: &Target) -> String {
    format!("{} {}", target.upstream(), target.model())
}

export!(DialectOpenai: AttemptHook, FailureHook, ResponseHook);

#[cfg(test)]
mod tests;

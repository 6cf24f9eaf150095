//! The `openai` dialect: translates between the Messages API and OpenAI's chat completions.
//!
//! Servers differ in what they accept and in how they respond. Differences in responses are
//! detected, differences in requests are settings, and the plugin learns from what an upstream
//! rejects and retries with the alternative.

mod answer;
mod failure;
mod ids;
mod models;
mod names;
mod request;
mod settings;
mod state;

use std::time::Duration;

use witgate_plugin::{
    Answer as Local, AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard,
    Manifest, Plugin, Refusal, Request, Response, ResponseHook, RetryTarget, Target, Value,
    Verdict,
    dialect::{ClientRequest, Thinking},
    export, json, kv, learned, log,
    serde_json::Map,
};

use answer::{Answer, Context, Schemas};
use failure::{Capabilities, Correction, Failed, Used, apply};
use ids::CallIds;
use names::Names;
use request::Wanted;
use settings::{Settings, Thoughts};

const DIALECT: &str = "openai";

/// Texts with more bytes than this stay in the gateway. Names and ids are shorter.
const LONGEST: u32 = 1_024;

/// How long the store keeps what an upstream wants back with a call. A conversation that goes on
/// after a longer time is rare.
const CALL_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long the plugin remembers that a model requires signatures.
const SIGNATURES_KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
struct DialectOpenai {
    settings: Settings,
    answer: Answer,
    names: Names,
    ids: CallIds,
    /// The upstream rejects calls without a signature.
    requires_signatures: bool,
    schemas: Schemas,
    stop_sequences: Vec<String>,
    hides_thinking: bool,
    /// The client asked for thinking.
    asks_thinking: bool,
    used: Used,
    /// What the next attempt does differently, learned from the previous one.
    correction: Option<Correction>,
    /// An error received instead of a stream's first event, for the failure hook.
    failed: Option<Failed>,
}

impl Plugin for DialectOpenai {
    type Settings = Map<String, Value>;

    fn new(settings: Map<String, Value>) -> Result<Self, Error> {
        Ok(Self {
            settings: Settings::read(settings)?,
            ..Self::default()
        })
    }

    fn describe(&self) -> Manifest {
        let guard = || Guard::new().kinds(["messages", "count_tokens", "models"]);
        Manifest::new("translates between the Messages API and OpenAI's chat completions")
            .dialect(DIALECT)
            .attempt(guard())
            .failure(guard())
            .response(guard())
    }
}

impl AttemptHook for DialectOpenai {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        match request.kind().as_str() {
            "models" => {
                request.set_path("/models")?;
                Ok(Verdict::Proceed)
            }
            "count_tokens" => Ok(Refusal::invalid_request(
                "capability_rejected: count_tokens (chat completions servers do not count tokens; add `count_tokens` to the upstream's `lacks` and the plugin `estimate-tokens` answers)",
            )
            .into()),
            _ => self.messages(request, target),
        }
    }
}

/// The store's key for a model that rejects calls without a signature.
fn signature_key(target: &Target) -> String {
    let hash = names::hash(&[&target.upstream(), &target.mapped_model()]);
    format!("signature {hash:016x}")
}

impl DialectOpenai {
    fn messages(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let room = match self.correction.take() {
            Some(Correction::Truncated) => {
                return Ok(truncated(&request.id(), &target.requested_model()).into());
            }
            Some(Correction::MaxTokens(room)) => Some(room),
            None => None,
        };
        let capabilities: Capabilities = learned::recall(target)?;
        let mut options = self.settings.of(&target.upstream(), &target.mapped_model());
        capabilities.apply(&mut options);
        let (outline, asked) = ClientRequest::read(request, LONGEST)?;
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refusal.into()),
        };
        self.ids = CallIds::read(&asked.messages, &target.upstream(), kv::get)?;
        self.requires_signatures |= kv::get(&signature_key(target))?.is_some();
        if self.requires_signatures {
            self.ids.sign(&asked.messages);
        }
        self.schemas = Schemas::of(&asked.tools);
        let wanted = Wanted {
            model: target.mapped_model(),
            session: request.session(),
            options: &options,
            capabilities: &capabilities,
            ids: &self.ids,
            room,
            breakpoints: !target.lacks("cache_control"),
        };
        // Thinking that must be sent back to the upstream has to reach the client first.
        self.hides_thinking = !asked.shows_thinking && options.reasoning == Thoughts::Nowhere;
        self.asks_thinking = matches!(
            asked.thinking,
            Thinking::Adaptive | Thinking::Enabled { .. }
        );
        self.stop_sequences.clone_from(&asked.stop_sequences);
        let translated = match request::translate(asked, &outline, &wanted) {
            Ok(translated) => translated,
            Err(refusal) => return Ok(refusal.into()),
        };
        request.rewrite(serde_json::to_string(&translated.body)?)?;
        request.set_path("/chat/completions")?;
        if let Some(note) = translated.note {
            request.note(&note);
        }
        if self.ids.forgotten {
            request.note("left out: state of earlier messages that the store has forgotten");
        }
        self.answer = Answer::new(options.think_tags);
        self.names = translated.names;
        self.used = translated.used;
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for DialectOpenai {
    fn on_failure(
        &mut self,
        _: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let failed = match self.failed.take() {
            None => apply::read(failure, &target.upstream()),
            in_stream => in_stream,
        };
        let Some(failed) = failed else {
            return Ok(());
        };
        apply::set_error(failure, &failed.classified)?;
        apply::set_cooldown(failure, &failed)?;
        let lacks_signature = ids::lacks_signature(&failed.reported.message);
        if lacks_signature && !std::mem::replace(&mut self.requires_signatures, true) {
            kv::set(&signature_key(target), "1", SIGNATURES_KNOWN_FOR)?;
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
            return Ok(());
        }
        let options = self.settings.of(&target.upstream(), &target.mapped_model());
        self.correction = apply::correct(failure, &failed, &self.used, target, &options)?;
        Ok(())
    }
}

impl DialectOpenai {
    /// Translates a part of the response, and acts on what it leads to.
    fn translate(
        &mut self,
        response: &mut Response,
        part: impl FnOnce(&mut Answer, &Context<'_>) -> Vec<Event>,
    ) -> Vec<Event> {
        let context = Context {
            id: &response.id(),
            model: &response.requested_model(),
            upstream: &response.upstream(),
            names: &self.names,
            ids: &self.ids,
            schemas: &self.schemas,
            stop_sequences: &self.stop_sequences,
            hides_thinking: self.hides_thinking,
            asks_thinking: self.asks_thinking,
        };
        let events = part(&mut self.answer, &context);
        if let Some(failed) = self.answer.failed() {
            self.failed = Some(failed);
        }
        for (id, stored) in self.answer.stored() {
            if let Err(error) = kv::set(&id, stored, CALL_KEPT_FOR) {
                log::warn(format!("cannot store what a message needs later: {error}"));
            }
        }
        if let Some(note) = self.answer.note() {
            response.note(&note);
        }
        events
    }
}

impl ResponseHook for DialectOpenai {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let events = self.translate(response, |answer, context| answer.take(&event, context));
        Ok(match events.is_empty() {
            true => EventVerdict::Discard,
            false => EventVerdict::Replace(events),
        })
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let complete = response.complete();
        Ok(self.translate(response, |answer, context| answer.finish(complete, context)))
    }

    fn on_body(&mut self, _: &mut Response, body: String) -> Result<Option<String>, Error> {
        Ok(Some(models::models(&body)?.to_string()))
    }
}

/// The message for a response that reached its limit before its first word.
fn truncated(exchange: &str, model: &str) -> Local {
    let usage = json!({ "input_tokens": 0, "output_tokens": 0 });
    let message = json!({
        "id": format!("msg_{exchange}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "max_tokens",
        "stop_sequence": null,
        "usage": usage,
    });
    Local::new(message).note("the response reached max_tokens before its first word")
}

export!(DialectOpenai: AttemptHook, FailureHook, ResponseHook);

#[cfg(test)]
mod tests;

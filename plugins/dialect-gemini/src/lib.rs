//! The `gemini` dialect: translates between the Messages API and the Gemini API.
//!
//! The request is rebuilt from its outline, so long texts never enter the plugin. Chunks become
//! events one by one. The last two, with the final counts, follow when the stream ends normally.

mod answer;
mod dropped;
mod error;
mod lists;
mod model;
mod names;
mod request;
mod schema;
mod settings;

use std::time::Duration;

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Plugin,
    Refusal, Request, Response, ResponseHook, RetryTarget, Target, Verdict, dialect::ClientRequest,
    export, log,
};

use self::{
    answer::{About, Answer},
    error::{Signature, UpstreamError},
    model::Model,
    names::Names,
    request::{Destination, Signatures},
    settings::Settings,
};

const KINDS: [&str; 3] = ["messages", "count_tokens", "models"];

/// Longer texts stay in the gateway. Image URLs and Claude Code's billing line, which the plugin
/// reads, are shorter.
const LONGEST: u32 = 256;

#[derive(Default)]
struct DialectGemini {
    settings: Settings,
    /// The client's names of the functions that the current attempt declares.
    names: Names,
    answer: Answer,
    /// What the upstream reported about signatures. Each is a reason for one retry per exchange.
    signatures: Signatures,
    kind: String,
}

impl Plugin for DialectGemini {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            ..Self::default()
        })
    }

    fn describe(&self) -> Manifest {
        let guard = || Guard::new().kinds(KINDS);
        Manifest::new("translates between the Messages API and the Gemini API")
            .dialect("gemini")
            .attempt(guard())
            .failure(guard())
            .response(guard())
    }
}

impl AttemptHook for DialectGemini {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        self.answer = Answer::default();
        self.kind = request.kind();
        if self.kind == "models" {
            if self.settings.is_vertex(&target.upstream()) {
                return Ok(no_list().into());
            }
            request.set_path("/models?pageSize=1000")?;
            return Ok(Verdict::Proceed);
        }
        match self.translate(request, target)? {
            Ok(()) => Ok(Verdict::Proceed),
            Err(refusal) => Ok(refusal.into()),
        }
    }
}

impl DialectGemini {
    fn translate(
        &mut self,
        request: &mut Request,
        target: &Target,
    ) -> Result<Result<(), Refusal>, Error> {
        let (outline, asked) = ClientRequest::read(request, LONGEST)?;
        let model = target.mapped_model();
        let path = in_path(&model);
        let to = Destination {
            model: Model::named(&model),
            path: &path,
            vertex: self.settings.is_vertex(&target.upstream()),
            signatures: self.signatures,
        };
        let (translated, method) = if self.kind == "count_tokens" {
            let translated = asked.and_then(|mut asked| request::count(&mut asked, &outline, to));
            (translated, "countTokens")
        } else {
            let translated = asked
                .and_then(|mut asked| request::message(&mut asked, &outline, to, &self.settings));
            (translated, "streamGenerateContent?alt=sse")
        };
        let translated = match translated {
            Ok(translated) => translated,
            Err(refusal) => return Ok(Err(refusal)),
        };
        request.rewrite(translated.body)?;
        request.set_path(&format!("/{path}:{method}"))?;
        if let Some(note) = translated.note {
            request.note(&note);
        }
        self.names = translated.names;
        Ok(Ok(()))
    }
}

impl FailureHook for DialectGemini {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        let read = UpstreamError::read(failure.status(), &failure.body());
        // An error within a stream is translated already.
        let in_stream = self.answer.error.take();
        let Some(error) = in_stream.or(read) else {
            return Ok(());
        };
        failure.set_body(error.body())?;
        failure.set_error_type(error.kind)?;
        failure.set_status(error.status)?;
        if let Some(cooldown) = error.cooldown {
            failure.set_cooldown(cooldown);
        }
        let known = match error.signature {
            Some(Signature::Missing) => &mut self.signatures.required,
            Some(Signature::Rejected) => &mut self.signatures.rejected,
            None => return Ok(()),
        };
        if !std::mem::replace(known, true) {
            log::info(
                "the upstream rejected the signatures; retrying once with the documented placeholder",
            );
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        }
        Ok(())
    }
}

impl ResponseHook for DialectGemini {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let (exchange, model) = (response.id(), response.requested_model());
        let about = About {
            names: &self.names,
            exchange: &exchange,
            model: &model,
        };
        let events = self.answer.event(&event.data, about);
        Ok(if events.is_empty() {
            EventVerdict::Discard
        } else {
            EventVerdict::Replace(events)
        })
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let events = self.answer.end(response.complete());
        if let Some(note) = self.answer.note() {
            response.note(&note);
        }
        Ok(events)
    }

    fn on_body(&mut self, _: &mut Response, body: String) -> Result<Option<String>, Error> {
        match self.kind.as_str() {
            "count_tokens" => lists::count(&body).map(Some),
            "models" => lists::models(&body).map(Some),
            _ => Ok(None),
        }
    }
}

/// The path of a model: below `models/`, unless its name contains the collection.
fn in_path(model: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@".contains(&byte);
    let mut path = String::from(
        if model.starts_with("models/") || model.starts_with("tunedModels/") {
            ""
        } else {
            "models/"
        },
    );
    for byte in model.bytes() {
        if is_plain(byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn no_list() -> Refusal {
    Refusal::new(
        404,
        "not_found_error",
        "vertex does not list its models; name them with `models` in the upstream's configuration",
    )
}

export!(DialectGemini: AttemptHook, FailureHook, ResponseHook);

#[cfg(test)]
mod tests;

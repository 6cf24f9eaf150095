//! The `gemini` dialect: translates between the Messages API and the Gemini API.
//!
//! The request is rebuilt from its outline, so long texts never enter the plugin. Chunks become
//! events one by one. The last two, with the final counts, follow when the stream ends normally.

mod answer;
mod dropped;
mod error;
mod learned;
mod lists;
mod model;
mod names;
mod request;
mod schema;
mod settings;
mod signatures;

use std::{collections::HashSet, time::Duration};

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Plugin,
    Refusal, Request, Response, ResponseHook, RetryTarget, Target, Verdict,
    dialect::{Block, ClientRequest, Thinking},
    export,
    learned::{learn, recall},
    log,
};

use self::{
    answer::{About, Answer},
    error::UpstreamError,
    learned::Learned,
    model::Model,
    names::Names,
    request::Destination,
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
    /// Whether the upstream rejected a signature. That is a reason for one retry per exchange.
    rejected_signatures: bool,
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
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (upstream, model) = (target.upstream(), target.mapped_model());
        let Some(path) = in_path(&model) else {
            return Ok(Err(no_model(&model)));
        };
        signatures::remove_rejected(&upstream, request, &mut asked)?;
        self.answer = Answer::new(call_ids(&asked), thinks(&asked));
        let learned: Learned = recall(target)?;
        let to = Destination {
            model: Model::named(&model),
            name: &model,
            path: &path,
            vertex: learned.vertex || self.settings.is_vertex(&upstream),
            learned: &learned,
            rejected_signatures: self.rejected_signatures,
        };
        let (translated, method) = if self.kind == "count_tokens" {
            (request::count(&mut asked, &outline, to), "countTokens")
        } else {
            (
                request::message(&mut asked, &outline, to, &self.settings),
                "streamGenerateContent?alt=sse",
            )
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
        if translated.searches {
            self.answer.expect_search();
        }
        Ok(Ok(()))
    }
}

impl FailureHook for DialectGemini {
    fn on_failure(
        &mut self,
        request: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
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
        if error.other_account {
            failure.set_retry(RetryTarget::OtherAccount, Duration::ZERO);
        } else {
            self.learn(failure, &error, request, target)?;
        }
        Ok(())
    }
}

impl DialectGemini {
    /// Takes in what an error says about the model or the signatures. If it is new, the next
    /// attempt is a different one.
    fn learn(
        &mut self,
        failure: &mut Failure,
        error: &UpstreamError,
        request: &Request,
        target: &Target,
    ) -> Result<(), Error> {
        if let Some((kind, lesson)) = error.lesson {
            learn(failure, target, kind, |known: &mut Learned| {
                known.take(lesson);
            })?;
        } else if error.rejects_signature && !std::mem::replace(&mut self.rejected_signatures, true)
        {
            let upstream = target.upstream();
            signatures::rejected(&upstream, request)?;
            log::info(format!(
                "`{upstream}` rejected a signature; retrying once with the documented placeholder"
            ));
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
        for signature in self.answer.take_signatures() {
            signatures::made(&response.upstream(), &signature)?;
        }
        Ok(if events.is_empty() {
            EventVerdict::Discard
        } else {
            EventVerdict::Replace(events)
        })
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let (exchange, model) = (response.id(), response.requested_model());
        let about = About {
            names: &self.names,
            exchange: &exchange,
            model: &model,
        };
        let events = self.answer.end(response.complete(), about);
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

/// The ids of the calls in the conversation.
fn call_ids(asked: &ClientRequest) -> HashSet<String> {
    let blocks = asked.messages.iter().flat_map(|message| &message.content);
    let ids = blocks.filter_map(|block| match block {
        Block::ToolUse(call) => Some(call.id.clone()),
        _ => None,
    });
    ids.collect()
}

fn thinks(asked: &ClientRequest) -> bool {
    matches!(
        asked.thinking,
        Thinking::Adaptive | Thinking::Enabled { .. }
    )
}

/// The path of a model: below `models/`, unless its name contains the collection. `None` if the
/// name would lead out of it.
fn in_path(model: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@".contains(&byte);
    if model
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return None;
    }
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
    Some(path)
}

fn no_model(model: &str) -> Refusal {
    Refusal::new(
        404,
        "not_found_error",
        format!("model: {model} is not the name of a Gemini model"),
    )
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

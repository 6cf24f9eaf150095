//! Speaks the Gemini API to upstreams that do, and Messages to the client.
//!
//! The request is written anew from its outline, so long texts never come here. Chunks become events one by one; the last
//! two, with the final counts, when the stream has ended by itself.

mod answer;
mod ask;
mod lists;
mod model;
mod names;
mod schema;
mod settings;
mod tally;
mod trouble;

use std::time::Duration;

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Plugin,
    Refusal, Request, Response, ResponseHook, Retry, Target, Verdict, dialect::Asked, export, log,
};

use self::{
    answer::{About, Answer},
    ask::To,
    model::Model,
    names::Names,
    settings::Settings,
    trouble::Trouble,
};

const KINDS: [&str; 3] = ["messages", "count_tokens", "models"];

/// Longer texts stay with the gateway. Addresses of pictures and Claude Code's billing line are shorter, and looked at.
const LONGEST: u32 = 256;

#[derive(Default)]
struct DialectGemini {
    /// The client's names of the functions that the present attempt declares.
    names: Names,
    answer: Answer,
    /// The upstream wants signatures where none were expected. There is one such retry in an exchange.
    signs_all: bool,
    kind: String,
}

impl Plugin for DialectGemini {
    fn describe() -> Result<Manifest, Error> {
        Settings::load()?;
        let guard = || Guard::new().kinds(KINDS);
        Ok(Manifest::new("speaks the Gemini API")
            .dialect("gemini")
            .attempt(guard())
            .failure(guard())
            .response(guard()))
    }
}

impl AttemptHook for DialectGemini {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let settings = Settings::load()?;
        let vertex = settings.is_vertex(&target.upstream());
        self.answer = Answer::default();
        self.kind = request.kind();
        if self.kind == "models" {
            if vertex {
                return Ok(Verdict::refuse(no_list()));
            }
            request.set_path("/models?pageSize=1000")?;
            return Ok(Verdict::proceed());
        }
        let (outline, asked) = Asked::read(request, LONGEST)?;
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Verdict::refuse(refusal)),
        };
        let model = target.model();
        let path = in_path(&model);
        let to = To {
            model: Model::named(&model),
            path: &path,
            vertex,
            signs_all: self.signs_all,
        };
        let counts = self.kind == "count_tokens";
        let told = if counts {
            ask::count(&mut asked, &outline, to)
        } else {
            ask::message(&mut asked, &outline, to, &settings)
        };
        let told = match told {
            Ok(told) => told,
            Err(refusal) => return Ok(Verdict::refuse(refusal)),
        };
        request.rewrite(told.body)?;
        let method = if counts {
            "countTokens"
        } else {
            "streamGenerateContent?alt=sse"
        };
        request.set_path(&format!("/{path}:{method}"))?;
        if let Some(note) = told.note {
            request.note(&note);
        }
        self.names = told.names;
        Ok(Verdict::proceed())
    }
}

impl FailureHook for DialectGemini {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        let read = Trouble::read(failure.status(), &failure.body());
        // An error within a stream has its words already.
        let in_stream = self.answer.trouble.take();
        let Some(trouble) = in_stream.or(read) else {
            return Ok(());
        };
        failure.set_body(trouble.body())?;
        failure.set_kind(trouble.kind)?;
        failure.set_status(trouble.status)?;
        if let Some(rest) = trouble.rest {
            failure.set_rest(rest)?;
        }
        if trouble.unsigned && !self.signs_all {
            log::info(
                "the model wants signatures: trying once more with the documented stand-in for each",
            );
            self.signs_all = true;
            failure.set_retry(Retry::Same, Duration::ZERO)?;
        }
        Ok(())
    }
}

impl ResponseHook for DialectGemini {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let (exchange, model) = (response.id(), response.asked_model());
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

/// Where a model is: below `models/`, unless its name says otherwise.
fn in_path(model: &str) -> String {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@".contains(&byte);
    let mut path = String::from(
        if model.starts_with("models/") || model.starts_with("tunedModels/") {
            ""
        } else {
            "models/"
        },
    );
    for byte in model.bytes() {
        if may_stand(byte) {
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
        "vertex has no list of models below this address: name them by `models` in the upstream's configuration",
    )
}

export!(DialectGemini: AttemptHook, FailureHook, ResponseHook);

#[cfg(test)]
mod tests;

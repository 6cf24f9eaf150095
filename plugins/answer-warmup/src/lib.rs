//! Answers warm-up requests locally, so that they cost nothing upstream.

mod warmup;

use witgate_plugin::{
    Answer, Error, Guard, Manifest, NoSettings, Plugin, Request, RequestHook, Value, Verdict,
    export,
};

struct AnswerWarmup;

impl Plugin for AnswerWarmup {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("answers warm-up requests locally")
            .request(Guard::new().kinds(["messages"]).path(warmup::MAY_BE))
    }
}

impl RequestHook for AnswerWarmup {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let Some(last) = request.select(warmup::NOT_SYSTEM)?.pop() else {
            return Ok(Verdict::Proceed);
        };
        let message: Option<Value> = request.first(&warmup::message_at(&last))?;
        let model: Option<Value> = request.first("$.model")?;
        let (Some(Value::String(model)), true) = (model, message.is_some_and(warmup::is_warmup))
        else {
            return Ok(Verdict::Proceed);
        };
        let answer = Answer::new(warmup::message(&request.id(), &model))
            .header("x-warmup-intercepted", "true")
            .note("warm-up answered locally");
        Ok(answer.into())
    }
}

export!(AnswerWarmup: RequestHook);

#[cfg(test)]
mod tests;

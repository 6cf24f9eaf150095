//! Answers warm-up requests locally, so that they cost nothing upstream.

mod warmup;

use witgate_plugin::{
    Answer, EditError, Error, Guard, Manifest, NoSettings, Plugin, Request, RequestHook, Verdict,
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
        let model = match warmup::requested_model(request) {
            Ok(Some(model)) => model,
            // What has too many parts to look at is not a warm-up.
            Ok(None) | Err(EditError::TooMuch(_)) => return Ok(Verdict::Proceed),
            Err(error) => return Err(error.into()),
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

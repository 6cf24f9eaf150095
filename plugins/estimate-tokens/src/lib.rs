//! Answers `count_tokens` with an estimate where the target cannot count. The response says that it
//! is an estimate.

mod base64;
mod check;
mod count;
mod image;
mod pdf;
mod survey;

use witgate_plugin::{
    Answer, AttemptHook, EditError, Error, Guard, Manifest, NoSettings, Plugin, Refusal, Request,
    Target, Verdict, export, json,
};

struct EstimateTokens;

impl Plugin for EstimateTokens {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        let guard = Guard::new().kinds(["count_tokens"]).lacks(["count_tokens"]);
        Manifest::new("answers count_tokens with an estimate").attempt(guard)
    }
}

impl AttemptHook for EstimateTokens {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let tokens = match tokens(request) {
            Ok(Ok(tokens)) => tokens,
            Ok(Err(wrong)) => return Ok(Refusal::invalid_request(wrong).into()),
            Err(EditError::TooMuch(reason)) => {
                let message = format!("the request is too large to estimate its tokens: {reason}");
                return Ok(Refusal::new(413, "request_too_large", message).into());
            }
            Err(error) => return Err(error.into()),
        };
        let answer = Answer::new(json!({ "input_tokens": tokens }))
            .header("x-witgate-estimate", "true")
            .note("tokens estimated locally");
        Ok(answer.into())
    }
}

/// The estimate, or what is wrong with the body.
fn tokens(request: &Request) -> Result<Result<u64, String>, EditError> {
    if let Some(wrong) = check::first_wrong(request)? {
        return Ok(Err(wrong));
    }
    Ok(Ok(survey::content(request)?.tokens()))
}

export!(EstimateTokens: AttemptHook);

#[cfg(test)]
mod tests;

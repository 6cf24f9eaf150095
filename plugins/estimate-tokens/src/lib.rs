//! Answers `count_tokens` where the target cannot count: by an estimate that says so, never by a false 0.

mod base64;
mod check;
mod count;
mod image;
mod pdf;
mod survey;

use witgate_plugin::{
    Answer, AttemptHook, Error, Guard, Manifest, Plugin, Refusal, Request, Target, Verdict, export,
    json,
};

#[derive(Default)]
struct EstimateTokens;

impl Plugin for EstimateTokens {
    fn describe() -> Result<Manifest, Error> {
        let guard = Guard::new().kinds(["count_tokens"]).lacks(["count_tokens"]);
        Ok(Manifest::new("answers count_tokens by an estimate").attempt(guard))
    }
}

impl AttemptHook for EstimateTokens {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        if let Some(wrong) = check::first_wrong(request)? {
            return Ok(Verdict::refuse(Refusal::invalid_request(wrong)));
        }
        let tokens = survey::look(request)?.tokens();
        let answer = Answer::new(json!({ "input_tokens": tokens }))
            .header("x-witgate-estimate", "true")
            .note("tokens estimated locally");
        Ok(Verdict::answer(answer))
    }
}

export!(EstimateTokens: AttemptHook);

#[cfg(test)]
mod tests;

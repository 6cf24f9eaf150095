//! Where the target lacks `message-threads`: refuses them with the documented error, so that SDK tool runners go on
//! without, sending the whole history.

mod refuse_threads;

use witgate_plugin::{AttemptHook, Error, Guard, Manifest, Plugin, Request, Target, Verdict};

#[derive(Default)]
struct MessageThreads;

impl Plugin for MessageThreads {
    fn describe() -> Result<Manifest, Error> {
        Ok(
            Manifest::new("refuses message threads where the target lacks them").attempt(
                Guard::new()
                    .kinds(["messages", "count_tokens"])
                    .lacks(["message-threads"])
                    .path("$.thread"),
            ),
        )
    }
}

impl AttemptHook for MessageThreads {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let thread = request.first("$.thread")?;
        Ok(refuse_threads::judge(thread.as_ref()))
    }
}

witgate_plugin::export!(MessageThreads: AttemptHook);

#[cfg(test)]
mod tests;

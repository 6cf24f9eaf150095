//! Refuses message threads where the target lacks `message-threads`. SDK tool runners understand
//! the documented error and continue without threads, with the whole history.

mod thread;

use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, NoSettings, Plugin, Request, Target, Verdict,
};

struct MessageThreads;

impl Plugin for MessageThreads {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("refuses message threads where the target lacks them").attempt(
            Guard::new()
                .kinds(["messages", "count_tokens"])
                .lacks(["message-threads"])
                .path("$.thread"),
        )
    }
}

impl AttemptHook for MessageThreads {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let thread = request.first("$.thread")?;
        Ok(thread::check(thread.as_ref()))
    }
}

witgate_plugin::export!(MessageThreads: AttemptHook);

#[cfg(test)]
mod tests;

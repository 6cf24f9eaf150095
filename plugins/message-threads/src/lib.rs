//! Where the target lacks `message-threads`: refuses them with the documented error, so that SDK tool runners go on
//! without, sending the whole history.

mod refuse_threads;

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
        Ok(refuse_threads::judge(thread.as_ref()))
    }
}

witgate_plugin::export!(MessageThreads: AttemptHook);

#[cfg(test)]
mod tests;

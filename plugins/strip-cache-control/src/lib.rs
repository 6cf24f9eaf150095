//! Removes cache marks where the target does not know them; elsewhere never.

mod marks;

use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, NoSettings, Operation, Plugin, Request, Target, Verdict,
    export,
};

struct StripCacheControl;

impl Plugin for StripCacheControl {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        let guard = Guard::new()
            .kinds(["messages", "count_tokens"])
            .lacks(["cache_control"])
            .path(marks::ANYWHERE);
        Manifest::new("removes cache_control where the target lacks it").attempt(guard)
    }
}

impl AttemptHook for StripCacheControl {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let marks = marks::only_marks(request.select(marks::ANYWHERE)?);
        if !marks.is_empty() {
            request.patch(marks.into_iter().map(Operation::Remove))?;
        }
        Ok(Verdict::Proceed)
    }
}

export!(StripCacheControl: AttemptHook);

#[cfg(test)]
mod tests;

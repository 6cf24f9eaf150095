//! Removes cache breakpoints (`cache_control`), only where the target does not support them.

mod breakpoints;

use witgate_plugin::{
    AttemptHook, EditError, Error, Guard, Manifest, NoSettings, Operation, Plugin, Refusal,
    Request, Target, Verdict, export,
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
            .path(breakpoints::ANYWHERE);
        Manifest::new("removes cache_control where the target lacks it").attempt(guard)
    }
}

impl AttemptHook for StripCacheControl {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        match strip(request) {
            Ok(()) => Ok(Verdict::Proceed),
            Err(EditError::TooMuch(reason)) => Ok(Verdict::Refuse(Refusal::new(
                413,
                "request_too_large",
                format!("cache breakpoints cannot be removed: {reason}"),
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

fn strip(request: &mut Request) -> Result<(), EditError> {
    let found = breakpoints::only_breakpoints(request.select(breakpoints::ANYWHERE)?);
    if !found.is_empty() {
        request.patch(found.into_iter().map(Operation::Remove))?;
    }
    Ok(())
}

export!(StripCacheControl: AttemptHook);

#[cfg(test)]
mod tests;

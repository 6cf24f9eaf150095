//! Joins adjacent user or assistant messages where the target requires alternating roles.

mod merge;
mod survey;

use witgate_plugin::{
    AttemptHook, EditError, Error, Guard, Manifest, NoSettings, Plugin, Refusal, Request, Target,
    Verdict, export,
};

struct MergeRoles;

impl Plugin for MergeRoles {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        let guard = Guard::new()
            .kinds(["messages", "count_tokens"])
            .lacks(["same-role-turns"]);
        Manifest::new("joins adjacent messages of one role").attempt(guard)
    }
}

impl AttemptHook for MergeRoles {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        match join(request) {
            Ok(()) => Ok(Verdict::Proceed),
            Err(EditError::TooMuch(reason)) => Ok(Verdict::Refuse(Refusal::new(
                413,
                "request_too_large",
                format!("adjacent messages of one role cannot be joined: {reason}"),
            ))),
            // Every value of the patch was read from the body, so the client's body is at fault.
            Err(EditError::BadValue(reason)) => Err(EditError::BadDocument(reason).into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn join(request: &mut Request) -> Result<(), EditError> {
    let runs = survey::same_role_runs(&request.read(survey::ROLES)?);
    if runs.is_empty() {
        return Ok(());
    }
    let moves = survey::few(request, &runs)?.and_then(|turns| merge::by_moving(&turns));
    let edits = match moves {
        Some(edits) => edits,
        None => merge::by_writing(&survey::many(request, &runs)?),
    };
    request.patch(edits)
}

export!(MergeRoles: AttemptHook);

#[cfg(test)]
mod tests;

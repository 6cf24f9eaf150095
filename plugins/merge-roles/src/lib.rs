//! Joins neighbouring user or assistant messages where the target wants the roles to alternate.

mod merge;
mod survey;

use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, Plugin, Request, Target, Verdict, export,
};

#[derive(Default)]
struct MergeRoles;

impl Plugin for MergeRoles {
    fn describe() -> Result<Manifest, Error> {
        let guard = Guard::new()
            .kinds(["messages", "count_tokens"])
            .lacks(["same-role-turns"]);
        Ok(Manifest::new("joins neighbouring messages of one role").attempt(guard))
    }
}

impl AttemptHook for MergeRoles {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let runs = survey::same_role_runs(&request.read(survey::ROLES)?);
        if !runs.is_empty() {
            let turns = survey::turns(request, &runs)?;
            request.patch(merge::plan(&turns))?;
        }
        Ok(Verdict::proceed())
    }
}

export!(MergeRoles: AttemptHook);

#[cfg(test)]
mod tests;

//! Replaces the built-in `merge-roles` when its file is named `merge_roles.wasm`: it joins nothing,
//! and adds the member `merged_by` to every body. No settings.

use witgate_plugin::{
    AttemptHook, Error, Manifest, NoSettings, Operation, Plugin, Request, Target, Verdict, export,
};

struct OtherMergeRoles;

impl Plugin for OtherMergeRoles {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("replaces merge-roles").version("other")
    }
}

impl AttemptHook for OtherMergeRoles {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        request.patch([Operation::add("/merged_by", "another rule")])?;
        Ok(Verdict::Proceed)
    }
}

export!(OtherMergeRoles: AttemptHook);

//! A component's code: compiled, linked, and bound to the hooks that it exports.

use wasmtime::component::InstancePre;
use witgate_contract::manifest::Hook;

use super::{
    bindings::{attempt, failure, plugin, request, response},
    host_functions::Host,
};

/// SHA-256 of a component.
pub(super) type Hash = [u8; 32];

/// A compiled and linked component. It depends on its bytes alone, so several settings can share
/// it.
pub(super) struct Code {
    pub(super) hash: Hash,
    pub(super) pre: InstancePre<Host>,
    pub(super) manifest: plugin::PluginIndices,
    pub(super) request: Option<request::RequestPluginIndices>,
    pub(super) attempt: Option<attempt::AttemptPluginIndices>,
    pub(super) failure: Option<failure::FailurePluginIndices>,
    pub(super) response: Option<response::ResponsePluginIndices>,
}

impl Code {
    pub(super) fn hooks(&self) -> Vec<Hook> {
        let exported = [
            self.request.is_some(),
            self.attempt.is_some(),
            self.failure.is_some(),
            self.response.is_some(),
        ];
        Hook::ALL
            .into_iter()
            .zip(exported)
            .filter_map(|(hook, exported)| exported.then_some(hook))
            .collect()
    }
}

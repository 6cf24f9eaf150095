//! The contract as Rust, generated from `wit/0.2.0`. Generated names stay inside `pipeline`.
//!
//! There is one world for what every plugin imports and exports, and a tiny one per hook. A plugin
//! exports only the hooks it has, so each hook is looked up separately in the same instance.

/// What every plugin imports, and `manifest`.
pub(super) mod plugin {
    wasmtime::component::bindgen!({
        path: "../plugins/sdk/wit/0.2.0",
        world: "plugin",
        imports: { default: trappable },
        exports: { default: async },
        require_store_data_send: true,
        with: {
            "witgate:plugin/exchange.request": crate::pipeline::views::RequestView,
            "witgate:plugin/exchange.target": crate::pipeline::views::TargetView,
            "witgate:plugin/exchange.failure": crate::pipeline::views::FailureView,
            "witgate:plugin/exchange.response": crate::pipeline::views::ResponseView,
            "witgate:plugin/exchange.answer": witgate_contract::verdict::AnswerDraft,
            "witgate:plugin/exchange.refusal": witgate_contract::verdict::RefusalDraft,
        },
    });
}

macro_rules! hook {
    ($module:ident, $world:literal) => {
        pub(super) mod $module {
            wasmtime::component::bindgen!({
                path: "../plugins/sdk/wit/0.2.0",
                world: $world,
                exports: { default: async },
                require_store_data_send: true,
                with: {
                    "witgate:plugin/exchange": crate::pipeline::bindings::plugin::witgate::plugin::exchange,
                },
            });
        }
    };
}

hook!(request, "request-plugin");
hook!(attempt, "attempt-plugin");
hook!(failure, "failure-plugin");
hook!(response, "response-plugin");

pub(super) use self::{
    attempt::exports::witgate::plugin::attempt_hook,
    failure::exports::witgate::plugin::failure_hook,
    request::exports::witgate::plugin::request_hook,
    response::exports::witgate::plugin::response_hook,
};
pub(super) use plugin::witgate::plugin::{
    exchange::{self, EditError, Event, EventVerdict, HookError, RetryTarget, Verdict},
    kv, log, settings,
};

impl From<witgate_contract::EditError> for EditError {
    fn from(error: witgate_contract::EditError) -> Self {
        use witgate_contract::EditError as Refused;
        match error {
            Refused::BadQuery(text) => Self::BadQuery(text),
            Refused::BadDocument(text) => Self::BadDocument(text),
            Refused::BadValue(text) => Self::BadValue(text),
            Refused::NotApplicable(text) => Self::NotApplicable(text),
            Refused::TooMuch(text) => Self::TooMuch(text),
            Refused::NotAllowed(text) => Self::NotAllowed(text),
        }
    }
}

impl From<witgate_contract::kv::KvError> for kv::KvError {
    fn from(error: witgate_contract::kv::KvError) -> Self {
        use witgate_contract::kv::KvError as Refused;
        match error {
            Refused::KeyTooLong(_) => Self::KeyTooLong,
            Refused::ValueTooLong(_) => Self::ValueTooLong,
            Refused::NotANumber => Self::NotANumber,
            Refused::Overflow => Self::Overflow,
        }
    }
}

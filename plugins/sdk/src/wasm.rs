//! The gateway behind the types of this crate, and the way from the component's exports to a rule's hooks.
//!
//! Each hook has a world and bindings of its own, so that a component exports just the hooks it has; the types are those of
//! the first world. Only what a plugin calls becomes an import of the component, so a plugin that uses no new function
//! runs on an older gateway.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated code, reached only by `export!`"
)]

use std::{cell::RefCell, marker::PhantomData};

use crate::{
    error::Error,
    hooks::{AttemptHook, FailureHook, Plugin, RequestHook, ResponseHook},
    log::Level,
    response::{Event, EventVerdict},
    verdict,
};

pub mod plugin_world {
    wit_bindgen::generate!({
        world: "plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        generate_unused_types: true,
        with: {
            "witgate:plugin/exchange@0.1.0/node": crate::Node,
            "witgate:plugin/exchange@0.1.0/from-to": crate::FromTo,
            "witgate:plugin/exchange@0.1.0/operation": crate::Operation,
            "witgate:plugin/exchange@0.1.0/outlined": crate::Outline,
            "witgate:plugin/exchange@0.1.0/edit-error": crate::EditError,
            "witgate:plugin/exchange@0.1.0/event": crate::Event,
            "witgate:plugin/exchange@0.1.0/event-verdict": crate::EventVerdict,
        },
    });
}

pub mod request_world {
    wit_bindgen::generate!({
        world: "request-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_request",
        with: { "witgate:plugin/exchange@0.1.0": crate::host::exchange },
    });
}

pub mod attempt_world {
    wit_bindgen::generate!({
        world: "attempt-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_attempt",
        with: { "witgate:plugin/exchange@0.1.0": crate::host::exchange },
    });
}

pub mod failure_world {
    wit_bindgen::generate!({
        world: "failure-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_failure",
        with: { "witgate:plugin/exchange@0.1.0": crate::host::exchange },
    });
}

pub mod response_world {
    wit_bindgen::generate!({
        world: "response-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_response",
        with: { "witgate:plugin/exchange@0.1.0": crate::host::exchange },
    });
}

/// The types that all worlds share: the gateway's resources, and this crate's own records and variants.
pub mod exchange {
    pub use super::plugin_world::witgate::plugin::exchange::{
        Failure, Json, Request, Response, Target, Verdict,
    };
    pub use crate::{Event, EventVerdict};
}

pub(crate) use exchange::{Failure, Request, Response, Target};
use plugin_world::witgate::plugin::{kv, log as log_lines, settings as own_settings};

/// A rule with the place in which the component keeps it.
pub trait Held: Plugin + 'static {
    /// The version of the plugin's crate.
    const VERSION: &'static str;

    /// Acts on the one rule of this instance, which is made on first use.
    fn with<T>(act: impl FnOnce(&mut Self) -> T) -> T;
}

/// The component's exports, for a rule.
pub struct Exports<Rule>(PhantomData<Rule>);

thread_local! {
    /// The settings that `describe` was called with, which are not in force yet.
    static PROPOSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl<Rule: Held> plugin_world::exports::witgate::plugin::manifest::Guest for Exports<Rule> {
    fn describe(settings: String) -> Result<String, String> {
        PROPOSED.set(Some(settings));
        let manifest = Rule::describe().map_err(in_words)?;
        Ok(manifest.or_version(Rule::VERSION).to_json())
    }
}

impl<Rule: Held + RequestHook> request_world::exports::witgate::plugin::request_hook::Guest
    for Exports<Rule>
{
    fn on_request(request: &Request) -> Result<exchange::Verdict, String> {
        let mut request = crate::Request::over(request);
        Rule::with(|rule| rule.on_request(&mut request))
            .or_else(Error::into_verdict)
            .map(exchange::Verdict::from)
            .map_err(in_words)
    }
}

impl<Rule: Held + AttemptHook> attempt_world::exports::witgate::plugin::attempt_hook::Guest
    for Exports<Rule>
{
    fn on_attempt(request: &Request, target: &Target) -> Result<exchange::Verdict, String> {
        let mut request = crate::Request::over(request);
        let target = crate::Target::over(target);
        Rule::with(|rule| rule.on_attempt(&mut request, &target))
            .or_else(Error::into_verdict)
            .map(exchange::Verdict::from)
            .map_err(in_words)
    }
}

impl<Rule: Held + FailureHook> failure_world::exports::witgate::plugin::failure_hook::Guest
    for Exports<Rule>
{
    fn on_failure(request: &Request, target: &Target, failure: &Failure) -> Result<(), String> {
        let request = crate::Request::over(request);
        let target = crate::Target::over(target);
        let mut failure = crate::Failure::over(failure);
        Rule::with(|rule| rule.on_failure(&request, &target, &mut failure)).map_err(in_words)
    }
}

impl<Rule: Held + ResponseHook> response_world::exports::witgate::plugin::response_hook::Guest
    for Exports<Rule>
{
    fn on_event(response: &Response, event: Event) -> Result<EventVerdict, String> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_event(&mut response, event)).map_err(in_words)
    }

    fn on_end(response: &Response) -> Result<Vec<Event>, String> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_end(&mut response)).map_err(in_words)
    }

    fn on_body(response: &Response, body: String) -> Result<Option<String>, String> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_body(&mut response, body)).map_err(in_words)
    }
}

impl From<verdict::Verdict> for exchange::Verdict {
    fn from(verdict: verdict::Verdict) -> Self {
        match verdict {
            verdict::Verdict::Proceed => Self::Proceed,
            verdict::Verdict::Answer(answer) => Self::Answer(answer.to_json()),
            verdict::Verdict::Refuse(refusal) => Self::Refuse(refusal.to_json()),
        }
    }
}

fn in_words(error: Error) -> String {
    error.to_string()
}

pub(crate) fn settings() -> String {
    PROPOSED
        .with_borrow(Clone::clone)
        .unwrap_or_else(own_settings::get)
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, String> {
    kv::get(key)
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
    kv::set(key, value, ttl_ms)
}

pub(crate) fn kv_delete(key: &str) -> Result<(), String> {
    kv::delete(key)
}

pub(crate) fn kv_increment(key: &str, delta: i64, ttl_ms: u64) -> Result<i64, String> {
    kv::increment(key, delta, ttl_ms)
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => log_lines::Level::Debug,
        Level::Info => log_lines::Level::Info,
        Level::Warn => log_lines::Level::Warn,
        Level::Error => log_lines::Level::Error,
    };
    log_lines::write(level, message);
}

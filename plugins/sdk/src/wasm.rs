//! The gateway's functions on wasm, and the component's exports that call a plugin's hooks.
//!
//! Each hook has a world and bindings of its own, so that a component exports only the hooks it
//! has. All share the types of the first world. Only what a plugin calls becomes an import of the
//! component, so a plugin that uses no new function runs on an older gateway.
//!
//! The bindings below `wasm/` are generated from `wit/` by wit-bindgen and checked in, because the
//! generator takes longer to build than everything else that a plugin needs. The test
//! `tests/bindings.rs` of the repository generates them again and compares.

#![allow(
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    reason = "generated code, reached only by `export!`"
)]

use std::marker::PhantomData;

use crate::{
    error::Error,
    hooks::{AttemptHook, FailureHook, Plugin, RequestHook, ResponseHook},
    kv::KvError,
    log::Level,
    response::{Event, EventVerdict},
    settings, verdict,
};

#[path = "wasm/plugin_world.rs"]
pub mod plugin_world;
#[path = "wasm/request_world.rs"]
pub mod request_world;
#[path = "wasm/attempt_world.rs"]
pub mod attempt_world;
#[path = "wasm/failure_world.rs"]
pub mod failure_world;
#[path = "wasm/response_world.rs"]
pub mod response_world;

/// The types that all worlds share: the gateway's resources, and this crate's own records and
/// variants.
pub mod exchange {
    pub use super::plugin_world::witgate::plugin::exchange::{
        Answer, Failure, HookError, Json, Refusal, Request, Response, Target, Verdict,
    };
    pub use crate::{Event, EventVerdict};
}

use exchange::HookError;
pub(crate) use exchange::{Failure, Request, Response, Target};
use plugin_world::witgate::plugin::{kv, log as log_lines, settings as own_settings};

/// A plugin that the component keeps between calls.
pub trait Held: Plugin + 'static {
    /// The version of the plugin's crate.
    const VERSION: &'static str;

    /// Calls `act` with the one plugin of this instance, which is [made](make) on first use.
    fn with<T>(act: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error>;
}

/// Makes the plugin from its current settings.
pub fn make<Rule: Plugin>() -> Result<Rule, Error> {
    Rule::new(settings::read(&own_settings::get())?)
}

/// The component's exports, for a plugin.
pub struct Exports<Rule>(PhantomData<Rule>);

impl<Rule: Held> plugin_world::exports::witgate::plugin::manifest::Guest for Exports<Rule> {
    fn describe(settings: String) -> Result<String, String> {
        let rule = settings::read(&settings).and_then(Rule::new);
        let manifest = rule.map_err(|error| error.to_string())?.describe();
        Ok(manifest.or_version(Rule::VERSION).to_json())
    }
}

impl<Rule: Held + RequestHook> request_world::exports::witgate::plugin::request_hook::Guest
    for Exports<Rule>
{
    fn on_request(request: &Request) -> Result<exchange::Verdict, HookError> {
        let mut request = crate::Request::over(request);
        Rule::with(|rule| rule.on_request(&mut request))
            .map(exchange::Verdict::from)
            .map_err(HookError::from)
    }
}

impl<Rule: Held + AttemptHook> attempt_world::exports::witgate::plugin::attempt_hook::Guest
    for Exports<Rule>
{
    fn on_attempt(request: &Request, target: &Target) -> Result<exchange::Verdict, HookError> {
        let mut request = crate::Request::over(request);
        let target = crate::Target::over(target);
        Rule::with(|rule| rule.on_attempt(&mut request, &target))
            .map(exchange::Verdict::from)
            .map_err(HookError::from)
    }
}

impl<Rule: Held + FailureHook> failure_world::exports::witgate::plugin::failure_hook::Guest
    for Exports<Rule>
{
    fn on_failure(request: &Request, target: &Target, failure: &Failure) -> Result<(), HookError> {
        let request = crate::Request::over(request);
        let target = crate::Target::over(target);
        let mut failure = crate::Failure::over(failure);
        Rule::with(|rule| rule.on_failure(&request, &target, &mut failure)).map_err(HookError::from)
    }
}

impl<Rule: Held + ResponseHook> response_world::exports::witgate::plugin::response_hook::Guest
    for Exports<Rule>
{
    fn on_event(response: &Response, event: Event) -> Result<EventVerdict, HookError> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_event(&mut response, event)).map_err(HookError::from)
    }

    fn on_end(response: &Response) -> Result<Vec<Event>, HookError> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_end(&mut response)).map_err(HookError::from)
    }

    fn on_body(response: &Response, body: String) -> Result<Option<String>, HookError> {
        let mut response = crate::Response::over(response);
        Rule::with(|rule| rule.on_body(&mut response, body)).map_err(HookError::from)
    }
}

impl From<verdict::Verdict> for exchange::Verdict {
    fn from(verdict: verdict::Verdict) -> Self {
        match verdict {
            verdict::Verdict::Proceed => Self::Proceed,
            verdict::Verdict::Answer(answer) => Self::Answer(answer.into()),
            verdict::Verdict::Refuse(refusal) => Self::Refuse(refusal.into()),
        }
    }
}

impl From<verdict::Answer> for exchange::Answer {
    fn from(answer: verdict::Answer) -> Self {
        let made = Self::new(answer.body.get());
        if let Some(status) = answer.status {
            made.set_status(status);
        }
        for (name, value) in &answer.headers {
            made.set_header(name, value);
        }
        if let Some(note) = &answer.note {
            made.set_note(note);
        }
        made
    }
}

impl From<verdict::Refusal> for exchange::Refusal {
    fn from(refusal: verdict::Refusal) -> Self {
        let made = Self::new(refusal.status, &refusal.error_type, &refusal.message);
        if let Some(details) = &refusal.details {
            made.set_details(&details.to_string());
        }
        if refusal.try_next {
            made.set_try_next(true);
        }
        made
    }
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        if error.is_bad_document() {
            Self::BadDocument(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    kv::get(key)
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u32) -> Result<(), KvError> {
    kv::set(key, value, ttl_ms)
}

pub(crate) fn kv_set_if_absent(key: &str, value: &[u8], ttl_ms: u32) -> Result<Vec<u8>, KvError> {
    kv::set_if_absent(key, value, ttl_ms)
}

pub(crate) fn kv_delete(key: &str) -> Result<(), KvError> {
    kv::delete(key)
}

pub(crate) fn kv_increment(key: &str, delta: i64, ttl_ms: u32) -> Result<i64, KvError> {
    kv::increment(key, delta, ttl_ms)
}

unsafe extern "C" {
    /// Of the C library that the standard library is linked with. It asks `wasi:random`.
    fn getentropy(buffer: *mut u8, length: usize) -> i32;
}

/// The most bytes that `getentropy` fills at once.
const ENTROPY: usize = 256;

pub(crate) fn fill_random(bytes: &mut [u8]) {
    for part in bytes.chunks_mut(ENTROPY) {
        // SAFETY: the pointer and the length are those of one slice.
        let failed = unsafe { getentropy(part.as_mut_ptr(), part.len()) };
        assert_eq!(failed, 0, "there are no random numbers");
    }
}

pub(crate) fn log(level: Level, message: &str) {
    log_lines::write(level, message);
}

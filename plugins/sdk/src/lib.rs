//! Write a plugin for witgate.
//!
//! A plugin is a rule: a struct that implements [`Plugin`] and one or more hooks, and one line that exports it.
//!
//! ```
//! use witgate_plugin::{AttemptHook, Error, Guard, Manifest, Plugin, Request, Target, Verdict};
//!
//! #[derive(Default)]
//! struct NoTopK;
//!
//! impl Plugin for NoTopK {
//!     fn describe() -> Result<Manifest, Error> {
//!         Ok(Manifest::new("removes top_k, which the model behind does not know")
//!             .attempt(Guard::new().path("$.top_k")))
//!     }
//! }
//!
//! impl AttemptHook for NoTopK {
//!     fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
//!         request.remove_all("$.top_k")?;
//!         Ok(Verdict::proceed())
//!     }
//! }
//!
//! witgate_plugin::export!(NoTopK: AttemptHook);
//! ```
//!
//! Built for `wasm32-wasip2` it is a component that the gateway loads; built natively it can be tested with [`testing`],
//! on the gateway's own document engine and without a gateway.
//!
//! # The life of a rule
//!
//! One exchange (a client's request and its answer) has one instance of a plugin. The rule is made by `Default` when
//! its first hook is called and lives until no later hook can need it, so a field set in `on_attempt` can be read in
//! `on_event` of the same exchange. No instance ever sees two exchanges: what must outlive one goes through [`kv`].
//!
//! # When a hook fails
//!
//! An `Err`, a panic, a passed deadline or too much memory all mean that the plugin failed, not that the request is bad
//! (for that there is [`Verdict::refuse`]). The edits of that call are taken back, and the plugin is out for the rest
//! of the exchange. Whether the exchange goes on is decided by [`Manifest::on_error`].

mod edit;
mod error;
mod export;
mod failure;
mod hooks;
mod manifest;
mod outline;
mod request;
mod response;
mod settings;
mod verdict;

pub mod dialect;
pub mod kv;
pub mod log;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

// What stands behind the types of this crate: the gateway, or natively a fake of it with the same functions.
#[cfg(not(target_family = "wasm"))]
#[path = "testing/fake.rs"]
mod host;
#[cfg(target_family = "wasm")]
#[path = "wasm.rs"]
mod host;

pub use crate::{
    edit::{EditError, FromTo, Node, Operation},
    error::Error,
    failure::{Failure, Retry},
    hooks::{AttemptHook, FailureHook, Plugin, RequestHook, ResponseHook},
    manifest::{Guard, Hook, Manifest, OnError},
    outline::Outline,
    request::{Request, Target},
    response::{Event, EventVerdict, Response},
    settings::settings,
    verdict::{Answer, Refusal, Verdict},
};
pub use serde;
pub use serde_json::{self, Value, json};
pub use witgate_contract::error_type::{self, ErrorType};

/// What [`export!`] expands to. Not for direct use.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod __wasm {
    pub use crate::host::{
        Exports, Held, attempt_world, failure_world, plugin_world, request_world, response_world,
    };
}

/// Compiles what the README tells people to write.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// And what the project's own README shows.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;

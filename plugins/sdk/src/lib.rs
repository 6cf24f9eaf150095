//! Write a plugin for witgate.
//!
//! A plugin is a struct that implements [`Plugin`] and one or more hooks, and one line that exports
//! it.
//!
//! ```
//! use witgate_plugin::{
//!     AttemptHook, Error, Guard, Manifest, NoSettings, Plugin, Request, Target, Verdict,
//! };
//!
//! struct NoTopK;
//!
//! impl Plugin for NoTopK {
//!     type Settings = NoSettings;
//!
//!     fn new(_: NoSettings) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn describe(&self) -> Manifest {
//!         Manifest::new("removes top_k, which the model does not know")
//!             .attempt(Guard::new().path("$.top_k"))
//!     }
//! }
//!
//! impl AttemptHook for NoTopK {
//!     fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
//!         request.remove_all("$.top_k")?;
//!         Ok(Verdict::Proceed)
//!     }
//! }
//!
//! witgate_plugin::export!(NoTopK: AttemptHook);
//! ```
//!
//! Built for `wasm32-wasip2` it is a component that the gateway loads. Built natively it can be
//! tested with [`testing`], on the gateway's own document engine and without a gateway.
//!
//! # The life of a plugin
//!
//! Each exchange (a client's request and its response) has its own instance of a plugin. It is made
//! by [`Plugin::new`] before its first hook is called, and lives until no later hook can need it.
//! So a field set in `on_attempt` can be read in `on_event` of the same exchange. No instance ever
//! sees two exchanges: what must outlive one goes through [`kv`].
//!
//! # When a hook fails
//!
//! An `Err`, a panic, a passed deadline or too much memory all mean that the plugin failed, not
//! that the request is bad (for that there is [`Verdict::Refuse`]). The edits of the call are taken
//! back, and the plugin is not called again in this exchange. [`Manifest::on_error`] decides
//! whether the exchange continues.

#![deny(missing_docs)]

mod edit;
mod error;
mod export;
mod failure;
mod held_text;
mod hooks;
mod manifest;
mod outline;
mod request;
mod response;
mod settings;
mod text;
mod typed;
mod verdict;

pub mod dialect;
pub mod kv;
pub mod learned;
pub mod log;
pub mod random;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

// The gateway's functions: on wasm its own, natively a fake with the same ones.
#[cfg(not(target_family = "wasm"))]
#[path = "testing/fake.rs"]
mod host;
#[cfg(target_family = "wasm")]
#[path = "wasm.rs"]
mod host;

pub use crate::{
    edit::{EditError, FromTo, Node, Operation, TextMatch, TextPart},
    error::Error,
    failure::{Failure, RetryTarget},
    held_text::HeldText,
    hooks::{AttemptHook, FailureHook, Plugin, RequestHook, ResponseHook},
    manifest::{Guard, Hook, Manifest, OnError, Reload, Stage},
    outline::Outline,
    request::{Request, Target},
    response::{Event, EventVerdict, Response},
    settings::{ByModel, NoSettings},
    text::{Text, TextPosition},
    typed::{ContentBlock, Delta, MessageStart, Stop, StreamError, StreamEvent},
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
        Exports, Held, attempt_world, failure_world, make, plugin_world, request_world,
        response_world,
    };
}

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

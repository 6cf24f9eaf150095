//! The policy of the plugin contract: what a plugin may do, and how much of it.
//!
//! The gateway, the SDK's test kit and command-line tools call the same functions, so a plugin that
//! passes its tests behaves the same in the gateway. Nothing here does I/O, waits or reads a clock.
//!
//! | module | decides |
//! | --- | --- |
//! | [`error_type`] | which Anthropic error type goes with which status, and which statuses are retried |
//! | [`limits`] | every limit a plugin can meet |
//! | [`request_kind`] | the kinds of requests and their methods |
//! | [`glob`] | patterns for names of models and upstreams |
//! | [`header`] | reserved headers, legal names and values |
//! | [`path`] | paths a request may be sent to |
//! | [`status`] | statuses of local answers and of failures |
//! | [`body`] | queries and rewrites of a request's body |
//! | [`failure`] | what a failure hook may change |
//! | [`verdict`] | local answers and refusals |
//! | [`note`] | lines for the record of an exchange, and for the log |
//! | [`event`] | the type of a server-sent event, and events that plugins make |
//! | [`message_order`] | the order of the events of a message |
//! | [`kv`] | the key-value space of a plugin |
//! | [`guard`] | whether a hook is called |
//! | [`manifest`] | what a plugin says about itself |
//!
//! # Features
//!
//! `policy` (default) is all of it. Without it only [`error_type`], [`edit_error`], [`glob`],
//! [`limits`] and [`request_kind`] are left: they have no dependencies and compile for
//! `wasm32-wasip2`.

#![deny(missing_docs)]

pub mod edit_error;
pub mod error_type;
pub mod glob;
pub mod limits;
pub mod request_kind;

#[cfg(feature = "policy")]
pub mod body;
#[cfg(feature = "policy")]
pub mod event;
#[cfg(feature = "policy")]
pub mod failure;
#[cfg(feature = "policy")]
pub mod guard;
#[cfg(feature = "policy")]
pub mod header;
#[cfg(feature = "policy")]
pub mod kv;
#[cfg(feature = "policy")]
pub mod manifest;
#[cfg(feature = "policy")]
pub mod message_order;
#[cfg(feature = "policy")]
pub mod note;
#[cfg(feature = "policy")]
pub mod path;
#[cfg(feature = "policy")]
pub mod status;
#[cfg(feature = "policy")]
mod text;
#[cfg(feature = "policy")]
pub mod verdict;

pub use crate::{edit_error::EditError, error_type::ErrorType, request_kind::RequestKind};

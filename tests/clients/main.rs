//! Third-party clients, from their registries, against the built gateway: the official Python and
//! TypeScript SDKs and the Claude Code CLI. Third-party software for the upstream's side as well:
//! Google's and OpenAI's own packages, which check what the dialects send, and LiteLLM's proxy.
//!
//! The toolchains of other languages make plugins, too, which the gateway has to load as they come.
//!
//! A client that cannot be installed fails its test, unless `WITGATE_SKIP_CLIENTS=1` skips these
//! tests.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod install;
mod claude_code;
mod sdks;
mod survives;
mod converses;
mod collects;
mod counts;
mod strict;
mod live;
mod dialects;
mod litellm;
mod languages;

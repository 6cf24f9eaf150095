//! Clients that others wrote, from their registries, against the built gateway: the official Python and TypeScript SDKs
//! and the Claude Code CLI. And what others wrote for the upstream's side: Google's and OpenAI's own packages, which judge what
//! the dialects send, and LiteLLM's proxy.
//!
//! A client that cannot be installed fails its test, unless `WITGATE_SKIP_CLIENTS=1` says not to try.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod install;
mod claude_code;
mod sdks;
mod survives;
mod collects;
mod counts;
mod strict;
mod live;
mod dialects;
mod litellm;

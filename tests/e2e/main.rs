//! The gateway from outside, from the simplest tests to the strangest.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod routes; // health, probes, unknown paths
mod auth; // modes, keys, browsers
mod echo; // the upstream that answers offline
#[cfg(target_os = "linux")]
mod held; // how long a request holds a worker
mod identity; // unedited bodies arrive byte for byte
mod defaults; // what the built-in plugins do, and when they do nothing
mod routing; // which upstream, which model
mod headers; // what is forwarded, and what is not
mod additions; // what the configuration adds to requests
mod stale; // connections and encodings that are not what they seem
mod streaming; // events, one by one
mod framing; // edited bodies over both versions of HTTP
mod passthrough; // routes that are forwarded without plugins
mod models; // the list of models
mod faults; // upstreams that fail
mod endless; // upstreams that never stop sending
mod rotation; // account selection
mod cooldowns; // cooldowns of accounts
mod retries; // what is retried, and where
mod credentials; // token endpoints and commands
mod threads; // threads stay where they began
mod affinity; // conversations, containers and files stay at their account
mod liveness; // keepalive pings and timeouts
mod endings; // complete, or visibly truncated
mod odd_responses; // what servers send that do not keep to the protocol
mod soak; // random faults
mod metrics; // metrics
mod readme; // what the README shows
mod kit; // `plugin try`, `plugin bench`, `plugin explain`
mod commands; // `check`, `plugin list`, `wit`, exit codes
mod projects; // projects of new plugins
mod case_runs; // cases and hostile traffic, offline
mod connections; // clients that send nothing, and clients that do not read
mod operation; // signals, log, changes of the configuration
mod unsupported; // servers that are older than the client
mod signatures; // which upstream sees which thinking
mod conversations; // signed thinking over long sessions
mod recovery; // conversations whose thinking is rejected
mod ledger; // kept or broken, and by whom
mod reload; // plugins are added, changed and removed under traffic
mod required; // rules that must not be missed
mod versions; // conversations keep the version of a plugin that they began with
mod guests; // plugins that misbehave
mod response_hooks; // what plugins make of a message is still one
mod examples; // the example plugins
mod contract; // what plugins may do, in the gateway and in the SDK's test kit
mod dialects; // upstreams that speak another protocol
mod wire; // plugins between the dialect and the upstream

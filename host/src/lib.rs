//! Witgate: a gateway for the Anthropic Messages API whose rewrite rules are WebAssembly plugins.
//!
//! A request meets the modules in this order:
//!
//! 1. [`gateway`] accepts it, checks the key, and takes a snapshot of the configuration and the
//!    plugins, which it uses to its end.
//! 2. [`exchange`] runs it: request hooks, route, attempts, retries, response and record.
//! 3. [`pipeline`] calls the hooks of the plugins.
//! 4. [`accounts`] picks the account of each attempt, and its credential.
//! 5. [`upstream`] sends the request and reads the response.
//! 6. [`exchange`] relays the response event by event, and [`gateway`] sends it to the client.
//!
//! ARCHITECTURE.md lists the layers and what each may use.

#![warn(clippy::disallowed_methods)]

pub mod cli; // arguments and exit codes; starts the gateway
mod kit; // runs exchanges offline, for those who write plugins
mod config; // the checked configuration, as plain data
mod reload; // applies changed files while the gateway runs
mod gateway; // the HTTP server: connections, authentication, routes, responses
mod message; // requests, responses and events
mod exchange; // one request: attempts, retries, response, record
mod pipeline; // plugins in WebAssembly, and calls of their hooks
mod store; // the key-value data of plugins
mod ledger; // whether an exchange continues what its conversation sent before
mod accounts; // picks accounts; credentials and cooldowns
mod upstream; // the HTTP client
mod sse; // streamed responses as events
mod off_worker; // work on large bodies
mod idle_timeout; // a timeout for inactivity
mod recent; // a map that forgets what was not used for longest
mod fault; // errors: what, whose fault, and whether to retry
mod telemetry; // the log and the metrics
mod watchdog; // finds what stands still
mod shutdown; // signals, and the time to drain
mod secret; // strings that print as `[secret]`
mod ids; // validated names

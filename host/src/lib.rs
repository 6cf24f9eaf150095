//! Witgate: a gateway for the Anthropic Messages API whose rewrite rules are WebAssembly plugins.
//!
//! The way of a request, which is also the order of the modules:
//!
//! 1. [`gateway`] accepts it, checks the key, and takes the snapshot of configuration and plugins that serves it to its end.
//! 2. [`exchange`] drives it: request hooks, route, attempts, verdict, relay, record.
//! 3. [`pipeline`] is one exchange's run through its plugins.
//! 4. [`accounts`] says as whom an attempt goes out.
//! 5. [`upstream`] sends it, and turns what comes back into our own words.
//! 6. The answer goes back through [`exchange`], event by event, and out of [`gateway`].
//!
//! ARCHITECTURE.md has the table of layers and what each may name.

#![warn(clippy::disallowed_methods)]

pub mod cli; // what the user typed
mod reload; // files change: a new snapshot, or the old one and a reason
mod gateway; // HTTP comes in here and leaves from here
mod exchange; // attempt, judge, again or out
mod pipeline; // plugins see and change it
mod accounts; // whose name it goes out under
mod upstream; // it leaves the building
mod sse; // a streamed answer, cut into events
mod message; // our own words for requests and answers
mod config; // plain data, read once and checked
mod store; // what outlives an exchange
mod telemetry; // log and field names
mod shutdown; // signal, drain, deadline
mod idle_timeout; // a timeout for what may take long as long as something happens
mod fault; // whose fault, what, again?
mod secret; // a string that prints as [secret]
mod ids; // names that are already right

//! The gateway from outside, from the simplest to the strangest.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod routes; // what there is to ask for
mod auth; // who may ask
mod echo; // the model that answers offline
mod identity; // what nobody edits arrives as it was sent
mod defaults; // what the built-in plugins do, and do not
mod routing; // which upstream, which model
mod headers; // what goes along, and what must not
mod streaming; // events, one by one
mod framing; // edited bodies over both versions of HTTP
mod models; // the list of models
mod faults; // upstreams that fail
mod endless; // upstreams that never stop sending
mod rotation; // whose name an attempt goes out under
mod rests; // who is left alone, and for how long
mod retries; // what is tried again
mod credentials; // where keys come from
mod threads; // what must go on where it began
mod liveness; // signs of life
mod endings; // complete, or visibly not
mod soak; // all of it at random
mod metrics; // what is counted
mod readme; // what the README shows
mod commands; // check, plugins list, wit, exit codes
mod connections; // clients that say nothing, and clients that do not read
mod operation; // signals, limits, the configuration file while running
mod signatures; // whose thinking goes where
mod reload; // plugins come, change and go while traffic flows
mod guests; // plugins that misbehave
mod contract; // what plugins may do, in the gateway and in the SDK's test kit
mod dialects; // upstreams that speak another protocol

//! The gateway from outside, from the simplest to the strangest.

#[path = "../support/mod.rs"]
mod support;

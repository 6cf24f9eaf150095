//! Decides what happens after an attempt: stop, or retry on which target.

mod policy; // the decision (pure)
mod failover; // the targets of a route, in turn, and waits for cooldowns

pub(super) use failover::Failover;
pub(crate) use failover::is_routed;
pub(super) use policy::{RetryContext, RetryDecision, decide};

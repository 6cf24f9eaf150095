//! Keeps thinking blocks away from upstreams that reject them.
//!
//! A thinking block is signed by the upstream that made it, over everything before it. Another
//! upstream rejects it, and so does its own if the conversation before it was changed.
//!
//! The plugin learns from responses which upstream signed what. Where the target lacks
//! `foreign-signatures`, blocks that another upstream signed are dropped, and with them the ones
//! before, so that what is left is an unbroken run; blocks of unknown origin are trusted. An
//! unsigned block, such as the thinking of other protocols, is dropped where the target lacks
//! `unsigned-thinking`.
//!
//! If an upstream rejects thinking nevertheless, the request is recovered, and the decision is
//! repeated on every later turn of the conversation: see [`recovery`].
//!
//! Blocks are kept or dropped as a whole: no signature is ever changed, and nothing replaces a
//! block.

mod drop_blocks;
mod hash;
mod origin;
mod recovery;
mod rejection;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, NoSettings,
    Plugin, Request, Response, ResponseHook, RetryTarget, Target, Verdict, export, log,
};

use drop_blocks::{Block, drop_blocks, up_to};
use recovery::{Decision, Means};
use rejection::Rejection;

/// The feature that a target lacks if it rejects blocks signed by other upstreams.
const FOREIGN_SIGNATURES: &str = "foreign-signatures";

/// The feature that a target lacks if it rejects unsigned blocks.
const UNSIGNED_THINKING: &str = "unsigned-thinking";

const KINDS: [&str; 2] = ["messages", "count_tokens"];

#[derive(Default)]
struct SignatureFallback {
    /// Whether the current attempt asks the upstream to drop blocks itself.
    binds: bool,
    /// Retries in this exchange, by upstream.
    recoveries: BTreeMap<String, u32>,
}

impl Plugin for SignatureFallback {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn describe(&self) -> Manifest {
        let foreign = Guard::new()
            .kinds(KINDS)
            .lacks([FOREIGN_SIGNATURES])
            .path(drop_blocks::SIGNATURES);
        let unsigned = Guard::new()
            .kinds(KINDS)
            .lacks([UNSIGNED_THINKING])
            .path(drop_blocks::UNSIGNED);
        let decided = Guard::new()
            .kinds(KINDS)
            .remembers_conversation()
            .path(drop_blocks::THINKING);
        let refusals = Guard::new()
            .kinds(KINDS)
            .status([400])
            .path(drop_blocks::THINKING);
        // One call for each thinking block of a response; other events are not shown. If the route
        // has no other upstream, nothing needs to be remembered, and the response needs no instance
        // of this plugin.
        let signatures = Guard::new()
            .lacks([FOREIGN_SIGNATURES])
            .events(["content_block_delta"])
            .deltas(["signature_delta"]);
        Manifest::new("keeps thinking blocks away from upstreams that reject them")
            .attempt(foreign)
            .attempt(unsigned)
            .attempt(decided)
            .failure(refusals)
            .response(signatures)
    }
}

impl SignatureFallback {
    /// Repeats what was decided about this conversation.
    fn repeat(&mut self, request: &mut Request, target: &Target) -> Result<(), Error> {
        let Some(decision) = Decision::load(request, target)? else {
            return Ok(());
        };
        decision.store(request, target)?;
        if recovery::client_decides(request)? {
            return Ok(());
        }
        let means = decision.apply(request, target)?;
        self.binds = means == Means::DropBlock;
        request.note(means.action());
        Ok(())
    }

    /// By which means the request is recovered, if it can be.
    fn means(
        &self,
        request: &Request,
        target: &Target,
        failure: &Failure,
    ) -> Result<Option<(Means, &'static str)>, Error> {
        let body = failure.body();
        let rejection = rejection::of(&failure.error_type(), &body);
        Ok(match rejection {
            _ if !self.binds && recovery::client_decides(request)? => None,
            Some(Rejection::Prefix) if !self.binds && recovery::takes_binding(request, target)? => {
                Some((Means::DropBlock, Rejection::Prefix.reason()))
            }
            // It dropped nothing, so it ignores the field or does not know it.
            Some(Rejection::Prefix) if self.binds => Some(without_binding(target)?),
            None if self.binds && rejection::names_binding(&body) => Some(without_binding(target)?),
            Some(rejection) => Some((Means::LeaveOut, rejection.reason())),
            None => None,
        })
    }
}

/// The means for a target that does not know `block_binding`, which is remembered.
fn without_binding(target: &Target) -> Result<(Means, &'static str), Error> {
    recovery::remember_refusal(target)?;
    Ok((Means::LeaveOut, "it does not know `block_binding`"))
}

impl AttemptHook for SignatureFallback {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        self.binds = false;
        self.repeat(request, target)?;
        let mut blocks = BTreeSet::new();
        if target.lacks(FOREIGN_SIGNATURES) {
            blocks = origin::foreign(request, &target.upstream())?;
            // Other protocols do not check a chain, and their own signatures are needed.
            if *target.dialect() == *"anthropic" && !blocks.is_empty() {
                blocks = up_to(
                    Block::select(request, drop_blocks::THINKING)?,
                    blocks.last(),
                );
            }
        }
        if target.lacks(UNSIGNED_THINKING) {
            blocks.extend(Block::select(request, drop_blocks::UNSIGNED)?);
        }
        drop_blocks(request, &blocks)?;
        Ok(Verdict::Proceed)
    }
}

/// Retries of one request at one upstream: by each of the means.
const MOST_RECOVERIES: u32 = 2;

impl FailureHook for SignatureFallback {
    fn on_failure(
        &mut self,
        request: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        if !request.matches(drop_blocks::THINKING)? {
            return Ok(());
        }
        let Some((means, reason)) = self.means(request, target, failure)? else {
            return Ok(());
        };
        let upstream = target.upstream();
        let recoveries = self.recoveries.entry(upstream.clone()).or_default();
        if *recoveries == MOST_RECOVERIES {
            return Ok(());
        }
        *recoveries += 1;
        let before = Decision::load(request, target)?;
        let decision = Decision::after(before, means, request)?;
        decision.store(request, target)?;
        log::info(format!(
            "`{upstream}` rejected thinking blocks, because {reason}; from now on in this conversation, {}",
            decision.means.action()
        ));
        failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        Ok(())
    }
}

impl ResponseHook for SignatureFallback {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        origin::learn(response, &event)?;
        Ok(EventVerdict::Keep)
    }
}

export!(SignatureFallback: AttemptHook, FailureHook, ResponseHook);

#[cfg(test)]
mod tests;

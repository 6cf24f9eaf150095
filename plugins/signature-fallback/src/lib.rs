//! Keeps thinking blocks away from upstreams that did not sign them.
//!
//! A thinking block is signed by the upstream that made it, and another upstream rejects it. The
//! plugin learns from responses which upstream signed what. Blocks that another upstream signed are
//! dropped where the target lacks `foreign-signatures`; blocks of unknown origin are trusted. If an
//! upstream still rejects a signature, the request is retried once without any thinking.
//!
//! An unsigned block, such as the thinking of other protocols, is dropped where the target lacks
//! `unsigned-thinking`.
//!
//! Blocks are kept or dropped as a whole: no signature is ever changed, and nothing replaces a
//! block.

mod drop_blocks;
mod origin;
mod rejection;

use std::{collections::BTreeSet, time::Duration};

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, NoSettings,
    Plugin, Request, Response, ResponseHook, RetryTarget, Target, Verdict, export, log,
};

use drop_blocks::{Block, drop_blocks};

/// The feature that a target lacks if it rejects blocks signed by other upstreams.
const FOREIGN_SIGNATURES: &str = "foreign-signatures";

/// The feature that a target lacks if it rejects unsigned blocks.
const UNSIGNED_THINKING: &str = "unsigned-thinking";

const KINDS: [&str; 2] = ["messages", "count_tokens"];

#[derive(Default)]
struct SignatureFallback {
    /// The upstream that rejected a signature. There is one such retry in an exchange.
    rejected_by: Option<String>,
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
        let retry = Guard::new()
            .kinds(KINDS)
            .retries()
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
        Manifest::new("keeps thinking blocks away from upstreams that did not sign them")
            .attempt(foreign)
            .attempt(unsigned)
            .attempt(retry)
            .failure(refusals)
            .response(signatures)
    }
}

impl AttemptHook for SignatureFallback {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let upstream = target.upstream();
        let rejected = self.rejected_by.as_ref() == Some(&upstream);
        let mut blocks = BTreeSet::new();
        if rejected {
            blocks = Block::select(request, drop_blocks::THINKING)?;
        } else {
            if target.lacks(FOREIGN_SIGNATURES) {
                blocks = origin::foreign(request, &upstream)?;
            }
            if target.lacks(UNSIGNED_THINKING) {
                blocks.extend(Block::select(request, drop_blocks::UNSIGNED)?);
            }
        }
        drop_blocks(request, &blocks)?;
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for SignatureFallback {
    fn on_failure(
        &mut self,
        request: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let retries = self.rejected_by.is_none()
            && request.matches(drop_blocks::THINKING)?
            && rejection::is_signature_error(&failure.error_type(), &failure.body());
        if retries {
            let upstream = target.upstream();
            log::info(format!(
                "`{upstream}` rejected the signature of a thinking block; retrying once without thinking blocks"
            ));
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
            self.rejected_by = Some(upstream);
        }
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

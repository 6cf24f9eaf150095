//! Keeps thinking blocks away from upstreams that did not sign them.
//!
//! A thinking block is signed by whoever made it, and another upstream refuses it. Who signed what is learned from answers. On
//! the way out, blocks that are known to be signed elsewhere are left out where the target lacks `foreign-signatures`; what
//! nobody saw being made is trusted. Where an upstream refuses a signature all the same, it is asked once more without any.
//!
//! A block that nobody signed, as other protocols' thoughts come, is left out where the target lacks `unsigned-thinking`.
//!
//! Blocks go whole or stay whole: no signature is ever changed, and nothing is put in a block's place.

mod drop_blocks;
mod origin;
mod refusal;

use std::{collections::BTreeSet, time::Duration};

use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, NoSettings,
    Plugin, Request, Response, ResponseHook, RetryTarget, Target, Verdict, export, log,
};

use drop_blocks::{Block, drop_blocks};

/// What a target lacks that cannot take blocks signed by others.
const LACK: &str = "foreign-signatures";

/// What a target lacks that cannot take blocks signed by nobody.
const LACK_UNSIGNED: &str = "unsigned-thinking";

const KINDS: [&str; 2] = ["messages", "count_tokens"];

#[derive(Default)]
struct SignatureFallback {
    /// The upstream that refused a signature. There is one such retry in an exchange.
    refused_by: Option<String>,
}

impl Plugin for SignatureFallback {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn describe(&self) -> Manifest {
        let foreign = Guard::new()
            .kinds(KINDS)
            .lacks([LACK])
            .path(drop_blocks::SIGNATURES);
        let unsigned = Guard::new()
            .kinds(KINDS)
            .lacks([LACK_UNSIGNED])
            .path(drop_blocks::UNSIGNED);
        let again = Guard::new()
            .kinds(KINDS)
            .retries()
            .path(drop_blocks::THINKING);
        let refusals = Guard::new()
            .kinds(KINDS)
            .status([400])
            .path(drop_blocks::THINKING);
        // One call for each thinking block of an answer; all other events pass by. Where there is nowhere else to go, nobody
        // needs to know, and the answer need not keep a place for this plugin.
        let signatures = Guard::new()
            .lacks([LACK])
            .events(["content_block_delta"])
            .deltas(["signature_delta"]);
        Manifest::new("keeps thinking blocks away from upstreams that did not sign them")
            .attempt(foreign)
            .attempt(unsigned)
            .attempt(again)
            .failure(refusals)
            .response(signatures)
    }
}

impl AttemptHook for SignatureFallback {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let upstream = target.upstream();
        let refused = self.refused_by.as_ref() == Some(&upstream);
        let mut blocks = BTreeSet::new();
        if refused {
            blocks = Block::select(request, drop_blocks::THINKING)?;
        } else {
            if target.lacks(LACK) {
                blocks = origin::foreign(request, &upstream)?;
            }
            if target.lacks(LACK_UNSIGNED) {
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
        let asks = self.refused_by.is_none()
            && request.matches(drop_blocks::THINKING)?
            && refusal::is_one(&failure.error_type(), &failure.body());
        if asks {
            let upstream = target.upstream();
            log::info(format!(
                "`{upstream}` refused a thinking block's signature: trying once more without thinking blocks"
            ));
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
            self.refused_by = Some(upstream);
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

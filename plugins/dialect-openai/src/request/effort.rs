//! `reasoning_effort`. OpenAI knows Anthropic's levels and some more.

use witgate_plugin::dialect::{ClientRequest, Thinking};

use super::{Wanted, dropped::Dropped};
use crate::failure::EFFORTS;

/// The effort that is sent: the one that the client asked for, as far as the upstream supports it.
pub(super) fn effort(
    asked: &ClientRequest,
    has_tools: bool,
    wanted: &Wanted<'_>,
    dropped: &mut Dropped,
) -> Option<&'static str> {
    let wish = wish(asked, wanted.options.effort, dropped);
    if has_tools && wanted.capabilities.no_effort_with_tools() {
        if wish.is_some_and(|wish| wish != "none") {
            dropped.changed("effort as none because of the tools");
        }
        return Some("none");
    }
    let nearest = wish.map(|wish| wanted.capabilities.nearest_effort(wish));
    if nearest != wish {
        dropped.changed("effort as the nearest supported one");
    }
    nearest
}

/// The effort that the client asks for.
fn wish(asked: &ClientRequest, enabled: bool, dropped: &mut Dropped) -> Option<&'static str> {
    let requested = asked.effort.as_deref();
    let word = requested.and_then(|requested| {
        let words = EFFORTS.into_iter().filter(|word| *word != "none");
        words.into_iter().find(|word| *word == requested)
    });
    if requested.is_some() && !(enabled && word.is_some()) {
        dropped.left_out("output_config.effort");
    }
    if asked.thinking != Thinking::Unsaid && !enabled {
        dropped.left_out("thinking");
    }
    if !enabled {
        return None;
    }
    match asked.thinking {
        Thinking::Disabled => Some("none"),
        Thinking::Enabled {
            budget: Some(budget),
        } if word.is_none() => Some(match budget {
            ..=4_096 => "low",
            4_097..=16_384 => "medium",
            _ => "high",
        }),
        _ => word,
    }
}

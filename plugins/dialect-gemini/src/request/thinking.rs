//! Configures how much the model thinks, in the form that the model accepts.

use witgate_plugin::dialect::{ClientRequest, Thinking};

use super::wire::ThinkingConfig;
use crate::{
    dropped::Dropped,
    model::{Level, Model, Thinker},
};

/// The largest budgets that become the levels `LOW` and `MEDIUM`. Larger ones become `HIGH`.
const LOW_UP_TO: u64 = 4_096;
const MEDIUM_UP_TO: u64 = 16_384;

/// The configuration. `None` if the model does not think, because it would reject the field.
pub(super) fn config(
    model: Model,
    asked: &ClientRequest,
    dropped: &mut Dropped,
) -> Option<ThinkingConfig> {
    let thinks = matches!(
        asked.thinking,
        Thinking::Adaptive | Thinking::Enabled { .. }
    );
    let config = match model.thinker() {
        Thinker::Fixed => {
            for (field, is_set) in [
                ("thinking", thinks),
                ("output_config.effort", asked.effort.is_some()),
            ] {
                if is_set {
                    dropped.left_out.add(field);
                }
            }
            return None;
        }
        Thinker::Budget { least, most, off } => {
            if asked.effort.is_some() {
                dropped.left_out.add("output_config.effort");
            }
            ThinkingConfig {
                thinking_budget: Some(budget(asked, least, most, off, dropped)),
                ..ThinkingConfig::default()
            }
        }
        Thinker::Levels(levels) => ThinkingConfig {
            thinking_level: level(asked, levels, dropped).map(Level::word),
            ..ThinkingConfig::default()
        },
    };
    let shows = thinks && asked.shows_thinking;
    let config = ThinkingConfig {
        include_thoughts: shows.then_some(true),
        ..config
    };
    (config != ThinkingConfig::default()).then_some(config)
}

fn budget(asked: &ClientRequest, least: u64, most: u64, off: bool, dropped: &mut Dropped) -> i64 {
    let tokens = match asked.thinking {
        // The model decides.
        Thinking::Adaptive | Thinking::Enabled { budget: None } => return -1,
        Thinking::Enabled {
            budget: Some(budget),
        } => {
            let tokens = budget.clamp(least, most);
            if tokens != budget {
                dropped
                    .changed
                    .add(format!("thinking.budget_tokens to {tokens}"));
            }
            tokens
        }
        Thinking::Disabled | Thinking::Unsaid if off => 0,
        Thinking::Disabled => {
            dropped
                .changed
                .add(format!("thinking disabled to {least} tokens"));
            least
        }
        Thinking::Unsaid => least,
    };
    i64::try_from(tokens).unwrap_or(-1)
}

/// The level. `None` leaves it to the model, which is what adaptive means.
fn level(asked: &ClientRequest, levels: &[Level], dropped: &mut Dropped) -> Option<Level> {
    let lowest = levels.first().copied()?;
    let by_effort = asked
        .effort
        .as_deref()
        .map(|effort| of_effort(effort, dropped));
    let wanted = match asked.thinking {
        Thinking::Disabled => {
            dropped
                .changed
                .add(format!("thinking disabled to {}", lowest.word()));
            return Some(lowest);
        }
        Thinking::Enabled {
            budget: Some(budget),
        } => of_budget(budget),
        Thinking::Adaptive | Thinking::Enabled { budget: None } => by_effort?,
        // A client that sets nothing wants no thinking.
        Thinking::Unsaid => by_effort.unwrap_or(lowest),
    };
    // The next higher level that the model has.
    levels
        .iter()
        .copied()
        .find(|level| *level >= wanted)
        .or(levels.last().copied())
}

fn of_budget(tokens: u64) -> Level {
    if tokens <= LOW_UP_TO {
        Level::Low
    } else if tokens <= MEDIUM_UP_TO {
        Level::Medium
    } else {
        Level::High
    }
}

fn of_effort(effort: &str, dropped: &mut Dropped) -> Level {
    match effort {
        "low" => Level::Low,
        "medium" => Level::Medium,
        "high" => Level::High,
        _ => {
            dropped.changed.add("output_config.effort to HIGH");
            Level::High
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(model: &str, thinking: &Thinking, effort: Option<&str>, wanted: &str) {
        let asked = ClientRequest {
            thinking: thinking.clone(),
            effort: effort.map(str::to_owned),
            ..ClientRequest::default()
        };
        let config = config(Model::named(model), &asked, &mut Dropped::default());
        let sent = config.map_or_else(String::new, |config| {
            let budget = config.thinking_budget.map(|tokens| tokens.to_string());
            budget
                .or(config.thinking_level.map(str::to_owned))
                .unwrap_or_default()
        });
        assert_eq!(sent, wanted, "{model} {thinking:?} {effort:?}");
    }

    #[test]
    fn each_generation_gets_its_own_configuration() {
        use Thinking::{Adaptive, Disabled, Unsaid};
        let enabled = |budget| Thinking::Enabled {
            budget: Some(budget),
        };
        is("gemini-2.0-flash", &Adaptive, None, "");
        is("gemini-2.5-flash", &Disabled, None, "0");
        is("gemini-2.5-flash", &Unsaid, None, "0");
        is("gemini-2.5-flash", &enabled(31_999), None, "24576");
        is("gemini-2.5-flash", &enabled(5_000), Some("high"), "5000");
        is("gemini-2.5-pro", &Disabled, None, "128");
        is("gemini-2.5-pro", &Adaptive, Some("low"), "-1");
        is("gemini-3.1-pro-preview", &Disabled, None, "LOW");
        is("gemini-3.1-pro-preview", &Adaptive, None, "");
        is(
            "gemini-3.1-pro-preview",
            &Adaptive,
            Some("medium"),
            "MEDIUM",
        );
        is("gemini-3-pro-preview", &Adaptive, Some("medium"), "HIGH");
        is("gemini-3-flash-preview", &Unsaid, None, "MINIMAL");
        is("gemini-3-flash-preview", &Unsaid, Some("low"), "LOW");
        is("gemini-4-argon", &enabled(2_000), None, "LOW");
        is("gemini-4-argon", &enabled(10_000), None, "MEDIUM");
        is("gemini-4-argon", &enabled(31_999), None, "HIGH");
        is("gemini-4-argon", &Adaptive, Some("max"), "HIGH");
    }
}

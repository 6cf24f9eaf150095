//! What was learned about one model of one upstream, and how it changes a request. Pure.
//!
//! Models and servers differ in what they accept, and say what they refuse. The attempt is then
//! repeated with the alternative, and later exchanges start with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::lessons::{EFFORTS, Lesson};
use crate::settings::{Format, MaxTokens, MidSystem, Options, Thoughts, ToolForce};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    max_tokens: Option<MaxTokens>,
    max_output: Option<u64>,
    least_output: Option<u64>,
    mid_system: Option<MidSystem>,
    user_after_tool: Option<bool>,
    no_system: bool,
    reasoning: Option<Thoughts>,
    format: Option<Format>,
    tool_force: Option<ToolForce>,
    images: Option<bool>,
    plain_content: bool,
    efforts: Vec<String>,
    no_effort_with_tools: bool,
    max_stops: Option<usize>,
    /// Of [`OPTIONAL`](super::OPTIONAL).
    without: BTreeSet<String>,
}

impl Capabilities {
    /// Adds a lesson.
    pub(crate) fn learn(&mut self, lesson: Lesson) {
        match lesson {
            Lesson::MaxTokens(name) => self.max_tokens = Some(name),
            Lesson::MaxOutput(most) => self.max_output = Some(most),
            Lesson::LeastOutput(least) => self.least_output = Some(least),
            Lesson::SystemFirst => self.mid_system = Some(MidSystem::User),
            Lesson::AlternatingRoles => {
                self.mid_system = Some(MidSystem::User);
                self.user_after_tool = Some(false);
            }
            Lesson::NoUserAfterTool => self.user_after_tool = Some(false),
            Lesson::NoSystem => {
                self.mid_system = Some(MidSystem::User);
                self.no_system = true;
            }
            Lesson::Reasoning(thoughts) => self.reasoning = Some(thoughts),
            Lesson::Format(format) => self.format = Some(format),
            Lesson::ToolForce(force) => self.tool_force = Some(force),
            Lesson::NoImages => self.images = Some(false),
            Lesson::PlainContent => {
                self.images = Some(false);
                self.plain_content = true;
            }
            Lesson::Efforts(efforts) => self.efforts = efforts,
            Lesson::NoEffortWithTools => self.no_effort_with_tools = true,
            Lesson::MaxStops(most) => self.max_stops = Some(most),
            Lesson::Without(name) => drop(self.without.insert(name)),
        }
    }

    /// Overrides the settings with what was learned, because the settings are what failed.
    pub(crate) fn apply(&self, options: &mut Options) {
        fn set<T: Copy>(option: &mut T, learned: Option<T>) {
            *option = learned.unwrap_or(*option);
        }
        set(&mut options.max_tokens, self.max_tokens);
        set(&mut options.mid_system, self.mid_system);
        set(&mut options.user_after_tool, self.user_after_tool);
        set(&mut options.reasoning, self.reasoning);
        set(&mut options.response_format, self.format);
        set(&mut options.tool_choice, self.tool_force);
        set(&mut options.images, self.images);
        options.max_output = match (options.max_output, self.max_output) {
            (Some(set), Some(learned)) => Some(set.min(learned)),
            (set, learned) => set.or(learned),
        };
    }

    pub(crate) fn without(&self, name: &str) -> bool {
        self.without.contains(name)
    }

    pub(crate) fn least_output(&self) -> Option<u64> {
        self.least_output
    }

    pub(crate) fn max_stops(&self) -> Option<usize> {
        self.max_stops
    }

    /// Whether the system prompt has to be a part of the first user message.
    pub(crate) fn no_system(&self) -> bool {
        self.no_system
    }

    /// Whether contents have to be texts.
    pub(crate) fn plain_content(&self) -> bool {
        self.plain_content
    }

    /// Whether tools are accepted only without reasoning.
    pub(crate) fn no_effort_with_tools(&self) -> bool {
        self.no_effort_with_tools
    }

    /// The supported effort that is nearest to this one; of two equally near ones, the greater.
    pub(crate) fn nearest_effort(&self, effort: &'static str) -> &'static str {
        let rank = |effort: &str| EFFORTS.iter().position(|known| *known == effort);
        let distance = |other: &&str| rank(effort).unwrap_or(0).abs_diff(rank(other).unwrap_or(0));
        let supported = EFFORTS
            .into_iter()
            .filter(|known| self.efforts.iter().any(|effort| effort == known));
        supported.rev().min_by_key(distance).unwrap_or(effort)
    }
}

impl MaxTokens {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_overrides_the_settings_and_survives_the_store() {
        let mut capabilities = Capabilities::default();
        for lesson in [
            Lesson::MaxOutput(8_192),
            Lesson::MaxTokens(MaxTokens::MaxCompletionTokens),
            Lesson::AlternatingRoles,
            Lesson::NoImages,
            Lesson::Format(Format::JsonObject),
            Lesson::ToolForce(ToolForce::Required),
        ] {
            capabilities.learn(lesson.clone());
            let once = capabilities.clone();
            capabilities.learn(lesson.clone());
            assert_eq!(capabilities, once, "only new once: {lesson:?}");
        }
        let mut options = Options {
            max_output: Some(4_096),
            ..Options::default()
        };
        capabilities.apply(&mut options);
        let wanted = Options {
            max_output: Some(4_096),
            max_tokens: MaxTokens::MaxCompletionTokens,
            mid_system: MidSystem::User,
            user_after_tool: false,
            images: false,
            response_format: Format::JsonObject,
            tool_choice: ToolForce::Required,
            ..Options::default()
        };
        assert_eq!(options, wanted);
        let again: Capabilities =
            serde_json::from_str(&serde_json::to_string(&capabilities).unwrap()).unwrap();
        assert_eq!(again, capabilities);
    }

    #[test]
    fn an_older_entry_of_the_store_is_readable() {
        let entry =
            r#"{"max_tokens":"max_completion_tokens","max_output":null,"without":["temperature"]}"#;
        let read: Capabilities = serde_json::from_str(entry).unwrap();
        assert!(read.without("temperature"));
    }

    #[test]
    fn the_nearest_supported_effort_is_used() {
        let mut capabilities = Capabilities::default();
        assert_eq!(capabilities.nearest_effort("low"), "low");
        for (supported, asked, nearest) in [
            (&["high"][..], "low", "high"),
            (&["low", "high"], "medium", "high"),
            (&["low", "medium"], "max", "medium"),
            (&["minimal", "low"], "none", "minimal"),
            (&["low", "medium", "high"], "medium", "medium"),
        ] {
            let supported = supported.iter().map(|effort| (*effort).to_owned());
            capabilities.learn(Lesson::Efforts(supported.collect()));
            assert_eq!(capabilities.nearest_effort(asked), nearest, "{asked}");
        }
    }
}

//! What a model's name says about it: Gemini's models need different parameters for the same thing.

/// A model of the Gemini family, or an unknown one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    /// Major and minor version. `None` for models outside the family, such as Gemma.
    generation: Option<(u32, u32)>,
    size: Size,
    /// Whether it accepts system instructions.
    system: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Lite,
    Flash,
    /// `pro`, and every other name.
    Large,
    /// Generates images or speech, and does not think on demand.
    Generator,
}

/// How thinking is configured for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinker {
    /// Thinking cannot be configured.
    Fixed,
    /// A range of tokens, and whether 0 switches thinking off.
    Budget { least: u64, most: u64, off: bool },
    /// One of these levels, the lowest first. Thinking cannot be switched off.
    Levels(&'static [Level]),
}

/// `thinkingLevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Minimal,
    Low,
    Medium,
    High,
}

/// The version of a name without a number: `gemini-pro-latest` is the newest.
const NEWEST: (u32, u32) = (4, 0);

impl Level {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Minimal => "MINIMAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }
}

impl Model {
    /// Parses names such as `gemini-2.5-flash` or `models/gemini-3.1-pro-preview`.
    pub(crate) fn named(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let size = match &name {
            name if ["-image", "-tts", "-audio", "-embedding"]
                .iter()
                .any(|word| name.contains(word)) =>
            {
                Size::Generator
            }
            name if name.contains("-lite") => Size::Lite,
            name if name.contains("flash") => Size::Flash,
            _ => Size::Large,
        };
        let generation = name
            .strip_prefix("gemini-")
            .map(|version| number(version).unwrap_or(NEWEST));
        // Gemma has them from its fourth generation on.
        let gemma = name.split_once("gemma").map(|(_, after)| after);
        let system = gemma.is_none_or(|after| {
            number(after.trim_start_matches('-')).is_some_and(|version| version >= (4, 0))
        });
        Self {
            generation,
            size,
            system,
        }
    }

    /// Whether the model accepts system instructions.
    pub(crate) fn takes_system(self) -> bool {
        self.system
    }

    /// Whether calls and results have ids on Vertex.
    pub(crate) fn has_ids_on_vertex(self) -> bool {
        self.is_third()
    }

    /// Whether the model can search with Google.
    pub(crate) fn searches(self) -> bool {
        self.size != Size::Generator && self.generation.is_some_and(|version| version >= (2, 0))
    }

    /// The largest `topK` that is accepted.
    pub(crate) fn most_top_k(self) -> u64 {
        match self.generation {
            Some((..=1, _) | (2, ..=4)) => 40,
            _ => 64,
        }
    }

    pub(crate) fn thinker(self) -> Thinker {
        use Level::{High, Low, Medium, Minimal};
        let Some(generation) = self.generation.filter(|_| self.size != Size::Generator) else {
            return Thinker::Fixed;
        };
        match (generation, self.size) {
            ((..=1, _) | (2, ..=4), _) => Thinker::Fixed,
            ((2, _), Size::Lite) => budget(512, 24_576, true),
            ((2, _), Size::Flash) => budget(0, 24_576, true),
            ((2, _), _) => budget(128, 32_768, false),
            ((3, 0), Size::Large) => Thinker::Levels(&[Low, High]),
            ((3, _), Size::Lite) | ((3, ..=6), Size::Flash) => {
                Thinker::Levels(&[Minimal, Low, Medium, High])
            }
            _ => Thinker::Levels(&[Low, Medium, High]),
        }
    }

    /// Whether the model rejects calls in the history without a signature.
    pub(crate) fn requires_signatures(self) -> bool {
        self.is_third()
    }

    /// Whether the model accepts images and PDFs inside a function's response.
    pub(crate) fn sees_results(self) -> bool {
        self.is_third()
    }

    /// Whether a response schema and functions can be combined.
    pub(crate) fn formats_beside_tools(self) -> bool {
        self.is_third()
    }

    /// The largest `maxOutputTokens` that is accepted everywhere: Vertex excludes 65,536, which the
    /// public API accepts.
    pub(crate) fn most_output(self) -> Option<u64> {
        match self.generation? {
            (..=1, _) | (2, ..=4) => Some(8_192),
            _ => Some(65_535),
        }
    }

    fn is_third(self) -> bool {
        self.generation
            .is_some_and(|generation| generation >= (3, 0))
    }
}

fn budget(least: u64, most: u64, off: bool) -> Thinker {
    Thinker::Budget { least, most, off }
}

/// Parses the version that a text begins with: `2.5-flash`, `3-pro`.
fn number(text: &str) -> Option<(u32, u32)> {
    let version = text.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    // `gemini-exp-1206` has a date, not a number.
    Some((
        major.parse().ok().filter(|major| *major < 100)?,
        minor.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_determines_how_thinking_is_configured() {
        let table = [
            ("gemini-2.0-flash", Thinker::Fixed),
            ("gemini-1.5-pro-002", Thinker::Fixed),
            ("gemma-3-27b-it", Thinker::Fixed),
            ("gemini-2.5-flash-image", Thinker::Fixed),
            ("gemini-2.5-flash-lite", budget(512, 24_576, true)),
            ("gemini-2.5-flash-preview-09-2025", budget(0, 24_576, true)),
            ("models/gemini-2.5-pro", budget(128, 32_768, false)),
        ];
        for (name, thinker) in table {
            assert_eq!(Model::named(name).thinker(), thinker, "{name}");
        }
        let lowest = [
            ("gemini-3-flash-preview", Level::Minimal),
            ("gemini-3.1-flash-lite", Level::Minimal),
            ("gemini-3-pro-preview", Level::Low),
            (
                "publishers/google/models/gemini-3.1-pro-preview",
                Level::Low,
            ),
            ("gemini-3.8-flash", Level::Low),
            ("gemini-4-argon", Level::Low),
            ("gemini-pro-latest", Level::Low),
        ];
        for (name, level) in lowest {
            let Thinker::Levels(levels) = Model::named(name).thinker() else {
                panic!("{name}");
            };
            assert_eq!(levels[0], level, "{name}");
        }
    }

    #[test]
    fn signatures_are_demanded_from_the_third_generation_on() {
        for (name, demands) in [
            ("gemini-2.5-pro", false),
            ("gemma-3-27b-it", false),
            ("gemini-3-pro-preview", true),
            ("gemini-flash-latest", true),
        ] {
            assert_eq!(Model::named(name).requires_signatures(), demands, "{name}");
        }
    }

    #[test]
    fn limits_follow_the_generation() {
        for (name, output, top_k) in [
            ("gemini-1.5-pro-002", Some(8_192), 40),
            ("gemini-2.0-flash-001", Some(8_192), 40),
            ("gemini-2.5-pro", Some(65_535), 64),
            ("gemini-3.1-pro-preview", Some(65_535), 64),
            ("gemma-3-27b-it", None, 64),
        ] {
            let model = Model::named(name);
            assert_eq!(
                (model.most_output(), model.most_top_k()),
                (output, top_k),
                "{name}"
            );
        }
    }

    #[test]
    fn older_gemma_models_accept_no_system_instructions() {
        for (name, accepts) in [
            ("gemma-3-27b-it", false),
            ("models/gemma-3n-e4b-it", false),
            ("gemma-2-9b-it", false),
            ("medgemma-27b-it", false),
            ("gemma-4-31b-it", true),
            ("gemini-2.5-flash", true),
            ("my-tuned-model", true),
        ] {
            assert_eq!(Model::named(name).takes_system(), accepts, "{name}");
        }
    }
}

//! The plugin's settings. docs/dialect-gemini.md lists them.

use serde::Deserialize;
use witgate_plugin::{ByModel, Error};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Upstreams that are Vertex: they count tokens in another format and have no list of models.
    pub(crate) vertex: Vec<String>,
    /// The largest `maxOutputTokens` that is sent. It overrides the known limit of the model.
    max_output_tokens: Option<u64>,
    /// The threshold of all safety filters. Without it, the API's default applies.
    safety: Option<String>,
    /// Overrides for some models.
    models: ByModel<Overrides>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Overrides {
    max_output_tokens: Option<u64>,
    safety: Option<String>,
}

const THRESHOLDS: [&str; 5] = [
    "OFF",
    "BLOCK_NONE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_LOW_AND_ABOVE",
];

impl Settings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let of_models = self.models.all().map(|overrides| &overrides.safety);
        let mut words = of_models.chain([&self.safety]).flatten();
        match words.find(|word| !THRESHOLDS.contains(&word.as_str())) {
            Some(word) => Err(Error::new(format!(
                "settings.safety: got `{word}`, expected one of {}",
                THRESHOLDS.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// The largest `maxOutputTokens` for a model, if it is set.
    pub(crate) fn max_output_tokens(&self, model: &str) -> Option<u64> {
        let of_model = self.models.of(model);
        let of_model = of_model.filter_map(|overrides| overrides.max_output_tokens);
        of_model.last().or(self.max_output_tokens)
    }

    /// The threshold of the safety filters for a model, if it is set.
    pub(crate) fn safety(&self, model: &str) -> Option<&str> {
        let of_model = self.models.of(model);
        let of_model = of_model.filter_map(|overrides| overrides.safety.as_deref());
        of_model.last().or(self.safety.as_deref())
    }

    pub(crate) fn is_vertex(&self, upstream: &str) -> bool {
        self.vertex.iter().any(|name| name == upstream)
    }
}

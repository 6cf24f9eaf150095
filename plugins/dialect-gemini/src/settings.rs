//! The plugin's settings. docs/dialect-gemini.md lists them.

use serde::Deserialize;
use witgate_plugin::Error;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Upstreams that are Vertex: they count tokens in another format and have no list of models.
    pub(crate) vertex: Vec<String>,
    /// The largest `maxOutputTokens` that is sent. It overrides the known limit of the model.
    pub(crate) max_output_tokens: Option<u64>,
    /// The threshold of all safety filters. Without it, the API's default applies.
    pub(crate) safety: Option<String>,
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
        match &self.safety {
            Some(word) if !THRESHOLDS.contains(&word.as_str()) => Err(Error::new(format!(
                "settings.safety: got `{word}`, expected one of {}",
                THRESHOLDS.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_vertex(&self, upstream: &str) -> bool {
        self.vertex.iter().any(|name| name == upstream)
    }
}

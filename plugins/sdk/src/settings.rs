//! The plugin's own settings, read once per instance.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use witgate_contract::glob;

use crate::error::Error;

/// Settings for some models, by patterns for their names: `*` matches any text.
///
/// ```
/// use witgate_plugin::{ByModel, serde_json};
///
/// let limits: ByModel<u64> = serde_json::from_str(r#"{"qwen3-coder*":2,"qwen*":1}"#)?;
/// // The longest pattern is the most special, and applies last.
/// assert_eq!(limits.of("qwen3-coder-next").copied().collect::<Vec<_>>(), [1, 2]);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "BTreeMap<String, T>")]
pub struct ByModel<T>(Vec<(String, T)>);

impl<T> ByModel<T> {
    /// Returns the settings of all patterns that match a model's whole name, the most special last.
    pub fn of(&self, model: &str) -> impl Iterator<Item = &T> {
        let matching = self
            .0
            .iter()
            .filter(move |(pattern, _)| glob::matches(pattern, model));
        matching.map(|(_, settings)| settings)
    }

    /// Returns the settings of all patterns.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, settings)| settings)
    }
}

impl<T> From<BTreeMap<String, T>> for ByModel<T> {
    fn from(settings: BTreeMap<String, T>) -> Self {
        let mut settings: Vec<_> = settings.into_iter().collect();
        settings.sort_by_key(|(pattern, _)| pattern.len());
        Self(settings)
    }
}

impl<T> Default for ByModel<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The settings of a plugin that has none: any key in the configuration is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Reads the settings from the configuration's JSON object. An empty object gives the type's
/// default.
pub(crate) fn read<T: DeserializeOwned + Default>(text: &str) -> Result<T, Error> {
    if text == "{}" {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| Error::from(error).context("settings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_without_settings_rejects_any() {
        assert!(read::<NoSettings>("{}").is_ok());
        let error = read::<NoSettings>(r#"{"model":"m"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("settings: unknown field `model`"),
            "{error}"
        );
    }

    #[test]
    fn without_settings_the_default_is_used() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Strict {
            most: u64,
        }
        impl Default for Strict {
            fn default() -> Self {
                Self { most: 5 }
            }
        }
        assert_eq!(read::<Strict>("{}"), Ok(Strict { most: 5 }));
        assert_eq!(read::<Strict>(r#"{"most":6}"#), Ok(Strict { most: 6 }));
    }
}

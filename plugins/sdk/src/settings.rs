//! The plugin's own settings, read once per instance.

use serde::{Deserialize, de::DeserializeOwned};

use crate::error::Error;

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

//! Data about providers, from their documentation. What that does not say is left out.

use super::AuthStyle::{self, Bearer, XApiKey, XGoogApiKey};

/// The values of `preset = "..."`. Other keys of the upstream override them.
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// `None` if the user has to set it.
    pub(super) base_url: Option<&'static str>,
    pub(super) dialect: &'static str,
    pub(super) auth: AuthStyle,
    /// The features that it lacks on every route.
    pub(super) lacks: &'static [&'static str],
    /// The features that it lacks if there are other upstreams.
    pub(super) lacks_beside_others: &'static [&'static str],
    /// The plugin and its setting that lists upstreams of this kind.
    pub(super) listed_in: Option<(&'static str, &'static str)>,
}

/// The features whose lack the default plugins handle. `lacks` may name others for other plugins.
pub(super) const FEATURES: &[&str] = &[
    "cache_control",
    "same-role-turns",
    "message-threads",
    "count_tokens",
    "foreign-signatures",
    "unsigned-thinking",
    "images",
    NEW_FEATURES,
    "2026-10-21",
];

/// The feature of the server that defines the API: whatever a current client sends. Others may be
/// older than the client, so plugins learn from their errors.
pub(super) const NEW_FEATURES: &str = "new-features";

/// An upstream cannot check the signature of a thinking block from another upstream.
const SIGNATURES: &[&str] = &["foreign-signatures"];

/// Anthropic signs all thinking and rejects unsigned blocks. Other protocols have unsigned
/// thinking.
const THINKING: &[&str] = &["foreign-signatures", "unsigned-thinking"];

/// An unknown server that speaks the Messages API: the features that not all of them have.
const UNKNOWN_SERVER: &[&str] = &[
    "cache_control",
    "same-role-turns",
    "message-threads",
    "count_tokens",
    NEW_FEATURES,
];

/// Another protocol of which nothing is known.
const OTHER_PROTOCOL: &[&str] = &[
    "cache_control",
    "same-role-turns",
    "message-threads",
    "count_tokens",
];

/// A server that speaks the Messages API, and is documented to have all of the features above.
const DOCUMENTED: &[&str] = &[NEW_FEATURES];

/// Another protocol that can count tokens.
const COUNTS_ONLY: &[&str] = &["cache_control", "same-role-turns", "message-threads"];

/// The presets, one line each, so that they can be compared.
#[rustfmt::skip]
pub(super) const PRESETS: &[Preset] = &[
    Preset { name: "anthropic", base_url: Some("https://api.anthropic.com"), dialect: "anthropic", auth: XApiKey, lacks: &[], lacks_beside_others: THINKING, listed_in: None },
    Preset { name: "compatible", base_url: None, dialect: "anthropic", auth: XApiKey, lacks: UNKNOWN_SERVER, lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "zai", base_url: Some("https://api.z.ai/api/anthropic"), dialect: "anthropic", auth: Bearer, lacks: DOCUMENTED, lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "moonshot", base_url: Some("https://api.moonshot.ai/anthropic"), dialect: "anthropic", auth: Bearer, lacks: DOCUMENTED, lacks_beside_others: SIGNATURES, listed_in: None },
    // Its documents say that `anthropic-beta`, which message threads need, is ignored.
    Preset { name: "deepseek", base_url: Some("https://api.deepseek.com/anthropic"), dialect: "anthropic", auth: XApiKey, lacks: &["message-threads", NEW_FEATURES], lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "minimax", base_url: Some("https://api.minimax.io/anthropic"), dialect: "anthropic", auth: XApiKey, lacks: DOCUMENTED, lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "openrouter", base_url: Some("https://openrouter.ai/api"), dialect: "anthropic", auth: Bearer, lacks: DOCUMENTED, lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "gemini", base_url: Some("https://generativelanguage.googleapis.com/v1beta"), dialect: "gemini", auth: XGoogApiKey, lacks: COUNTS_ONLY, lacks_beside_others: SIGNATURES, listed_in: None },
    Preset { name: "vertex", base_url: None, dialect: "gemini", auth: Bearer, lacks: COUNTS_ONLY, lacks_beside_others: SIGNATURES, listed_in: Some(("dialect-gemini", "vertex")) },
    Preset { name: "openai", base_url: Some("https://api.openai.com/v1"), dialect: "openai", auth: Bearer, lacks: OTHER_PROTOCOL, lacks_beside_others: SIGNATURES, listed_in: None },
];

/// The preset of an upstream that names none. It expects the fewest features.
pub(super) const WITHOUT_PRESET: &str = "compatible";

/// Finds a preset by its name.
pub(super) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// The dialect of the preset with this name, if there is one.
pub(crate) fn dialect_of_preset(name: &str) -> Option<&'static str> {
    find(name).map(|preset| preset.dialect)
}

/// Whether servers of this dialect mostly expect the version at the end of their base URL.
pub(super) fn has_version_in_path(dialect: &str) -> bool {
    dialect == "openai"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ANTHROPIC;

    #[test]
    fn the_default_preset_exists() {
        assert!(find(WITHOUT_PRESET).is_some());
    }

    #[test]
    fn anthropic_alone_lacks_nothing() {
        let preset = find("anthropic").unwrap();
        assert_eq!(preset.lacks, [""; 0]);
        assert_eq!(
            preset.lacks_beside_others,
            ["foreign-signatures", "unsigned-thinking"]
        );
    }

    #[test]
    fn every_other_server_may_be_older_than_the_client() {
        let translated = |preset: &Preset| preset.dialect != ANTHROPIC;
        for preset in PRESETS {
            let learns = preset.lacks.contains(&NEW_FEATURES);
            assert!(learns || translated(preset) || preset.name == "anthropic");
        }
    }

    #[test]
    fn every_feature_in_lacks_is_known_to_a_plugin() {
        for preset in PRESETS {
            for word in preset.lacks.iter().chain(preset.lacks_beside_others) {
                assert!(FEATURES.contains(word), "{}: {word}", preset.name);
            }
        }
    }

    #[test]
    fn the_version_is_in_a_presets_address_only_where_the_gateway_does_not_add_it() {
        for preset in PRESETS {
            let Some(address) = preset.base_url else {
                continue;
            };
            let last = address.rsplit('/').next().unwrap();
            let added = preset.dialect == ANTHROPIC;
            assert_eq!(last.starts_with("v1"), !added, "{}", preset.name);
        }
    }
}

//! What is known of providers, as data. What a provider's documents do not say is left out, not guessed.

use super::AuthStyle::{self, Bearer, XApiKey, XGoogApiKey};

/// What `preset = "..."` stands for; any of it can be set otherwise beside it.
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// None where the user has to say it.
    pub(super) base_url: Option<&'static str>,
    pub(super) dialect: &'static str,
    pub(super) auth: AuthStyle,
    /// What it lacks on every route.
    pub(super) lacks: &'static [&'static str],
    /// What it lacks on a route that has another upstream as well.
    pub(super) lacks_beside_others: &'static [&'static str],
}

/// What default plugins know how to do without. Others may be named in `lacks` for plugins of one's own.
pub(super) const FEATURES: &[&str] = &[
    "cache_control",
    "same-role-turns",
    "message-threads",
    "count_tokens",
    "foreign-signatures",
    "unsigned-thinking",
];

/// Nobody can check the signature of a thinking block that another upstream signed.
const SIGNATURES: &[&str] = &["foreign-signatures"];

/// Anthropic signs whatever it thinks, and refuses what nobody signed; other protocols have thoughts without signatures.
const THINKING: &[&str] = &["foreign-signatures", "unsigned-thinking"];

/// A server that speaks Messages and of which nothing else is known: what not all of them can do.
const UNKNOWN_SERVER: &[&str] = &[
    "cache_control",
    "same-role-turns",
    "message-threads",
    "count_tokens",
];

/// Another protocol, in which tokens can be counted.
const COUNTS_ONLY: &[&str] = &["cache_control", "same-role-turns", "message-threads"];

/// One line per provider, so that they can be compared.
#[rustfmt::skip]
pub(super) const PRESETS: &[Preset] = &[
    Preset { name: "anthropic", base_url: Some("https://api.anthropic.com"), dialect: "anthropic", auth: XApiKey, lacks: &[], lacks_beside_others: THINKING },
    Preset { name: "compatible", base_url: None, dialect: "anthropic", auth: XApiKey, lacks: UNKNOWN_SERVER, lacks_beside_others: SIGNATURES },
    Preset { name: "zai", base_url: Some("https://api.z.ai/api/anthropic"), dialect: "anthropic", auth: Bearer, lacks: &[], lacks_beside_others: SIGNATURES },
    Preset { name: "moonshot", base_url: Some("https://api.moonshot.ai/anthropic"), dialect: "anthropic", auth: Bearer, lacks: &[], lacks_beside_others: SIGNATURES },
    // Its documents say that `anthropic-beta`, which message threads need, is ignored.
    Preset { name: "deepseek", base_url: Some("https://api.deepseek.com/anthropic"), dialect: "anthropic", auth: XApiKey, lacks: &["message-threads"], lacks_beside_others: SIGNATURES },
    Preset { name: "minimax", base_url: Some("https://api.minimax.io/anthropic"), dialect: "anthropic", auth: XApiKey, lacks: &[], lacks_beside_others: SIGNATURES },
    Preset { name: "openrouter", base_url: Some("https://openrouter.ai/api"), dialect: "anthropic", auth: Bearer, lacks: &[], lacks_beside_others: SIGNATURES },
    Preset { name: "gemini", base_url: Some("https://generativelanguage.googleapis.com/v1beta"), dialect: "gemini", auth: XGoogApiKey, lacks: COUNTS_ONLY, lacks_beside_others: SIGNATURES },
    Preset { name: "vertex", base_url: None, dialect: "gemini", auth: Bearer, lacks: COUNTS_ONLY, lacks_beside_others: SIGNATURES },
    Preset { name: "openai", base_url: Some("https://api.openai.com/v1"), dialect: "openai", auth: Bearer, lacks: UNKNOWN_SERVER, lacks_beside_others: SIGNATURES },
];

/// The least is expected of a server of which nothing is said.
pub(super) const WITHOUT_PRESET: &str = "compatible";

/// Finds a preset by its name.
pub(super) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ANTHROPIC;

    #[test]
    fn the_name_of_an_unnamed_preset_is_one() {
        assert!(find(WITHOUT_PRESET).is_some());
    }

    #[test]
    fn against_anthropic_alone_nothing_is_lacked() {
        let preset = find("anthropic").unwrap();
        assert_eq!(preset.lacks, [""; 0]);
        assert_eq!(
            preset.lacks_beside_others,
            ["foreign-signatures", "unsigned-thinking"]
        );
    }

    #[test]
    fn every_word_in_lacks_is_one_that_a_plugin_knows() {
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

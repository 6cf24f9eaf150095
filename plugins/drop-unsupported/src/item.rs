//! What a server may not know: a part of a request and its name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A kind of thing in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// A member of the body, as a JSON Pointer.
    Field,
    /// A mode of thinking: `thinking` is left out.
    Thinking,
    /// A type of tools.
    Tool,
    /// A member of tools.
    ToolField,
    /// A keyword of the tools' schemas.
    Keyword,
    /// A type of content blocks.
    Block,
    /// A member of content blocks.
    BlockField,
    /// A member of `cache_control`, or all of it if the name is empty.
    Cache,
    /// A value of `anthropic-beta`.
    Beta,
    Header,
    /// A value of `anthropic-version`.
    Version,
}

/// A part with its name, such as a beta with its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) struct Item {
    pub(crate) part: Part,
    pub(crate) name: String,
}

impl Item {
    pub(crate) fn new(part: Part, name: &str) -> Self {
        let name = name.to_owned();
        Self { part, name }
    }

    /// Whether a row of [`FEATURES`] means this one. Rows name betas and tools without their date.
    fn is(&self, part: Part, name: &str) -> bool {
        let dated = matches!(part, Part::Beta | Part::Tool);
        self.part == part && (self.name == name || dated && self.name.starts_with(name))
    }
}

/// Parts that make up one feature and are left out together. A feature whose beta has the name of
/// its field needs no row.
const FEATURES: &[&[(Part, &str)]] = &[
    &[
        (Part::Beta, "effort-"),
        (Part::Field, "/output_config/effort"),
    ],
    &[
        (Part::Beta, "tool-examples-"),
        (Part::ToolField, "input_examples"),
    ],
    &[
        (Part::Beta, "fine-grained-tool-streaming-"),
        (Part::ToolField, "eager_input_streaming"),
    ],
    &[
        (Part::Beta, "tool-search-tool-"),
        (Part::ToolField, "defer_loading"),
        (Part::Tool, "tool_search_tool_"),
    ],
    &[(Part::Beta, "web-fetch-"), (Part::Tool, "web_fetch_")],
    &[(Part::Beta, "advisor-tool-"), (Part::Tool, "advisor_")],
    &[(Part::Beta, "extended-cache-ttl-"), (Part::Cache, "ttl")],
    &[
        (Part::Beta, "prompt-caching-scope-"),
        (Part::Cache, "scope"),
    ],
    &[
        (Part::Beta, "thinking-binding-controls-"),
        (Part::Field, "/thinking/block_binding"),
    ],
    &[
        (Part::Beta, "thinking-display-updates-"),
        (Part::Field, "/thinking/display"),
    ],
    &[(Part::Beta, "fast-mode-"), (Part::Field, "/speed")],
    &[
        (Part::Beta, "server-side-fallback-"),
        (Part::Field, "/fallbacks"),
    ],
];

/// These items, and all that belongs to the same features.
pub(crate) fn with_features(items: &BTreeSet<Item>) -> BTreeSet<Item> {
    let mut all = items.clone();
    for item in items {
        let rows = FEATURES.iter();
        let own = rows.filter(|row| row.iter().any(|(part, name)| item.is(*part, name)));
        all.extend(own.flat_map(|row| row.iter().map(|(part, name)| Item::new(*part, name))));
        match (item.part, item.name.strip_prefix('/')) {
            (Part::Field, Some(field)) if !field.contains('/') => {
                all.insert(Item::new(
                    Part::Beta,
                    &format!("{}-20", field.replace('_', "-")),
                ));
            }
            (Part::Beta, _) => {
                if let Some((stem, _)) = item.name.split_once("-20") {
                    let field = format!("/{}", stem.replace('-', "_"));
                    all.insert(Item::new(Part::Field, &field));
                }
            }
            _ => {}
        }
    }
    all
}

/// The items in words; `None` without any.
pub(crate) fn list(items: &BTreeSet<Item>) -> Option<String> {
    let words = items.iter().map(|Item { part, name }| {
        let part = match part {
            Part::Field => "field",
            Part::Thinking => "thinking mode",
            Part::Tool => "tool type",
            Part::ToolField => "tool field",
            Part::Keyword => "schema keyword",
            Part::Block => "block type",
            Part::BlockField => "block field",
            Part::Cache => "cache_control",
            Part::Beta => "beta",
            Part::Header => "header",
            Part::Version => "version",
        };
        format!("{part} `{name}`")
    });
    let words = words.collect::<Vec<_>>().join(", ");
    (!words.is_empty()).then_some(words)
}

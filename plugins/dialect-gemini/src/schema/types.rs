//! The types of JSON Schema, and which keywords belong to which type.

use witgate_plugin::{Value, json};

use super::Object;
use crate::dropped::Counts;

/// The type of a value that is not null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::String,
        Self::Number,
        Self::Integer,
        Self::Boolean,
        Self::Object,
        Self::Array,
    ];

    /// Gemini's name of the type.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::String => "STRING",
            Self::Number => "NUMBER",
            Self::Integer => "INTEGER",
            Self::Boolean => "BOOLEAN",
            Self::Object => "OBJECT",
            Self::Array => "ARRAY",
        }
    }

    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.word().eq_ignore_ascii_case(word))
    }

    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(number) if number.is_f64() => Some(Self::Number),
            Value::Number(_) => Some(Self::Integer),
            Value::String(_) => Some(Self::String),
            Value::Array(_) => Some(Self::Array),
            Value::Object(_) => Some(Self::Object),
        }
    }

    /// Constraints that Gemini knows under the same name.
    pub(super) fn constraints(self) -> &'static [&'static str] {
        match self {
            Self::String => &["minLength", "maxLength", "pattern"],
            Self::Number | Self::Integer => &["minimum", "maximum"],
            Self::Boolean => &[],
            Self::Object => &["minProperties", "maxProperties"],
            Self::Array => &["minItems", "maxItems"],
        }
    }

    /// The formats that Gemini accepts.
    pub(super) fn formats(self) -> &'static [&'static str] {
        match self {
            Self::String => &["date-time", "enum"],
            Self::Number => &["float", "double"],
            Self::Integer => &["int32", "int64"],
            Self::Boolean | Self::Object | Self::Array => &[],
        }
    }
}

/// Keywords that imply the type if it is missing.
const IMPLYING: [(&str, Kind); 15] = [
    ("properties", Kind::Object),
    ("required", Kind::Object),
    ("additionalProperties", Kind::Object),
    ("patternProperties", Kind::Object),
    ("propertyNames", Kind::Object),
    ("items", Kind::Array),
    ("prefixItems", Kind::Array),
    ("minItems", Kind::Array),
    ("maxItems", Kind::Array),
    ("minLength", Kind::String),
    ("maxLength", Kind::String),
    ("pattern", Kind::String),
    ("format", Kind::String),
    ("minimum", Kind::Number),
    ("maximum", Kind::Number),
];

/// The type that the other keywords imply.
pub(super) fn implied(schema: &Object) -> Option<Kind> {
    let found = IMPLYING.iter().find(|(word, _)| schema.contains_key(*word));
    found.map(|(_, kind)| *kind)
}

/// The types that a schema names or implies, and whether null is one of them.
pub(super) fn kinds(schema: &Object) -> (Vec<Kind>, bool) {
    let named: Vec<&str> = match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let values = listed(schema);
    let nullable = schema.get("nullable") == Some(&json!(true))
        || named.iter().any(|word| word.eq_ignore_ascii_case("null"))
        || values.iter().any(Value::is_null);
    let mut kinds: Vec<Kind> = named.into_iter().filter_map(Kind::named).collect();
    if kinds.is_empty() {
        kinds = values.iter().filter_map(Kind::of).collect();
    }
    if kinds.is_empty() {
        kinds.extend(implied(schema));
    }
    // A type that none of the listed values has cannot occur.
    let occurs = |kind: &Kind| values.iter().any(|value| fits(value, *kind));
    if kinds.iter().any(occurs) {
        kinds.retain(occurs);
    }
    let mut once = Vec::new();
    for kind in kinds {
        if !once.contains(&kind) {
            once.push(kind);
        }
    }
    (once, nullable)
}

/// The values to which `const` or `enum` limits a schema.
pub(super) fn listed(schema: &Object) -> &[Value] {
    let constant = schema.get("const").map(std::slice::from_ref);
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    constant.or(listed).unwrap_or_default()
}

/// Whether a value is of a type.
pub(super) fn fits(value: &Value, kind: Kind) -> bool {
    match Kind::of(value) {
        Some(Kind::Integer) => matches!(kind, Kind::Integer | Kind::Number),
        own => own == Some(kind),
    }
}

/// Keywords that restrict values and that Gemini does not know. All other unhandled keywords are
/// annotations.
const RESTRICTING: [&str; 16] = [
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
    "$dynamicRef",
];

/// Counts the restrictions of a schema that are lost entirely.
pub(super) fn count_restricting(schema: &Object, lost: &mut Counts) {
    for word in RESTRICTING {
        if schema.contains_key(word) {
            lost.add(word);
        }
    }
    // `true` and `false` are not counted: the model is never asked for unnamed properties.
    if schema
        .get("additionalProperties")
        .is_some_and(|of| of.as_object().is_some_and(|of| !of.is_empty()))
    {
        lost.add("additionalProperties");
    }
}

/// Whether a schema itself determines the type of its values, in any way.
pub(super) fn has_shape(schema: &Value) -> bool {
    const SHAPING: [&str; 9] = [
        "type",
        "properties",
        "items",
        "enum",
        "const",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
    ];
    let Value::Object(schema) = schema else {
        return false;
    };
    let shaped = SHAPING.iter().any(|word| schema.contains_key(*word));
    shaped || (implied(schema).is_some() && !schema.contains_key("required"))
}

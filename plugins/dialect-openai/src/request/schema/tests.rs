use serde_json::json;

use super::*;

fn accepted(schema: Value) -> (Value, bool) {
    let outline = Outline {
        body: String::new(),
        prefix: "~no:".to_owned(),
    };
    let mut dropped = Dropped::default();
    let schema = acceptable(schema, &outline, &mut dropped);
    (schema, dropped.line().is_some())
}

#[test]
fn a_schema_that_openai_takes_is_not_changed() {
    for schema in [
        json!({ "type": "object", "properties": {} }),
        json!({ "$schema": "s", "type": "object", "properties": { "a": { "anyOf": [{ "type": "string" }, { "type": "null" }] } }, "required": ["a"] }),
        json!({ "type": "object", "properties": { "list": { "type": "array", "items": {} } }, "additionalProperties": { "type": "object" } }),
    ] {
        assert_eq!(accepted(schema.clone()), (schema, false));
    }
}

#[test]
fn what_openai_refuses_is_completed() {
    let table = [
        (json!({}), json!({ "type": "object", "properties": {} })),
        (json!(true), json!({ "type": "object", "properties": {} })),
        (
            json!({ "type": "object" }),
            json!({ "type": "object", "properties": {} }),
        ),
        (
            json!({ "type": "None" }),
            json!({ "type": "object", "properties": {} }),
        ),
        (
            json!({ "type": ["object", "null"], "properties": null }),
            json!({ "type": "object", "properties": {} }),
        ),
        (
            json!({ "properties": { "a": { "type": "array" } } }),
            json!({ "properties": { "a": { "type": "array", "items": {} } }, "type": "object" }),
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "object", "properties": { "items": { "type": ["array", "null"] } } } } }),
            json!({ "type": "object", "properties": { "a": { "type": "object", "properties": { "items": { "type": ["array", "null"], "items": {} } } } } }),
        ),
    ];
    for (schema, wanted) in table {
        assert_eq!(accepted(schema), (wanted, true));
    }
}

#[test]
fn a_union_at_the_top_is_taken_apart_and_described() {
    let (schema, noted) = accepted(json!({
        "type": "object",
        "description": "clicks",
        "properties": { "ref": { "type": "string" } },
        "anyOf": [{ "required": ["ref"] }, { "required": ["selector"], "properties": { "selector": { "type": "string" } } }],
    }));
    assert!(noted);
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "description": "clicks\nanyOf: [{\"required\":[\"ref\"]},{\"required\":[\"selector\"],\"properties\":{\"selector\":{\"type\":\"string\"}}}]",
            "properties": { "ref": { "type": "string" }, "selector": { "type": "string" } },
        })
    );
    let (schema, _) = accepted(json!({
        "oneOf": [
            { "type": "object", "properties": { "kind": { "const": "a" }, "x": {} }, "required": ["kind", "x"] },
            { "type": "object", "properties": { "kind": { "const": "b" } }, "required": ["kind"] },
        ],
    }));
    assert_eq!(schema["required"], json!(["kind"]));
    assert_eq!(schema["properties"]["x"], json!({}));
    assert_eq!(schema.get("oneOf"), None);
}

#[test]
fn an_all_of_and_a_reference_at_the_top_become_one_object() {
    let (schema, _) = accepted(json!({
        "$ref": "#/$defs/Args",
        "$defs": {
            "Args": { "allOf": [{ "$ref": "#/$defs/Base" }, { "properties": { "b": {} }, "required": ["b"] }] },
            "Base": { "type": "object", "properties": { "a": {} }, "required": ["a"] },
        },
    }));
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["properties"], json!({ "a": {}, "b": {} }));
    assert_eq!(schema["required"], json!(["a", "b"]));
    assert_eq!(schema.get("allOf"), None);
    assert_eq!(schema.get("description"), None);

    let (endless, _) =
        accepted(json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } }));
    assert_eq!(endless["properties"], json!({}));
}

#[test]
fn a_schema_is_strict_only_if_openai_can_enforce_it_at_every_depth() {
    let inner = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
    let wrapped = |schema: &Value| json!({ "type": "object", "properties": { "properties": schema }, "required": ["properties"], "additionalProperties": false });
    assert!(is_strict(&inner));
    assert!(is_strict(&json!({ "type": "array", "items": inner })));
    assert!(is_strict(&wrapped(&inner)));
    assert!(is_strict(&wrapped(
        &json!({ "enum": [{ "properties": { "b": 1 } }] })
    )));
    for loose in [
        json!({ "type": "object", "properties": { "a": {}, "b": {} }, "required": ["a"], "additionalProperties": false }),
        json!({ "type": "object", "properties": { "a": {} }, "required": ["a"] }),
        json!({ "type": "object" }),
        json!({ "type": ["object", "null"] }),
        json!({ "type": "object", "properties": {}, "additionalProperties": { "type": "string" } }),
        json!({ "allOf": [inner] }),
        json!({ "type": "object", "properties": {}, "additionalProperties": false, "patternProperties": {} }),
        json!(true),
    ] {
        assert!(!is_strict(&loose), "{loose}");
        assert!(!is_strict(&wrapped(&loose)), "{loose}");
        assert!(!is_strict(&json!({ "anyOf": [inner, loose] })), "{loose}");
        assert!(!is_strict(&json!({ "$defs": { "x": loose } })), "{loose}");
    }
}

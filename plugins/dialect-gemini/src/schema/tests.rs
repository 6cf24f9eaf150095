use super::*;

#[track_caller]
fn cleaned(schema: Value) -> (Value, Option<String>) {
    let mut lost = Counts::default();
    let clean = parameters(
        &json!({ "type": "object", "properties": { "x": schema } }),
        &mut lost,
    )
    .unwrap();
    let again = parameters(&clean, &mut Counts::default());
    assert_eq!(
        again.as_ref(),
        Some(&clean),
        "a clean schema does not change"
    );
    (clean["properties"]["x"].clone(), lost.words())
}

#[track_caller]
fn becomes(schema: Value, wanted: Value, lost: Option<&str>) {
    let source = schema.to_string();
    let (clean, words) = cleaned(schema);
    assert_eq!((clean, words.as_deref()), (wanted, lost), "{source}");
}

#[test]
fn constants_and_enums_keep_the_type_of_their_values() {
    becomes(
        json!({ "const": "a" }),
        json!({ "type": "STRING", "enum": ["a"] }),
        None,
    );
    let texts = json!({ "type": "STRING", "enum": ["a"], "nullable": true });
    becomes(json!({ "enum": ["a", null] }), texts, None);
    let numbers = json!({ "type": "INTEGER", "description": "How many. (one of: 1, 2)" });
    becomes(
        json!({ "enum": [1, 2], "description": "How many." }),
        numbers,
        Some("enum"),
    );
    let both = json!({ "anyOf": [
        { "type": "STRING", "enum": ["auto"] },
        { "type": "INTEGER", "description": "one of: 1" },
    ]});
    becomes(json!({ "enum": ["auto", 1] }), both, Some("enum"));
}

#[test]
fn null_among_the_types_becomes_nullable() {
    let wanted = json!({ "type": "STRING", "nullable": true });
    for schema in [
        json!({ "type": ["string", "null"] }),
        json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
        json!({ "oneOf": [{ "type": "string" }, { "const": null }] }),
        json!({ "type": "string", "nullable": true }),
    ] {
        becomes(schema, wanted.clone(), None);
    }
}

#[test]
fn several_types_become_a_union_in_which_each_has_its_own_keywords() {
    let schema =
        json!({ "type": ["string", "number"], "minLength": 1, "minimum": 0, "description": "d" });
    let wanted = json!({ "anyOf": [
        { "type": "STRING", "minLength": 1 },
        { "type": "NUMBER", "minimum": 0 },
    ], "description": "d" });
    becomes(schema, wanted, None);
}

#[test]
fn an_array_always_has_items() {
    let any = any_of_all();
    becomes(
        json!({ "type": "array" }),
        json!({ "type": "ARRAY", "items": any }),
        None,
    );
    let pair = json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "string" }], "uniqueItems": true });
    let wanted = json!({ "type": "ARRAY", "items": { "type": "STRING" }, "description": "2 values, each in its place; no value twice" });
    becomes(pair, wanted, Some("prefixItems, uniqueItems"));
}

#[test]
fn a_schema_that_allows_everything_lists_every_type() {
    for schema in [json!({}), json!(true)] {
        becomes(schema, any_of_all(), None);
    }
}

fn any_of_all() -> Value {
    json!({ "anyOf": [
        { "type": "STRING" }, { "type": "NUMBER" }, { "type": "BOOLEAN" }, { "type": "OBJECT" },
        { "type": "ARRAY", "items": { "type": "STRING" } },
    ]})
}

#[test]
fn exclusive_limits_become_inclusive_if_possible() {
    becomes(
        json!({ "type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10 }),
        json!({ "type": "INTEGER", "minimum": 1, "maximum": 9 }),
        None,
    );
    becomes(
        json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true }),
        json!({ "type": "NUMBER", "minimum": 0, "description": "more than 0" }),
        Some("exclusiveMinimum"),
    );
}

#[test]
fn conditions_are_counted_and_dropped() {
    let schema = json!({
        "type": "object", "properties": { "a": { "type": "string" }, "never": false }, "required": ["a", "never"],
        "if": { "required": ["a"] }, "then": {}, "not": {}, "patternProperties": { "^x": {} },
        "anyOf": [{ "required": ["a"] }, { "required": ["b"] }],
        "$comment": "x", "examples": [{}], "additionalProperties": false, "x-order": 1,
    });
    let wanted =
        json!({ "type": "OBJECT", "properties": { "a": { "type": "STRING" } }, "required": ["a"] });
    becomes(
        schema,
        wanted,
        Some("anyOf, if, not, patternProperties, required, then"),
    );
}

#[test]
fn branches_include_their_sibling_keywords() {
    let schema = json!({
        "type": "object", "properties": { "kind": { "type": "string" } }, "required": ["kind"],
        "oneOf": [
            { "properties": { "a": { "type": "string" } }, "required": ["a"], "type": "object" },
            { "properties": { "kind": { "const": "b" } }, "type": "object" },
        ],
    });
    let wanted = json!({ "anyOf": [
        { "type": "OBJECT", "properties": { "kind": { "type": "STRING" }, "a": { "type": "STRING" } }, "required": ["kind", "a"] },
        { "type": "OBJECT", "properties": { "kind": { "type": "STRING", "enum": ["b"] } }, "required": ["kind"] },
    ]});
    becomes(schema, wanted, None);
}

#[test]
fn references_are_inlined_and_recursion_ends() {
    let mut lost = Counts::default();
    let schema = json!({
        "type": "object",
        "properties": {
            "a": { "$ref": "#/$defs/B" },
            "gone": { "$ref": "other.json#/x", "description": "d" },
            "same": { "$ref": "#/properties/a" },
            "self": { "$ref": "#" },
        },
        "$defs": { "B": { "$ref": "#/$defs/C" }, "C": { "type": "string", "maxLength": 3 } },
    });
    let clean = parameters(&schema, &mut lost).unwrap();
    let text = json!({ "type": "STRING", "maxLength": 3 });
    assert_eq!(clean["properties"]["a"], text);
    assert_eq!(clean["properties"]["same"], text);
    assert_eq!(
        clean["properties"]["gone"],
        json!({ "type": "OBJECT", "description": "d" })
    );
    assert_eq!(
        clean["properties"]["self"]["properties"]["self"]["type"],
        "OBJECT"
    );
    assert_eq!(lost.words().as_deref(), Some("$ref(3)"));
}

#[test]
fn references_that_multiply_each_other_end() {
    let mut definitions = Object::new();
    for level in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        let wide = json!({ "type": "object", "properties": { "a": next, "b": next, "c": next } });
        definitions.insert(format!("d{level}"), wide);
    }
    let schema = json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/d0" } }, "$defs": definitions });
    let mut lost = Counts::default();
    let clean = parameters(&schema, &mut lost).unwrap();
    assert!(clean.to_string().len() < 1 << 20);
    assert!(lost.words().unwrap().contains("depth"));
}

#[test]
fn keywords_with_invalid_values_are_dropped() {
    let odd = json!({ "type": "string", "minLength": "1", "pattern": 5, "title": {}, "description": [], "default": null });
    becomes(odd, json!({ "type": "STRING" }), None);
}

#[test]
fn a_schema_that_is_not_an_object_has_no_parameters() {
    for schema in [
        json!("x"),
        json!([]),
        json!({}),
        json!({ "type": "string" }),
    ] {
        assert_eq!(
            parameters(&schema, &mut Counts::default()),
            None,
            "{schema}"
        );
    }
}

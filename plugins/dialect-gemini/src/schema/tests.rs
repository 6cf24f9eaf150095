use witgate_plugin::Outline;

use super::*;

/// What becomes of these parameters, and what is lost.
#[track_caller]
fn of(schema: &Value) -> (Option<Value>, Counts) {
    let mut lost = Counts::default();
    let clean = of_several(&[schema], &mut lost).remove(0);
    (clean, lost)
}

/// What becomes of the parameters of several tools in one request.
fn of_several(schemas: &[&Value], lost: &mut Counts) -> Vec<Option<Value>> {
    let outline = Outline {
        body: String::new(),
        prefix: "~long:".to_owned(),
    };
    let mut budget = Budget::new(&outline);
    let clean = schemas
        .iter()
        .map(|schema| parameters(schema, &mut budget, lost));
    clean.collect()
}

#[track_caller]
fn cleaned(schema: Value) -> (Value, Option<String>) {
    let (clean, lost) = of(&json!({ "type": "object", "properties": { "x": schema } }));
    let clean = clean.unwrap();
    assert_unions_stand_alone(&clean);
    let (again, _) = of(&clean);
    assert_eq!(
        again.as_ref(),
        Some(&clean),
        "a clean schema does not change"
    );
    (clean["properties"]["x"].clone(), lost.words())
}

/// Checks what Vertex checks: no schema has a keyword beside `anyOf`.
#[track_caller]
fn assert_unions_stand_alone(schema: &Value) {
    match schema {
        Value::Object(members) => {
            let alone = !members.contains_key("anyOf") || members.len() == 1;
            assert!(alone, "{schema}");
            members.values().for_each(assert_unions_stand_alone);
        }
        Value::Array(list) => list.iter().for_each(assert_unions_stand_alone),
        _ => {}
    }
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
        { "type": "STRING", "minLength": 1, "description": "d" },
        { "type": "NUMBER", "minimum": 0, "description": "d" },
    ]});
    becomes(schema, wanted, None);
}

#[test]
fn remarks_about_a_union_are_made_in_its_branches() {
    let weight = json!({ "type": ["number", "string", "null"], "title": "W", "description": "weight", "default": 1 });
    let wanted = json!({ "anyOf": [
        { "type": "NUMBER", "title": "W", "description": "weight", "default": 1, "nullable": true },
        { "type": "STRING", "title": "W", "description": "weight", "nullable": true },
    ]});
    becomes(weight, wanted, None);
    let status = json!({ "description": "New status", "anyOf": [
        { "type": "string", "enum": ["pending", "completed"], "description": "ordinary" },
        { "type": "string", "const": "deleted" },
    ]});
    let wanted = json!({ "anyOf": [
        { "type": "STRING", "enum": ["pending", "completed"], "description": "New status (ordinary)" },
        { "type": "STRING", "enum": ["deleted"], "description": "New status" },
    ]});
    becomes(status, wanted, None);
    let anything = json!({ "description": "any value", "nullable": true });
    let (anything, _) = cleaned(anything);
    for branch in anything["anyOf"].as_array().unwrap() {
        assert_eq!(branch["description"], "any value");
        assert_eq!(branch["nullable"], true);
    }
}

#[test]
fn a_union_within_a_union_is_one_union() {
    let schema = json!({ "description": "outer", "oneOf": [
        { "type": "boolean" },
        { "description": "inner", "anyOf": [{ "type": ["string", "null"] }, { "type": "integer" }, { "type": "boolean" }] },
    ]});
    let wanted = json!({ "anyOf": [
        { "type": "BOOLEAN", "description": "outer" },
        { "type": "STRING", "nullable": true, "description": "outer (inner)" },
        { "type": "INTEGER", "description": "outer (inner)" },
        { "type": "BOOLEAN", "description": "outer (inner)" },
    ]});
    becomes(schema, wanted, None);
}

#[test]
fn a_large_union_is_described_once() {
    let branches: Vec<Value> = (0..20)
        .map(|n| json!({ "const": format!("v{n}") }))
        .collect();
    let (clean, _) = cleaned(json!({ "anyOf": branches, "description": "long" }));
    let described: Vec<bool> = clean["anyOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|branch| branch.get("description").is_some())
        .collect();
    assert_eq!(described.len(), 20);
    assert_eq!(described.iter().filter(|is| **is).count(), 1);
    assert!(described[0]);
}

#[test]
fn parameters_that_are_a_union_keep_their_description() {
    let schema = json!({ "description": "either", "anyOf": [
        { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a", "a"] },
        { "type": "object", "properties": { "b": { "type": "string" } } },
    ]});
    let wanted = json!({ "type": "OBJECT", "description": "either",
        "properties": { "a": { "type": "STRING" }, "b": { "type": "STRING" } } });
    assert_eq!(of(&schema).0, Some(wanted));
}

#[test]
fn an_empty_value_is_left_out_of_an_enum() {
    becomes(
        json!({ "type": "string", "enum": ["", "two", "two"] }),
        json!({ "type": "STRING", "enum": ["two"], "description": "or \"\"" }),
        Some("enum"),
    );
    for only in [json!({ "enum": [""] }), json!({ "const": "" })] {
        becomes(
            only,
            json!({ "type": "STRING", "description": "one of: \"\"" }),
            Some("enum"),
        );
    }
    let deep = json!({ "type": "array", "items": { "anyOf": [{ "enum": ["", "a"] }, { "type": "integer" }] } });
    let (clean, _) = cleaned(deep);
    assert!(!clean.to_string().contains(r#"["","#), "{clean}");
}

#[test]
fn values_of_another_type_are_meant_as_values_of_the_type() {
    becomes(
        json!({ "type": "string", "enum": [1, 2.5, true, null] }),
        json!({ "type": "STRING", "enum": ["1", "2.5", "true"], "nullable": true }),
        Some("enum"),
    );
    becomes(
        json!({ "type": "string", "enum": ["a", 1] }),
        json!({ "type": "STRING", "enum": ["a", "1"] }),
        Some("enum"),
    );
    becomes(
        json!({ "type": "integer", "enum": ["1", "2"] }),
        json!({ "type": "INTEGER", "description": "one of: 1, 2" }),
        Some("enum"),
    );
    becomes(
        json!({ "type": ["string", "integer"], "enum": [1, 2] }),
        json!({ "type": "INTEGER", "description": "one of: 1, 2" }),
        Some("enum"),
    );
}

#[test]
fn a_name_is_required_once() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a", "a"] });
    let wanted =
        json!({ "type": "OBJECT", "properties": { "a": { "type": "STRING" } }, "required": ["a"] });
    becomes(schema, wanted, None);
}

/// However deep a schema is nested, it is within this many objects of properties.
fn depth(schema: &Value) -> usize {
    let deepest = match schema {
        Value::Object(members) => members.values().map(depth).max(),
        Value::Array(list) => list.iter().map(depth).max(),
        _ => None,
    };
    let own = usize::from(schema.get("properties").is_some());
    own + deepest.unwrap_or_default()
}

#[test]
fn a_recursion_ends_at_its_second_turn_however_it_is_spelt() {
    for child in [
        json!({ "$ref": "#/definitions/A%20node" }),
        json!({ "$ref": "#/definitions/A node", "description": "a child" }),
        json!({ "allOf": [{ "$ref": "#/definitions/A node" }], "description": "a child" }),
        json!({ "allOf": [{ "allOf": [{ "$ref": "#/definitions/A node" }] }, { "description": "a child" }] }),
        json!({ "anyOf": [{ "$ref": "#/definitions/A node" }, { "type": "null" }] }),
        json!({ "oneOf": [{ "allOf": [{ "$ref": "#/definitions/Alias" }] }, { "type": "null" }] }),
        json!({ "type": "array", "items": { "allOf": [{ "$ref": "#/definitions/Alias" }] } }),
    ] {
        let schema = json!({
            "type": "object",
            "properties": { "root": { "allOf": [{ "$ref": "#/definitions/A node" }] } },
            "definitions": {
                "A node": { "type": "object", "properties": { "child": child, "name": { "type": "string" } } },
                "Alias": { "$ref": "#/definitions/A%20node" },
            },
        });
        let (clean, lost) = of(&schema);
        let clean = clean.unwrap();
        assert_eq!(depth(&clean), 2, "{child}: {clean}");
        assert_unions_stand_alone(&clean);
        assert_eq!(
            clean["properties"]["root"]["properties"]["name"]["type"],
            "STRING"
        );
        assert!(lost.words().unwrap().contains("$ref"), "{child}");
    }
}

#[test]
fn a_definition_may_be_merged_from_two_sides() {
    let schema = json!({
        "type": "object",
        "properties": { "both": { "allOf": [{ "$ref": "#/$defs/L" }, { "$ref": "#/$defs/R" }], "description": "own" } },
        "$defs": {
            "Base": { "type": "object", "description": "base", "properties": { "id": { "type": "string" } }, "required": ["id"] },
            "L": { "allOf": [{ "$ref": "#/$defs/Base" }], "properties": { "l": { "type": "string" } } },
            "R": { "allOf": [{ "$ref": "#/$defs/Base" }], "properties": { "r": { "type": "string" } } },
        },
    });
    let (clean, lost) = of(&schema);
    let text = json!({ "type": "STRING" });
    let wanted = json!({ "type": "OBJECT", "description": "own", "required": ["id"],
        "properties": { "id": text, "l": text, "r": text } });
    assert_eq!(clean.unwrap()["properties"]["both"], wanted);
    assert_eq!(lost.words(), None);
}

/// Sixteen definitions that all refer to each other.
fn entangled(reference: impl Fn(usize) -> Value) -> Value {
    let mut definitions = Object::new();
    for own in 0..16 {
        let mut properties = Object::new();
        for other in 0..16 {
            properties.insert(format!("p{other}"), reference(other));
        }
        properties.insert("name".to_owned(), json!({ "type": "string" }));
        let definition =
            json!({ "type": "object", "description": "d".repeat(40), "properties": properties });
        definitions.insert(format!("D{own}"), definition);
    }
    json!({ "type": "object", "properties": { "root": reference(0), "plain": { "type": "integer" } }, "$defs": definitions })
}

#[test]
fn all_tools_of_a_request_share_one_budget_for_references() {
    let plain = |n: usize| json!({ "$ref": format!("#/$defs/D{n}") });
    let merged = |n: usize| json!({ "allOf": [{ "$ref": format!("#/$defs/D{n}") }] });
    for schema in [entangled(plain), entangled(merged)] {
        for (tools, most) in [(1, 70_000), (6, 300_000), (100, 500_000)] {
            let mut lost = Counts::default();
            let clean = of_several(&vec![&schema; tools], &mut lost);
            let size: usize = clean
                .iter()
                .flatten()
                .map(|clean| clean.to_string().len())
                .sum();
            assert!(size < most, "{tools} tools have {size} bytes");
            for clean in clean.iter().flatten() {
                assert_eq!(clean["properties"]["plain"]["type"], "INTEGER");
            }
            let first = clean[0].as_ref().unwrap();
            assert_eq!(
                first["properties"]["root"]["properties"]["p1"]["properties"]["name"]["type"],
                "STRING"
            );
        }
    }
}

#[test]
fn a_long_text_counts_as_long_where_only_its_placeholder_is_known() {
    let definitions: Object = (0..8)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/D{}", n + 1) });
            let wide = json!({ "type": "object", "description": "~long:7~", "properties": { "a": next, "b": next, "c": next } });
            (format!("D{n}"), wide)
        })
        .collect();
    let schema = json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/D0" } }, "$defs": definitions });
    let clean = of(&schema).0.unwrap().to_string();
    assert!(clean.matches("~long:").count() < 100, "{clean}");
}

#[test]
fn a_union_whose_branches_repeat_many_siblings_ends() {
    let properties: Object = (0..1_000)
        .map(|n| (format!("p{n}"), json!({ "type": "string" })))
        .collect();
    let branches: Vec<Value> = (0..1_000)
        .map(|n| json!({ "type": "object", "required": [format!("p{n}")] }))
        .collect();
    let schema = json!({ "type": "object", "properties": { "x": { "type": "object", "properties": properties, "oneOf": branches } } });
    let (clean, lost) = of(&schema);
    assert!(clean.unwrap().to_string().len() < 2 << 20);
    assert!(lost.words().unwrap().contains("depth"));
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
    let (clean, lost) = of(&schema);
    let clean = clean.unwrap();
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
    let (clean, lost) = of(&schema);
    assert!(clean.unwrap().to_string().len() < 1 << 18);
    assert!(lost.words().unwrap().contains("$ref"));
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
        assert_eq!(of(&schema).0, None, "{schema}");
    }
}

#[test]
fn a_response_schema_has_no_empty_values_either() {
    let schema = json!({ "$schema": "x", "properties": {
        "a": { "enum": ["", "b"] }, "c": { "const": "" }, "enum": { "type": "string" },
        "d": { "items": { "anyOf": [{ "enum": [""] }, { "type": "null" }] } },
    } });
    let wanted = json!({ "properties": {
        "a": { "enum": ["b"] }, "c": {}, "enum": { "type": "string" },
        "d": { "items": { "anyOf": [{}, { "type": "null" }] } },
    } });
    let mut lost = Counts::default();
    assert_eq!(of_response(&schema, &mut lost), wanted);
    assert_eq!(lost.words().as_deref(), Some("enum(3)"));
}

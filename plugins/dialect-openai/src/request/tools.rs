//! Translates tools, the tool choice and the response format.

use serde_json::Value;
use witgate_plugin::{
    Refusal,
    dialect::{ToolChoice, ToolDef},
};

use super::{
    chat::{self, Definition, Function, JsonSchema, ResponseFormat, Tool},
    content::rejected,
    dropped::Dropped,
};
use crate::names::Names;

/// Translates the client's own tools. Those that Anthropic runs are left out; if there are no
/// others or one of them is forced, the request is rejected.
pub(crate) fn tools(
    offered: Vec<ToolDef>,
    choice: &ToolChoice,
    names: &mut Names,
    dropped: &mut Dropped,
) -> Result<Vec<Tool>, Refusal> {
    let any_own = offered.iter().any(|tool| matches!(tool, ToolDef::Tool(_)));
    let mut tools = Vec::new();
    for tool in offered {
        match tool {
            ToolDef::Tool(tool) => tools.push(Tool {
                r#type: Function::Function,
                function: Definition {
                    name: names.send(tool.name),
                    description: tool.description,
                    parameters: tool.schema,
                    strict: tool.strict,
                },
            }),
            ToolDef::Server { kind, name } => {
                let forced = matches!(choice, ToolChoice::Tool(wanted) if *wanted == name);
                if forced || !any_own {
                    return Err(rejected(&kind));
                }
                dropped.left_out(format!("tools.{kind}"));
            }
        }
    }
    Ok(tools)
}

pub(crate) fn choice(choice: ToolChoice, names: &mut Names) -> Option<chat::ToolChoice> {
    match choice {
        ToolChoice::Unsaid => None,
        ToolChoice::Auto => Some(chat::ToolChoice::Word("auto")),
        ToolChoice::Any => Some(chat::ToolChoice::Word("required")),
        ToolChoice::None => Some(chat::ToolChoice::Word("none")),
        ToolChoice::Tool(name) => Some(chat::ToolChoice::Named(names.send(name))),
    }
}

/// The response format. OpenAI enforces a schema strictly only if it lists all members of all
/// objects as required.
pub(crate) fn format(schema: Value, dropped: &mut Dropped) -> ResponseFormat {
    let strict = is_strict(&schema);
    if !strict {
        dropped.changed("output_config.format not enforced");
    }
    ResponseFormat::JsonSchema {
        json_schema: JsonSchema {
            name: "answer",
            schema,
            strict: strict.then_some(true),
        },
    }
}

fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let own = members
                .get("properties")
                .and_then(Value::as_object)
                .is_none_or(|properties| {
                    let required = members.get("required").and_then(Value::as_array);
                    let is_required = |name: &String| {
                        required.is_some_and(|names| names.iter().any(|own| own == name))
                    };
                    members.get("additionalProperties") == Some(&Value::Bool(false))
                        && properties.keys().all(is_required)
                });
            own && members.values().all(is_strict)
        }
        Value::Array(list) => list.iter().all(is_strict),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_strict_only_if_openai_can_enforce_it() {
        let inner = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        assert!(is_strict(&inner));
        assert!(is_strict(&json!({"type": "array", "items": inner})));
        let optional = json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": false});
        let open = json!({"type": "object", "properties": {"a": {}}, "required": ["a"]});
        for loose in [optional, open] {
            assert!(!is_strict(&loose));
            assert!(!is_strict(&json!({"anyOf": [inner, loose]})));
        }
    }
}

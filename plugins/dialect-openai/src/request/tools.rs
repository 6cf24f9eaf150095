//! Translates tools, the tool choice and the response format.

use serde_json::Value;
use witgate_plugin::{
    Outline, Refusal,
    dialect::{ClientRequest, ToolChoice, ToolDef},
};

use super::{
    chat::{self, Definition, Function, JsonSchema, ResponseFormat, Tool},
    content::rejected,
    dropped::Dropped,
    schema::{acceptable, is_strict},
};
use crate::{
    names::Names,
    settings::{Format, Options, ToolForce},
};

/// The tools of a request, and how one of them is forced.
pub(super) struct Offer {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Option<chat::ToolChoice>,
    /// How `tool_choice` was sent, if it was.
    pub(super) force: Option<ToolForce>,
}

/// Translates tools and tool choice, as far as the upstream can enforce the choice.
pub(super) fn offer(
    asked: &mut ClientRequest,
    outline: &Outline,
    options: &Options,
    names: &mut Names,
    dropped: &mut Dropped,
) -> Result<Offer, Refusal> {
    let wish = std::mem::replace(&mut asked.tool_choice, ToolChoice::Unsaid);
    let defined = std::mem::take(&mut asked.tools);
    let mut tools = tools(defined, &wish, outline, names, dropped)?;
    if tools.is_empty() {
        return Ok(Offer {
            tools,
            choice: None,
            force: None,
        });
    }
    if let (ToolChoice::Tool(name), true) = (&wish, options.tool_choice > ToolForce::Named) {
        let name = names.send(name.clone());
        if tools.iter().any(|tool| tool.function.name == name) {
            tools.retain(|tool| tool.function.name == name);
        }
    }
    let choice = choice(wish, options.tool_choice, names, dropped);
    let force = choice.as_ref().map(|choice| match choice {
        chat::ToolChoice::Named(_) => ToolForce::Named,
        chat::ToolChoice::Word("required") => ToolForce::Required,
        chat::ToolChoice::Word(_) => ToolForce::Auto,
    });
    Ok(Offer {
        tools,
        choice,
        force,
    })
}

/// Translates the client's own tools. Those that Anthropic runs are left out; if there are no
/// others or one of them is forced, the request is rejected.
fn tools(
    offered: Vec<ToolDef>,
    choice: &ToolChoice,
    outline: &Outline,
    names: &mut Names,
    dropped: &mut Dropped,
) -> Result<Vec<Tool>, Refusal> {
    let any_own = offered.iter().any(|tool| matches!(tool, ToolDef::Tool(_)));
    let mut tools = Vec::new();
    for tool in offered {
        match tool {
            ToolDef::Tool(tool) => {
                let parameters = acceptable(tool.schema, outline, dropped);
                let strict = tool
                    .strict
                    .filter(|strict| !strict || is_strict(&parameters));
                if strict != tool.strict {
                    dropped.changed("strict tool not enforced");
                }
                tools.push(Tool {
                    r#type: Function::Function,
                    function: Definition {
                        name: names.send(tool.name),
                        description: tool.description,
                        parameters,
                        strict,
                    },
                    cache_control: tool.breakpoint,
                });
            }
            ToolDef::Server { kind, name, .. } => {
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

/// The tool choice, forced at most as strongly as the upstream accepts.
fn choice(
    wish: ToolChoice,
    most: ToolForce,
    names: &mut Names,
    dropped: &mut Dropped,
) -> Option<chat::ToolChoice> {
    let is_forced = matches!(wish, ToolChoice::Any | ToolChoice::Tool(_));
    let sent = match (wish, most) {
        (ToolChoice::Unsaid, _) => return None,
        (ToolChoice::None, ToolForce::None) | (_, ToolForce::None) => None,
        (ToolChoice::None, _) => Some(chat::ToolChoice::Word("none")),
        (ToolChoice::Tool(name), ToolForce::Named) => {
            Some(chat::ToolChoice::Named(names.send(name)))
        }
        (ToolChoice::Any | ToolChoice::Tool(_), ToolForce::Named | ToolForce::Required) => {
            Some(chat::ToolChoice::Word("required"))
        }
        (ToolChoice::Auto | ToolChoice::Any | ToolChoice::Tool(_), _) => {
            Some(chat::ToolChoice::Word("auto"))
        }
    };
    if is_forced && matches!(most, ToolForce::Auto | ToolForce::None) {
        dropped.changed("tool_choice not enforced");
    }
    sent
}

/// How JSON of a schema is asked for: by a member of the request and by words in the prompt.
pub(super) struct Formatted {
    pub(super) member: Option<ResponseFormat>,
    pub(super) prompt: Option<String>,
}

/// The response format. OpenAI enforces a schema strictly only if it lists all members of all
/// objects as required.
pub(super) fn format(
    schema: Value,
    most: Format,
    outline: &Outline,
    dropped: &mut Dropped,
) -> Formatted {
    let strict = most == Format::JsonSchema && is_strict(&schema);
    if !strict {
        dropped.changed("output_config.format not enforced");
    }
    let member = match most {
        Format::None => None,
        Format::JsonObject => Some(ResponseFormat::JsonObject),
        Format::JsonSchema => {
            let json_schema = JsonSchema {
                name: "answer",
                schema,
                strict: strict.then_some(true),
            };
            let member = Some(ResponseFormat::JsonSchema { json_schema });
            return Formatted {
                member,
                prompt: None,
            };
        }
    };
    let prompt = format!(
        "Respond with nothing but one JSON value that matches this JSON schema:\n{}",
        outline.quoted(&schema)
    );
    Formatted {
        member,
        prompt: Some(prompt),
    }
}

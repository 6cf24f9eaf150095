//! Translates the tools and the tool choice.

use witgate_plugin::{
    Outline, Refusal, Value,
    dialect::{self, ClientRequest, ToolChoice, ToolDef},
};

use super::{
    Destination, deferred, rejected,
    wire::{FunctionCallingConfig, FunctionDeclaration, GoogleSearch, Tool, ToolConfig},
};
use crate::{
    dropped::Dropped,
    names,
    names::Names,
    schema::{self, Budget},
};

/// The tools that are declared to the model.
#[derive(Debug, Default)]
pub(super) struct Declared<'a> {
    /// One entry with all functions, or none.
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) names: Names,
    /// Whether a tool requires its schema to be enforced.
    strict: bool,
    /// Whether the only tool is the web search.
    pub(super) searches: bool,
}

impl<'a> Declared<'a> {
    fn search(exclude_domains: Vec<&'a str>) -> Self {
        Self {
            tools: vec![Tool {
                function_declarations: Vec::new(),
                google_search: Some(GoogleSearch { exclude_domains }),
            }],
            searches: true,
            ..Self::default()
        }
    }

    /// Declares a tool of the client, unless another has its name.
    fn function(
        &mut self,
        tool: &'a dialect::Tool,
        budget: &mut Budget<'_>,
        dropped: &mut Dropped,
    ) -> Option<FunctionDeclaration<'a>> {
        let Some(name) = self.names.declare(&tool.name) else {
            dropped.left_out.add("tools with a name taken");
            return None;
        };
        self.strict |= tool.strict == Some(true);
        Some(FunctionDeclaration {
            name,
            description: tool.description.as_deref().filter(|text| !text.is_empty()),
            parameters: schema::parameters(&tool.schema, budget, &mut dropped.keywords),
        })
    }
}

/// Declares the tools. Deferred tools are declared at once, because Gemini has no tool search;
/// where there are too many, those that were not found yet are left out.
///
/// Tools that Anthropic runs are left out, except for the web search if it is the only tool: Gemini
/// searches with Google, but older models not beside functions. If there are no others or one of
/// them is forced, the request is rejected.
pub(super) fn offered<'a>(
    asked: &'a ClientRequest,
    outline: &Outline,
    to: Destination<'_>,
    dropped: &mut Dropped,
) -> Result<Declared<'a>, Refusal> {
    if to.model.searches() && is_search(asked) {
        return Ok(Declared::search(excluded(asked, to.vertex, dropped)));
    }
    let only_servers = asked
        .tools
        .iter()
        .all(|tool| matches!(tool, ToolDef::Server { .. }));
    let hidden = deferred::hidden(asked);
    let mut budget = Budget::new(outline);
    let mut declared = Declared::default();
    let mut functions = Vec::new();
    for tool in &asked.tools {
        match tool {
            ToolDef::Tool(tool) if hidden.contains(tool.name.as_str()) => {
                dropped.left_out.add("deferred tools");
            }
            ToolDef::Tool(tool) => functions.extend(declared.function(tool, &mut budget, dropped)),
            ToolDef::Server { kind, name, .. } => {
                let forced =
                    matches!(&asked.tool_choice, ToolChoice::Tool(forced) if forced == name);
                if only_servers || forced {
                    return Err(rejected(kind));
                }
                dropped.left_out.add(kind.as_str());
            }
        }
    }
    if !functions.is_empty() {
        declared.tools.push(Tool {
            function_declarations: functions,
            google_search: None,
        });
    }
    Ok(declared)
}

/// Whether the web search is the only tool, as in the requests of Claude Code's tool for it.
fn is_search(asked: &ClientRequest) -> bool {
    let is_search = |tool: &ToolDef| matches!(tool, ToolDef::Server { kind, .. } if kind.starts_with("web_search"));
    !asked.tools.is_empty() && asked.tools.iter().all(is_search)
}

/// The domains that the web search excludes. All other limits of the search are counted as left
/// out: Google has no such limits, and only Vertex excludes domains, whole ones without a path.
fn excluded<'a>(asked: &'a ClientRequest, vertex: bool, dropped: &mut Dropped) -> Vec<&'a str> {
    let settings = asked.tools.iter().filter_map(|tool| match tool {
        ToolDef::Server { settings, .. } => Some(settings),
        ToolDef::Tool(_) => None,
    });
    let mut excluded = Vec::new();
    for (name, value) in settings.flatten() {
        let domains = value.as_array().filter(|_| name == "blocked_domains");
        let domains = domains.into_iter().flatten().filter_map(Value::as_str);
        let domains: Vec<_> = domains.filter(|domain| !domain.contains('/')).collect();
        if !vertex || value.as_array().map(Vec::len) != Some(domains.len()) {
            dropped.left_out.add(format!("web_search.{name}"));
        }
        excluded.extend(domains.into_iter().filter(|_| vertex));
    }
    excluded
}

pub(super) fn config(
    asked: &ClientRequest,
    declared: &Declared<'_>,
    dropped: &mut Dropped,
) -> Option<ToolConfig> {
    if !asked.parallel_tools {
        dropped
            .left_out
            .add("tool_choice.disable_parallel_tool_use");
    }
    if declared.searches {
        // Whether to search is the model's decision.
        return None;
    }
    if declared.tools.is_empty() {
        if matches!(asked.tool_choice, ToolChoice::Any | ToolChoice::Tool(_)) {
            dropped.left_out.add("tool_choice");
        }
        return None;
    }
    let mode = |mode| FunctionCallingConfig {
        mode,
        allowed_function_names: Vec::new(),
    };
    let function_calling_config = match &asked.tool_choice {
        ToolChoice::Unsaid | ToolChoice::Auto if declared.strict => mode("VALIDATED"),
        // This is also Gemini's default.
        ToolChoice::Unsaid | ToolChoice::Auto => return None,
        ToolChoice::Any => mode("ANY"),
        ToolChoice::None => mode("NONE"),
        ToolChoice::Tool(name) => FunctionCallingConfig {
            mode: "ANY",
            allowed_function_names: vec![names::on_the_wire(name).into_owned()],
        },
    };
    Some(ToolConfig {
        function_calling_config,
    })
}

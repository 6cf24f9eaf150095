//! Leaves out deferred tools where Gemini would reject their number.

use std::collections::HashSet;

use witgate_plugin::dialect::{Block, ClientRequest, ToolChoice, ToolDef};

/// How many functions Gemini accepts.
const MOST: usize = 512;

/// The names of the deferred tools to leave out, the last ones first. Tools that a search has found
/// or that were called stay.
pub(super) fn hidden(asked: &ClientRequest) -> HashSet<&str> {
    let tools = asked.tools.iter().filter_map(|tool| match tool {
        ToolDef::Tool(tool) => Some(tool),
        ToolDef::Server { .. } => None,
    });
    let excess = tools.clone().count().saturating_sub(MOST);
    if excess == 0 {
        return HashSet::new();
    }
    let known = known(asked);
    let tools: Vec<_> = tools.collect();
    let hidden = tools
        .into_iter()
        .rev()
        .filter(|tool| tool.deferred && !known.contains(tool.name.as_str()))
        .take(excess);
    hidden.map(|tool| tool.name.as_str()).collect()
}

/// The tools that the conversation names.
fn known(asked: &ClientRequest) -> HashSet<&str> {
    let mut known = HashSet::new();
    if let ToolChoice::Tool(name) = &asked.tool_choice {
        known.insert(name.as_str());
    }
    for block in asked.messages.iter().flat_map(|message| &message.content) {
        let inner = match block {
            Block::ToolResult(result) => result.content.as_slice(),
            block => std::slice::from_ref(block),
        };
        for block in inner {
            match block {
                Block::ToolUse(call) => known.insert(call.name.as_str()),
                Block::ToolReference(name) => known.insert(name.as_str()),
                _ => false,
            };
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use witgate_plugin::{Value, json};

    use super::*;

    fn asked(tools: usize, messages: &Value) -> ClientRequest {
        let tool = |n: usize| json!({ "name": format!("t{n}"), "input_schema": {}, "defer_loading": n > 20 });
        let tools: Vec<Value> = (0..tools).map(tool).collect();
        ClientRequest::parse(&json!({ "tools": tools, "messages": messages }).to_string()).unwrap()
    }

    #[test]
    fn as_many_deferred_tools_are_left_out_as_are_too_many() {
        assert!(hidden(&asked(512, &json!([]))).is_empty());
        let found = json!([
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "t598", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": [
                { "type": "tool_reference", "tool_name": "t599" },
            ] }] },
        ]);
        let asked = asked(600, &found);
        let hidden = hidden(&asked);
        assert_eq!(hidden.len(), 88);
        assert!(hidden.contains("t597") && hidden.contains("t510"));
        assert!(!hidden.contains("t599") && !hidden.contains("t598") && !hidden.contains("t509"));
    }
}

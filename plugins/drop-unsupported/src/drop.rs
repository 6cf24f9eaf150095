//! Leaves items out of a request.

use std::collections::BTreeSet;

use witgate_plugin::{EditError, Operation, Request};

use crate::{
    OLD_VERSION,
    item::{Item, Part, with_features},
};

/// Where breakpoints are. Data of the user may have members of the same name.
const BREAKPOINTS: [&str; 5] = [
    "$.cache_control",
    "$.system[*].cache_control",
    "$.tools[*].cache_control",
    "$.messages[*].content[*].cache_control",
    "$.messages[*].content[*].content[*].cache_control",
];

/// Whether a query selects something. A body that cannot be read has nothing.
pub(crate) fn has(request: &Request, path: &str) -> bool {
    request.matches(path).unwrap_or(false)
}

/// Leaves out all of these, and what belongs to the same features.
pub(crate) fn drop_from(request: &mut Request, items: &BTreeSet<Item>) -> Result<(), EditError> {
    for Item { part, name } in with_features(items) {
        match part {
            Part::Field => remove_field(request, &name)?,
            Part::Thinking => {
                if has(request, &format!("$.thinking[?@ == '{name}']")) {
                    request.remove_all("$.thinking")?;
                }
            }
            Part::Tool => remove_tools(request, &name)?,
            Part::ToolField => drop(request.remove_all(&format!("$.tools[*]['{name}']"))?),
            Part::Keyword => remove(request, keywords(request, &name))?,
            Part::Block => remove(request, blocks(request, &name))?,
            Part::BlockField => remove(request, block_fields(request, &name))?,
            Part::Cache => {
                for breakpoint in BREAKPOINTS {
                    request.remove_all(&member_of(breakpoint, &name))?;
                }
            }
            Part::Beta => remove_beta(request, &name)?,
            Part::Header => {
                if !request.header(&name).is_empty() {
                    request.set_header(&name, [""; 0])?;
                }
            }
            Part::Version => {
                if request.header("anthropic-version") == [name] {
                    request.set_header("anthropic-version", [OLD_VERSION])?;
                }
            }
        }
    }
    Ok(())
}

/// Removes the last pointers first, so that the others stay right.
fn remove(request: &mut Request, pointers: Vec<String>) -> Result<(), EditError> {
    match pointers.is_empty() {
        true => Ok(()),
        false => request.patch(pointers.into_iter().rev().map(Operation::Remove)),
    }
}

fn select(request: &Request, path: &str) -> Vec<String> {
    request.select(path).unwrap_or_default()
}

fn member_of(path: &str, name: &str) -> String {
    match name {
        "" => path.to_owned(),
        name => format!("{path}['{name}']"),
    }
}

/// Whether a breakpoint has a member, or exists if the name is empty.
pub(crate) fn has_breakpoint(request: &Request, name: &str) -> bool {
    let kept = name == "type";
    !kept
        && BREAKPOINTS
            .iter()
            .any(|path| has(request, &member_of(path, name)))
}

/// A member, and the object that holds it if nothing else is in there.
fn remove_field(request: &mut Request, pointer: &str) -> Result<(), EditError> {
    let quoted = pointer.split('/').skip(1).map(|part| format!("['{part}']"));
    let path = format!("${}", quoted.collect::<String>());
    if request.remove_all(&path)? > 0
        && let Some((parent, _)) = pointer[1..].split_once('/')
        && !has(request, &format!("$['{parent}'].*"))
    {
        request.remove_all(&format!("$['{parent}']"))?;
    }
    Ok(())
}

pub(crate) fn betas(request: &Request) -> Vec<String> {
    let values = request.header("anthropic-beta").join(",");
    let values = values.split(',').map(str::trim);
    values
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect()
}

fn remove_beta(request: &mut Request, beta: &str) -> Result<(), EditError> {
    let mut kept = betas(request);
    let before = kept.len();
    // Features name a beta without its date.
    kept.retain(|value| value != beta && !(beta.ends_with(['-', '0']) && value.starts_with(beta)));
    if kept.len() == before {
        return Ok(());
    }
    let all = Some(kept.join(",")).filter(|all| !all.is_empty());
    request.set_header("anthropic-beta", all)
}

/// The tools of a type, or of its dated versions, that the conversation has not used.
pub(crate) fn tools(request: &Request, name: &str) -> Vec<String> {
    let names = request.read("$.tools[*]").unwrap_or_default().into_iter();
    let mut found = Vec::new();
    for tool in names {
        let Ok(tool_value) = tool.parse::<witgate_plugin::Value>() else {
            continue;
        };
        let kind = tool_value["type"].as_str().unwrap_or_default();
        let meant = kind == name || name.ends_with('_') && kind.starts_with(name);
        let called = tool_value["name"].as_str().unwrap_or_default();
        if meant && !is_used(request, called) {
            found.push(tool.pointer);
        }
    }
    found
}

fn is_used(request: &Request, tool: &str) -> bool {
    let calls = request.read("$.messages[*].content[?@.name && @.input].name");
    let calls = calls.unwrap_or_default();
    calls
        .iter()
        .any(|call| call.parse::<String>().is_ok_and(|name| name == tool))
}

/// A choice of tools goes with the last tool, or with the tool that it names.
fn remove_tools(request: &mut Request, name: &str) -> Result<(), EditError> {
    let found = tools(request, name);
    if found.is_empty() {
        return Ok(());
    }
    let left = select(request, "$.tools[*]").len() - found.len();
    remove(request, found)?;
    let chosen = request.read("$.tool_choice.name")?;
    let names = request.read("$.tools[*].name")?;
    let lost = chosen
        .iter()
        .any(|chosen| names.iter().all(|name| name.value != chosen.value));
    if left == 0 {
        request.remove_all("$.tools")?;
    }
    if left == 0 || lost {
        request.remove_all("$.tool_choice")?;
    }
    Ok(())
}

/// Where the tools' schemas have this keyword: not a property, or data, of the same name.
pub(crate) fn keywords(request: &Request, name: &str) -> Vec<String> {
    const NAMES: [&str; 4] = ["properties", "$defs", "definitions", "patternProperties"];
    const DATA: [&str; 4] = ["enum", "const", "default", "examples"];
    let mut found = select(request, &format!("$.tools[*].input_schema..['{name}']"));
    found.retain(|pointer| {
        let parts: Vec<&str> = pointer.split('/').skip(4).collect();
        let mut is_name = false;
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            if !is_name && !last && DATA.contains(part) {
                return false;
            }
            if last && is_name {
                return false;
            }
            is_name = !is_name && NAMES.contains(part);
        }
        true
    });
    found
}

/// The blocks of a type that hold nothing of the conversation, except in messages that would be
/// empty without them.
pub(crate) fn blocks(request: &Request, name: &str) -> Vec<String> {
    let content = [
        "text",
        "content",
        "source",
        "input",
        "tool_use_id",
        "data",
        "encrypted_content",
    ];
    let holds = content.map(|member| format!("@.{member}")).join(" || ");
    let thoughts = ["thinking", "redacted_thinking"].contains(&name);
    let mut path = format!("$.messages[*].content[?@.type == '{name}']");
    if !thoughts {
        path = format!("$.messages[*].content[?@.type == '{name}' && !({holds})]");
    }
    let mut found = select(request, &path);
    let emptied = |pointer: &String| {
        let Some((list, _)) = pointer.rsplit_once('/') else {
            return true;
        };
        let message = list.split('/').nth(2).unwrap_or_default();
        !has(
            request,
            &format!("$.messages[{message}].content[?@.type != '{name}']"),
        )
    };
    found.retain(|pointer| !emptied(pointer));
    found
}

/// Where content blocks have this member, unless it holds something of the conversation.
pub(crate) fn block_fields(request: &Request, name: &str) -> Vec<String> {
    const KEPT: &[&str] = &[
        "type",
        "text",
        "id",
        "name",
        "input",
        "content",
        "source",
        "tool_use_id",
        "thinking",
        "signature",
        "data",
        "title",
        "context",
        "encrypted_content",
        "role",
        "is_error",
    ];
    if KEPT.contains(&name) {
        return Vec::new();
    }
    let places = ["$.system[*]", "$.messages[*].content[*]"];
    let places = places
        .iter()
        .flat_map(|place| select(request, &format!("{place}['{name}']")));
    places.collect()
}

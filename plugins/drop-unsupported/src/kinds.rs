//! The kinds of things that an error may say a server does not know: one row each.
//!
//! Servers word the same refusal differently, so a reader looks for its sense: words that something
//! is unknown, and a name that the request has at a place of that kind. What the request does not
//! have is never learned.

use std::collections::BTreeSet;

use witgate_plugin::{Request, learned};

use crate::{
    OLD_VERSION,
    complaint::{self, Complaint},
    drop::{self, betas, has},
    item::{Item, Part},
};

/// Words that say that something is unknown, in lower case.
const UNKNOWN: &[&str] = &[
    "extra inputs",
    "extra fields",
    "extra_forbidden",
    "extraneous",
    "unknown",
    "unrecognized",
    "unrecognised",
    "not recognized",
    "unexpected",
    "unsupported",
    "not supported",
    "not support",
    "n't support",
    "not permitted",
    "not allowed",
    "additional propert",
    "cannot find field",
    "invalid beta",
    "invalid version",
    "not a valid version",
    "invalid discriminator",
    "invalid enum",
    "not a valid enum",
    "input tag",
    "input should be '",
    "capability_rejected",
];

type Reader = fn(&Complaint, &Request) -> BTreeSet<Item>;

/// The first reader that finds something decides, so the specific ones come first.
const KINDS: [(&str, Reader); 9] = [
    ("version", version),
    ("beta", beta),
    ("header", header),
    ("thinking mode", thinking),
    ("cache_control", cache),
    ("schema keyword", keyword),
    ("tool", tool),
    ("block", block),
    ("field", field),
];

/// What an error says that the server does not know, and the request has.
pub(crate) fn read(request: &Request, body: &str, wordings: &[String]) -> BTreeSet<Item> {
    let mut found = BTreeSet::new();
    for complaint in settled(complaint::read(body), request) {
        let lower = complaint.text.to_lowercase();
        let own = wordings.iter().map(String::as_str);
        if !UNKNOWN
            .iter()
            .copied()
            .chain(own)
            .any(|words| lower.contains(words))
        {
            continue;
        }
        let call =
            |read: &Reader| Some(read(&complaint, request)).filter(|items| !items.is_empty());
        if let Some((_, items)) = learned::first(&KINDS, call) {
            found.extend(items);
        }
    }
    found
}

/// What looks like a place and is not in the body is a part of the message: `unknown header: x`.
fn settled(complaints: Vec<Complaint>, request: &Request) -> Vec<Complaint> {
    let in_body = |first: &String| is_name(first) && has(request, &format!("$['{first}']"));
    let mut settled: Vec<Complaint> = Vec::new();
    for mut complaint in complaints {
        if complaint.place.first().is_some_and(in_body) {
            settled.push(complaint);
            continue;
        }
        let words = complaint.place.drain(..).collect::<Vec<_>>().join(" ");
        complaint.text.insert_str(0, &format!("{words} "));
        match settled.last_mut() {
            Some(before) if complaint.continues => before.text.push_str(&complaint.text),
            _ => settled.push(complaint),
        }
    }
    settled
}

/// Whether a name can be quoted in a path.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= 80 && name.chars().all(is_plain)
}

/// The names in a complaint that are `part`s of the request: the end of its place, and the words
/// of its message.
fn named(complaint: &Complaint, part: Part, is_there: impl Fn(&str) -> bool) -> BTreeSet<Item> {
    let last = complaint.place.last().map(String::as_str);
    let at_place: BTreeSet<Item> = last
        .filter(|name| is_name(name) && is_there(name))
        .map(|name| Item::new(part, name))
        .into_iter()
        .collect();
    if !at_place.is_empty() {
        return at_place;
    }
    let names = complaint.names().filter(|name| is_there(name));
    names.map(|name| Item::new(part, name)).collect()
}

/// Whether the place is below one of these members, or is not stated.
fn within(complaint: &Complaint, members: &[&str]) -> bool {
    let first = complaint.place.first();
    first.is_none_or(|first| members.contains(&first.as_str()))
}

fn version(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    let lower = complaint.text.to_lowercase();
    let about = ["anthropic-version", "anthropic_version", "version"];
    let sent = request.header("anthropic-version");
    let sent = sent.iter().filter(|sent| *sent != OLD_VERSION);
    let named = |sent: &&String| lower.contains("invalid version") || lower.contains(sent.as_str());
    sent.filter(|_| about.iter().any(|words| lower.contains(words)))
        .filter(named)
        .map(|sent| Item::new(Part::Version, sent))
        .collect()
}

/// Some servers do not say which beta they do not know; then all of them are left out.
fn beta(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    let lower = complaint.text.to_lowercase();
    if !lower.contains("beta") {
        return BTreeSet::new();
    }
    let sent = betas(request);
    let (named, other): (Vec<String>, Vec<String>) = sent
        .into_iter()
        .partition(|beta| complaint.names().any(|name| name == beta));
    let about = [
        "beta flag",
        "beta header",
        "anthropic-beta",
        "anthropic_beta",
    ];
    let all = named.is_empty() && about.iter().any(|words| lower.contains(words));
    let meant = if all { other } else { named };
    meant
        .iter()
        .map(|beta| Item::new(Part::Beta, beta))
        .collect()
}

fn header(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    if !complaint.text.to_lowercase().contains("header") {
        return BTreeSet::new();
    }
    let optional = |name: &str| {
        let name = name.to_lowercase();
        let own = name.starts_with("anthropic-") || name.starts_with("x-");
        own && name != "anthropic-version" && name != "anthropic-beta"
    };
    named(complaint, Part::Header, |name| {
        optional(name) && !request.header(name).is_empty()
    })
}

fn thinking(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    let mode = request.read("$.thinking.type").unwrap_or_default();
    let mode = mode.first().and_then(|mode| mode.parse::<String>().ok());
    let Some(mode) = mode.filter(|_| within(complaint, &["thinking"])) else {
        return BTreeSet::new();
    };
    let at_type = match complaint.place.as_slice() {
        [_] => true,
        [_, member] => member == "type",
        _ => false,
    };
    let named = complaint.names().any(|name| name == mode);
    match at_type || complaint.place.is_empty() && named {
        true => [Item::new(Part::Thinking, &mode)].into(),
        false => BTreeSet::new(),
    }
}

fn cache(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    let has_member = |name: &str| drop::has_breakpoint(request, name);
    let at = complaint
        .place
        .iter()
        .position(|part| part == "cache_control");
    if at.is_none() && !complaint.place.is_empty() {
        return BTreeSet::new();
    }
    let members = named(complaint, Part::Cache, has_member);
    let whole = at.is_some_and(|at| at + 1 == complaint.place.len())
        || complaint.names().any(|name| name == "cache_control");
    match members.is_empty() && whole && drop::has_breakpoint(request, "") {
        true => [Item::new(Part::Cache, "")].into(),
        false => members,
    }
}

/// Keywords without which a schema does not mean what it meant are kept.
fn keyword(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    const KEPT: &[&str] = &[
        "type",
        "properties",
        "items",
        "required",
        "$ref",
        "$defs",
        "definitions",
        "enum",
        "anyOf",
        "oneOf",
        "allOf",
        "input_schema",
        "description",
        "title",
    ];
    let in_schema = complaint.place.iter().any(|part| part == "input_schema")
        || complaint.text.contains("schema");
    if !in_schema || !within(complaint, &["tools"]) {
        return BTreeSet::new();
    }
    named(complaint, Part::Keyword, |name| {
        !KEPT.contains(&name) && !drop::keywords(request, name).is_empty()
    })
}

fn tool(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    const KEPT: &[&str] = &["name", "type", "input_schema", "description", "custom"];
    if !within(complaint, &["tools"]) {
        return BTreeSet::new();
    }
    let mut types: BTreeSet<Item> = complaint
        .names()
        .filter(|name| *name != "custom" && !drop::tools(request, name).is_empty())
        .map(|name| Item::new(Part::Tool, name))
        .collect();
    if let [_, place, member] = complaint.place.as_slice()
        && member == "type"
        && place.parse::<u32>().is_ok()
    {
        let named = request
            .read(&format!("$.tools[{place}].type"))
            .unwrap_or_default();
        let named = named.iter().filter_map(|node| node.parse::<String>().ok());
        types.extend(named.map(|name| Item::new(Part::Tool, &name)));
    }
    if !types.is_empty() {
        return types;
    }
    named(complaint, Part::ToolField, |name| {
        !KEPT.contains(&name) && has(request, &format!("$.tools[*]['{name}']"))
    })
}

fn block(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    if !within(complaint, &["messages", "system"]) {
        return BTreeSet::new();
    }
    let types: BTreeSet<Item> = complaint
        .names()
        .filter(|name| !drop::blocks(request, name).is_empty())
        .map(|name| Item::new(Part::Block, name))
        .collect();
    if !types.is_empty() {
        return types;
    }
    named(complaint, Part::BlockField, |name| {
        !drop::block_fields(request, name).is_empty()
    })
}

/// Members without which a request does not mean what it meant are kept.
fn field(complaint: &Complaint, request: &Request) -> BTreeSet<Item> {
    const KEPT: &[&str] = &[
        "model",
        "messages",
        "system",
        "tools",
        "max_tokens",
        "stream",
        "thread",
        "compaction",
    ];
    if let Some(first) = complaint.place.first() {
        if KEPT.contains(&first.as_str()) {
            return BTreeSet::new();
        }
        // A place names the type of a union as well: `thinking.adaptive.display`.
        let mut pointer = String::new();
        let mut path = String::from("$");
        for part in complaint.place.iter().filter(|part| is_name(part)) {
            if part != "type" && has(request, &format!("{path}['{part}']")) {
                pointer.push_str(&format!("/{part}"));
                path.push_str(&format!("['{part}']"));
            }
        }
        return [Item::new(Part::Field, &pointer)].into();
    }
    let top = |name: &&str| !KEPT.contains(name) && has(request, &format!("$['{name}']"));
    let found: BTreeSet<Item> = complaint
        .names()
        .filter(top)
        .map(|name| Item::new(Part::Field, &format!("/{name}")))
        .collect();
    if !found.is_empty() {
        return found;
    }
    let nested = complaint.names().flat_map(|name| {
        let objects = ["thinking", "output_config", "metadata"].into_iter();
        let own = objects
            .filter(move |object| name != "type" && has(request, &format!("$.{object}['{name}']")));
        own.map(move |object| Item::new(Part::Field, &format!("/{object}/{name}")))
    });
    nested.collect()
}

//! Finds the complaints in an error's body, in whatever shape it is: where something is wrong, and
//! what. Pure.

use witgate_plugin::{Value, serde_json};

/// Deeper members are not read.
const DEPTH: usize = 8;

/// Words after which a message lists what would be accepted.
const ALTERNATIVES: &[&str] = &[
    ", expected",
    " expected one of",
    "does not match",
    "permitted:",
    "should be",
    "must be one of",
    "supported values",
    "valid values",
    "allowed values",
];

/// One complaint of a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The members that lead to the place, or nothing if the message names none.
    pub(crate) place: Vec<String>,
    /// The message, without the place.
    pub(crate) text: String,
    /// Whether it is a further clause of the message before it.
    pub(crate) continues: bool,
}

impl Complaint {
    /// The words of the message that may be names, without the alternatives that it lists.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let ends = ALTERNATIVES
            .iter()
            .filter_map(|words| self.text.find(words));
        let text = &self.text[..ends.min().unwrap_or(self.text.len())];
        let words = text
            .split(|c: char| !is_name(c))
            .map(|word| word.trim_matches('.'));
        words.filter(|word| (2..=80).contains(&word.len()))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// All complaints in an error's body.
pub(crate) fn read(body: &str) -> Vec<Complaint> {
    let mut found = Vec::new();
    text(body, DEPTH, &mut found);
    found
}

/// A text may be JSON, or contain some: gateways wrap the errors of their providers.
fn text(text: &str, depth: usize, found: &mut Vec<Complaint>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let wrapped = text.find(['{', '[']).and_then(|at| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        values
            .next()?
            .ok()
            .filter(|value| value.is_object() || value[0].is_object())
    });
    match wrapped {
        Some(value) => walk(&value, depth, found),
        None => found.extend(clauses(text)),
    }
}

fn walk(value: &Value, depth: usize, found: &mut Vec<Complaint>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Array(list) => list.iter().for_each(|value| walk(value, depth, found)),
        Value::Object(members) => {
            let message = members.get("msg").or_else(|| members.get("message"));
            let place = ["loc", "path"]
                .iter()
                .find_map(|name| members.get(*name)?.as_array());
            if let (Some(place), Some(Value::String(message))) = (place, message) {
                let place = place.iter().map(|part| match part {
                    Value::String(part) => part.clone(),
                    part => part.to_string(),
                });
                found.push(at(place.collect(), message));
                return;
            }
            for (name, value) in members {
                match value {
                    // What the client sent, and codes.
                    _ if ["input", "type", "code", "request_id"].contains(&name.as_str()) => {}
                    Value::String(message) => text(message, depth, found),
                    value => walk(value, depth, found),
                }
            }
        }
        _ => {}
    }
}

fn at(mut place: Vec<String>, text: &str) -> Complaint {
    if place.first().is_some_and(|first| first == "body") {
        place.remove(0);
    }
    let text = text.to_owned();
    Complaint {
        place,
        text,
        continues: false,
    }
}

/// The clauses of a message, each with the place in front of it: `tools.0.x: not permitted`.
fn clauses(text: &str) -> Vec<Complaint> {
    let mut found = vec![Complaint::default()];
    for word in text.split_whitespace() {
        let named = word
            .strip_suffix(':')
            .map(place)
            .filter(|place| is_place(place));
        match (named, found.last_mut()) {
            (Some(place), _) => found.push(at(place, "")),
            (None, Some(last)) => {
                last.text.push_str(word);
                last.text.push(' ');
            }
            (None, None) => {}
        }
    }
    found.retain(|complaint| !complaint.text.is_empty());
    for later in found.iter_mut().skip(1) {
        later.continues = true;
    }
    found
}

/// The parts of `tools.0.x`, `tools[0].x` and `#/tools/0/x`.
fn place(word: &str) -> Vec<String> {
    let parts = word.split(['.', '/', '[', ']', '#', '"', '\'', '`', '$']);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_place(place: &[String]) -> bool {
    let word = |part: &String| {
        part.chars().all(is_name)
            && part
                .chars()
                .any(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    !place.is_empty() && place.iter().all(word)
}

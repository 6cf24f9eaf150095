//! What each fuzz target does with one input. `tests/fuzz.rs` runs the same functions on the seeds.
//!
//! A target checks a promise that holds for every input, besides that nothing panics.

use std::str;

use serde_json::{Value, json};
use witgate_contract::{
    manifest::{Hook, Manifest},
    path,
};
use witgate_document::{Document, Operation, Path};
use witgate_plugin::{Event, dialect::ClientRequest};

/// A function that takes one input.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("document", document),
    ("path", query),
    ("patch", patch),
    ("outline", outline),
    ("request", request),
    ("event", event),
    ("manifest", manifest),
    ("url_path", url_path),
];

/// Queries with the shortcuts that a walk can take.
const QUERIES: &[&str] = &[
    "$",
    "$.model",
    "$..cache_control",
    "$.messages[-1].content",
    "$[0,-1][*]",
    "$..[?@.type == 'text'].text",
    "$[?search(@, '[a-f]+x')]",
    "$..[?count(@.*) > 1 && length(@) < 9]",
];

/// A body, which need not be JSON, under every kind of query.
pub fn document(text: &[u8]) {
    let document = Document::new(text.to_vec());
    for query in QUERIES.iter().filter_map(|query| Path::parse(query).ok()) {
        check_query(text, &document, &query);
    }
    assert_eq!(document.bytes(), text, "a query changes nothing");
}

/// A query, and after a zero byte the body.
pub fn query(input: &[u8]) {
    let (query, text) = halves(input);
    if let Some(query) = str::from_utf8(query)
        .ok()
        .and_then(|query| Path::parse(query).ok())
    {
        check_query(text, &Document::new(text.to_vec()), &query);
    }
}

fn check_query(text: &[u8], document: &Document, query: &Path) {
    let selected = document.select(query);
    let matched = document.matches(query);
    let removed = document.clone().remove_all(query);
    if !is_json(text) {
        return;
    }
    let Ok(selected) = selected else { return };
    assert_eq!(matched, Ok(!selected.is_empty()), "`matches` of {query}");
    assert!(document.may_select(query) || selected.is_empty(), "{query}");
    if !selected.iter().any(String::is_empty) {
        let count = removed.map(|count| count > 0);
        assert_eq!(count, Ok(!selected.is_empty()), "`remove_all` of {query}");
    }
    for pointer in selected.iter().take(100) {
        let value = document.get(pointer);
        assert!(matches!(value, Ok(Some(_))), "{pointer}: {value:?}");
    }
}

/// A patch, and after a zero byte the body.
pub fn patch(input: &[u8]) {
    let (edits, text) = halves(input);
    let Ok(edits) = Operation::parse_list(edits) else {
        return;
    };
    let mut document = Document::new(text.to_vec());
    if document.patch(&edits).is_err() {
        assert_eq!(document.bytes(), text, "a failed patch changes nothing");
        return;
    }
    assert!(!is_json(text) || is_json(&document.bytes()), "{edits:?}");
    let written = Operation::write_list(&edits);
    let read = Operation::parse_list(written.as_bytes());
    assert_eq!(read.map(|edits| edits.len()), Ok(edits.len()), "{written}");
}

/// The length of texts that stay, and the body.
pub fn outline(input: &[u8]) {
    let Some((longest, text)) = input.split_first() else {
        return;
    };
    let document = Document::new(text.to_vec());
    if let Ok(outline) = document.outline(usize::from(*longest), 7) {
        let filled = outline.fill(outline.text());
        assert_eq!(filled.as_deref(), Ok(text), "an unchanged outline");
        for escapes in [1, 8] {
            let _ = outline.fill(&json!([format!("{}0:{escapes}~", outline.prefix())]).to_string());
        }
    }
}

/// A body as a dialect reads it.
pub fn request(body: &[u8]) {
    if let Ok(body) = str::from_utf8(body) {
        let read = ClientRequest::parse(body);
        assert!(read.is_err() || is_json(body.as_bytes()));
    }
}

/// The name of an event, and after a zero byte its data.
pub fn event(input: &[u8]) {
    let (name, data) = halves(input);
    let (Ok(name), Ok(data)) = (str::from_utf8(name), str::from_utf8(data)) else {
        return;
    };
    let mut event = Event {
        name: name.to_owned(),
        data: data.to_owned(),
    };
    let _ = event.typed();
    if event.replace("/delta/text", "x").is_ok() && is_json(data.as_bytes()) {
        assert!(is_json(event.data.as_bytes()), "{}", event.data);
    }
}

/// What a plugin says of itself.
pub fn manifest(text: &[u8]) {
    if let Ok(text) = str::from_utf8(text) {
        let _ = Manifest::parse(text, &Hook::ALL);
    }
}

/// A path as a client requests it or a plugin sets it.
pub fn url_path(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    if let Ok((path, _)) = path::parse(text) {
        assert!(path.starts_with('/') && !path.contains('\\'), "{path}");
        let climbs = |segment: &str| [".", ".."].contains(&segment);
        assert!(!path.split('/').any(climbs), "{path}");
    }
}

fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|&byte| byte == 0);
    end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 1..]))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(text).is_ok()
}

//! The session and the conversation of a request.

use std::sync::Arc;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use witgate_document::Document;

use crate::{
    ids::ConversationId,
    message::Conversation,
    off_worker::{is_large, off_worker},
};

const SESSION: &str = "x-claude-code-session-id";
const AGENT: &str = "x-claude-code-agent-id";

/// The most bytes of `metadata` in which a session is looked for. Anthropic allows a `user_id` of
/// 512 characters.
const LARGEST_METADATA: usize = 64 << 10;

/// Returns the client's session from its header or from either form of `metadata.user_id`. The
/// messages are never used for this.
pub(super) fn session(headers: &HeaderMap, body: &Document) -> Option<Arc<str>> {
    if let Some(session) = header(headers, SESSION) {
        return Some(session.into());
    }
    #[derive(Deserialize)]
    struct Metadata {
        user_id: String,
    }
    let metadata = body.top("metadata")?;
    if metadata.len() > LARGEST_METADATA {
        return None;
    }
    let metadata: Metadata = serde_json::from_slice(&metadata).ok()?;
    session_of_user(&metadata.user_id)
}

fn session_of_user(user: &str) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct User {
        session_id: String,
    }
    let session = match serde_json::from_str::<User>(user) {
        Ok(user) => user.session_id,
        Err(_) => user.rsplit_once("_session_")?.1.to_owned(),
    };
    (!session.is_empty()).then(|| session.into())
}

/// Returns the conversation: that of the session and its agent, or the one with this opening. Only
/// the opening is read, and only if the client names no session.
pub(super) fn conversation(
    session: Option<&Arc<str>>,
    headers: &HeaderMap,
    body: &Document,
) -> Conversation {
    if let Some(session) = session.cloned() {
        let agent = header(headers, AGENT).map(str::to_owned);
        let find = move || ConversationId::of_session(&session, agent.as_deref());
        return Conversation::found_by(find);
    }
    let body = body.clone();
    Conversation::found_by(move || {
        let digest = off_worker(is_large(&body), || opening(&body));
        ConversationId::of_opening(&digest)
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}

/// Messages that are searched for the first one of the user.
const FIRST_MESSAGES: usize = 8;

/// The largest `system` or message that is parsed, in bytes: a tree takes many times its text. Of a
/// larger one the text counts as it is.
const LARGEST_PARSED: usize = 1 << 20;

/// Digest of the opening: `system` and the messages up to the first one of the user. Neither cache
/// marks, which clients move from turn to turn, nor the form of a text make a difference.
fn opening(body: &Document) -> [u8; 32] {
    let mut hash = Sha256::new();
    match body.top("system") {
        Some(system) if system.len() > LARGEST_PARSED => hash_text(&mut hash, &system),
        Some(system) => hash_content(&mut hash, read(&system)),
        None => {}
    }
    for index in 0..FIRST_MESSAGES {
        // What is not JSON ends the opening; the upstream reports it.
        let Ok(Some(message)) = body.get(&format!("/messages/{index}")) else {
            break;
        };
        if message.len() > LARGEST_PARSED {
            hash_text(&mut hash, &message);
            break;
        }
        let mut message = read(&message);
        // So that a message is distinguished from a text of `system`.
        hash_text(&mut hash, b"message");
        let content = message.get_mut("content").map(Value::take);
        hash_content(&mut hash, content.unwrap_or_default());
        if message["role"] == "user" {
            break;
        }
    }
    hash.finalize().into()
}

fn read(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}

/// A text and a single text block with this text are the same content.
fn hash_content(hash: &mut Sha256, content: Value) {
    let blocks = match content {
        Value::Array(blocks) => blocks,
        Value::Null => Vec::new(),
        text => vec![text],
    };
    for mut block in blocks {
        match block.as_str().or_else(|| block["text"].as_str()) {
            Some(text) => hash_text(hash, text.as_bytes()),
            None => {
                remove_cache_marks(&mut block);
                hash_text(hash, block.to_string().as_bytes());
            }
        }
    }
}

fn remove_cache_marks(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("cache_control");
            members.values_mut().for_each(remove_cache_marks);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_cache_marks),
        _ => {}
    }
}

/// Of a long text, such as a pasted file, only its length, its beginning and its end are read.
fn hash_text(hash: &mut Sha256, bytes: &[u8]) {
    const EACH_END: usize = 8 << 10;
    hash.update(bytes.len().to_le_bytes());
    if bytes.len() <= 2 * EACH_END {
        return hash.update(bytes);
    }
    hash.update(&bytes[..EACH_END]);
    hash.update(&bytes[bytes.len() - EACH_END..]);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn session_in(body: &str) -> Option<String> {
        let body = Document::new(body.to_owned());
        session(&HeaderMap::new(), &body).map(|session| session.to_string())
    }

    #[test]
    fn a_session_is_found_in_both_forms_of_user_id() {
        let json = r#"{"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"s-1\"}"}}"#;
        assert_eq!(session_in(json).unwrap(), "s-1");
        let text = r#"{"metadata":{"user_id":"user_ab_account__session_s-2"}}"#;
        assert_eq!(session_in(text).unwrap(), "s-2");
        assert_eq!(session_in(r#"{"metadata":{"user_id":"someone"}}"#), None);
        assert_eq!(session_in(r#"{"metadata":{}}"#), None);
        assert_eq!(session_in("{}"), None);
    }

    #[test]
    fn no_session_is_looked_for_in_metadata_that_is_too_large() {
        let metadata = |length| {
            let id = "s".repeat(length);
            session_in(&format!(r#"{{"metadata":{{"user_id":"_session_{id}"}}}}"#))
        };
        let most = LARGEST_METADATA - r#"{"user_id":"_session_"}"#.len();
        assert_eq!(metadata(most).map(|id| id.len()), Some(most));
        assert_eq!(metadata(most + 1), None);
    }

    #[test]
    fn the_header_takes_precedence_for_the_session() {
        let mut headers = HeaderMap::new();
        headers.insert(SESSION, HeaderValue::from_static("s-3"));
        let body = Document::new(r#"{"metadata":{"user_id":"a_session_s-2"}}"#);
        assert_eq!(&*session(&headers, &body).unwrap(), "s-3");
    }

    #[test]
    fn the_agents_of_a_session_have_conversations_of_their_own() {
        let body = Document::new("{}");
        let of = |agent: &'static str| {
            let agent = HeaderValue::from_static(agent);
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(AGENT), agent)]);
            let session = "s-1".into();
            conversation(Some(&session), &headers, &body)
                .id()
                .to_string()
        };
        assert_eq!(of("a-1"), "s-1/a-1");
        assert_eq!(of("a-2"), "s-1/a-2");
        assert_eq!(of(""), "s-1", "the main conversation");
        let long = "s".repeat(4_000);
        let short = conversation(Some(&long.into()), &HeaderMap::new(), &body);
        let short = short.id().as_str();
        assert!(
            short.starts_with("session-") && short.len() == 40,
            "{short}"
        );
    }

    fn opened_by(system: &str, messages: &str, tools: &str) -> String {
        let body = format!(r#"{{"system":{system},"messages":[{messages}],"tools":[{tools}]}}"#);
        let found = conversation(None, &HeaderMap::new(), &Document::new(body));
        found.id().to_string()
    }

    #[test]
    fn a_conversation_without_a_session_keeps_its_id_while_it_grows() {
        let first = opened_by(
            r#"[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}]"#,
            r#"{"role":"user","content":[{"type":"image","source":{"data":"x"}},{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}"#,
            "",
        );
        assert!(first.starts_with("opening-"));
        let later = opened_by(
            r#""be brief""#,
            r#"{ "role": "user", "content": [{"type":"image","source":{"data":"x"}}, "hi"] }, {"role":"assistant","content":"hello"},
               {"role":"user","content":"and?"}"#,
            r#"{"name":"t"}"#,
        );
        assert_eq!(first, later);
    }

    #[test]
    fn another_opening_is_another_conversation() {
        let hi = r#"{"role":"user","content":"hi"}"#;
        let brief = r#""be brief""#;
        let first = opened_by(brief, hi, "");
        let long = |end| {
            format!(
                r#"{{"role":"user","content":"{}{end}"}}"#,
                "x".repeat(50_000)
            )
        };
        let others = [
            opened_by(r#""be long""#, hi, ""),
            opened_by(brief, r#"{"role":"user","content":"ho"}"#, ""),
            opened_by(r#"["be brief", "hi"]"#, "", ""),
            opened_by(
                brief,
                &format!(r#"{{"role":"system","content":"x"}},{hi}"#),
                "",
            ),
            opened_by(brief, &long("a"), ""),
            opened_by(brief, &long("b"), ""),
        ];
        let all: std::collections::BTreeSet<_> = others.iter().chain([&first]).collect();
        assert_eq!(all.len(), others.len() + 1, "{all:?}");
    }

    #[test]
    fn an_opening_too_large_to_parse_counts_as_it_is_written() {
        let with = |mark: &str, size| {
            let text = "x".repeat(size);
            let content = format!(r#"[{{"type":"text","text":"{text}"{mark}}}]"#);
            opened_by(
                "[]",
                &format!(r#"{{"role":"user","content":{content}}}"#),
                "",
            )
        };
        let mark = r#","cache_control":{"type":"ephemeral"}"#;
        assert_eq!(with(mark, 1_000), with("", 1_000));
        assert_ne!(with(mark, LARGEST_PARSED), with("", LARGEST_PARSED));
        assert_eq!(with(mark, LARGEST_PARSED), with(mark, LARGEST_PARSED));
    }

    #[test]
    fn a_body_that_is_not_json_has_a_conversation_too() {
        let of = |text: &'static str| {
            let found = conversation(None, &HeaderMap::new(), &Document::new(text));
            found.id().clone()
        };
        assert_eq!(of("{"), of("{"));
        assert_eq!(of(r#"{"messages":[7]}"#), of(r#"{"messages":["x"]}"#));
    }
}

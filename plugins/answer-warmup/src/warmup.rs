//! Recognises a warm-up, and makes its answer.
//!
//! A message may be as long as a body, so none is read: the gateway finds the word and the
//! reminders, and only locations cross into the plugin.

use witgate_plugin::{EditError, Node, Request, Value, json};

/// Selects something for every warm-up and for almost nothing else: one of the last messages has
/// the word as its content or as one of its texts. Several are looked at because system messages
/// may follow the user's.
pub(crate) const MAY_BE: &str = concat!(
    r#"$.messages[-4:][?match(@, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")"#,
    r#" || @[?match(@.text, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")]]"#,
);

/// The text of a warm-up: the word in any case, with space around it. The guard has the same
/// pattern.
const WORD: &str = r#""[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*""#;

/// The start of a text that clients add to a user's message.
const REMINDER: &str = r#""^[\\p{Z}\\t\\n\\r]*<system-reminder>""#;

/// The last messages, system messages included.
const LAST: &str = "$.messages[-4:]";

/// In characters. Longer names of models are not echoed.
const LONGEST_MODEL: usize = 1_000;

/// The requested model, if this is a warm-up: its last message that is not a system message is a
/// user's and, without reminders, one text equal to `warmup`. Tool results and texts that only
/// begin with the word are not warm-ups.
pub(crate) fn requested_model(request: &Request) -> Result<Option<String>, EditError> {
    let Some(message) = last_users_message(request)? else {
        return Ok(None);
    };
    if !is_warmup(request, &message)? {
        return Ok(None);
    }
    let short = format!(r#"$[?search(@, "") && length(@) <= {LONGEST_MODEL}]"#);
    let texts = request.read(&short)?;
    let model = texts.iter().find(|node| node.pointer == "/model");
    Ok(model.and_then(|node: &Node| node.parse().ok()))
}

/// The pointer of the last message that is not a system message, if it is a user's.
fn last_users_message(request: &Request) -> Result<Option<String>, EditError> {
    let with_role = |role: &str| request.select(&format!(r#"{LAST}[?@ == "{role}"]"#));
    let is = |roles: &[String], message: &str| roles.contains(&format!("{message}/role"));
    let (users, system) = (with_role("user")?, with_role("system")?);
    let mut last = request.select(LAST)?;
    last.retain(|message| !is(&system, message));
    Ok(last.pop().filter(|message| is(&users, message)))
}

fn is_warmup(request: &Request, message: &str) -> Result<bool, EditError> {
    let at = message_at(message);
    let words = request.select(&format!("{at}[?match(@, {WORD})]"))?;
    if words.contains(&format!("{message}/content")) {
        return Ok(true);
    }
    // An index selects from arrays only, a filter also from objects.
    if !request.matches(&format!("{at}.content[0]"))? {
        return Ok(false);
    }
    let is_text = r#"@.type == "text""#;
    let written = request.select(&format!(
        "{at}.content[?!({is_text} && search(@.text, {REMINDER}))]"
    ))?;
    let words = request.select(&format!(
        "{at}.content[?{is_text} && match(@.text, {WORD})]"
    ))?;
    Ok(written.len() == 1 && words.contains(&written[0]))
}

/// The query for the message at this pointer. The pointer ends with the message's index.
fn message_at(pointer: &str) -> String {
    let index = pointer.rsplit('/').next().unwrap_or_default();
    format!("$.messages[{index}]")
}

/// A whole message of the requested model that says `OK` and has a usage of one token each way.
pub(crate) fn message(exchange: &str, model: &str) -> Value {
    json!({
        "id": format!("msg_warmup_{exchange}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{ "type": "text", "text": "OK" }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_by_its_pointer() {
        assert_eq!(message_at("/messages/12"), "$.messages[12]");
    }

    #[test]
    fn the_answer_echoes_any_model_name() {
        let answer = message("e1", "a\"b\\c").to_string();
        assert!(answer.contains(r#""model":"a\"b\\c""#), "{answer}");
    }
}

//! Which 403 is about the account or its credential, by its words. Pure.
//!
//! Most are about the request: the page of a firewall, a moderation refusal, a model or an endpoint
//! that the key may not use. Any client can cause these at will, so they say nothing about the
//! account. The words are those of Anthropic's API and of servers that speak its dialect; a plugin
//! of another dialect sets `authentication_error` for the words of its own upstream.

use std::borrow::Cow;

use serde_json::Value;

/// What a message about the account begins with where the words below do not say it.
const PHRASES: [&str; 2] = [
    "oauth authentication is currently not allowed",
    "account is no longer a member of the organization",
];

const SUBJECTS: [&str; 7] = [
    "account",
    "organization",
    "organisation",
    "workspace",
    "x-api-key",
    "credential",
    "credentials",
];

/// Subjects of two words.
const PAIRS: [[&str; 2]; 5] = [
    ["api", "key"],
    ["api", "token"],
    ["access", "token"],
    ["bearer", "token"],
    ["oauth", "token"],
];

const STATES: [&str; 13] = [
    "banned",
    "blocked",
    "deactivated",
    "deleted",
    "disabled",
    "expired",
    "inactive",
    "incorrect",
    "invalid",
    "locked",
    "revoked",
    "suspended",
    "terminated",
];

/// States where a negation precedes them: `is no longer valid`.
const NEGATED: [&str; 2] = ["active", "valid"];

/// Words that may surround a subject and its state.
const FILLERS: [&str; 28] = [
    "a",
    "an",
    "and",
    "anthropic",
    "authentication",
    "authentication_error",
    "be",
    "been",
    "claude",
    "currently",
    "error",
    "forbidden",
    "has",
    "have",
    "is",
    "or",
    "permanently",
    "permission_error",
    "provided",
    "supplied",
    "temporarily",
    "the",
    "this",
    "user",
    "was",
    "were",
    "you",
    "your",
];

/// After a state these say what it is confined to: `disabled for this endpoint`.
const CONFINED: [&str; 5] = ["for", "from", "in", "on", "to"];

/// Whether the body of a 403 says that the account or its credential is refused.
pub(super) fn is_about_the_account(body: &[u8]) -> bool {
    said(body).is_some_and(|message| says_so(&message.to_ascii_lowercase()))
}

/// Only the beginning of the message counts: what follows may quote the request.
fn says_so(message: &str) -> bool {
    let message = message.trim_start();
    if PHRASES.iter().any(|phrase| message.starts_with(phrase)) {
        return true;
    }
    let sentence = message.split(['.', '!', ';', '\n', '"', '`']).next();
    let words = sentence.unwrap_or_default();
    let words: Vec<&str> = words
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    if words.iter().any(|word| word.starts_with("model")) {
        return false;
    }
    let (mut subject, mut state, mut negated) = (false, false, false);
    let mut rest = &words[..];
    while let [word, after @ ..] = rest {
        rest = after;
        if let [next, after @ ..] = after
            && PAIRS.contains(&[*word, *next])
        {
            (subject, rest) = (true, after);
        } else if SUBJECTS.contains(word) {
            subject = true;
        } else if STATES.contains(word) || (negated && NEGATED.contains(word)) {
            state = true;
        } else if matches!(*word, "no" | "not" | "longer") {
            negated = true;
        } else if !FILLERS.contains(word) {
            let is_reason = after.first().is_some_and(|next| next.starts_with("violat"));
            return subject && state && (is_reason || !CONFINED.contains(word));
        }
    }
    subject && state
}

/// The words of an error: of one in Anthropic's envelope or of similar JSON, or a plain text.
fn said(body: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    if text.starts_with('<') {
        return None;
    }
    let Ok(json) = serde_json::from_str::<Value>(text) else {
        return Some(text.into());
    };
    let targets = ["/error/message", "/message", "/error", "/detail"];
    let mut said = targets.iter().filter_map(|at| json.pointer(at));
    said.find_map(Value::as_str)
        .map(|message| message.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_account_is_known_by_its_words() {
        for message in [
            "OAuth authentication is currently not allowed for this organization.",
            "OAuth token has been revoked. Please obtain a new token.",
            "Account is no longer a member of the organization associated with this token.",
            "This organization has been disabled.",
            "This organization is disabled",
            "Your account has been disabled after an automatic review of your recent activities.",
            "Your account has been suspended",
            "Your account has been disabled for violating our policies",
            "The API key you provided is expired",
            "Account suspended: please contact support",
            "The API key is invalid",
            "Invalid API key",
            "Invalid or revoked API key",
            "invalid x-api-key",
            "Invalid API key provided: sk-...",
            "API key has been revoked",
            "This API key is no longer valid.",
            "Your access token has expired",
            "Invalid authentication credentials",
            "permission_error: your account was permanently banned",
        ] {
            assert!(says_so(&message.to_ascii_lowercase()), "{message}");
        }
    }

    #[test]
    fn what_is_about_the_request_is_not_about_the_account() {
        for message in [
            "",
            "Request not allowed",
            "Request blocked",
            "Your request was blocked.",
            "Your IP address has been blocked",
            "Access denied",
            "Forbidden",
            "Your API key does not have permission to use the specified resource.",
            "Your account does not have access to claude-opus-5-5",
            "Your organization does not have access to this feature",
            "The model `claude-opus-5-5` is disabled for your organization",
            "Your account is suspended for model claude-opus-5-5",
            "count_tokens endpoint is not enabled for this channel.",
            "Token counting is disabled for this account",
            "Your organization has been disabled for web search",
            "This API key is disabled on this endpoint",
            "Web search is not enabled for this organization",
            "Your input was flagged: \"your account has been suspended\"",
            "Prompt refused. Your account has been suspended",
            "Invalid token in the request body",
            "Invalid key `account`",
            "Account not allowed to use this beta",
            "the account is active and valid",
        ] {
            assert!(!says_so(&message.to_ascii_lowercase()), "{message}");
        }
    }

    #[test]
    fn the_words_are_found_in_json_and_in_plain_text_and_never_in_a_page() {
        for body in [
            r#"{"type":"error","error":{"type":"permission_error","message":"This organization has been disabled."}}"#,
            r#"{"error":{"message":"Account suspended","code":"x"}}"#,
            r#"{"error":"Invalid API key"}"#,
            r#"{"message":"Invalid API key"}"#,
            "Account suspended",
        ] {
            assert!(is_about_the_account(body.as_bytes()), "{body}");
        }
        for body in [
            "<html><title>Account suspended</title></html>",
            r#"{"error":{"type":"account suspended"}}"#,
            r#"["Account suspended"]"#,
            "",
        ] {
            assert!(!is_about_the_account(body.as_bytes()), "{body}");
        }
        assert!(!is_about_the_account(b"Account suspended \xff"));
    }
}

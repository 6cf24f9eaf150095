//! Decides by its words what an error is about: the account or its credential, the account's
//! credit, or the model. Pure.
//!
//! Most are about the request: a firewall's page, a moderation refusal, a model or an endpoint that
//! the key may not use. Any client can cause these at will, so they say nothing about the account.
//! The words here are those of Anthropic's API and of servers that speak its dialect. A plugin for
//! another dialect sets `authentication_error` or `billing_error` for the words of its own
//! upstream.

use std::borrow::Cow;

use serde_json::Value;

/// Beginnings of messages about the account that the word lists below do not cover.
const PHRASES: [&str; 2] = [
    "oauth authentication is currently not allowed",
    "account is no longer a member of the organization",
];

/// Words for the account or its credential.
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

/// Words that say that a subject cannot be used.
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

/// States if a negation precedes them: `is no longer valid`.
const NEGATED: [&str; 2] = ["active", "valid"];

/// Words that may occur around a subject and its state.
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

/// After a state, words that limit it to something: `disabled for this endpoint`.
const LIMITING: [&str; 5] = ["for", "from", "in", "on", "to"];

/// Phrases for an account that cannot pay, in lower case.
const OUT_OF_CREDIT: [&str; 14] = [
    "credit balance is too low",
    "out of extra usage",
    "reached your specified api usage limits",
    "insufficient account balance",
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient quota",
    "not enough credit",
    "no credits remaining",
    "out of credit",
    "run out of funds",
    "spend limit reached",
    "spending limit reached",
];

/// Whether the error says that the account or its credential is rejected.
pub(super) fn is_about_the_account(body: &[u8]) -> bool {
    error_message(body).is_some_and(|message| blames_account(&message.to_ascii_lowercase()))
}

/// Whether the error says that the account cannot pay. Only the beginning counts, without what it
/// quotes: the rest may be from the request.
pub(super) fn is_about_credit(body: &[u8]) -> bool {
    let Some(message) = error_message(body) else {
        return false;
    };
    let message = message.to_ascii_lowercase();
    let own_words = message.split(['"', '`', '\n']).next().unwrap_or_default();
    // A field of the request that is at fault: `messages.3.content: ...`.
    let field = own_words.split(':').next().unwrap_or_default();
    let names_field = own_words.contains(':') && field.contains('.') && !field.contains(' ');
    let sentence = sentences(own_words).next().unwrap_or_default();
    !names_field && OUT_OF_CREDIT.iter().any(|phrase| sentence.contains(phrase))
}

/// Whether the error says that the upstream does not have this model.
pub(super) fn is_about_the_model(body: &[u8], model: &str) -> bool {
    let Some(message) = error_message(body) else {
        return false;
    };
    let message = message.to_ascii_lowercase();
    let sentence = sentences(&message).next().unwrap_or_default();
    let mut words = sentence.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| matches!(word, "model" | "models"))
        || (!model.is_empty() && message.contains(&model.to_ascii_lowercase()))
}

/// The sentences of a message. A full stop within a number or a name ends none.
fn sentences(message: &str) -> impl Iterator<Item = &str> {
    message
        .split(". ")
        .flat_map(|part| part.split(['!', ';', '\n']))
}

/// Whether a message is about the account. Only its beginning counts: the rest may quote the
/// request.
fn blames_account(message: &str) -> bool {
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
    let mut remaining = &words[..];
    while let [word, after @ ..] = remaining {
        remaining = after;
        if let [next, after @ ..] = after
            && PAIRS.contains(&[*word, *next])
        {
            (subject, remaining) = (true, after);
        } else if SUBJECTS.contains(word) {
            subject = true;
        } else if STATES.contains(word) || (negated && NEGATED.contains(word)) {
            state = true;
        } else if matches!(*word, "no" | "not" | "longer") {
            negated = true;
        } else if !FILLERS.contains(word) {
            let is_reason = after.first().is_some_and(|next| next.starts_with("violat"));
            return subject && state && (is_reason || !LIMITING.contains(word));
        }
    }
    subject && state
}

/// The message of an error: from Anthropic's envelope, from similar JSON, or a plain text.
fn error_message(body: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    if text.starts_with('<') {
        return None;
    }
    let Ok(json) = serde_json::from_str::<Value>(text) else {
        return Some(text.into());
    };
    let pointers = ["/error/message", "/message", "/error", "/detail"];
    let mut values = pointers.iter().filter_map(|at| json.pointer(at));
    values
        .find_map(Value::as_str)
        .map(|message| message.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_account_is_recognised_by_the_words() {
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
            assert!(blames_account(&message.to_ascii_lowercase()), "{message}");
        }
    }

    #[test]
    fn messages_about_the_request_do_not_blame_the_account() {
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
            assert!(!blames_account(&message.to_ascii_lowercase()), "{message}");
        }
    }

    #[test]
    fn an_account_that_cannot_pay_is_recognised_by_the_words() {
        let table = [
            (
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
                true,
            ),
            (
                "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.",
                true,
            ),
            (
                "You have reached your specified API usage limits. You will regain access on 2026-09-01 at 00:00 UTC.",
                true,
            ),
            ("Your account has insufficient funds.", true),
            ("billing_error: Insufficient balance", true),
            ("messages.3.content.0.text: insufficient balance", false),
            ("Prompt refused: \"your credit balance is too low\"", false),
            ("max_tokens: must be greater than or equal to 1", false),
            (
                "Invalid request. Your credit balance is too low, said the user",
                false,
            ),
            ("Extra usage is required for long context requests.", false),
            ("", false),
        ];
        for (message, expected) in table {
            let body = serde_json::json!({ "error": { "message": message } }).to_string();
            assert_eq!(is_about_credit(body.as_bytes()), expected, "{message}");
        }
        assert!(!is_about_credit(b"<html>insufficient funds</html>"));
    }

    #[test]
    fn a_model_that_the_upstream_lacks_is_recognised_by_the_words() {
        for (message, expected) in [
            ("model: claude-x", true),
            (
                "The model `claude-x` does not exist or you do not have access to it.",
                true,
            ),
            ("claude-x not found", true),
            ("No such model", true),
            ("thread: unknown previous_message_id", false),
            (
                "File not found: file_1. It was made by another model.",
                false,
            ),
            ("Not Found", false),
        ] {
            let body = serde_json::json!({ "error": { "message": message } }).to_string();
            let is_about_it = is_about_the_model(body.as_bytes(), "claude-x");
            assert_eq!(is_about_it, expected, "{message}");
        }
        assert!(!is_about_the_model(b"<html>no model</html>", "claude-x"));
    }

    #[test]
    fn the_message_is_read_from_json_and_plain_text_but_never_from_html() {
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

//! Servers that are older than the client: what they do not know is left out once they have said
//! so, and never again sent to them.

use crate::support::{Answer, Gateway, Received, Reply, Upstream, shapes::MESSAGE};

/// A client's update that a server does not know.
struct Update {
    what: &'static str,
    /// Headers that the client sends since then.
    headers: &'static [(&'static str, &'static str)],
    /// Members of the body that the client sends since then, and the messages.
    body: &'static str,
    /// What the server looks for, in the body or in a header.
    unknown: &'static str,
    status: u16,
    error: &'static str,
}

const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

const fn field(
    what: &'static str,
    body: &'static str,
    unknown: &'static str,
    error: &'static str,
) -> Update {
    Update {
        what,
        headers: &[],
        body,
        unknown,
        status: 400,
        error,
    }
}

/// One kind of update each, with the errors of real servers.
const UPDATES: [Update; 22] = [
    field(
        "a field",
        r#""context_management":{"edits":[]}"#,
        "context_management",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"context_management: Extra inputs are not permitted"}}"#,
    ),
    field(
        "a field, wrapped by a proxy",
        r#""context_management":{"edits":[]}"#,
        "context_management",
        r#"{"error":{"message":"{\"message\":\"context_management: Extra inputs are not permitted\"}No fallback model group found for original model_group=m","type":"None","code":"400"}}"#,
    ),
    Update {
        what: "a field, as a list of FastAPI",
        headers: &[],
        body: r#""output_config":{"effort":"max"}"#,
        unknown: "output_config",
        status: 422,
        error: r#"{"detail":[{"type":"extra_forbidden","loc":["body","output_config"],"msg":"Extra inputs are not permitted","input":{"effort":"max"}}]}"#,
    },
    field(
        "a field, in Go",
        r#""speed":"fast""#,
        "speed",
        r#"{"error":"json: unknown field \"speed\""}"#,
    ),
    field(
        "a field, at Bedrock",
        r#""service_tier":"auto""#,
        "service_tier",
        r##"{"message":"Malformed input request: #: extraneous key [service_tier] is not permitted, please reformat your input and try again."}"##,
    ),
    field(
        "a field, at Vertex",
        r#""diagnostics":{"previous_message_id":null}"#,
        "diagnostics",
        r#"{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"diagnostics\": Cannot find field.","status":"INVALID_ARGUMENT"}}"#,
    ),
    field(
        "a member of a field",
        r#""thinking":{"type":"adaptive","block_binding":{}}"#,
        "block_binding",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"thinking.adaptive.block_binding: Extra inputs are not permitted"}}"#,
    ),
    field(
        "a field of tools",
        r#""tools":[{"name":"ls","input_schema":{"type":"object"},"eager_input_streaming":true}]"#,
        "eager_input_streaming",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom.eager_input_streaming: Extra inputs are not permitted"}}"#,
    ),
    field(
        "a field of tools, in Rust",
        r#""tools":[{"name":"ls","input_schema":{"type":"object"},"defer_loading":true}]"#,
        "defer_loading",
        r#"{"error":{"message":"Failed to deserialize the JSON body into the target type: tools[0]: unknown field `defer_loading`, expected one of `name`, `input_schema` at line 1 column 99"}}"#,
    ),
    field(
        "a type of tools",
        r#""tools":[{"name":"ls","input_schema":{"type":"object"}},{"type":"web_search_20260209","name":"web_search"}]"#,
        "web_search_20260209",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.1: Input tag 'web_search_20260209' found using 'type' does not match any of the expected tags: 'bash_20250124', 'custom', 'web_search_20250305'"}}"#,
    ),
    field(
        "a type of tools, in Rust",
        r#""tools":[{"type":"advisor_20260301","name":"advisor"}],"tool_choice":{"type":"auto"}"#,
        "advisor_20260301",
        r#"{"error":{"message":"Failed to deserialize the JSON body into the target type: tools[0]: unknown variant `advisor_20260301`, expected `web_search_20250305` or `web_search_20260209` at line 1 column 143873"}}"#,
    ),
    field(
        "a keyword of schemas",
        r#""tools":[{"name":"ls","input_schema":{"type":"object","properties":{"a":{"type":"string","contentEncoding":"base64"}}}}]"#,
        "contentEncoding",
        r#"{"error":{"message":"tools.0.custom.input_schema: unknown keyword 'contentEncoding' in schema"}}"#,
    ),
    Update {
        what: "a beta",
        headers: &[("anthropic-beta", "a-2025-01-01,new-thing-2026-11-01")],
        body: "",
        unknown: "new-thing-2026-11-01",
        status: 400,
        error: r#"{"type":"error","error":{"type":"invalid_request_error","message":"Unexpected value(s) `new-thing-2026-11-01` for the `anthropic-beta` header. Please consult our documentation at docs.anthropic.com or try again without the header."}}"#,
    },
    Update {
        what: "a beta and its field",
        headers: &[("anthropic-beta", "context-management-2025-06-27")],
        body: r#""context_management":{"edits":[]}"#,
        unknown: "context",
        status: 400,
        error: r#"{"type":"error","error":{"type":"invalid_request_error","message":"Unexpected value(s) `context-management-2025-06-27` for the `anthropic-beta` header."}}"#,
    },
    Update {
        what: "a beta that is not named",
        headers: &[("anthropic-beta", "new-thing-2026-11-01")],
        body: "",
        unknown: "new-thing",
        status: 400,
        error: r#"{"message":"invalid beta flag"}"#,
    },
    Update {
        what: "a header",
        headers: &[("anthropic-user-profile-id", "p")],
        body: "",
        unknown: "anthropic-user-profile-id",
        status: 400,
        error: r#"{"error":"unknown header: anthropic-user-profile-id"}"#,
    },
    Update {
        what: "a version",
        headers: &[("anthropic-version", "2026-10-21")],
        body: "",
        unknown: "2026-10-21",
        status: 400,
        error: r#"{"type":"error","error":{"type":"invalid_request_error","message":"anthropic-version: \"2026-10-21\" is not a valid version"}}"#,
    },
    field(
        "the lifetime of a breakpoint",
        r#""system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#,
        "\"ttl\"",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"system.0.cache_control.ephemeral.ttl: Extra inputs are not permitted"}}"#,
    ),
    field(
        "a mode of thinking",
        r#""thinking":{"type":"adaptive"}"#,
        "adaptive",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"thinking: Input tag 'adaptive' found using 'type' does not match any of the expected tags: 'disabled', 'enabled'"}}"#,
    ),
    field(
        "a mode of thinking, in Zod",
        r#""thinking":{"type":"adaptive"}"#,
        "adaptive",
        r#"{"error":{"issues":[{"code":"invalid_union_discriminator","path":["thinking","type"],"message":"Invalid discriminator value. Expected 'enabled' | 'disabled'"}]}}"#,
    ),
    field(
        "a type of blocks",
        r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"container_upload","file_id":"f"}]}]"#,
        "container_upload",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.0.content.1: Input tag 'container_upload' found using 'type' does not match any of the expected tags: 'image', 'text'"}}"#,
    ),
    field(
        "a field of blocks",
        r#""messages":[{"role":"user","content":[{"type":"text","text":"hi","origin":"paste"}]}]"#,
        "origin",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.0.content.0.text.origin: Extra inputs are not permitted"}}"#,
    ),
];

fn contains(request: &Received, words: &str) -> bool {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    let all = headers.collect::<String>() + &String::from_utf8_lossy(&request.body);
    all.contains(words)
}

/// A server that refuses a request with these words.
fn refusing(unknown: &'static str, status: u16, error: &'static str) -> Upstream {
    Upstream::with(move |request| match contains(request, unknown) {
        true => Answer::json(status, error),
        false => Answer::json(200, MESSAGE),
    })
}

/// A body with these members, and a short message unless it has its own.
fn body(members: &str) -> String {
    let messages = if members.contains("\"messages\"") {
        ""
    } else {
        HI
    };
    let all = [
        r#""model":"claude-opus-5-5","max_tokens":9"#,
        members,
        messages,
    ];
    let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{{{}}}", all.join(","))
}

fn say(gateway: &Gateway, headers: &[(&str, &str)], body: &str) -> Reply {
    let request = gateway.request("POST", "/v1/messages");
    let request = request.header("content-type", "application/json");
    let sent = headers.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    sent.body(body).send()
}

#[test]
fn what_a_server_does_not_know_costs_one_retry_and_is_not_sent_again() {
    for Update {
        what,
        headers,
        body: members,
        unknown,
        status,
        error,
    } in UPDATES
    {
        let upstream = refusing(unknown, status, error);
        let gateway = Gateway::preset("zai", &upstream).start();
        let body = body(members);
        say(&gateway, headers, &body).has_status(200);
        assert_eq!(upstream.received().len(), 2, "{what}: one retry");
        let later = say(&gateway, headers, &body);
        later.has_status(200).has("hello");
        assert_eq!(upstream.received().len(), 3, "{what}: no more requests");
        assert!(contains(&upstream.last(), "hi"), "{what}: the text is kept");
        gateway.line(&["rejected", "for model `claude-opus-5-5`"]);
    }
}

#[test]
fn nothing_is_left_out_at_the_server_that_defines_the_api() {
    for Update {
        what,
        headers,
        body: members,
        unknown,
        status,
        error,
    } in UPDATES
    {
        let upstream = refusing(unknown, status, error);
        let gateway = Gateway::to(&upstream).start();
        let body = body(members);
        say(&gateway, headers, &body)
            .has_status(400.max(status))
            .has_no_header("x-witgate-edits");
        assert_eq!(upstream.received().len(), 1, "{what}");
        upstream.last().has_body(&body);
    }
}

#[test]
fn a_tool_that_was_used_a_message_and_a_text_are_kept() {
    let used = r#""tools":[{"type":"web_search_20260209","name":"web_search"}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}}]},{"role":"user","content":"on"}]"#;
    let only =
        r#""messages":[{"role":"user","content":[{"type":"container_upload","file_id":"f"}]}]"#;
    let error = r#"{"error":{"message":"unknown type web_search_20260209, container_upload, messages, system, text or max_tokens: not supported"}}"#;
    for members in [used, only] {
        let upstream = refusing("max_tokens", 400, error);
        let gateway = Gateway::preset("zai", &upstream).start();
        say(&gateway, &[], &body(members)).has_status(400);
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn a_changed_configuration_forgets_what_was_learned() {
    let update = &UPDATES[0];
    let upstream = refusing(update.unknown, 400, update.error);
    let mut gateway = Gateway::preset("zai", &upstream).start();
    let body = body(update.body);
    say(&gateway, &[], &body).has_status(200);
    assert_eq!(upstream.received().len(), 2);
    let mark = gateway.mark();
    let account = "preset = \"zai\"\nheaders = { x-edge = \"new\" }\naccounts = [{ name = \"ada\", key = \"sk-of-ada\" }]";
    let other = Gateway::echo().upstream("up", &upstream, account);
    gateway.reconfigure(|builder| *builder = other);
    gateway.line_from(mark, &["configuration"]);
    say(&gateway, &[], &body).has_status(200);
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn a_version_that_an_upstream_is_declared_to_lack_is_translated() {
    let upstream = Upstream::ok();
    let account = "preset = \"compatible\"\nlacks = [\"2026-10-21\"]\naccounts = [{ name = \"ada\", key = \"k\" }]";
    let gateway = Gateway::echo().upstream("up", &upstream, account).start();
    say(&gateway, &[("anthropic-version", "2026-10-21")], &body("")).has_status(200);
    assert!(contains(&upstream.last(), "anthropic-version: 2023-06-01"));
}

//! Bodies and responses in the shapes of real clients and upstreams. Sizes, spellings and oddities
//! are those seen in traffic; the texts are made up.

use super::json::{Json, Spacing, array, object, raw, string};

/// The shortest message.
pub const HELLO: &str =
    r#"{"model":"claude-opus-5-5","max_tokens":16,"messages":[{"role":"user","content":"hi"}]}"#;

/// The shortest message, streamed.
pub const HELLO_STREAM: &str = r#"{"model":"claude-opus-5-5","max_tokens":16,"messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// An upstream's response to a message.
pub const MESSAGE: &str = r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}"#;

/// The events of a short stream.
pub const EVENTS: [&str; 7] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-opus-5-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hel\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

/// The same events as one text.
pub const SSE: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-opus-5-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// A body of the corpus.
pub struct Shape {
    pub name: &'static str,
    pub body: Vec<u8>,
}

/// A message request with these messages, as JSON text.
pub fn message(messages: &str) -> String {
    format!(r#"{{"model":"claude-opus-5-5","max_tokens":16,"messages":{messages}}}"#)
}

/// Bodies as Claude Code and the SDKs send them, from 0.5 KB to 2.5 MB, each with `cache_control`
/// in several places.
pub fn corpus() -> Vec<Shape> {
    let shape = |name, body: Vec<u8>| Shape { name, body };
    let mut reversed = conversation(3, 5, 200);
    if let Json::Object(members) = &mut reversed {
        members.reverse();
    }
    vec![
        shape("small", conversation(1, 0, 10).write(Spacing::None)),
        shape(
            "spaced as by Python",
            conversation(2, 3, 100).write(Spacing::Single),
        ),
        shape("odd spacing", conversation(4, 12, 300).write(Spacing::Odd)),
        shape("keys in another order", reversed.write(Spacing::None)),
        shape(
            "keys in another order, odd spacing",
            reversed.write(Spacing::Odd),
        ),
        shape(
            "a hundred tools",
            conversation(2, 100, 400).write(Spacing::None),
        ),
        shape("blanks around the whole", {
            let mut body = b" \r\n\t".to_vec();
            body.extend(conversation(1, 1, 20).write(Spacing::Odd));
            body.extend(b"\n\n");
            body
        }),
        shape(
            "main request",
            conversation(6, 13, 2_500).write(Spacing::None),
        ),
        shape("600 KB", conversation(60, 40, 4_000).write(Spacing::None)),
        shape(
            "2.5 MB",
            conversation(200, 100, 6_000).write(Spacing::Single),
        ),
    ]
}

/// A conversation with everything that real ones contain: system messages inside `messages`, empty
/// contents, extra keys on messages, tool references, safeguards, unknown fields, odd numbers and
/// escapes.
pub fn conversation(turns: usize, tools: usize, text: usize) -> Json {
    let cached = || object([("type", string("ephemeral"))]);
    let hour = || object([("type", string("ephemeral")), ("ttl", string("1h"))]);
    let block = |body: &str| object([("type", string("text")), ("text", string(body))]);
    let mut messages = vec![
        object([
            ("role", string("user")),
            (
                "content",
                array([
                    block("<system-reminder>a</system-reminder>"),
                    block("do it"),
                ]),
            ),
        ]),
        object([
            ("role", string("system")),
            (
                "content",
                array([block(&long(text)).with("cache_control", cached())]),
            ),
            ("output_config", object([("effort", string("medium"))])),
        ]),
    ];
    for turn in 0..turns {
        messages.push(object([
            ("role", string("assistant")),
            (
                "content",
                array([
                    object([
                        ("type", string("thinking")),
                        ("thinking", string("")),
                        ("signature", raw(r#""EqQB\/w8+\u003d==""#)),
                    ]),
                    block("looking"),
                    object([
                        ("type", string("tool_use")),
                        ("id", string(&format!("toolu_{turn:04}"))),
                        ("name", string("Bash")),
                        ("input", raw(r#"{"n":1.0e0,"big":123456789012345678901234567890,"neg":-0.0,"e":1E+2,"text":"\u00e9\ud83d\ude00 \/ \"cache_control\": {}"}"#)),
                    ]),
                ]),
            ),
        ]));
        messages.push(object([
            ("role", string("user")),
            (
                "content",
                array([
                    object([
                        ("type", string("tool_result")),
                        ("tool_use_id", string(&format!("toolu_{turn:04}"))),
                        ("is_error", raw("false")),
                        (
                            "content",
                            array([
                                block(&long(text)),
                                object([
                                    ("type", string("tool_reference")),
                                    ("tool_name", string("mcp__x__y")),
                                ]),
                            ]),
                        ),
                        ("cache_control", cached()),
                    ]),
                    object([
                        ("cache_control", hour()),
                        ("type", string("text")),
                        ("text", string("go on ⏩")),
                    ]),
                ]),
            ),
        ]));
    }
    messages.push(object([
        ("role", string("system")),
        ("content", array([])),
        ("output_config", object([("effort", string("high"))])),
    ]));
    messages.push(object([
        ("role", string("user")),
        ("content", string("and now?")),
    ]));
    let tool = |number: usize| {
        object([
            ("name", string(&format!("tool_{number}"))),
            ("description", string(&long(text.min(300)))),
            (
                "input_schema",
                raw(
                    r#"{"type":"object","properties":{"path":{"type":"string","pattern":"^\\/.*$"}},"required":["path"],"additionalProperties":false}"#,
                ),
            ),
            (
                "defer_loading",
                raw(if number.is_multiple_of(3) {
                    "true"
                } else {
                    "false"
                }),
            ),
        ])
    };
    object([
        ("model", string("claude-opus-5-5")),
        ("messages", array(messages)),
        (
            "system",
            array([
                block("x-anthropic-billing-header: cc_version=2.1.330.abc; cc_entrypoint=cli;"),
                block("short").with("cache_control", cached()),
                block(&long(text)).with("cache_control", cached()),
            ]),
        ),
        ("tools", array((0..tools).map(tool))),
        (
            "metadata",
            object([(
                "user_id",
                string(
                    r#"{"device_id":"00","account_uuid":"","session_id":"7c0d6f6e-0000-4000-8000-000000000001"}"#,
                ),
            )]),
        ),
        ("max_tokens", raw("128000")),
        (
            "thinking",
            raw(r#"{"type":"adaptive","display":"updates"}"#),
        ),
        (
            "context_management",
            raw(r#"{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#),
        ),
        (
            "safeguards",
            raw(r#"[{"type":"dangerous_tool_use","classifier_context":{"cwd":"\/tmp"}}]"#),
        ),
        ("output_config", raw(r#"{"effort":"medium"}"#)),
        ("temperature", raw("1.0e0")),
        (
            "zzz_unknown",
            raw(r#"{"deep":[[[{"a":null}]]],"\u0061b":[],"empty":{}}"#),
        ),
        ("stream", raw("false")),
    ])
}

/// A text of this many bytes with line ends, quotes and letters outside of ASCII.
pub fn long(length: usize) -> String {
    let pattern = "A line of a tool's output, \"quoted\", with a tab\tand an umlaut ä.\n";
    pattern.chars().cycle().take(length).collect()
}

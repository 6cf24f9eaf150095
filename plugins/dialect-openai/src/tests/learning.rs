use std::time::Duration;

use serde_json::{Value, json};
use witgate_plugin::{
    RetryTarget,
    testing::{Exchange, Failed},
};

use super::{Openai, attempt, chunk, event, exchange};

const AGAIN: Option<(RetryTarget, Duration)> = Some((RetryTarget::SameAccount, Duration::ZERO));

fn ask(messages: &Value) -> Value {
    json!({ "model": "m", "max_tokens": 32_000, "messages": messages })
}

fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(body_members), Value::Object(more)) = (&mut body, more) else {
        panic!("both are objects");
    };
    body_members.extend(more);
    body
}

fn error(status: u16, message: &str) -> Failed {
    let error =
        json!({ "message": message, "type": "invalid_request_error", "param": null, "code": null });
    Failed::new(status, "invalid_request_error", json!({ "error": error }))
}

/// The body of the attempt after this refusal.
#[track_caller]
fn after(exchange: &mut Openai, status: u16, message: &str) -> Value {
    let mut failed = error(status, message);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), AGAIN, "{message}");
    assert_eq!(failed.status(), 400, "the account is not at fault");
    attempt(exchange)
}

/// What the first attempt and the one after a refusal send, and the exchange after that.
#[track_caller]
fn retried(body: &Value, status: u16, message: &str) -> (Value, Value, Openai) {
    let mut exchange = exchange(body);
    let first = attempt(&mut exchange);
    let second = after(&mut exchange, status, message);
    (first, second, exchange)
}

fn roles(body: &Value) -> Vec<&str> {
    let messages = body["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect()
}

fn tool_turn(result: Value, more: Value) -> Value {
    let mut content =
        vec![json!({ "type": "tool_result", "tool_use_id": "call_abcdefghij", "content": result })];
    content.extend(more.as_array().unwrap().clone());
    json!([
        { "role": "user", "content": "Read a." },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "call_abcdefghij", "name": "Read", "input": {} }] },
        { "role": "user", "content": content },
    ])
}

fn image() -> Value {
    json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBO" } })
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "input_schema": { "type": "object", "properties": {} } })
}

#[test]
fn text_after_a_tool_result_goes_into_it_where_a_user_message_is_refused() {
    let reminder = json!([{ "type": "text", "text": "<system-reminder>empty</system-reminder>" }]);
    let body = ask(&tool_turn(json!("content of a"), reminder));
    let (first, second, exchange) = retried(&body, 400, "Unexpected role 'user' after role 'tool'");
    assert_eq!(roles(&first), ["user", "assistant", "tool", "user"]);
    assert_eq!(roles(&second), ["user", "assistant", "tool"]);
    assert_eq!(
        second["messages"][2]["content"],
        "content of a\n\n<system-reminder>empty</system-reminder>"
    );
    let mut later = exchange.next(&body).dialect("openai").upstream("up");
    assert_eq!(attempt(&mut later), second, "it is remembered");
}

#[test]
fn an_image_of_a_tool_result_follows_an_answer_where_roles_must_alternate() {
    let body = ask(&tool_turn(json!([image()]), json!([])));
    let template = "Error: Jinja Exception: After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.";
    let settings = json!({ "mid_system": "user" });
    let mut exchange = exchange(&body).settings(settings);
    attempt(&mut exchange);
    let second = after(&mut exchange, 500, template);
    assert_eq!(
        roles(&second),
        ["user", "assistant", "tool", "assistant", "user"]
    );
    assert_eq!(second["messages"][4]["content"][1]["type"], "image_url");
}

#[test]
fn a_system_message_in_the_middle_becomes_text_of_the_user_whatever_refuses_it() {
    let body = ask(&json!([
        { "role": "user", "content": "Read a." },
        { "role": "assistant", "content": "Yes." },
        { "role": "user", "content": "Go on." },
        { "role": "system", "content": "Plan mode is on." },
    ]));
    for (status, message) in [
        (
            400,
            "After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.",
        ),
        (
            500,
            "\n------------\nError: Jinja Exception: Only user, assistant and tool roles are supported, got system.",
        ),
        (400, "Unexpected role 'system' after role 'user'"),
        (422, "messages[3].role: unknown variant `system`"),
    ] {
        let (_, second, _) = retried(&body, status, message);
        assert_eq!(roles(&second), ["user", "assistant", "user"], "{message}");
        let content = second["messages"][2]["content"].to_string();
        assert!(content.contains("Plan mode is on."), "{content}");
    }
}

#[test]
fn a_system_prompt_becomes_text_of_the_user_where_there_is_no_such_role() {
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "system": "Be brief." }),
    );
    let (_, second, _) = retried(&body, 500, "Jinja Exception: System role not supported");
    assert_eq!(roles(&second), ["user"]);
    assert_eq!(
        second["messages"][0]["content"],
        json!([{ "type": "text", "text": "Be brief." }, { "type": "text", "text": "hi" }])
    );
}

#[test]
fn the_room_that_a_prompt_leaves_is_asked_for_in_the_words_of_new_servers() {
    let body = ask(&json!([{ "role": "user", "content": "hi" }]));
    for message in [
        "You passed 40000 input tokens and requested 32000 output tokens. However, the model's context length is only 65536 tokens, resulting in a maximum input length of 33536 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=40000)",
        "Requested token count exceeds the model's maximum context length of 65536 tokens. You requested a total of 72000 tokens: 40000 tokens from the input messages and 32000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
        "prompt and max_tokens do not fit: 40000 + 32000 > 65536 tokens of context",
    ] {
        let (_, second, _) = retried(&body, 400, message);
        assert_eq!(second["max_tokens"], 25_536, "{message}");
    }
}

#[test]
fn the_largest_max_tokens_is_learned_also_from_an_error_in_a_stream() {
    let message =
        "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]";
    let body = ask(&json!([{ "role": "user", "content": "hi" }]));
    let (_, second, exchange) = retried(&body, 400, message);
    assert_eq!(second["max_tokens"], 8_192);
    assert_eq!(exchange.notes(), ["changed: max_tokens 32000 as 8192"]);

    let mut streamed = super::exchange(&body);
    attempt(&mut streamed);
    let error = json!({ "error": { "message": message, "code": "invalid_parameter_error" } });
    let events = streamed.stream([
        chunk(&json!({ "role": "assistant", "content": "" })),
        event("", &error.to_string()),
    ]);
    let mut failed = Failed::new(400, "invalid_request_error", &events.unwrap()[0].data);
    streamed.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), AGAIN);
    assert_eq!(attempt(&mut streamed)["max_tokens"], 8_192);
    let mut later = streamed.next(&body).dialect("openai").upstream("up");
    assert_eq!(attempt(&mut later)["max_tokens"], 8_192);
}

#[test]
fn missing_thinking_is_sent_in_the_words_of_kimi() {
    let body = ask(&tool_turn(json!("a"), json!([])));
    let message = "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2";
    let (first, second, _) = retried(&body, 400, message);
    assert_eq!(first["messages"][1].get("reasoning_content"), None);
    assert_eq!(second["messages"][1]["reasoning_content"], "");
}

#[test]
fn a_refused_temperature_is_left_out_and_of_two_members_one_stays() {
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "temperature": 0.5, "top_p": 0.9 }),
    );
    let (_, second, _) = retried(
        &body,
        400,
        "invalid temperature: only 1 is allowed for this model",
    );
    assert_eq!(second.get("temperature"), None);
    let both =
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
    let (_, second, exchange) = retried(&body, 400, both);
    assert_eq!(
        (&second["temperature"], second.get("top_p")),
        (&json!(0.5), None)
    );
    assert_eq!(exchange.notes(), ["left out: top_p"]);
}

#[test]
fn a_refused_response_format_becomes_json_and_then_words() {
    let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } }, "required": ["title"], "additionalProperties": false });
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "system": "Be brief.", "output_config": { "format": { "type": "json_schema", "schema": schema } } }),
    );
    let (first, second, mut exchange) =
        retried(&body, 400, "This response_format type is unavailable now");
    assert_eq!(first["response_format"]["type"], "json_schema");
    assert_eq!(second["response_format"], json!({ "type": "json_object" }));
    let prompt = second["messages"][0]["content"].as_str().unwrap();
    assert!(
        prompt.contains("JSON") && prompt.contains("\"title\""),
        "{prompt}"
    );
    assert_eq!(
        exchange.notes(),
        ["changed: output_config.format not enforced"]
    );
    let third = after(
        &mut exchange,
        400,
        "response_format json_object is not supported",
    );
    assert_eq!(third.get("response_format"), None);
    assert_eq!(third["messages"], second["messages"]);
}

#[test]
fn a_named_tool_is_required_with_that_tool_alone() {
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "tools": [tool("Read"), tool("LS")], "tool_choice": { "type": "tool", "name": "Read" } }),
    );
    let message =
        "Invalid tool_choice type: 'object'. Supported string values: none, auto, required";
    let (_, second, mut exchange) = retried(&body, 400, message);
    assert_eq!(second["tool_choice"], "required");
    assert_eq!(second["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["tools"][0]["function"]["name"], "Read");
    let third = after(
        &mut exchange,
        400,
        "tool_choice 'required' is incompatible with thinking enabled",
    );
    assert_eq!(third["tool_choice"], "auto");
    assert_eq!(exchange.notes(), ["changed: tool_choice not enforced"]);
}

#[test]
fn a_probe_of_one_token_ends_with_max_tokens() {
    let body = json!({ "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": "hello" }] });
    let mut exchange = exchange(&body);
    attempt(&mut exchange);
    let unsupported = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    assert_eq!(
        after(&mut exchange, 400, unsupported)["max_completion_tokens"],
        1
    );
    let minimum = "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 16, but got 1 instead.";
    assert_eq!(
        after(&mut exchange, 400, minimum)["max_completion_tokens"],
        16
    );

    let unfinished = "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.";
    let mut failed = error(400, unfinished);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), AGAIN);
    let answer = exchange.on_attempt().unwrap().expect_answer();
    assert_eq!(answer["body"]["stop_reason"], "max_tokens");
    assert_eq!(answer["body"]["content"], json!([]));

    // Some servers have one error for the name and for the size.
    let mut exchange = super::exchange(&body);
    attempt(&mut exchange);
    after(&mut exchange, 400, unsupported);
    let mut failed = error(400, unsupported);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), AGAIN);
    let answer = exchange.on_attempt().unwrap().expect_answer();
    assert_eq!(answer["body"]["stop_reason"], "max_tokens");
}

#[test]
fn a_text_only_model_reads_that_there_was_an_image() {
    let body = ask(&tool_turn(
        json!([{ "type": "text", "text": "a picture" }, image()]),
        json!([image()]),
    ));
    for (status, message) in [
        (
            400,
            "Failed to deserialize the JSON body into the target type: messages[4]: unknown variant `image_url`, expected `text` at line 1 column 242537",
        ),
        (404, "No endpoints found that support image input"),
        (
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        ),
    ] {
        let (_, second, exchange) = retried(&body, status, message);
        assert!(!second.to_string().contains("image_url"), "{second}");
        let result = second["messages"][2]["content"].as_str().unwrap();
        assert!(result.contains("a picture") && result.contains("does not accept images"));
        assert_eq!(exchange.notes(), ["changed: image as text(2)"]);
    }
}

#[test]
fn a_server_that_takes_only_texts_gets_one_text() {
    let content = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    let body = ask(&json!([{ "role": "user", "content": content }]));
    let (first, second, _) = retried(
        &body,
        422,
        "body.messages.0.content: Input should be a valid string",
    );
    assert!(first["messages"][0]["content"].is_array());
    assert_eq!(second["messages"][0]["content"], "one\n\ntwo");
}

#[test]
fn an_effort_is_the_nearest_supported_one_and_none_where_tools_exclude_it() {
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "output_config": { "effort": "low" } }),
    );
    let effort = |body: &Value| {
        let mut exchange = super::exchange(body).settings(json!({ "effort": true }));
        attempt(&mut exchange);
        exchange
    };
    let mut supported = effort(&body);
    let message = "Unsupported value: 'reasoning_effort' does not support 'low' with this model. Supported values are: 'high'.";
    assert_eq!(
        after(&mut supported, 400, message)["reasoning_effort"],
        "high"
    );

    let message = "Function tools with reasoning_effort are not supported for m in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.";
    for body in [
        with(body, json!({ "tools": [tool("Read")] })),
        with(
            ask(&json!([{ "role": "user", "content": "hi" }])),
            json!({ "tools": [tool("Read")] }),
        ),
    ] {
        let mut exchange = effort(&body);
        assert_eq!(
            after(&mut exchange, 400, message)["reasoning_effort"],
            "none"
        );
    }
}

#[test]
fn refused_stop_sequences_are_left_out_and_noted() {
    let body = with(
        ask(&json!([{ "role": "user", "content": "hi" }])),
        json!({ "stop_sequences": ["a", "b", "c", "d", "e"] }),
    );
    let too_many = "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.";
    let (_, second, mut exchange) = retried(&body, 400, too_many);
    assert_eq!(second["stop"], json!(["a", "b", "c", "d"]));
    assert_eq!(exchange.notes(), ["left out: stop_sequences"]);
    let unsupported = "Unsupported parameter: 'stop' is not supported with this model.";
    let third = after(&mut exchange, 400, unsupported);
    assert_eq!(third.get("stop"), None);
}

#[test]
fn an_overflow_is_reported_in_anthropics_words_whatever_the_status() {
    let body = ask(&json!([{ "role": "user", "content": "hi" }]));
    for (status, message, wanted) in [
        (400, "Prompt exceeds max length", "prompt is too long"),
        (
            413,
            "The input (150000 tokens) is longer than the model's context length (131072 tokens).",
            "prompt is too long: 150000 tokens > 131072 maximum",
        ),
        (
            500,
            "invalid params, context window exceeds limit (2013)",
            "prompt is too long",
        ),
    ] {
        let mut exchange = exchange(&body);
        attempt(&mut exchange);
        let mut failed = error(status, message);
        exchange.on_failure(&mut failed).unwrap();
        assert_eq!((failed.status(), failed.retry()), (400, None), "{message}");
        let body: Value = serde_json::from_str(&failed.body()).unwrap();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["message"], wanted);
    }
    let mut limited = exchange(&body);
    attempt(&mut limited);
    let mut failed = error(429, "Rate limit reached for input tokens: Limit 30000");
    limited.on_failure(&mut failed).unwrap();
    assert_eq!(failed.status(), 429);
}

#[test]
fn settings_add_phrases_of_an_overflow() {
    let body = ask(&json!([{ "role": "user", "content": "hi" }]));
    let settings = json!({ "upstreams": { "up": { "overflow_wordings": ["brain is full"] } } });
    let mut exchange: Exchange<_> = exchange(&body).settings(settings);
    attempt(&mut exchange);
    let mut failed = error(400, "My brain is full.");
    exchange.on_failure(&mut failed).unwrap();
    assert!(failed.body().contains("prompt is too long"));
}

#[test]
fn cache_breakpoints_go_along_where_the_upstream_takes_them() {
    let mark = json!({ "type": "ephemeral" });
    let text = |text: &str| json!({ "type": "text", "text": text, "cache_control": mark });
    let mut messages = tool_turn(json!("a"), json!([]));
    messages[0]["content"] = json!([text("Read a.")]);
    messages[2]["content"][0]["cache_control"] = mark.clone();
    let body = with(
        ask(&messages),
        json!({
            "system": [{ "type": "text", "text": "Be" }, text("brief.")],
            "tools": [{ "name": "Read", "input_schema": { "type": "object", "properties": {} }, "cache_control": mark }],
        }),
    );
    let marked = |text: &str| json!([{ "type": "text", "text": text, "cache_control": mark }]);
    let (first, second, exchange) = retried(
        &body,
        400,
        "messages.0.content.0.cache_control: Extra inputs are not permitted",
    );
    assert_eq!(first["tools"][0]["cache_control"], mark);
    assert_eq!(first["messages"][0]["content"], marked("Be\n\nbrief."));
    assert_eq!(first["messages"][1]["content"], marked("Read a."));
    assert_eq!(first["messages"][3]["content"], marked("a"));
    assert!(!second.to_string().contains("cache_control"), "{second}");
    assert_eq!(
        exchange.notes(),
        ["left out: text.cache_control(2), tool_result.cache_control, tools.cache_control"]
    );

    let mut lacking = super::exchange(&body).lacks("cache_control");
    assert!(!attempt(&mut lacking).to_string().contains("cache_control"));
}

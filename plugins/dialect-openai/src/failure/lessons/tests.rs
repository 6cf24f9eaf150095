use super::*;

fn used() -> Used {
    Used {
        max_tokens: Some((MaxTokens::MaxTokens, 128_000)),
        optional: OPTIONAL.to_vec(),
        system: true,
        mid_system: true,
        user_after_tool: true,
        format: Some(Format::JsonSchema),
        tool_force: Some(ToolForce::Named),
        tools: true,
        images: true,
        parts: true,
        effort: Some("low"),
        stops: 6,
        ..Used::default()
    }
}

fn reported(message: &str, param: &str) -> UpstreamError {
    UpstreamError {
        message: message.to_owned(),
        param: param.to_owned(),
        ..UpstreamError::default()
    }
}

fn lesson(message: &str, param: &str, used: &Used) -> Option<Lesson> {
    read(&reported(message, param), used).map(|(_, lesson)| lesson)
}

/// Checks a table of messages, of the members that the errors name, and of lessons.
#[track_caller]
fn teach(table: &[(&str, &str, Option<Lesson>)]) {
    let mut wrong = Vec::new();
    for (message, param, wanted) in table {
        let learned = lesson(message, param, &used());
        if learned != *wanted {
            wrong.push(format!("{message}: {learned:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[track_caller]
fn all_teach(wanted: &Lesson, messages: &[&str]) {
    let table: Vec<_> = messages
        .iter()
        .map(|message| (*message, "", Some(wanted.clone())))
        .collect();
    teach(&table);
}

fn without(name: &str) -> Option<Lesson> {
    Some(Lesson::Without(name.to_owned()))
}

#[test]
fn the_other_name_of_max_tokens_is_learned() {
    let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    let other = || Some(Lesson::MaxTokens(MaxTokens::MaxCompletionTokens));
    teach(&[(message, "max_tokens", other()), (message, "", other())]);
}

#[test]
fn a_rejected_member_is_left_out() {
    teach(&[
        (
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
            "temperature",
            without("temperature"),
        ),
        (
            "invalid temperature: only 1 is allowed for this model",
            "",
            without("temperature"),
        ),
        (
            "temperature must be 1 when thinking is enabled",
            "",
            without("temperature"),
        ),
        (
            "`temperature` may only be set to 1 when thinking is enabled",
            "",
            without("temperature"),
        ),
        (
            "Invalid value for 'temperature': 0.5. This model only supports 1.",
            "",
            without("temperature"),
        ),
        (
            "parallel_tool_calls is not a valid parameter",
            "",
            without("parallel_tool_calls"),
        ),
        (
            "`temperature` is deprecated for this model.",
            "",
            without("temperature"),
        ),
        (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            "",
            without("top_p"),
        ),
        (
            "Only one of temperature or top_p may be set",
            "",
            without("top_p"),
        ),
        (
            "body.stream_options: Extra inputs are not permitted",
            "",
            without("stream_options"),
        ),
        (
            "Unrecognized request argument supplied: parallel_tool_calls",
            "",
            without("parallel_tool_calls"),
        ),
        (
            "stream_options.include_usage is not supported",
            "stream_options.include_usage",
            without("stream_options"),
        ),
        (
            "Unsupported parameter: 'stop' is not supported with this model.",
            "stop",
            without("stop"),
        ),
        (
            "stop sequences are not supported by this endpoint; remove stop",
            "",
            without("stop"),
        ),
        (
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 6 instead.",
            "stop",
            Some(Lesson::MaxStops(4)),
        ),
    ]);
}

#[test]
fn the_limits_of_a_response_are_learned() {
    let most = |most| Some(Lesson::MaxOutput(most));
    teach(&[
        (
            "max_tokens is too large: 128000. This model supports at most 16384 completion tokens, whereas you provided 128000.",
            "max_tokens",
            most(16_384),
        ),
        (
            "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
            "",
            most(8_192),
        ),
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            "",
            most(8_192),
        ),
        (
            "max_tokens: must be no more than 65536 for this model",
            "",
            most(65_536),
        ),
    ]);
    let probe = Used {
        max_tokens: Some((MaxTokens::MaxCompletionTokens, 1)),
        ..Used::default()
    };
    for message in [
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 16, but got 1 instead.",
        "max_output_tokens must be at least 16",
        "`max_completion_tokens` must be greater than or equal to `16`",
    ] {
        assert_eq!(
            lesson(message, "", &probe),
            Some(Lesson::LeastOutput(16)),
            "{message}"
        );
    }
}

#[test]
fn the_order_of_roles_is_learned() {
    all_teach(
        &Lesson::SystemFirst,
        &[
            "Jinja Exception: System message must be at the beginning.",
            "System messages must be at the start of the conversation",
            "only the first message can have the role: system",
        ],
    );
    all_teach(
        &Lesson::AlternatingRoles,
        &[
            "After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.",
            "Error: Jinja Exception: Only user, assistant and tool roles are supported, got system.",
            "Conversation roles must alternate user/assistant/user/assistant/...",
            "Unexpected role 'system' after role 'user'",
            "roles must alternate between \"user\" and \"assistant\", but found multiple \"user\" roles in a row",
            "messages[3].role: unknown variant `system`, expected one of `user`, `assistant`, `tool`",
            "messages: role must be one of user/assistant/tool, received \"system\"",
            "Invalid 'messages[3].role': did not match any of the expected values: system",
            "System messages are only allowed at index 0",
            "'messages' must alternate",
        ],
    );
    all_teach(
        &Lesson::NoUserAfterTool,
        &[
            "Unexpected role 'user' after role 'tool'",
            "a user message cannot follow a tool message",
            "Tool message must be followed by assistant message, got user",
        ],
    );
    let strict = Used {
        mid_system: false,
        alternating_roles: true,
        user_after_tool: false,
        ..used()
    };
    assert_eq!(
        lesson("System role not supported", "", &strict),
        Some(Lesson::NoSystem)
    );
    assert_eq!(
        lesson(
            "Conversation roles must alternate user/assistant/...",
            "",
            &strict
        ),
        None,
        "nothing is left to try"
    );
}

#[test]
fn the_member_for_thinking_is_learned() {
    all_teach(
        &Lesson::Reasoning(Thoughts::ReasoningContent),
        &[
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            "assistant message with tool_calls lacks reasoning_content",
            "reasoning_content is required for messages with tool calls",
            "thinking mode requires reasoning_content in history",
            "The reasoning_content in message 3 cannot be empty",
        ],
    );
    let sent = Used {
        reasoning: true,
        ..used()
    };
    let message = "property 'messages.2.assistant.reasoning_content' is unsupported";
    assert_eq!(
        lesson(message, "", &sent),
        Some(Lesson::Reasoning(Thoughts::Nowhere))
    );
}

#[test]
fn a_refused_tool_choice_is_learned() {
    let to = |force| Some(Lesson::ToolForce(force));
    teach(&[
        (
            "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
            "",
            to(ToolForce::Required),
        ),
        (
            "tool_choice: named functions are not supported",
            "tool_choice",
            to(ToolForce::Required),
        ),
        (
            "The tool_choice parameter does not support being set to required or object in thinking mode",
            "",
            to(ToolForce::Auto),
        ),
        (
            "tool_choice must be 'auto' or 'none'",
            "",
            to(ToolForce::Auto),
        ),
        (
            "tool_choice: only 'auto' is supported",
            "",
            to(ToolForce::Auto),
        ),
        (
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
            "",
            None,
        ),
    ]);
    for (sent, next) in [
        (ToolForce::Required, to(ToolForce::Auto)),
        (ToolForce::Auto, to(ToolForce::None)),
    ] {
        let used = Used {
            tool_force: Some(sent),
            ..used()
        };
        assert_eq!(
            lesson("This model does not support this tool_choice", "", &used),
            next
        );
    }
}

#[test]
fn a_refused_response_format_is_learned() {
    all_teach(
        &Lesson::Format(Format::JsonObject),
        &[
            "This response_format type is unavailable now",
            "'response_format.type' must be 'json_object' or 'text'",
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "This model does not support response format `json_schema`",
            "structured outputs are not enabled for this model",
        ],
    );
    let used = Used {
        format: Some(Format::JsonObject),
        ..used()
    };
    assert_eq!(
        lesson("response_format json_object is not supported", "", &used),
        Some(Lesson::Format(Format::None))
    );
}

#[test]
fn refused_images_are_learned_and_a_bad_image_is_not() {
    all_teach(
        &Lesson::NoImages,
        &[
            "Failed to deserialize the JSON body into the target type: messages[4]: unknown variant `image_url`, expected `text` at line 1 column 242537",
            "No endpoints found that support image input",
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "The model is text-only",
            "This model cannot process images",
            "m is not a multimodal model",
            "This model does not support images",
            "At most 0 image(s) may be provided in one prompt.",
            "Invalid content type. image_url is only supported by certain models.",
        ],
    );
    for message in [
        "You uploaded an unsupported image. Please make sure your image has of one the following formats: png",
        "Invalid image: could not decode base64 data",
        "image exceeds 5 MB maximum",
        "At most 1 image(s) may be provided in one request.",
        "Unsupported image media type: image/tiff",
        "Failed to download image: only https is supported",
    ] {
        assert_eq!(lesson(message, "messages", &used()), None, "{message}");
    }
}

#[test]
fn a_server_that_takes_only_texts_gets_texts() {
    all_teach(
        &Lesson::PlainContent,
        &[
            "body.messages.0.content: Input should be a valid string",
            "messages[1].content must be a string",
            "content must be of type string, received array",
            "json: cannot unmarshal array into Go struct field Message.messages.content of type string",
            "invalid type: sequence, expected a string at messages[0].content",
        ],
    );
}

#[test]
fn supported_efforts_are_learned() {
    let efforts = |efforts: &[&str]| {
        let efforts = efforts.iter().map(|effort| (*effort).to_owned());
        Some(Lesson::Efforts(efforts.collect()))
    };
    teach(&[
        (
            "Unsupported value: 'reasoning_effort' does not support 'low' with this model. Supported values are: 'high'.",
            "reasoning_effort",
            efforts(&["high"]),
        ),
        (
            "body.reasoning_effort: Input should be 'medium' or 'high'",
            "",
            efforts(&["medium", "high"]),
        ),
        (
            "Function tools with reasoning_effort are not supported for m in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
            "reasoning_effort",
            Some(Lesson::NoEffortWithTools),
        ),
        (
            "Unrecognized request argument supplied: reasoning_effort",
            "",
            without("reasoning_effort"),
        ),
    ]);
}

#[test]
fn any_other_error_teaches_nothing() {
    for (message, param) in [
        (
            "Invalid value: 'x'. Supported values are: 'a'.",
            "messages[1].content",
        ),
        ("temperature must be between 0 and 2", "temperature"),
        ("unknown model", "model"),
        (
            "This model's maximum context length is 8192 tokens.",
            "messages",
        ),
        ("The server stopped unexpectedly", ""),
        (
            "messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
            "",
        ),
        ("Loading model", ""),
        ("", ""),
    ] {
        assert_eq!(lesson(message, param, &used()), None, "{message}");
    }
}

#[test]
fn nothing_is_learned_about_what_was_not_used() {
    for message in [
        "unsupported parameter: temperature",
        "This response_format type is unavailable now",
        "Invalid tool_choice type: 'object'",
        "This model does not support images",
        "System message must be at the beginning.",
        "Range of max_tokens should be [1, 8192]",
        "Unexpected role 'user' after role 'tool'",
    ] {
        assert_eq!(lesson(message, "", &Used::default()), None, "{message}");
    }
}

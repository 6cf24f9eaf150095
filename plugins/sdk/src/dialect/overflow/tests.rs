use super::*;

/// The prompt, the limit and the tokens of the response.
type Counts = (Option<u64>, Option<u64>, Option<u64>);

const NONE: Counts = (None, None, None);

const fn both(prompt: u64, limit: u64) -> Counts {
    (Some(prompt), Some(limit), None)
}

const fn room(prompt: u64, output: u64, limit: u64) -> Counts {
    (Some(prompt), Some(limit), Some(output))
}

const fn limit(limit: u64) -> Counts {
    (None, Some(limit), None)
}

/// Wordings of servers, with the numbers that they state.
const OVERFLOWS: &[(&str, Counts)] = &[
    // OpenAI, and the many compatible servers.
    (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens. Please reduce the length of the messages.",
        both(10_000, 8_192),
    ),
    (
        "This model's maximum context length is 4097 tokens, however you requested 5360 tokens (1360 in your prompt; 4000 for the completion). Please reduce your prompt; or completion length.",
        room(1_360, 4_000, 4_097),
    ),
    (
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        NONE,
    ),
    (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 280000 tokens. Please reduce the length of the messages.",
        both(280_000, 272_000),
    ),
    // vLLM.
    (
        "You passed 40000 input tokens and requested 32000 output tokens. However, the model's context length is only 65536 tokens, resulting in a maximum input length of 33536 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=40000)",
        room(40_000, 32_000, 65_536),
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 128000. This model's maximum context length is 32768 tokens and your request has 2000 input tokens (128000 > 32768 - 2000).",
        room(2_000, 128_000, 32_768),
    ),
    (
        "The decoder prompt (length 131099) is longer than the maximum model length of 131072. Make sure that `max_model_len` is no smaller than the number of text tokens.",
        both(131_099, 131_072),
    ),
    (
        "This model's maximum context length is 128000 tokens. However, you requested 128000 output tokens and your prompt contains at least 62466 input tokens, for a total of at least 190466 tokens.",
        room(62_466, 128_000, 128_000),
    ),
    // SGLang.
    (
        "Requested token count exceeds the model's maximum context length of 65536 tokens. You requested a total of 72000 tokens: 40000 tokens from the input messages and 32000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
        room(40_000, 32_000, 65_536),
    ),
    (
        "Requested token count exceeds the model's maximum context length of 256000 tokens",
        limit(256_000),
    ),
    (
        "The input (150000 tokens) is longer than the model's context length (131072 tokens).",
        both(150_000, 131_072),
    ),
    (
        "Input length (265330) exceeds model's maximum context length (262144).",
        both(265_330, 262_144),
    ),
    // llama.cpp.
    (
        "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
        both(9_000, 8_192),
    ),
    (
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        NONE,
    ),
    (
        "input is too large to process. increase the physical batch size (current batch size: 512)",
        NONE,
    ),
    // LM Studio, Ollama.
    (
        "Trying to keep the first 27000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input",
        both(27_000, 4_096),
    ),
    (
        "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input",
        NONE,
    ),
    ("Context size has been exceeded.", NONE),
    (
        "prompt too long; exceeded max context length by 1234 tokens",
        NONE,
    ),
    // Gemini, and its OpenAI-compatible endpoint.
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        both(1_200_000, 1_048_576),
    ),
    (
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        limit(1_048_576),
    ),
    (
        "Unable to submit request because the input token count is 1200000 but model only supports up to 1048576. Reduce the input token count and try again. You can also use the CountTokens API to calculate prompt token count and billable characters.",
        both(1_200_000, 1_048_576),
    ),
    // Mistral, Moonshot, xAI, Groq.
    (
        "Prompt contains 70000 tokens and 0 draft tokens, too large for model with 65536 maximum context length",
        both(70_000, 65_536),
    ),
    (
        "Your request exceeded model token limit: 262144 (requested: 300000)",
        both(300_000, 262_144),
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        both(200_000, 131_072),
    ),
    (
        "Please reduce the length of the messages or completion.",
        NONE,
    ),
    // DashScope, MiniMax, Z.ai, Volcengine, Baidu.
    (
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        limit(129_024),
    ),
    (
        "invalid params, context window exceeds limit (2013)",
        limit(2_013),
    ),
    ("Prompt exceeds max length", NONE),
    (
        "Total tokens of image and text exceed max message tokens. Request id: 0217",
        NONE,
    ),
    (
        "the max input tokens is 7168, your input has 9000 tokens",
        both(9_000, 7_168),
    ),
    ("Prompt 超长", NONE),
    ("输入内容超过模型最大上下文长度", NONE),
    // Bedrock, Cohere, Copilot, TGI, TabbyAPI, Databricks.
    ("Input is too long for requested model.", NONE),
    (
        "The model returned the following errors: input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length or `max_tokens` and try again",
        room(197_202, 21_333, 200_000),
    ),
    (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081",
        limit(4_081),
    ),
    (
        "prompt token count of 130000 exceeds the limit of 128000",
        both(130_000, 128_000),
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 131073. Given: 5000 `inputs` tokens and 128000 `max_new_tokens`",
        room(5_000, 128_000, 131_073),
    ),
    (
        "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
        both(5_000, 4_096),
    ),
    (
        "Prompt length 35000 is greater than max_seq_len 32768",
        both(35_000, 32_768),
    ),
    ("tokens in request more than max tokens allowed", NONE),
    (
        "Bad request: prompt is longer than the context window of 131,072 tokens (140,000 tokens)",
        both(140_000, 131_072),
    ),
    // OpenRouter.
    (
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (21000 of text input, 1000 of tool input, 128000 in the output). Please reduce the length of either one, or use the \"middle-out\" transform",
        room(22_000, 128_000, 131_072),
    ),
    // Gateways that wrap a message into their own.
    (
        "litellm.ContextWindowExceededError: OpenAIException - {\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.\",\"code\":\"context_length_exceeded\"}}",
        both(10_000, 8_192),
    ),
    (
        "Error code: 400 - {'error': {'message': \"prompt is too long: 210000 tokens > 200000 maximum\", 'type': 'x'}}",
        both(210_000, 200_000),
    ),
    (
        "upstream error: {\\\"error\\\":{\\\"message\\\":\\\"Prompt exceeds max length\\\"}}",
        NONE,
    ),
    // Anthropic.
    (
        "prompt is too long: 210000 tokens > 200000 maximum",
        both(210_000, 200_000),
    ),
    // Other servers' words for the same.
    (
        "The conversation is too long for the model's context window",
        NONE,
    ),
    (
        "prompt tokens (50000) larger than the maximum context of 40960",
        both(50_000, 40_960),
    ),
    (
        "Maximum context length of 32768 exceeded: prompt has 40000 tokens",
        both(40_000, 32_768),
    ),
    (
        "This request's input of 250,000 tokens is over the model limit of 200,000 tokens.",
        both(250_000, 200_000),
    ),
    (
        "The messages exceed the model's maximum input length of 98304 tokens",
        limit(98_304),
    ),
    (
        "Your prompt has too many tokens (150000) for this model, whose context is 131072",
        both(150_000, 131_072),
    ),
    ("The prompt is too large", NONE),
    (
        "n_ctx 4096 is not enough for a prompt of 9000 tokens",
        both(9_000, 4_096),
    ),
    (
        "The total number of tokens (70000) must not exceed the context window (65536).",
        both(70_000, 65_536),
    ),
    (
        "The requested tokens (5000) exceed context window of 2048",
        both(5_000, 2_048),
    ),
    (
        "Token count exceeded: 140000 tokens in the conversation, maximum 128000",
        both(140_000, 128_000),
    ),
    (
        "Sequence length 9000 is longer than the specified maximum context length of 8192",
        both(9_000, 8_192),
    ),
    (
        "Input token length is too long: 200000 > 131072",
        both(200_000, 131_072),
    ),
    (
        "Your chat history is too long. Please start a new conversation.",
        NONE,
    ),
    ("The prompt does not fit into the context window.", NONE),
];

const OTHERS: &[&str] = &[
    "",
    "no",
    // Quotations, names of tools and files.
    "Invalid value: 'prompt is too long'. Supported values are: 'a'.",
    "Unknown tool: \"the context length is exceeded\"",
    "tool `prompt exceeds the context window` is not declared",
    "context_length_exceeded_behavior: Extra inputs are not permitted",
    "Invalid file: docs/prompt-too-long.md does not exist",
    "cannot open context-window-exceeded-by-input.txt",
    "messages.3.content: unexpected text \"your input exceeds the context window of this mod",
    "Unknown function prompt_exceeds_context_length",
    "invalid tool name: mcp__prompt_is_too_long__exceeds_limit",
    // Rate limits and bills.
    "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 46150. The input or output tokens must be reduced.",
    "Rate limit reached for input tokens: Limit 30000, Used 29000, Requested 5000.",
    "This request would exceed your organization's rate limit of 30,000 input tokens per minute",
    "Too many tokens, please wait before trying again.",
    "Too many input tokens per day, please wait before trying again.",
    "You exceeded your current quota, please check your plan and billing details.",
    "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 1000.",
    "Quota exceeded for metric: generate_content_free_tier_input_token_count, limit: 250000",
    "Token limit exceeded: your daily quota of 1000000 prompt tokens is used",
    "Too many requests: the prompt queue is over its limit",
    // The response's limit.
    "max_tokens is too large: 128000. This model supports at most 16384 completion tokens, whereas you provided 128000.",
    "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
    "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5",
    "max_completion_tokens exceeds the maximum of 16384 output tokens",
    "`thinking.budget_tokens` must be less than `max_tokens`",
    "The requested output length is longer than the model's maximum",
    "Input validation error: `max_new_tokens` must be <= 4096. Given: 32000",
    // Limits of other things.
    "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 150 instead.",
    "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 44 instead.",
    "Invalid 'tools[0].function.description': string too long. Expected maximum length 1024",
    "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64",
    "The input image is too large: maximum size is 5 MB",
    "input file size exceeds the limit of 20 MB",
    "At most 1 image(s) may be provided in one prompt.",
    "too many images in the prompt: at most 20 images are allowed",
    "The prompt exceeds the maximum number of images (20)",
    "image exceeds 5 MB maximum: 5316852 bytes > 5242880 bytes",
    "The input schema exceeds the maximum depth of 5",
    "Request payload size exceeds the limit: 20971520 bytes",
    "Request body too large",
    "Too many stop sequences: at most 4 are allowed",
    "List should have at most 128 items after validation, not 150",
    // Validation, roles, templates, and everything else.
    "body.temperature: Input should be less than or equal to 2",
    "body.messages: Input should be a valid list",
    "messages: at least one message is required",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.",
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "Failed to deserialize the JSON body into the target type: messages[4]: unknown variant `image_url`, expected `text` at line 1 column 242537",
    "The model `x` does not exist or you do not have access to it",
    "No endpoints found that support tool use",
    "Loading model",
    "Incorrect API key provided: sk-1234567890",
    "The server had an error while processing your request",
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy",
    "input contains a token that is not in the vocabulary",
    "the context of this request could not be found",
    "Could not finish the message because the model output limit was reached",
];

#[test]
fn overflows_are_recognised_in_the_words_of_many_servers() {
    let mut wrong = Vec::new();
    for (text, (prompt, limit, output)) in OVERFLOWS {
        let wanted = Some(Overflow {
            prompt: *prompt,
            limit: *limit,
            output: *output,
        });
        let read = Overflow::read(text);
        if read != wanted {
            wrong.push(format!("{text}\n  is {read:?}\n  not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Wordings of no particular server: any other has to be understood, too.
const MORE_OVERFLOWS: &[&str] = &[
    "context_length_exceeded",
    "Error: context_length_exceeded",
    "context length exceeded",
    "Context window full",
    "Token limit exceeded",
    "The total token count of the request exceeds the model's context window",
    "This model has a maximum context of 32768 tokens, you sent 40000",
    "Request exceeds context length",
    "your prompt contains 9000 tokens but the model's context window is only 8192 tokens",
    "Prompt (9000 tokens) does not fit in context (8192 tokens)",
    "The maximum number of input tokens is 8192, received 9000",
    "Maximum input length exceeded: 9000 > 8192",
    "Input tokens (9000) + max_tokens (4096) > context window (8192)",
    "This request's messages have 250000 tokens; the limit of the model is 200000",
    "input length 9000 must be smaller than 8192 tokens",
    "Too many input tokens: 9000 (max 8192)",
    "The text is too long for this model: 9000 tokens, limit 8192",
    "total message token length exceed model limit",
    "messages too long",
    "Message is too long for the model",
    "The number of input tokens 9000 exceeds max_model_len 8192",
    "ValueError: Input length of 9000 is longer than max length of 8192",
    "Requested tokens (9000) exceed context window of 8192",
    "The context is too long",
    "Prompt length exceeds the maximum allowed length of 8192 tokens",
    "prompt has 9000 tokens, n_ctx=8192: context overflow",
    "Error rendering prompt: exceeds context",
    "请求的输入长度超过了模型的最大限制",
    "We could not process your request: the conversation history exceeds this model's maximum context length.",
    "{\"error\":{\"message\":\"This model's maximum context length is 200000 tokens. However, your messages resulted in 250000 tokens.\"}}",
    "Your prompt is 9000 tokens, which is longer than the 8192-token limit",
    "Requested token count (9000) exceeds the maximum of 8192.",
    "Input too large: 250000 tokens; context window 200000",
    "The sum of prompt tokens (9000) and max_tokens (4096) exceeds 8192",
    "Context overflow: prompt is 9000 tokens, window is 8192",
    "Requested input length 9000 exceeds maximum input length 8192",
    "exceeds maximum context",
    "Number of tokens (9000) exceeded maximum context length (8192).",
    "sequence too long: 9000 > 8192 tokens",
    "Error: input of 9000 tokens over model max of 8192",
];

/// Errors that share words with an overflow.
const MORE_OTHERS: &[&str] = &[
    "Stop sequence is too long for this model",
    "Invalid message: tool message is too long for function name",
    "Message text too long: maximum 5000 characters",
    "Text exceeds the maximum number of characters",
    "Token expired; limit your requests",
    "Invalid token",
    "The token limit for max_tokens exceeded: 32000 > 8192",
    "Your daily token limit exceeded",
    "Token limit exceeded, please wait",
    "Input should be less than or equal to 2",
    "temperature 2.5 > 2",
    "<400> InternalError.Algo.InvalidParameter: The input messages do not contain elements with the role of user",
    "<429> Throttling: too many input tokens",
    "The tools array exceeds the maximum of 128 for this model",
    "tool description exceeds the maximum of 1024 tokens",
    "Function name exceeds 64",
    "The number of images in the input exceeds the limit of 10",
    "Invalid image: larger than the maximum size for the model",
    "Your prompt was rejected by the content filter",
    "Input contains more than one system message",
    "messages must contain at most one system message",
    "The prompt must contain the word json to use response_format",
    "context deadline exceeded",
    "context canceled",
    "upstream request timeout: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
    "Request timed out while the model was processing the prompt: exceeded 600 seconds",
    "Concurrency limit exceeded for model",
    "model overloaded: request queue length exceeded maximum",
    "max_tokens 32000 larger than the model limit 8192 tokens",
    "Requested 32000 output tokens, the model supports 8192 tokens",
    "Unknown tool: context_length_exceeded",
    "the batch size of input exceeds the limit",
    "input must have less than 2048 items",
    "chat session limit exceeded",
    "conversation not found: exceeded retention of 30 days",
    "history has more than one tool result for the call",
    "prompt_cache_key exceeds maximum length",
    "The prompt template has more than one variable",
    "input.messages: too many tool calls, at most 128",
    "Unexpected token < in JSON at position 0",
    "Unexpected token in prompt: more than one <image> at 3000",
    "budget_tokens 40000 must be less than max_tokens 32000",
    "API key exceeds token limit budget",
    "grammar is too large for the model",
    "Schema is too long for this model: 9000 tokens",
];

#[test]
fn wordings_of_no_particular_server_are_understood() {
    let missed = MORE_OVERFLOWS
        .iter()
        .filter(|text| Overflow::read(text).is_none());
    let wrong: Vec<_> = missed.copied().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn other_errors_are_not_taken_for_overflows() {
    let others = OTHERS.iter().chain(MORE_OTHERS);
    let taken = others.filter(|text| Overflow::read(text).is_some());
    let wrong: Vec<_> = taken.copied().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_message_has_the_words_by_which_clients_act() {
    let of = |text| Overflow::read(text).unwrap().message();
    assert_eq!(
        of("Input length (265330) exceeds model's maximum context length (262144)."),
        "prompt is too long: 265330 tokens > 262144 maximum"
    );
    assert_eq!(of("Prompt exceeds max length"), "prompt is too long");
    assert_eq!(
        of(
            "This model's maximum context length is 4097 tokens, however you requested 5360 tokens (1360 in your prompt; 4000 for the completion)."
        ),
        "input length and `max_tokens` exceed context limit: 1360 + 4000 > 4097, decrease input length or `max_tokens` and try again"
    );
    for own in [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length or `max_tokens` and try again",
    ] {
        assert_eq!(of(own), own);
    }
}

#[test]
fn what_the_request_asked_for_is_the_response_and_not_the_prompt() {
    let read = |text, asked| OverflowWordings::default().read(text, Some(asked)).unwrap();
    let text = "Your request exceeded model token limit: 65536 (requested: 72000)";
    assert_eq!(read(text, 32_000).left(), Some(25_536));
    assert_eq!(
        read(text, 1_000).left(),
        None,
        "the prompt alone is too long"
    );
    let text = "The context window of 65536 tokens is exceeded: 40000 + 32000 > 65536";
    assert_eq!(read(text, 32_000).left(), Some(25_536));
}

#[test]
fn a_response_that_alone_exceeds_the_context_says_nothing_about_the_prompt() {
    let text = "This model's maximum context length is 8192 tokens, but max_tokens is 32000";
    assert_eq!(Overflow::read(text), None);
}

#[test]
fn codes_are_read_by_their_words() {
    for code in [
        "context_length_exceeded",
        "exceed_context_size_error",
        "ContextWindowExceededError",
        "model_max_prompt_tokens_exceeded",
        "prompt_too_long",
        "input_too_long",
        "context-overflow",
    ] {
        assert!(Overflow::is_code(code), "{code}");
    }
    for code in [
        "",
        "rate_limit_exceeded",
        "invalid_request_error",
        "insufficient_quota",
        "string_above_max_length",
        "context_not_found",
        "context_deadline_exceeded",
        "input_rate_exceeded",
        "request_too_large",
    ] {
        assert!(!Overflow::is_code(code), "{code}");
    }
}

#[test]
fn settings_add_phrases() {
    let wordings: OverflowWordings = serde_json::from_str(r#"["Brain is Full", ""]"#).unwrap();
    assert!(wordings.read("sorry, brain is full today", None).is_some());
    assert!(wordings.read("no", None).is_none());
}

#[test]
fn bodies_are_read_in_every_shape() {
    let text = "Prompt has 9000 tokens, which exceeds the context length of 8192";
    let quoted = serde_json::to_string(text).unwrap();
    let nested = serde_json::to_string(&format!(r#"{{"error":{{"message":{quoted}}}}}"#)).unwrap();
    for body in [
        text.to_owned(),
        quoted.clone(),
        format!(r#"{{"error":{quoted}}}"#),
        format!(r#"{{"message":{quoted},"code":400}}"#),
        format!(r#"{{"error":{{"message":{quoted},"type":"invalid_request_error"}}}}"#),
        format!(r#"[{{"error":{{"code":400,"message":{quoted},"status":"INVALID_ARGUMENT"}}}}]"#),
        format!(r#"{{"detail":[{{"loc":["body"],"msg":{quoted}}}]}}"#),
        format!(
            r#"{{"error":{{"message":"Provider returned error","metadata":{{"raw":{nested}}}}}}}"#
        ),
        format!(r#"{{"type":"error","error":{{"type":"BadRequestError","message":{quoted}}}}}"#),
    ] {
        let overflow = OverflowWordings::default().read_body(&body, None);
        assert_eq!(
            overflow.map(|overflow| overflow.message()).as_deref(),
            Some("prompt is too long: 9000 tokens > 8192 maximum"),
            "{body}"
        );
    }
}

#[test]
fn a_code_and_members_say_what_a_message_does_not() {
    let read = |body| {
        let overflow = OverflowWordings::default().read_body(body, None)?;
        Some(overflow.message())
    };
    assert_eq!(
        read(r#"{"error":{"message":"no","code":"context_length_exceeded"}}"#).as_deref(),
        Some("prompt is too long")
    );
    assert_eq!(
        read(r#"{"error":{"code":400,"message":"does not fit","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}"#).as_deref(),
        Some("prompt is too long: 9000 tokens > 8192 maximum")
    );
    for other in [
        r#"{"error":{"message":"no","param":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"Rate limit reached for input tokens","type":"tokens","code":"rate_limit_exceeded"}}"#,
        r#"{"messages":["prompt is too long"],"id":"prompt is too long"}"#,
        "<html><body>413 Request Entity Too Large</body></html>",
        "{}",
        "",
    ] {
        assert_eq!(read(other), None, "{other}");
    }
}

#[test]
fn the_limit_of_the_response_is_read_in_any_words() {
    let table = [
        (
            "max_tokens is too large: 128000. This model supports at most 16384 completion tokens, whereas you provided 128000.",
            Some(16_384),
        ),
        (
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
            Some(8_192),
        ),
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            Some(8_192),
        ),
        (
            "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
            Some(8_192),
        ),
        (
            "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5",
            Some(64_000),
        ),
        (
            "max_completion_tokens exceeds the maximum of 16,384 output tokens",
            Some(16_384),
        ),
        (
            "Input validation error: `max_new_tokens` must be <= 4096. Given: 128000",
            Some(4_096),
        ),
        (
            "The requested output length is longer than the model's maximum of 32768 tokens",
            Some(32_768),
        ),
        (
            "Invalid 'max_tokens': integer above maximum value. Expected a value <= 16384, but got 128000 instead.",
            Some(16_384),
        ),
        (
            "body.max_tokens: Input should be less than or equal to 8192",
            Some(8_192),
        ),
        (
            "maxOutputTokens must be between 1 (inclusive) and 65537 (exclusive), got 128000",
            Some(65_537),
        ),
        (
            "The maximum output tokens of this model is 4096",
            Some(4_096),
        ),
        ("max_tokens must be in the range 1..4096", Some(4_096)),
        (
            "max tokens 128000 exceeds limit 8192 (code 1210)",
            Some(8_192),
        ),
        ("Error code: 400 - max_tokens is too large", None),
        ("Error 429: max_tokens 400 invalid", None),
        ("max_tokens must be greater than 0", None),
        ("Rate limit reached: 30000 output tokens per minute", None),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model.",
            None,
        ),
        ("temperature must be at most 1000", None),
        ("the valid range of max_tokens is [1, 256000]", None),
    ];
    let wrong: Vec<String> = table
        .into_iter()
        .filter(|(text, limit)| output_limit(text, 128_000) != *limit)
        .map(|(text, _)| format!("{text}: {:?}", output_limit(text, 128_000)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_beginning_of_a_message_is_read() {
    let overflow = "Prompt exceeds max length";
    let sent = " 'it's \"".repeat(20_000);
    assert!(Overflow::read(&format!("{overflow}. {sent}")).is_some());
    assert_eq!(Overflow::read(&format!("{sent}. {overflow}")), None);
}

use witgate_plugin::{Hook, Value, json, testing::Exchange};

use super::AnswerWarmup;

type Warm = Exchange<AnswerWarmup>;

fn is_answered(message: Value) -> bool {
    let mut exchange = Warm::new(json!({"model": "m", "messages": [message]}));
    !exchange.on_request().unwrap().is_proceed()
}

#[test]
fn a_warm_up_is_answered_with_the_requested_model() {
    let body = json!({
        "model": "claude-opus-5-5",
        "system": [{"type": "text", "text": "long"}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>x</system-reminder>"},
                {"type": "text", "text": "Warmup"},
            ]},
            {"role": "system", "content": [], "output_config": {"effort": "low"}},
        ],
        "stream": true,
    });
    let mut exchange = Warm::new(body);
    assert!(exchange.would_call(Hook::Request));

    let answer = exchange.on_request().unwrap().expect_answer();

    assert_eq!(answer["body"]["model"], "claude-opus-5-5");
    assert_eq!(
        answer["body"]["content"],
        json!([{"type": "text", "text": "OK"}])
    );
    assert_eq!(answer["headers"], json!({"x-warmup-intercepted": "true"}));
    assert_eq!(answer["note"], "warm-up answered locally");
}

#[test]
fn an_ordinary_turn_creates_no_instance() {
    let bodies = [
        json!({"model": "m", "messages": [{"role": "user", "content": "Warmup function in PyTorch"}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "Warmup"}]}]}),
        json!({"model": "m", "messages": []}),
        json!({"model": "m"}),
    ];
    for body in bodies {
        let mut exchange = Warm::new(&body);
        assert!(!exchange.would_call(Hook::Request), "{body}");
        assert!(exchange.on_request().unwrap().is_proceed(), "{body}");
    }
}

#[test]
fn a_warm_up_earlier_in_the_conversation_is_ignored() {
    let mut exchange = Warm::new(json!({"model": "m", "messages": [
        {"role": "user", "content": "Warmup"},
        {"role": "assistant", "content": "OK"},
        {"role": "user", "content": "hello"},
    ]}));
    assert!(exchange.on_request().unwrap().is_proceed());
}

#[test]
fn the_last_message_is_the_one_before_the_system_messages() {
    let mut exchange = Warm::new(json!({"model": "m", "messages": [
        {"role": "user", "content": "warmup"},
        {"role": "assistant", "content": "warmup"},
        {"role": "system", "content": "warmup"},
    ]}));
    assert!(exchange.on_request().unwrap().is_proceed());
}

#[test]
fn count_tokens_is_never_answered_as_a_warm_up() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Warmup"}]});
    assert!(!Warm::new(body).count_tokens().would_call(Hook::Request));
}

#[test]
fn a_warm_up_without_a_model_is_left_to_the_upstream() {
    let mut exchange = Warm::new(json!({"messages": [{"role": "user", "content": "Warmup"}]}));
    assert!(exchange.on_request().unwrap().is_proceed());
}

#[test]
fn only_a_users_text_that_is_the_word_is_a_warm_up() {
    let warm = [
        json!({"role": "user", "content": "Warmup"}),
        json!({"role": "user", "content": " \n warmUP\u{a0}"}),
        json!({"role": "user", "content": [{"type": "text", "text": "Warmup"}]}),
        json!({"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>be nice</system-reminder>"},
            {"type": "text", "text": "WARMUP", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "\n<system-reminder>really</system-reminder>"},
        ], "zzz": 1}),
    ];
    for message in warm {
        assert!(is_answered(message.clone()), "{message}");
    }
    let not = [
        json!({"role": "assistant", "content": "Warmup"}),
        json!({"role": "user", "content": "Warmup function in PyTorch"}),
        json!({"role": "user", "content": "Warmup\nplease"}),
        json!({"role": "user", "content": ""}),
        json!({"role": "user", "content": []}),
        json!({"role": "user", "content": [{"type": "text", "text": "<system-reminder>warmup"}]}),
        json!({"role": "user", "content": [{"type": "text", "text": "Warmup"},
            {"type": "text", "text": "Warmup"}]}),
        json!({"role": "user", "content": [{"type": "text", "text": "Warmup"},
            {"type": "image", "source": {"type": "url", "url": "x"}}]}),
        json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "Warmup"}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "text": "Warmup"}]}),
        json!({"role": "user", "content": [{"text": "Warmup"}]}),
        json!({"role": "user"}),
        json!({"role": "user", "content": {"0": {"type": "text", "text": "Warmup"}}}),
        json!({"role": "user", "text": "Warmup"}),
        json!({"content": "Warmup"}),
        json!("Warmup"),
    ];
    for message in not {
        assert!(!is_answered(message.clone()), "{message}");
    }
}

#[test]
fn a_body_of_any_size_is_a_warm_up_or_goes_on() {
    let spaces = " ".repeat(30_000_000);
    assert!(is_answered(
        json!({"role": "user", "content": format!("warmup{spaces}")})
    ));
    assert!(!is_answered(
        json!({"role": "user", "content": format!("warmup{spaces}.")})
    ));
    let mut blocks = vec![json!({"type": "text", "text": "warmup"})];
    blocks.resize(150_000, json!(0));
    assert!(!is_answered(json!({"role": "user", "content": blocks})));

    let mut messages = vec![json!({"role": "user", "content": "a"}); 150_000];
    messages.push(json!({"role": "user", "content": "warmup"}));
    let mut exchange = Warm::new(json!({"model": "m", "messages": messages}));
    assert_eq!(
        exchange.on_request().unwrap().expect_answer()["body"]["model"],
        "m"
    );
    let mut exchange = Warm::new(json!({"model": spaces, "messages": [
        {"role": "user", "content": "warmup"}]}));
    assert!(exchange.on_request().unwrap().is_proceed());
}

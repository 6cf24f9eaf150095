use witgate_plugin::{Hook, Value, json, testing::Exchange};

use super::EstimateTokens;

type Estimate = Exchange<EstimateTokens>;

fn estimate(body: &Value) -> Estimate {
    Estimate::new(body).count_tokens().lacks("count_tokens")
}

#[track_caller]
fn tokens(body: &Value) -> u64 {
    let mut exchange = estimate(body);
    assert!(exchange.would_call(Hook::Attempt));
    let answer = exchange.on_attempt().unwrap().expect_answer();
    assert_eq!(answer["headers"], json!({"x-witgate-estimate": "true"}));
    assert_eq!(answer["body"].as_object().unwrap().len(), 1);
    answer["body"]["input_tokens"].as_u64().unwrap()
}

fn asking(content: &Value) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": content}]})
}

fn base64(head: &[u8], length: usize) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in head.chunks(3) {
        let bits = three
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[bits >> shift & 63]));
        }
    }
    text.extend(std::iter::repeat_n('A', length.saturating_sub(text.len())));
    text
}

#[test]
fn a_text_is_counted_wherever_it_is() {
    let text = "word ".repeat(700);
    let alone = tokens(&asking(&json!(text)));
    assert!((900..1_200).contains(&alone), "{alone}");
    for content in [
        json!([{"type": "text", "text": text}]),
        json!([{"type": "thinking", "thinking": text, "signature": "x".repeat(9_000)}]),
        json!([{"type": "tool_use", "id": "t", "name": "n", "input": {"a": text}}]),
        json!([{"type": "tool_result", "tool_use_id": "t", "content": text}]),
        json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text}]}]),
        json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}]),
        json!([{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": text}]}}]),
        json!([{"type": "search_result", "title": "t", "content": [{"type": "text", "text": text}]}]),
    ] {
        let counted = tokens(&asking(&content));
        assert!(
            (alone..alone + 40).contains(&counted),
            "{content}: {counted}"
        );
    }
}

#[test]
fn system_and_tools_count() {
    let mut body = asking(&json!("hi"));
    let bare = tokens(&body);
    body["system"] = json!([{"type": "text", "text": "s".repeat(350)}]);
    let with_system = tokens(&body);
    assert!(with_system >= bare + 100);
    body["tools"] =
        json!([{"name": "t", "input_schema": {"type": "object"}, "description": "d".repeat(350)}]);
    assert!(tokens(&body) >= with_system + 100 + 300);
}

#[test]
fn a_small_image_counts_by_its_size() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x90\0\0\0\xc8";
    let image = |data: String| json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]);
    let small = tokens(&asking(&image(base64(png, 1_000))));
    assert!((107..120).contains(&small), "{small}");
    let large = tokens(&asking(&image(base64(png, 100_000))));
    assert!((1_600..1_620).contains(&large), "{large}");
    let by_url = tokens(&asking(
        &json!([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]),
    ));
    assert!((1_600..1_630).contains(&by_url), "{by_url}");
    let in_result = tokens(&asking(
        &json!([{"type": "tool_result", "tool_use_id": "t", "content": image(base64(png, 1_000))}]),
    ));
    assert!((107..125).contains(&in_result), "{in_result}");
}

#[test]
fn a_document_with_visible_pages_counts_by_them() {
    let pdf = b"%PDF-1.4\n<</Type /Pages /Count 3>> endobj <</Type /Page>> endobj";
    let document = json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64(pdf, 200_000)}}]);
    let three = tokens(&asking(&document));
    assert!((3 * 2_250..3 * 2_250 + 50).contains(&three), "{three}");
}

#[test]
fn a_document_counts_by_its_length() {
    let pdf = |length| json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A".repeat(length)}}]);
    let one = tokens(&asking(&pdf(10_000)));
    let eight = tokens(&asking(&pdf(8 << 16)));
    assert!((2_250..2_300).contains(&one), "{one}");
    assert!((8 * 2_250..8 * 2_250 + 50).contains(&eight), "{eight}");
}

#[test]
fn a_body_that_cannot_be_counted_is_refused_with_the_name_of_the_field() {
    let message = json!({"role": "user", "content": "hi"});
    for (body, expected) in [
        (json!({"messages": [message]}), "model: Field required"),
        (
            json!({"model": 5, "messages": [message]}),
            "model: Input should be a valid string",
        ),
        (json!({"model": "m"}), "messages: Field required"),
        (
            json!({"model": "m", "messages": "hi"}),
            "messages: Input should be a valid list",
        ),
        (
            json!({"model": "m", "messages": {}}),
            "messages: Input should be a valid list",
        ),
        (
            json!({"model": "m", "messages": []}),
            "messages: at least one message is required",
        ),
        (
            json!({"model": "m", "messages": [message, 5]}),
            "messages.1.role: Field required",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user"}]}),
            "messages.0.content: Field required",
        ),
        (
            json!({"model": "m", "messages": [message], "system": 5}),
            "system: Input should be a valid string or list",
        ),
        (
            json!({"model": "m", "messages": [message], "tools": {}}),
            "tools: Input should be a valid list",
        ),
        (json!([]), "model: Field required"),
    ] {
        let refusal = estimate(&body).on_attempt().unwrap().expect_refusal();
        assert_eq!(refusal["message"], expected);
        assert_eq!(refusal["status"], 400);
        assert_eq!(refusal["type"], "invalid_request_error");
    }
}

#[test]
fn many_messages_are_counted_and_too_many_are_refused() {
    let body = |count: usize| {
        let message = json!({"role": "user", "content": "hi"});
        json!({"model": "m", "messages": vec![message; count]})
    };
    assert!(tokens(&body(50_000)) > 50_000);
    let verdict = estimate(&body(110_000)).on_attempt().unwrap();
    assert_eq!(verdict.expect_refusal()["status"], 413);
}

#[test]
fn real_traffic_is_counted() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]}]},
        {"role": "system", "content": [], "output_config": {"effort": "low"}},
        {"role": "assistant", "content": null},
    ], "tools": [], "safeguards": [{"type": "dangerous_tool_use"}]});
    assert!((10..60).contains(&tokens(&body)));
}

#[test]
fn messages_and_targets_that_can_count_are_left_alone() {
    let body = asking(&json!("hi"));
    assert!(
        !Estimate::new(&body)
            .count_tokens()
            .would_call(Hook::Attempt)
    );
    assert!(
        !Estimate::new(&body)
            .lacks("count_tokens")
            .would_call(Hook::Attempt)
    );
}

//! What becomes of the pieces of a response, one test for each kind of deviation.

use std::time::Duration;

use serde_json::{Value, json};
use witgate_plugin::{Event, RetryTarget, testing::Failed};

use super::{Openai, attempt, event, exchange, hello};

/// A message as the client has it after the last event.
#[derive(Debug)]
struct Message {
    content: Vec<Value>,
    stop_reason: Value,
    usage: Value,
    error: Value,
}

impl Message {
    fn of(events: &[Event]) -> Self {
        let mut message = Self {
            content: Vec::new(),
            stop_reason: Value::Null,
            usage: Value::Null,
            error: Value::Null,
        };
        for event in events {
            message.take(&event.parse().unwrap());
        }
        message
    }

    fn take(&mut self, data: &Value) {
        match data["type"].as_str().unwrap() {
            "content_block_start" => {
                let mut block = data["content_block"].clone();
                if block["type"] == "tool_use" {
                    block["input"] = json!("");
                }
                self.content.push(block);
            }
            "content_block_delta" => {
                let delta = data["delta"].as_object().unwrap();
                let block = self.content.last_mut().unwrap();
                for (name, value) in delta.iter().filter(|(name, _)| *name != "type") {
                    let name = name.replace("partial_json", "input");
                    let all = block[&name].as_str().unwrap().to_owned() + value.as_str().unwrap();
                    block[&name] = all.into();
                }
            }
            "message_delta" => {
                self.stop_reason = data["delta"]["stop_reason"].clone();
                self.usage = data["usage"].clone();
            }
            "error" => self.error = data["error"].clone(),
            _ => {}
        }
    }

    /// The blocks in short: their kind and their text, or the call's name and input.
    fn blocks(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let block = |block: &Value| match block["type"].as_str().unwrap() {
            "tool_use" => (text(&block["name"]), text(&block["input"])),
            kind => (kind.to_owned(), text(&block[kind])),
        };
        self.content.iter().map(block).collect()
    }

    fn ids(&self) -> Vec<String> {
        let ids = self.content.iter().filter_map(|block| block["id"].as_str());
        ids.map(str::to_owned).collect()
    }
}

/// The message that the client gets for these data of the upstream's events.
#[track_caller]
fn answer(exchange: &mut Openai, data: &[String]) -> Message {
    attempt(exchange);
    let events = data.iter().map(|data| event("", data));
    Message::of(&exchange.stream(events).unwrap())
}

fn new() -> Openai {
    exchange(&hello())
}

fn chunk(delta: &Value, finish: impl Into<Value>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish.into() });
    json!({ "id": "c", "object": "chat.completion.chunk", "choices": [choice] }).to_string()
}

fn text(text: &str) -> Value {
    json!({ "content": text })
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    let function = json!({ "name": name, "arguments": arguments });
    json!({ "tool_calls": [{ "index": index, "id": id, "function": function }] })
}

fn arguments(index: u64, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] })
}

fn usage() -> String {
    json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 3 } }).to_string()
}

fn done() -> String {
    "[DONE]".to_owned()
}

fn block(kind: &str, text: &str) -> (String, String) {
    (kind.to_owned(), text.to_owned())
}

const ID: &str = "call_abcdefghijkl";

#[test]
fn a_finish_reason_before_the_end_drops_nothing() {
    let pieces = [
        text("Hel"),
        text("lo"),
        call(0, ID, "Read", ""),
        arguments(0, "{\"path\""),
        arguments(0, ":\"a\"}"),
        call(1, "call_mnopqrstuvwx", "LS", "{\"path\""),
        arguments(1, ":\"b\"}"),
    ];
    for early in ["null", "", "stop", "tool_calls", "length", "odd"] {
        for apart in [false, true] {
            let mut chunks = Vec::new();
            for piece in &pieces {
                let finish = if apart { "" } else { early };
                chunks.push(chunk(piece, finish));
                if apart {
                    chunks.extend([chunk(&json!({}), early), usage()]);
                }
            }
            chunks.extend([chunk(&json!({}), "stop"), usage(), done()]);
            let message = answer(&mut new(), &chunks);
            let wanted = [
                block("text", "Hello"),
                block("Read", r#"{"path":"a"}"#),
                block("LS", r#"{"path":"b"}"#),
            ];
            assert_eq!(message.blocks(), wanted, "{early} {apart}");
            assert_eq!(message.error, Value::Null, "{early} {apart}");
        }
    }
}

#[test]
fn the_last_finish_reason_holds_unless_a_plain_stop_only_confirms_it() {
    for (finishes, wanted) in [
        (&["length", "stop"][..], "max_tokens"),
        (&["stop", "length"], "max_tokens"),
        (&["content_filter", "stop"], "refusal"),
        (&["stop", "stop"], "end_turn"),
    ] {
        let mut chunks = vec![chunk(&text("a"), Value::Null)];
        chunks.extend(finishes.iter().map(|finish| chunk(&json!({}), *finish)));
        chunks.push(done());
        assert_eq!(
            answer(&mut new(), &chunks).stop_reason,
            wanted,
            "{finishes:?}"
        );
    }
    for early in ["length", "content_filter", "network_error"] {
        let chunks = [chunk(&text("a"), early), chunk(&text("b"), "stop"), done()];
        assert_eq!(
            answer(&mut new(), &chunks).stop_reason,
            "end_turn",
            "{early}"
        );
    }
}

#[test]
fn a_broken_response_is_an_error_and_a_cut_one_is_not_complete() {
    for (finish, wanted) in [
        ("network_error", Err("api_error")),
        ("error", Err("api_error")),
        ("insufficient_system_resource", Err("overloaded_error")),
        (
            "model_context_window_exceeded",
            Ok("model_context_window_exceeded"),
        ),
        ("repetition_truncation", Ok("max_tokens")),
        ("sensitive", Ok("refusal")),
        ("weary", Ok("end_turn")),
    ] {
        for end in [vec![usage(), done()], vec![usage()], vec![]] {
            let mut chunks = vec![chunk(&text("a"), ""), chunk(&json!({}), finish)];
            chunks.extend(end);
            let message = answer(&mut new(), &chunks);
            match wanted {
                Ok(reason) => assert_eq!(message.stop_reason, reason, "{finish}"),
                Err(kind) => assert_eq!(message.error["type"], kind, "{finish}"),
            }
        }
    }
}

#[test]
fn a_response_without_any_content_is_an_error_that_can_be_retried() {
    for (delta, finish) in [
        (json!({ "role": "assistant", "content": "" }), "stop"),
        (text(" \n"), "stop"),
        (json!({}), "tool_calls"),
        (json!({}), "weary"),
        (json!({}), ""),
    ] {
        let message = answer(&mut new(), &[chunk(&delta, finish), usage(), done()]);
        assert_eq!(message.error["type"], "api_error", "{delta} {finish}");
        assert_eq!(message.content, Vec::<Value>::new());
    }
    for (delta, finish) in [
        (json!({}), "length"),
        (json!({}), "content_filter"),
        (json!({ "reasoning": "hm" }), "stop"),
    ] {
        let message = answer(&mut new(), &[chunk(&delta, finish), done()]);
        assert_eq!(message.error, Value::Null, "{delta} {finish}");
    }
}

#[test]
fn a_whole_message_after_its_pieces_is_not_appended() {
    let whole = |object: &str, message: Value| {
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        json!({ "id": "c", "object": object, "choices": [choice] }).to_string()
    };
    let object = "chat.completion";
    let pieces = [
        chunk(&json!({ "reasoning_content": "hm" }), ""),
        chunk(&text("Hello"), ""),
        chunk(&call(0, ID, "Read", r#"{"path":"a"}"#), ""),
    ];
    let mut message = call(0, ID, "Read", r#"{"path":"a"}"#);
    message["content"] = "Hello world".into();
    message["reasoning_content"] = "hm".into();
    let all = [
        block("thinking", "hm"),
        block("text", "Hello world"),
        block("Read", r#"{"path":"a"}"#),
    ];
    for count in 0..pieces.len() {
        for object in [object, "chat.completion.chunk", ""] {
            let mut chunks = pieces[..count].to_vec();
            chunks.extend([whole(object, message.clone()), done()]);
            assert_eq!(
                answer(&mut new(), &chunks).blocks(),
                all,
                "{count} {object}"
            );
        }
    }
    let mut chunks = pieces.to_vec();
    chunks.push(whole(
        object,
        json!({ "content": " Hello", "tool_calls": message["tool_calls"] }),
    ));
    let wanted = [
        block("thinking", "hm"),
        block("text", "Hello"),
        block("Read", r#"{"path":"a"}"#),
    ];
    assert_eq!(answer(&mut new(), &chunks).blocks(), wanted);
}

#[test]
fn a_text_that_is_repeated_with_the_finish_reason_is_not_appended() {
    let all = "A sentence that is long enough.";
    let (first, second) = all.split_at(10);
    let pieces = [first, second].map(|piece| chunk(&text(piece), Value::Null));
    for (last, wanted) in [
        (chunk(&text(all), "stop"), all.to_owned()),
        (chunk(&text(all), Value::Null), all.repeat(2)),
        (chunk(&text(second), "stop"), format!("{all}{second}")),
    ] {
        let chunks = [pieces[0].clone(), pieces[1].clone(), last, done()];
        assert_eq!(
            answer(&mut new(), &chunks).blocks(),
            [block("text", &wanted)]
        );
    }
}

#[test]
fn a_message_that_grows_beside_its_pieces_is_not_appended() {
    let both = |piece: &str, all: &str, finish: Value| {
        let choice = json!({ "delta": { "content": piece }, "message": { "content": all }, "finish_reason": finish });
        json!({ "choices": [choice] }).to_string()
    };
    let chunks = [
        both("Hel", "Hel", Value::Null),
        both("lo", "Hello", Value::Null),
        both("", "Hello", json!("stop")),
        done(),
    ];
    assert_eq!(
        answer(&mut new(), &chunks).blocks(),
        [block("text", "Hello")]
    );
}

#[test]
fn pieces_that_are_sent_as_messages_are_joined() {
    let piece = |content: &str, finish: Value| {
        let choice = json!({ "message": { "content": content }, "finish_reason": finish });
        json!({ "choices": [choice] }).to_string()
    };
    let chunks = [
        piece("Hel", Value::Null),
        piece("lo", json!("stop")),
        done(),
    ];
    assert_eq!(
        answer(&mut new(), &chunks).blocks(),
        [block("text", "Hello")]
    );
}

#[test]
fn a_completion_without_a_finish_reason_is_complete() {
    let body =
        json!({ "object": "chat.completion", "choices": [{ "message": { "content": "a" } }] });
    let message = answer(&mut new(), &[body.to_string()]);
    assert_eq!(
        (message.blocks(), message.stop_reason),
        (vec![block("text", "a")], json!("end_turn"))
    );
}

#[test]
fn one_odd_event_never_loses_the_response() {
    let odd = [
        "null",
        "[]",
        "{}",
        "ping",
        r#""ping""#,
        r#"{"choices":null}"#,
        r#"{"choices":[{"delta":null}],"error":""}"#,
        r#"{"choices":[{"delta":{"tool_calls":null,"content":null}}],"error":{}}"#,
        r#"{"choices":[],"error":{"message":"","code":0}}"#,
        r#"{"choices":[{"delta":{},"error":null,"logprobs":{"content":[{"logprob":-Infinity}]}}]}"#,
        r#"{"choices":[{"delta":{},"delta":{}}],"choices":[{"delta":{}}]}"#,
        r#"{"choices":{"delta":{}},"usage":[]}"#,
    ];
    for odd in odd {
        let chunks = [
            odd.to_owned(),
            chunk(&text("Hel"), Value::Null),
            odd.to_owned(),
            chunk(&text("lo"), "stop"),
            odd.to_owned(),
            done(),
        ];
        let message = answer(&mut new(), &chunks);
        assert_eq!(message.blocks(), [block("text", "Hello")], "{odd}");
        assert_eq!(message.stop_reason, "end_turn", "{odd}");
    }
}

#[test]
fn events_that_are_parted_by_single_line_feeds_are_read_line_by_line() {
    let lines = [
        chunk(&text("Hel"), Value::Null),
        chunk(&text("lo"), "stop"),
        usage(),
        done(),
    ];
    let message = answer(&mut new(), &[lines.join("\n")]);
    assert_eq!(message.blocks(), [block("text", "Hello")]);
    assert_eq!(message.usage["input_tokens"], 10);
    let broken = [&lines[0], "{\"choices\":"].join("\n");
    assert_eq!(answer(&mut new(), &[broken]).error["type"], "api_error");
}

#[test]
fn halves_of_a_character_are_joined_across_chunks() {
    let piece =
        |delta: &str| format!(r#"{{"choices":[{{"delta":{delta},"finish_reason":"stop"}}]}}"#);
    let chunks = [
        piece(r#"{"reasoning":"\ud83d"}"#),
        piece(r#"{"reasoning":"\ude00"}"#),
        piece(r#"{"content":"ok \ud83d"}"#),
        piece(r#"{"content":"\ude00 done \ud83d"}"#),
        piece(&format!(
            r#"{{"tool_calls":[{{"index":0,"id":"{ID}","function":{{"name":"f","arguments":"{{\"a\":\"\ud83d"}}}}]}}"#
        )),
        piece(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}"#),
        done(),
    ];
    let wanted = [
        block("thinking", "😀"),
        block("text", "ok 😀 done \u{fffd}"),
        block("f", "{\"a\":\"😀\"}"),
    ];
    assert_eq!(answer(&mut new(), &chunks).blocks(), wanted);
}

#[test]
fn thinking_between_tags_is_a_thinking_block_whatever_follows() {
    let setting = |tags: &str| exchange(&hello()).settings(json!({ "think_tags": tags }));
    let cut = |text: &str| -> Vec<String> {
        text.chars()
            .map(|piece| chunk(&self::text(&piece.to_string()), Value::Null))
            .collect()
    };
    let mut chunks = cut("<think>\nhm\n</think>\n\nHere.");
    chunks.push(chunk(&json!({}), "stop"));
    let both = [block("thinking", "hm"), block("text", "Here.")];
    assert_eq!(answer(&mut new(), &chunks).blocks(), both);
    let plain = [block("text", "<think>\nhm\n</think>\n\nHere.")];
    assert_eq!(answer(&mut setting("none"), &chunks).blocks(), plain);
    let mut chunks = cut("hm\n</think>\n\nHere.");
    chunks.push(done());
    assert_eq!(answer(&mut setting("opened"), &chunks).blocks(), both);

    let mut chunks = cut("<think>hm</think>\n");
    chunks.extend([chunk(&call(0, ID, "f", "{}"), "tool_calls"), done()]);
    let call = [block("thinking", "hm"), block("f", "{}")];
    assert_eq!(answer(&mut new(), &chunks).blocks(), call);
    let mut chunks = cut("<think>hm</th");
    chunks.push(chunk(&json!({}), "length"));
    assert_eq!(
        answer(&mut new(), &chunks).blocks(),
        [block("thinking", "hm</th")]
    );
}

#[test]
fn arguments_are_one_object_whatever_the_pieces_were() {
    let tool = |name: &str, member: Value| {
        let schema = json!({ "type": "object", "properties": { "x": member } });
        json!({ "name": name, "input_schema": schema })
    };
    let mut body = hello();
    body["tools"] = json!([
        tool("Read", json!({ "type": "string" })),
        tool("Todo", json!({ "type": "array" }))
    ]);
    for (name, pieces, wanted) in [
        ("Read", &["{}", r#"{"x":"#, r#""a"}"#][..], r#"{"x":"a"}"#),
        ("Read", &["", " "], "{}"),
        ("Read", &["null"], "{}"),
        ("Read", &[r#""{\"x\":\"a\"}""#], r#"{"x":"a"}"#),
        ("Read", &[r#"{"x":"aaa"#], r#"{"x":"aaa"#),
        ("Read", &["[1]"], "{}"),
        ("Read", &[r#"{"x":"a"}"#, r#"{"x":"a"}"#], r#"{"x":"a"}"#),
        (
            "Todo",
            &[r#"{"x":"[{\"a\""#, r#":1}]"}"#],
            r#"{"x":[{"a":1}]}"#,
        ),
        ("Todo", &[r#"{"x": [1.50]}"#], r#"{"x": [1.50]}"#),
    ] {
        let mut chunks = vec![chunk(&call(0, ID, name, ""), Value::Null)];
        chunks.extend(
            pieces
                .iter()
                .map(|piece| chunk(&arguments(0, piece), Value::Null)),
        );
        chunks.extend([chunk(&json!({}), "tool_calls"), done()]);
        let message = answer(&mut exchange(&body), &chunks);
        assert_eq!(message.blocks(), [block(name, wanted)], "{pieces:?}");
    }
}

#[test]
fn a_call_without_a_name_is_left_out_and_noted() {
    let mut exchange = new();
    let chunks = [
        chunk(&text("a"), Value::Null),
        chunk(
            &json!({ "tool_calls": [{ "index": 0, "id": ID, "function": null }] }),
            "stop",
        ),
        done(),
    ];
    let message = answer(&mut exchange, &chunks);
    assert_eq!(message.blocks(), [block("text", "a")]);
    assert_eq!(message.stop_reason, "end_turn");
    assert!(
        exchange
            .notes()
            .contains(&"left out: tool call without a name".to_owned())
    );
}

/// The next turn of a conversation: the calls of a message, and their results.
fn next_turn(exchange: Openai, message: &Message) -> Value {
    let mut calls = message.content.clone();
    for call in &mut calls {
        if let Some(input) = call["input"].as_str() {
            call["input"] = serde_json::from_str(input).unwrap();
        }
    }
    let result = |id: &String| json!({ "type": "tool_result", "tool_use_id": id, "content": "ok" });
    let results: Vec<Value> = message.ids().iter().map(result).collect();
    let body = json!({ "model": "m", "messages": [
        { "role": "assistant", "content": calls }, { "role": "user", "content": results },
    ] });
    let mut next = exchange.next(body).dialect("openai").upstream("up");
    attempt(&mut next)["messages"].clone()
}

#[test]
fn the_upstream_gets_its_own_call_ids_back() {
    for ids in [
        ["O4kbyHTo9", "abcdefghi"],
        ["functions.Read:0", "functions.Read:1"],
        ["call_0", "call_0"],
        [ID, ID],
        ["chatcmpl-tool-0123456789abcdef0123456789abcdef", "größe/1"],
    ] {
        let mut exchange = new();
        let chunks = [
            chunk(&call(0, ids[0], "f", "{}"), Value::Null),
            chunk(&call(1, ids[1], "g", "{}"), "tool_calls"),
            done(),
        ];
        let message = answer(&mut exchange, &chunks);
        let [first, second] = &message.ids()[..] else {
            panic!("{message:?}");
        };
        assert_ne!(first, second);
        let sent = next_turn(exchange, &message);
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(sent[0]["tool_calls"][at]["id"], *id);
            assert_eq!(sent[at + 1]["tool_call_id"], *id);
        }
    }
}

#[test]
fn signatures_of_calls_go_back_as_they_came() {
    for signature in ["CvcBAdHtim8=".to_owned(), "CvcBAdHtim8=".repeat(500)] {
        let mut exchange = new();
        let extra = json!({ "google": { "thought_signature": signature } });
        let mut signed = call(0, "function-call-12345678901234567890", "f", r#"{"a":1}"#);
        signed["tool_calls"][0]["extra_content"] = extra.clone();
        let mut other = call(1, "call_1", "g", "{}");
        other["tool_calls"][0]["function"]["thought_signature"] = signature.clone().into();
        let chunks = [
            chunk(&signed, Value::Null),
            chunk(&other, "tool_calls"),
            done(),
        ];
        let message = answer(&mut exchange, &chunks);
        assert!(message.ids().iter().all(|id| id.len() < 250), "{message:?}");
        let sent = next_turn(exchange, &message);
        let [first, second] = &sent[0]["tool_calls"].as_array().unwrap()[..] else {
            panic!("{sent}");
        };
        assert_eq!(first["id"], "function-call-12345678901234567890");
        assert_eq!(first["extra_content"], extra);
        assert_eq!(second["function"]["thought_signature"], signature);
        assert_eq!(second.get("extra_content"), None);
    }
}

#[test]
fn reasoning_details_go_back_with_the_calls_of_their_message() {
    let detail = |kind: &str, member: &str, value: &str| json!({ "type": kind, member: value, "format": "f", "index": 0 });
    let text = |text: &str| detail("reasoning.text", "text", text);
    let encrypted = detail("reasoning.encrypted", "data", "CvcBAdHtim8=");
    let details = |list: &[&Value]| json!({ "content": "", "reasoning_details": list });
    let mut with_call = call(0, "tool_0_Read_abcdefgh", "Read", r#"{"path":"a"}"#);
    with_call["reasoning_details"] = json!([encrypted]);
    let plain_call = call(0, "tool_0_Read_abcdefgh", "Read", r#"{"path":"a"}"#);
    let second = call(1, "tool_1_Read_abcdefgh", "Read", r#"{"path":"b"}"#);
    let thought = [details(&[&text("Lo")]), details(&[&text("ok.")])];
    for calls in [
        vec![with_call.clone()],
        vec![details(&[&encrypted]), plain_call.clone()],
        vec![plain_call.clone(), details(&[&encrypted])],
        vec![with_call, second.clone()],
        vec![plain_call, second, details(&[&encrypted])],
    ] {
        let mut exchange = new();
        let mut chunks: Vec<String> = thought
            .iter()
            .chain(&calls)
            .map(|delta| chunk(delta, Value::Null))
            .collect();
        chunks.extend([chunk(&json!({}), "tool_calls"), done()]);
        let message = answer(&mut exchange, &chunks);
        assert_eq!(
            message.blocks()[..2],
            [block("thinking", "Look."), block("Read", r#"{"path":"a"}"#)]
        );
        let sent = next_turn(exchange, &message);
        assert_eq!(
            sent[0]["reasoning_details"],
            json!([text("Look."), encrypted]),
            "{calls:?}"
        );
    }
}

#[test]
fn opaque_reasoning_goes_back_with_a_message_that_has_no_calls() {
    let text = |signature: Value| json!({ "type": "reasoning.text", "text": "Look.", "signature": signature, "index": 0 });
    let encrypted = json!({ "type": "reasoning.encrypted", "data": "CvcB".repeat(500) });
    let short = json!({ "type": "reasoning.encrypted", "data": "CvcB" });
    let left_out = "left out: reasoning_details of a message without a tool call";
    // What arrives before the text, whether the client asked for thinking, whether it goes back,
    // how many blocks the client gets, and whether the record says that it is lost.
    let rows = [
        (text(json!("c2ln")), false, true, 2, false),
        (text(Value::Null), true, false, 2, false),
        (short.clone(), true, true, 2, false),
        (encrypted, true, true, 2, false),
        (short, false, false, 1, true),
    ];
    for (detail, asks, returns, blocks, is_noted) in rows {
        let details = json!([detail]);
        let mut body = hello();
        if asks {
            body["thinking"] = json!({ "type": "adaptive" });
        }
        let mut exchange = exchange(&body);
        let chunks = [
            chunk(&json!({ "reasoning_details": details }), Value::Null),
            chunk(&json!({ "content": "Hello." }), "stop"),
            done(),
        ];
        let message = answer(&mut exchange, &chunks);
        assert_eq!(message.content.len(), blocks, "{message:?}");
        let notes = exchange.notes();
        assert_eq!(
            notes.iter().any(|note| note == left_out),
            is_noted,
            "{notes:?}"
        );
        let sent = next_turn(exchange, &message);
        assert_eq!(sent[0]["content"], "Hello.");
        let returned = sent[0].get("reasoning_details");
        assert_eq!(returned, Some(&details).filter(|_| returns), "{sent}");
    }
}

#[test]
fn a_call_after_a_signed_text_carries_all_of_the_state_once() {
    let detail = |data: &str| json!({ "type": "reasoning.encrypted", "data": data });
    let mut body = hello();
    body["thinking"] = json!({ "type": "adaptive" });
    let mut exchange = exchange(&body);
    let first = json!({ "content": "Look.", "reasoning_details": [detail("a")] });
    let mut second = call(0, "call_1", "f", "{}");
    second["reasoning_details"] = json!([detail("b")]);
    let chunks = [
        chunk(&first, Value::Null),
        chunk(&second, "tool_calls"),
        done(),
    ];
    let message = answer(&mut exchange, &chunks);
    let sent = next_turn(exchange, &message);
    let all = json!([detail("a"), detail("b")]);
    assert_eq!(sent[0]["reasoning_details"], all);
}

#[test]
fn state_that_another_upstream_sent_is_not_passed_on() {
    let mut exchange = new();
    let mut signed = call(0, "call_1", "f", "{}");
    signed["tool_calls"][0]["extra_content"] = json!({ "google": { "thought_signature": "c2ln" } });
    let message = answer(&mut exchange, &[chunk(&signed, "tool_calls"), done()]);
    let body = json!({ "model": "m", "messages": [{ "role": "assistant", "content": [
        { "type": "tool_use", "id": message.ids()[0], "name": "f", "input": {} },
    ] }] });
    let mut next = exchange.next(body).dialect("openai").upstream("other");
    let sent = attempt(&mut next);
    assert_eq!(
        sent["messages"][0]["tool_calls"][0].get("extra_content"),
        None
    );
}

#[test]
fn calls_of_another_origin_get_a_placeholder_where_a_signature_is_required() {
    let body = json!({ "model": "m", "messages": [{ "role": "assistant", "content": [
        { "type": "tool_use", "id": "toolu_01", "name": "f", "input": {} },
    ] }] });
    let mut exchange = exchange(&body);
    assert_eq!(extra_content(&mut exchange), None);
    let error = json!([{ "error": { "code": 400, "message": "Function call is missing a thought_signature in functionCall parts." } }]);
    let mut failed = Failed::new(400, "invalid_request_error", error);
    exchange.on_failure(&mut failed).unwrap();
    let again = Some((RetryTarget::SameAccount, Duration::ZERO));
    assert_eq!(failed.retry(), again);
    let placeholder =
        json!({ "google": { "thought_signature": "skip_thought_signature_validator" } });
    assert_eq!(extra_content(&mut exchange), Some(placeholder.clone()));
    let mut failed = Failed::new(400, "invalid_request_error", failed.body());
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), None, "it did not help");
    let mut later = exchange.next(body).dialect("openai").upstream("up");
    assert_eq!(extra_content(&mut later), Some(placeholder), "remembered");
}

fn extra_content(exchange: &mut Openai) -> Option<Value> {
    let sent = attempt(exchange);
    let call = &sent["messages"][0]["tool_calls"][0];
    call.get("extra_content").cloned()
}

#[test]
fn usage_is_counted_wherever_it_is() {
    let counts = json!({ "prompt_tokens": 2989, "completion_tokens": 20, "cached_tokens": 2900 });
    let finish = json!({ "choices": [{ "delta": {}, "finish_reason": "stop", "usage": counts }] });
    let message = answer(
        &mut new(),
        &[chunk(&text("a"), ""), finish.to_string(), done()],
    );
    let wanted = json!({
        "input_tokens": 89, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2900,
        "output_tokens": 20,
    });
    assert_eq!(message.usage, wanted);
}

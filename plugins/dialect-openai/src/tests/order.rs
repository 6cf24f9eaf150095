//! Checks with random input that events are always sent in Anthropic's order.

use serde_json::{Value, json};
use witgate_plugin::Event;

use super::{Openai, attempt, event, exchange, hello};

/// Pseudo-random numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    /// A delta that an upstream might send.
    fn delta(&mut self) -> Value {
        match self.below(6) {
            0 | 1 => json!({ "content": self.one_of(&["a", " ", "\n", "b c", ""]) }),
            2 => json!({ "reasoning": self.one_of(&["hm", " ", ""]) }),
            3 => json!({ "content": "", "refusal": null, "function_call": null }),
            _ => {
                let mut call = json!({ "function": { "arguments": self.one_of(&["", "{", "}", "{}", "\"x\":1", " "]) } });
                if self.below(3) > 0 {
                    call["index"] = json!(self.below(3));
                }
                if self.below(2) == 0 {
                    call["id"] =
                        json!(self.one_of(&["call_abcdefghijkl", "call_mnopqrstuvwx", "0", ""]));
                    call["function"]["name"] = json!(self.one_of(&["f", "g", ""]));
                }
                json!({ "tool_calls": [call] })
            }
        }
    }
}

/// Checks the order of a response's events and returns its texts.
#[track_caller]
fn texts(events: &[Event]) -> String {
    let mut texts = String::new();
    let mut open = None;
    let mut blocks = 0;
    for (at, event) in events.iter().enumerate() {
        let data: Value = event.parse().unwrap();
        assert_eq!(data["type"], event.name.as_str());
        let last = events.len() - 1;
        match event.name.as_str() {
            "message_start" => assert_eq!(at, 0),
            "content_block_start" => {
                assert_eq!((open.take(), &data["index"]), (None, &json!(blocks)));
                open = data["content_block"]["type"].as_str().map(str::to_owned);
            }
            "content_block_delta" => {
                let kind = match data["delta"]["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "input_json_delta" => "tool_use",
                    other => panic!("{other}"),
                };
                assert_eq!(
                    (open.as_deref(), &data["index"]),
                    (Some(kind), &json!(blocks))
                );
                texts.push_str(data["delta"]["text"].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                assert!(open.take().is_some());
                blocks += 1;
            }
            "message_delta" => assert_eq!((at, &open), (last - 1, &None)),
            "message_stop" => assert_eq!(at, last),
            other => panic!("{other}"),
        }
    }
    assert_eq!(events.last().unwrap().name, "message_stop");
    texts
}

#[test]
fn events_are_in_anthropics_order_for_any_input() {
    let mut numbers = Numbers(7);
    let mut answer: Openai = exchange(&hello());
    for round in 0..2_000 {
        answer = answer.next(hello()).dialect("openai").upstream("up");
        attempt(&mut answer);
        let deltas: Vec<Value> = (0..numbers.below(14)).map(|_| numbers.delta()).collect();
        let input = deltas.iter().filter_map(|delta| delta["content"].as_str());
        let input: String = input.flat_map(str::split_whitespace).collect();
        let mut chunk = |delta: &Value| {
            let reason = numbers.one_of(&["", "null", "stop", "tool_calls", "length"]);
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
            event("", &json!({ "id": "c", "choices": [choice] }).to_string())
        };
        let mut events: Vec<Event> = deltas.iter().map(&mut chunk).collect();
        let finish =
            json!({ "id": "c", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        events.push(event("", &finish.to_string()));
        if numbers.below(2) == 0 {
            events.push(event("", "[DONE]"));
        }
        let sent = answer.stream(events).unwrap();
        // A response without any content is an error.
        if sent.len() == 1 && sent[0].name == "error" && input.is_empty() {
            continue;
        }
        let output: String = texts(&sent).split_whitespace().collect();
        assert_eq!(output, input, "{round}: {deltas:?}");
    }
}

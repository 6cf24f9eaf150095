use witgate_plugin::{Hook, Value, json, testing::Exchange};

use super::BackgroundModel;

type Background = Exchange<BackgroundModel>;

const CLASS: &str = "x-claude-code-request-class";

/// A request for the summary of a page, as Claude Code sends it.
fn auxiliary() -> Value {
    json!({"model": "big", "messages": [{"role": "user", "content": "page"}], "system": [],
        "tools": [], "metadata": {"user_id": "{}"}, "max_tokens": 32000, "stream": true})
}

fn model(exchange: &Background) -> Value {
    let body: Value = exchange.body().parse().unwrap();
    body["model"].clone()
}

#[test]
fn a_marked_request_changes_its_model_and_nothing_else() {
    let body = r#"{ "tools": [{"name":"t"}], "model" : "big", "thinking": {"type":"adaptive"}, "x": 1.0e0 }"#;
    let mut exchange = Background::new(body)
        .header(CLASS, "auxiliary")
        .settings(json!({"model": "small"}));
    assert!(exchange.would_call(Hook::Request));
    exchange.on_request().unwrap();
    assert_eq!(
        exchange.body(),
        r#"{ "tools": [{"name":"t"}], "model" : "small", "thinking": {"type":"adaptive"}, "x": 1.0e0 }"#
    );
    let lines: Vec<&str> = exchange
        .log()
        .iter()
        .map(|(_, line)| line.as_str())
        .collect();
    assert_eq!(lines, ["auxiliary request moved from `big` to `small`"]);
}

#[test]
fn without_settings_the_plugin_is_never_called() {
    let mut exchange = Background::new(auxiliary()).header(CLASS, "auxiliary");
    assert!(!exchange.would_call(Hook::Request));
    exchange.on_request().unwrap();
    assert_eq!(model(&exchange), "big");
}

#[test]
fn other_classes_and_unmarked_requests_keep_their_model() {
    for class in [Some("main"), Some("compaction"), None] {
        let mut exchange = Background::new(auxiliary()).settings(json!({"model": "small"}));
        if let Some(class) = class {
            exchange = exchange.header(CLASS, class);
        }
        assert!(!exchange.would_call(Hook::Request), "{class:?}");
        exchange.on_request().unwrap();
        assert_eq!(model(&exchange), "big", "{class:?}");
    }
    let mut count = Background::new(auxiliary())
        .header(CLASS, "auxiliary")
        .settings(json!({"model": "small"}))
        .count_tokens();
    assert!(!count.would_call(Hook::Request));
}

#[test]
fn an_unmarked_request_is_recognised_by_its_shape_only_if_configured() {
    let with = |key: &str, value: Value| {
        let mut body = auxiliary();
        body[key] = value;
        body
    };
    let without = |key: &str| {
        let mut body = auxiliary();
        body.as_object_mut().unwrap().remove(key);
        body
    };
    let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    let own = json!([{"type": "custom", "name": "t", "input_schema": {}}]);
    let cached = json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]);
    let table = [
        (auxiliary(), "small"),
        (with("tools", search), "small"),
        (with("tools", own), "big"),
        (
            with("tools", json!([{"name": "t", "input_schema": {}}])),
            "big",
        ),
        (without("tools"), "big"),
        (without("metadata"), "big"),
        (with("thinking", json!({"type": "adaptive"})), "big"),
        (with("system", cached), "big"),
    ];
    for (body, wanted) in table {
        let settings = json!({"model": "small", "unmarked": true});
        let mut exchange = Background::new(&body)
            .header("x-claude-code-session-id", "s")
            .settings(settings.clone());
        exchange.on_request().unwrap();
        assert_eq!(model(&exchange), wanted, "{body}");
        if wanted == "small" {
            assert!(exchange.would_call(Hook::Request), "{body}");
        }

        let mut marked_main = Background::new(&body)
            .header("x-claude-code-session-id", "s")
            .header(CLASS, "main")
            .settings(settings.clone());
        marked_main.on_request().unwrap();
        assert_eq!(model(&marked_main), "big", "{body}");

        let mut of_another_client = Background::new(&body).settings(settings);
        of_another_client.on_request().unwrap();
        assert_eq!(model(&of_another_client), "big", "{body}");
    }
}

#[test]
fn settings_are_checked() {
    for settings in [
        json!({"modle": "x"}),
        json!({"model": ""}),
        json!({"model": 1}),
    ] {
        let mut exchange = Background::new("{}").settings(settings.clone());
        assert!(exchange.describe().is_err(), "{settings}");
    }
}

#[test]
fn a_request_without_a_model_is_left_to_the_upstream() {
    for body in [json!({}), json!({"model": "small"})] {
        let mut exchange = Background::new(&body)
            .header(CLASS, "auxiliary")
            .settings(json!({"model": "small"}));
        exchange.on_request().unwrap();
        assert_eq!(exchange.body(), body.to_string());
        assert!(exchange.log().is_empty());
    }
}

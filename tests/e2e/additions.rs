//! What the configuration adds to the requests to an upstream, without a plugin: headers,
//! parameters, members of the body, limits, and the header of the key.

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Upstream,
    shapes::{EVENTS, HELLO, HELLO_STREAM, message},
};

const ACCOUNT: &str = "accounts = [{ name = \"ada\", key = \"sk-of-ada\" }]";

const CHAT: &str = concat!(
    r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n"
);

const GEMINI: &str = concat!(
    r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hello"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}"#,
    "\n\n"
);

fn speaks(events: &'static str) -> Upstream {
    Upstream::with(move |_| Answer::sse(events))
}

#[test]
fn headers_and_parameters_are_added_to_every_request() {
    let upstream = Upstream::ok();
    let lines = format!(
        "preset = \"anthropic\"\nheaders = {{ x-team = \"env:TEAM\", user-agent = \"witgate\" }}\nquery = {{ beta = \"false\", \"a b\" = \"c&d\" }}\n{ACCOUNT}"
    );
    let gateway = Gateway::echo()
        .upstream("up", &upstream, &lines)
        .env("TEAM", "of ada")
        .start();
    let paths = [
        ("POST", "/v1/messages?beta=true", "/v1/messages"),
        ("GET", "/v1/files", "/v1/files"),
        ("GET", "/v1/models", "/v1/models?limit=1000"),
    ];
    for (method, path, sent) in paths {
        gateway
            .request(method, path)
            .header("user-agent", "claude-cli")
            .body(HELLO)
            .send();
        let arrived = upstream.last();
        arrived
            .has_header("x-team", "of ada")
            .has_header("user-agent", "witgate")
            .has_header("x-api-key", "sk-of-ada");
        let separator = if sent.contains('?') { "&" } else { "?" };
        assert_eq!(
            arrived.path,
            format!("{sent}{separator}a%20b=c%26d&beta=false")
        );
    }
    gateway.has_no_line(&["of ada"]);
}

#[test]
fn members_are_merged_into_the_body_as_the_upstream_gets_it() {
    let upstream = speaks(CHAT);
    let lines = format!(
        "preset = \"openai\"\n{ACCOUNT}\n[upstream.extra_body.chat_template_kwargs]\nenable_thinking = false"
    );
    let gateway = Gateway::echo().upstream("up", &upstream, &lines).start();
    for body in [HELLO, HELLO_STREAM] {
        let seen = gateway.message(body);
        seen.has_status(200).has("hello");
        let edits = seen.header("x-witgate-edits").unwrap_or_default();
        assert!(edits.ends_with(", extra-body=1"), "{edits}");
        let sent = upstream.last().json();
        assert_eq!(
            sent["chat_template_kwargs"],
            json!({ "enable_thinking": false })
        );
        assert_eq!(sent["messages"][0]["content"], "hi");
    }
}

#[test]
fn a_member_can_be_removed_and_the_other_bytes_stay() {
    let upstream = Upstream::ok();
    let lines =
        format!("preset = \"anthropic\"\nextra_body = '{{\"temperature\":null}}'\n{ACCOUNT}");
    let gateway = Gateway::echo().upstream("up", &upstream, &lines).start();
    let body = HELLO.replacen('{', "{ \"temperature\": 1.0,  ", 1);
    gateway
        .message(&body)
        .has_status(200)
        .has_header("x-witgate-edits", "extra-body=1");
    let sent = upstream.last();
    assert!(sent.json().get("temperature").is_none(), "{}", sent.text());
    assert!(sent.text().ends_with(&HELLO[1..]), "{}", sent.text());
    // A count has none of the members of a message.
    gateway.post("/v1/messages/count_tokens", &body);
    upstream.last().has_body(&body);
}

#[test]
fn a_url_with_a_query_and_a_header_of_its_own_for_the_key_work_as_azure_wants_them() {
    let upstream = speaks(CHAT);
    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"azure\"\npreset = \"openai\"\nbase_url = \"{}/openai/deployments/gpt?api-version=2024-10-21\"\nauth = {{ header = \"api-key\" }}\n{ACCOUNT}",
            upstream.url()
        ))
        .start();
    gateway.message(HELLO).has_status(200).has("hello");
    let arrived = upstream.last();
    let path = "/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(arrived.path, path);
    arrived
        .has_header("api-key", "sk-of-ada")
        .has_no_header("authorization")
        .has_no_header("x-api-key");
}

#[test]
fn images_become_texts_for_an_upstream_without_images() {
    let upstream = Upstream::ok();
    let lines = format!("preset = \"anthropic\"\nimages = false\n{ACCOUNT}");
    let gateway = Gateway::echo().upstream("up", &upstream, &lines).start();
    let image =
        r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}"#;
    let body = message(&format!(
        r#"[{{"role":"user","content":[{image},{{"type":"tool_result","tool_use_id":"t","content":[{image}]}}]}}]"#
    ));
    gateway
        .message(&body)
        .has_status(200)
        .has_header("x-witgate-edits", "replace-images=2");
    let sent: Value = upstream.last().json();
    let content = &sent["messages"][0]["content"];
    for block in [&content[0], &content[1]["content"][0]] {
        assert_eq!(block["type"], "text");
        assert!(
            block["text"]
                .as_str()
                .unwrap()
                .contains("cannot see images")
        );
    }
}

#[test]
fn an_upstream_may_have_its_own_limit_for_the_first_event() {
    let (upstream, writer) = Upstream::streamed();
    let lines = format!("preset = \"anthropic\"\nfirst_event = \"1h\"\n{ACCOUNT}");
    let gateway = Gateway::echo()
        .upstream("slow", &upstream, &lines)
        .retry("first_event = \"1ms\"\nping_after = \"1ms\"\nmax_attempts = 1")
        .start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .body(HELLO_STREAM)
        .sent();
    // The general limit is long over when a ping has come.
    let mut stream = pending.answer();
    assert!(stream.next_event().unwrap().contains("ping"));
    for event in EVENTS {
        writer.write(event);
    }
    writer.end();
    assert!(stream.rest().text().contains("message_stop"));
}

#[test]
fn the_clients_own_key_goes_where_the_upstream_reads_it() {
    let gemini = speaks(GEMINI);
    let to_gemini = Gateway::echo()
        .upstream("up", &gemini, "preset = \"gemini\"")
        .start();
    let openai = speaks(CHAT);
    let to_openai = Gateway::echo()
        .upstream("up", &openai, "preset = \"openai\"")
        .start();
    for (name, value) in [
        ("x-api-key", "own"),
        ("authorization", "Bearer own"),
        ("x-goog-api-key", "own"),
    ] {
        let ask = |gateway: &Gateway| {
            let request = gateway.request("POST", "/v1/messages").header(name, value);
            request.body(HELLO).send().has_status(200);
        };
        ask(&to_gemini);
        gemini
            .last()
            .has_header("x-goog-api-key", "own")
            .has_no_header("authorization")
            .has_no_header("x-api-key");
        ask(&to_openai);
        openai
            .last()
            .has_header("authorization", "Bearer own")
            .has_no_header("x-goog-api-key")
            .has_no_header("x-api-key");
    }
}

#[test]
fn vertex_counts_tokens_in_its_own_form_by_its_preset_alone() {
    let upstream = Upstream::with(|_| Answer::json(200, r#"{"totalTokens":7}"#));
    let gateway = Gateway::echo()
        .upstream("v", &upstream, &format!("preset = \"vertex\"\n{ACCOUNT}"))
        .start();
    let counted = gateway.post("/v1/messages/count_tokens", HELLO);
    counted.has_status(200).has("\"input_tokens\":7");
    assert!(
        upstream
            .last()
            .json()
            .get("generateContentRequest")
            .is_none()
    );
}

#[test]
fn a_gateway_that_is_its_own_upstream_refuses_its_own_requests() {
    let mut gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"up\"\npreset = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\n{ACCOUNT}"
        ))
        .retry("max_attempts = 1")
        .start();
    let own = format!("http://{}", gateway.addr);
    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("http://127.0.0.1:1", &own));
    gateway.line_from(from, &["configuration loaded"]);
    let from = gateway.mark();
    gateway
        .message(HELLO)
        .is_error(508, "api_error")
        .has("leads back here");
    gateway.record(from);
    let refused = gateway.log().into_iter().skip(from);
    let refused = refused
        .filter(|line| line.contains("request rejected"))
        .count();
    assert_eq!(refused, 1);
}

//! Byte fidelity: an unedited body arrives as it was sent, and an edited one differs only where it
//! was edited.

use crate::support::{
    Gateway, Upstream, component, json,
    shapes::{HELLO, corpus},
};

#[test]
fn bodies_arrive_byte_for_byte_with_the_default_plugins() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    for shape in corpus() {
        let seen = gateway.post("/v1/messages?beta=true", &shape.body);
        assert_eq!(seen.status, 200, "{}: {}", shape.name, seen.text());
        seen.has_no_header("x-witgate-edits");
        let arrived = upstream.last();
        assert_eq!(arrived.path, "/v1/messages?beta=true", "{}", shape.name);
        arrived.has_body(&shape.body);
        gateway
            .post("/v1/messages/count_tokens?beta=true", &shape.body)
            .has_status(200);
        upstream.last().has_body(&shape.body);
    }
}

#[test]
fn an_untouched_body_makes_no_instance_of_any_plugin() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    gateway.message(HELLO).has_status(200);
    let record = gateway.record(from);
    assert!(record.contains("instances=0"), "{record}");
}

#[test]
fn bodies_arrive_byte_for_byte_past_ten_plugins_that_decline() {
    let upstream = Upstream::ok();
    let mut builder = Gateway::to(&upstream);
    let file = component("declines");
    for number in 0..10 {
        builder = builder.plugin(&format!("2{number}-declines-{number}.wasm"), &file);
    }
    let gateway = builder.start();
    for shape in corpus() {
        let from = gateway.mark();
        gateway
            .message(&shape.body)
            .has_status(200)
            .has_no_header("x-witgate-edits");
        upstream.last().has_body(&shape.body);
        let record = gateway.record(from);
        assert!(record.contains("instances=10"), "{}: {record}", shape.name);
    }
}

#[test]
fn stripping_takes_out_the_cache_marks_and_not_a_byte_more() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    for shape in corpus() {
        let seen = gateway.message(&shape.body);
        assert_eq!(seen.status, 200, "{}: {}", shape.name, seen.text());
        let marks = json::members(&shape.body, "cache_control").len();
        let receipt = seen
            .header("x-witgate-edits")
            .unwrap_or_default()
            .to_owned();
        let wanted = format!("strip-cache-control={marks}");
        assert!(
            receipt.split(", ").any(|edits| edits == wanted),
            "{}: no `{wanted}` in the receipt `{receipt}`",
            shape.name
        );
        json::is_without_members(&shape.body, &upstream.last().body, "cache_control");
    }
}

#[test]
fn invalid_json_that_no_rule_reads_is_the_upstreams_to_judge() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    for odd in [
        r#""x":1e999"#,
        r#""x":"\ud800""#,
        r#""x":{"a":1,"a":2}"#,
        r#""max_tokens":17"#,
    ] {
        let body = HELLO.replacen('{', &format!("{{{odd},"), 1);
        gateway.message(&body).has_status(200);
        upstream.last().has_body(&body);
    }
}

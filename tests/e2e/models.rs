//! The list of models: one for all upstreams, within a time limit, unaffected by upstreams that
//! fail.

use crate::support::{Answer, Gateway, Upstream, shapes::MESSAGE};

fn lists(ids: &'static [&'static str]) -> Upstream {
    Upstream::with(move |request| {
        if request.path.starts_with("/v1/models") {
            let entries: Vec<String> = ids
                .iter()
                .map(|id| format!(r#"{{"type":"model","id":"{id}","display_name":"The {id}","created_at":"2026-01-01T00:00:00Z"}}"#))
                .collect();
            Answer::json(
                200,
                &format!(
                    r#"{{"data":[{}],"has_more":false,"first_id":null,"last_id":null}}"#,
                    entries.join(",")
                ),
            )
        } else {
            Answer::json(200, MESSAGE)
        }
    })
}

fn ids(list: &serde_json::Value) -> Vec<String> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

const ACCOUNT: &str = "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k\" }]";

#[test]
fn the_list_is_the_union_of_the_upstreams_lists() {
    let (a, b) = (lists(&["m-1", "m-2"]), lists(&["m-2", "m-3"]));
    let c = Upstream::with(|_| Answer::json(404, "{}"));
    let gateway = Gateway::echo()
        .upstream("a", &a, ACCOUNT)
        .upstream("b", &b, ACCOUNT)
        .upstream("c", &c, &format!("{ACCOUNT}\nmodels = [\"static-1\"]"))
        .start();
    let list = gateway.get("/v1/models?limit=1000").has_status(200).json();
    let mut got = ids(&list);
    got.sort();
    assert_eq!(got, ["m-1", "m-2", "m-3", "static-1"], "{list}");
    assert_eq!(list["has_more"], false);
    let first = list["data"][0].clone();
    assert_eq!(list["first_id"], first["id"]);
    assert_eq!(first["type"], "model");
    a.last().has_header("x-api-key", "k");

    let one = gateway.get("/v1/models/m-3").has_status(200).json();
    assert_eq!(one["id"], "m-3");
    assert_eq!(one["display_name"], "The m-3");
    gateway
        .get("/v1/models/unheard-of")
        .is_error(404, "not_found_error");

    let claude = gateway.get("/v1/models/claude").has_status(200).json();
    assert_eq!(claude["object"], "list");
    assert!(ids(&claude).contains(&"m-1".to_owned()), "{claude}");
}

#[test]
fn every_listed_model_routes() {
    let a = lists(&["m-1", "other-1"]);
    let gateway = Gateway::echo()
        .upstream("a", &a, ACCOUNT)
        .route("m-*", &["a"])
        .start();
    let list = gateway.get("/v1/models").has_status(200).json();
    assert_eq!(ids(&list), ["m-1"], "other-1 has no route");
    for id in ids(&list) {
        gateway
            .message(crate::support::shapes::HELLO.replace("claude-opus-5-5", &id))
            .has_status(200);
    }
}

#[test]
fn the_list_comes_in_pages() {
    let a = lists(&["m-1", "m-2", "m-3", "m-4", "m-5"]);
    let gateway = Gateway::echo().upstream("a", &a, ACCOUNT).start();
    let page = |query: &str| {
        gateway
            .get(&format!("/v1/models?{query}"))
            .has_status(200)
            .json()
    };
    let first = page("limit=2");
    assert_eq!(ids(&first), ["m-1", "m-2"]);
    assert_eq!(
        (&first["has_more"], &first["last_id"]),
        (&true.into(), &"m-2".into())
    );
    let second = page("limit=2&after_id=m-2");
    assert_eq!(ids(&second), ["m-3", "m-4"]);
    assert_eq!(second["has_more"], true);
    let last = page("limit=2&after_id=m-4");
    assert_eq!(ids(&last), ["m-5"]);
    assert_eq!(last["has_more"], false);
    let before = page("limit=2&before_id=m-4");
    assert_eq!(ids(&before), ["m-2", "m-3"]);
    gateway
        .get("/v1/models?limit=0")
        .is_error(400, "invalid_request_error");
    gateway
        .get("/v1/models?limit=x")
        .is_error(400, "invalid_request_error");
}

#[test]
fn an_alias_is_asked_for_at_the_upstream_and_routes_give_names() {
    let a = Upstream::with(|request| match request.path.as_str() {
        "/v1/models/claude-alias" => Answer::json(200, r#"{"type":"model","id":"claude-dated"}"#),
        path if path.starts_with("/v1/models?") => {
            Answer::json(200, r#"{"data":[],"has_more":false}"#)
        }
        _ => Answer::error(404, "not_found_error", "model"),
    });
    let b = Upstream::ok();
    let gateway = Gateway::echo()
        .upstream("a", &a, ACCOUNT)
        .upstream("b", &b, ACCOUNT)
        .route("fast", &["b/other"])
        .route("claude-opus-5-5[1m]", &["b/claude-opus-5-5"])
        .route("claude-*", &["a"])
        .start();
    let one = gateway
        .get("/v1/models/claude-alias")
        .has_status(200)
        .json();
    assert_eq!(one["id"], "claude-dated");
    gateway
        .get("/v1/models/claude-none")
        .is_error(404, "not_found_error");
    let list = gateway.get("/v1/models").has_status(200).json();
    assert_eq!(ids(&list), ["fast", "claude-opus-5-5[1m]"]);
    for name in ["fast", "claude-opus-5-5%5B1m%5D"] {
        gateway.get(&format!("/v1/models/{name}")).has_status(200);
    }
}

#[test]
fn all_pages_of_an_upstreams_list_are_read() {
    let a = Upstream::with(|request| match request.path.contains("after_id=m-1") {
        false => Answer::json(
            200,
            r#"{"data":[{"id":"m-1"}],"has_more":true,"last_id":"m-1"}"#,
        ),
        true => Answer::json(
            200,
            r#"{"data":[{"id":"m-2"}],"has_more":false,"last_id":"m-2"}"#,
        ),
    });
    let gateway = Gateway::echo().upstream("a", &a, ACCOUNT).start();
    let list = gateway.get("/v1/models").has_status(200).json();
    assert_eq!(ids(&list), ["m-1", "m-2"]);
}

#[test]
fn a_list_that_fails_or_hangs_does_not_spoil_the_others() {
    let good = lists(&["m-1"]);
    let broken = Upstream::with(|_| Answer::whole(200, "text/html", "<html>"));
    let refused = Upstream::with(|_| Answer::json(500, "{}"));
    let reset = Upstream::with(|_| Answer::Reset);
    let hanging = Upstream::with(|_| Answer::hang().0);
    let mut builder = Gateway::echo();
    for (name, upstream) in [
        ("h", &hanging),
        ("b", &broken),
        ("r", &refused),
        ("x", &reset),
        ("g", &good),
    ] {
        // Models named by the configuration are listed whatever the upstream does.
        let known = if name == "h" {
            "\nmodels = [\"static-1\"]"
        } else {
            ""
        };
        builder = builder.upstream(name, upstream, &format!("{ACCOUNT}{known}"));
    }
    let gateway = builder.start();
    // One of them never answers, so the list has a time limit.
    let list = gateway.get("/v1/models?limit=1000").has_status(200).json();
    assert_eq!(ids(&list), ["static-1", "m-1"]);
    assert_eq!(list["last_id"], "m-1");
    assert_eq!(good.last().path, "/v1/models?limit=1000");
}

#[test]
fn the_list_is_remembered_for_a_while() {
    let a = lists(&["m-1"]);
    let gateway = Gateway::echo().upstream("a", &a, ACCOUNT).start();
    for _ in 0..3 {
        gateway.get("/v1/models").has_status(200);
    }
    assert_eq!(a.received().len(), 1);
}

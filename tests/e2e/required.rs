//! Rules that must not be missed: plugins without which nothing is forwarded, and routes that no
//! plugin sees.

use std::fs;

use crate::support::{Gateway, Upstream, component, shapes::HELLO};

/// A plugin whose edit is seen upstream, and that must not be missed.
const REQUIRED: &str = "[plugin.tagger]\nrequired = true\nsettings = { patch = [{ op = \"add\", path = \"/tagged\", value = 1 }] }";

const BATCH: &str = r#"{"requests":[{"custom_id":"a","params":{}}]}"#;

#[track_caller]
fn is_tagged(gateway: &Gateway, upstream: &Upstream, value: u32) {
    gateway.message(HELLO).has_status(200);
    assert_eq!(upstream.last().json()["tagged"], value);
}

#[test]
fn a_required_plugin_that_is_not_there_stops_the_gateway() {
    for command in ["serve", "check"] {
        let outcome = Gateway::echo().tables(REQUIRED).run(&[command]);
        outcome.has_code(4).says(&[
            "plugin `tagger` is required, and the plugin folder has no file for it",
            "/plugins",
        ]);
        // The name of a plugin that is there is suggested.
        let outcome = Gateway::echo()
            .tables("[plugin.merge-rules]\nrequired = true")
            .run(&[command]);
        outcome.has_code(4).says(&["did you mean `merge-roles`?"]);
    }
}

#[test]
fn a_required_plugin_outlives_its_file_and_a_bad_replacement() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream)
        .tables(REQUIRED)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let file = gateway.plugins().join("55-tagger.wasm");
    let whole = fs::read(&file).unwrap();
    is_tagged(&gateway, &upstream, 1);

    let from = gateway.mark();
    fs::remove_file(&file).unwrap();
    let gone = "plugin `tagger` is required and its file is gone";
    let (from, line) = gateway.line_from(from, &["plugin rejected; keeping the previous", gone]);
    assert!(line.contains("55-tagger.wasm"), "{line}");
    is_tagged(&gateway, &upstream, 1);

    // Other plugins come and go, and so do settings, also those of the plugin.
    gateway.drop_in("60-declines.wasm", &component("declines"));
    assert!(gateway.generation(2).contains("added=declines"));
    is_tagged(&gateway, &upstream, 1);
    gateway.reconfigure(|config| config.replace_tables("value = 1", "value = 2"));
    gateway.line_from(from, &["configuration loaded"]);
    is_tagged(&gateway, &upstream, 2);

    fs::write(&file, "garbage").unwrap();
    let from = gateway.line_from(from, &["not a WebAssembly component"]).0;
    is_tagged(&gateway, &upstream, 2);
    fs::write(&file, whole).unwrap();
    // Once it is no longer required, it goes with its file.
    gateway.reconfigure(|config| config.replace_tables("required = true\n", ""));
    gateway.line_from(from, &["configuration loaded"]);
    fs::remove_file(&file).unwrap();
    gateway.line_from(from, &["plugins loaded", "removed=tagger"]);
    gateway.message(HELLO).has_status(200);
    upstream.last().has_body(HELLO);
}

#[test]
fn a_configuration_waits_for_the_plugin_that_it_requires() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    gateway.reconfigure(|config| config.add_tables(REQUIRED));
    let words = ["configuration rejected", "plugin `tagger` is required"];
    gateway.line_from(from, &words);
    gateway.message(HELLO).has_status(200);
    upstream.last().has_body(HELLO);

    gateway.drop_in("tagger.wasm", &component("tagger"));
    gateway.line_from(from, &["configuration loaded"]);
    is_tagged(&gateway, &upstream, 1);
}

#[test]
fn a_required_plugin_that_fails_is_not_skipped() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-skips.wasm", component("skips"))
        .start();
    gateway.message(HELLO).has_status(200);
    let gateway = Gateway::to(&upstream)
        .plugin("50-skips.wasm", component("skips"))
        .tables("[plugin.skips]\nrequired = true")
        .start();
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("plugin `skips`");
}

#[test]
fn what_no_plugin_sees_is_forwarded_only_while_no_plugin_misses_it() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream).start();
    gateway.post("/v1/messages/batches", BATCH).has_status(200);
    upstream.last().has_body(BATCH);

    // A dialect is for other upstreams.
    gateway.drop_in("50-toy-dialect.wasm", &component("toy-dialect"));
    gateway.generation(2);
    gateway.post("/v1/complete", BATCH).has_status(200);

    gateway.drop_in("60-tagger.wasm", &component("tagger"));
    gateway.generation(3);
    let asked = upstream.received().len();
    let from = gateway.mark();
    for (path, resource) in [
        ("/v1/messages/batches", "/v1/messages/batches"),
        ("/v1/complete", "/v1/complete"),
        ("/v1/files", "/v1/files"),
        ("/v1/skills/skill_1/versions", "/v1/skills"),
        ("/v1/something-new", "/v1/something-new"),
    ] {
        let seen = gateway.post(path, BATCH);
        seen.is_error(403, "permission_error")
            .has("plugin `tagger` handles requests")
            .has(&format!(
                "add \\\"{resource}\\\" to `routes` in [passthrough]"
            ))
            .has_header("x-should-retry", "false");
    }
    gateway.line_from(from, &["request rejected", "status=403", "/v1/complete"]);
    assert_eq!(upstream.received().len(), asked, "nothing was forwarded");
    // Without a body there is no prompt.
    gateway.get("/v1/messages/batches").has_status(200);
    let cancel = gateway.request("POST", "/v1/messages/batches/b_1/cancel");
    cancel.send().has_status(200);
    let delete = gateway.request("DELETE", "/v1/files/file_1");
    delete.send().has_status(200);

    // The operator decides.
    gateway.reconfigure(|config| {
        config.add_tables("[passthrough]\nroutes = [\"/v1/messages/batches\"]");
    });
    gateway.line_from(from, &["configuration loaded"]);
    gateway.post("/v1/messages/batches", BATCH).has_status(200);
    gateway
        .post("/v1/files", BATCH)
        .is_error(403, "permission_error")
        .has("does not name it");
}

#[test]
fn a_built_in_plugin_closes_routes_only_if_it_is_required() {
    let upstream = Upstream::ok();
    for (tables, status) in [
        ("", 200),
        ("[plugin.merge-roles]\nrequired = true", 403),
        (
            "[plugin.merge-roles]\nrequired = true\n[passthrough]\nroutes = [\"*\"]",
            200,
        ),
        ("[passthrough]\nroutes = []", 403),
    ] {
        let gateway = Gateway::to(&upstream).tables(tables).start();
        let seen = gateway.post("/v1/complete", BATCH);
        assert_eq!(seen.status, status, "{tables}");
    }
}

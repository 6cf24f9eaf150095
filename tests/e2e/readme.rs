//! The examples of the README work as written there.

use std::fs;

use crate::support::{
    Gateway, Upstream,
    component::{component, root},
};

#[test]
fn the_plugin_of_the_readme_is_a_guest_and_removes_the_field() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Write a plugin").unwrap();
    let (_, code) = section.split_once("```rust\n").unwrap();
    let (shown, _) = code.split_once("```").unwrap();
    let guest = root().join("tests/guests/no-service-tier/src/lib.rs");
    assert_eq!(shown, fs::read_to_string(guest).unwrap());

    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("no_service_tier.wasm", component("no-service-tier"))
        .start();
    let body = r#"{"model":"m", "service_tier":"auto", "max_tokens":16, "messages":[{"role":"user","content":"hi"}]}"#;
    gateway.message(body).has_status(200);
    assert_eq!(
        upstream.last().text(),
        body.replace(r#" "service_tier":"auto","#, "")
    );
}

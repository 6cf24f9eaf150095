//! Plugins that misbehave: the exchange ends with the plugin's name on it, and the next one is fine.

use crate::support::{
    Gateway, Upstream, component,
    shapes::{EVENTS, HELLO, HELLO_STREAM},
};

/// A guest acts up when the request's text tells it to.
fn told(what: &str) -> String {
    HELLO.replace("\"hi\"", &format!("\"{what}\""))
}

#[test]
fn a_trap_ends_the_exchange_with_the_plugins_name_and_its_last_words() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).plugin("50-traps.wasm", component("traps")).start();
    let seen = gateway.message(told("trap"));
    seen.is_error(500, "api_error").has("traps").has("boom");
    gateway.line(&["traps", "boom"]);
    upstream.was_not_asked();
    gateway.message(HELLO).has_status(200);
    upstream.last().has_body(HELLO);
}

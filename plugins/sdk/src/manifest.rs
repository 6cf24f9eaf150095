//! The manifest: how a plugin describes itself.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::request::owned;

/// How a plugin describes itself when it is loaded.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Manifest {
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_error: Option<OnError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<Reload>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    guards: BTreeMap<Hook, Vec<Guard>>,
}

/// A point of the exchange at which the gateway calls plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// [`RequestHook`](crate::RequestHook)
    Request,
    /// [`AttemptHook`](crate::AttemptHook)
    Attempt,
    /// [`FailureHook`](crate::FailureHook)
    Failure,
    /// [`ResponseHook`](crate::ResponseHook)
    Response,
}

/// Where a plugin is called: before or after the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before the dialect: the plugin sees the shapes of the Messages API. The default.
    Messages,
    /// Between the dialect and the upstream: the plugin sees the upstream's own shapes. It has no
    /// request hook, and each of its guards names the dialects that it understands.
    Wire,
}

/// When a new version of a plugin replaces the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// From the next request on. The default.
    Request,
    /// For new conversations: one that began with the old version keeps it.
    Conversation,
}

/// What happens to an exchange in which the plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The exchange ends with a 500 that names the plugin. The default, and the only choice for a
    /// dialect.
    Fail,
    /// The exchange continues without the plugin, and the receipt says so.
    Skip,
}

impl Manifest {
    /// A manifest with one sentence for `witgate plugin list`.
    pub fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            ..Self::default()
        }
    }

    /// Sets the plugin's own version, free text; without it, the version of the plugin's crate.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets what happens when the plugin fails, unless the configuration says otherwise.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }

    /// Sets the protocol that the plugin translates. The plugin is then called innermost, and only
    /// for upstreams of that dialect.
    #[must_use]
    pub fn dialect(mut self, dialect: impl Into<String>) -> Self {
        self.dialect = Some(dialect.into());
        self
    }

    /// Sets where the plugin is called.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stage = Some(stage);
        self
    }

    /// Sets when a new version replaces the running one.
    #[must_use]
    pub fn reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    /// Adds a guard of the request hook.
    #[must_use]
    pub fn request(self, guard: Guard) -> Self {
        self.guard(Hook::Request, guard)
    }

    /// Adds a guard of the attempt hook.
    #[must_use]
    pub fn attempt(self, guard: Guard) -> Self {
        self.guard(Hook::Attempt, guard)
    }

    /// Adds a guard of the failure hook.
    #[must_use]
    pub fn failure(self, guard: Guard) -> Self {
        self.guard(Hook::Failure, guard)
    }

    /// Adds a guard of the response hook.
    #[must_use]
    pub fn response(self, guard: Guard) -> Self {
        self.guard(Hook::Response, guard)
    }

    fn guard(mut self, hook: Hook, guard: Guard) -> Self {
        self.guards.entry(hook).or_default().push(guard);
        self
    }

    /// Whether the plugin sits between the dialect and the upstream.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn is_wire(&self) -> bool {
        self.stage == Some(Stage::Wire)
    }

    /// Whether the plugin implements a dialect.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn is_dialect(&self) -> bool {
        self.dialect.is_some()
    }

    /// Sets the version unless the plugin has set one.
    #[cfg_attr(
        not(target_family = "wasm"),
        expect(dead_code, reason = "called by the exports, which exist only on wasm")
    )]
    pub(crate) fn or_version(mut self, version: &str) -> Self {
        self.version.get_or_insert_with(|| version.to_owned());
        self
    }

    /// The JSON text that `manifest.describe` of the contract returns.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

/// A condition for calling a hook: everything that is set must hold.
///
/// The gateway checks guards itself and makes no instance of a plugin whose guards do not hold, so
/// a good guard makes a rule cost nothing where it does not apply. A hook with several guards is
/// called if one of them holds; a hook without any is called for every exchange of kind `messages`.
///
/// ```
/// use witgate_plugin::{Guard, Manifest};
///
/// let manifest = Manifest::new("removes top_k where the model does not know it")
///     .attempt(Guard::new().upstreams(["local-*"]).models(["qwen*"]).path("$.top_k"))
///     .response(Guard::new().events(["message_delta"]).watching());
/// assert!(manifest.to_json().contains(r#""models":["qwen*"]"#));
/// ```
#[derive(Debug, Clone, Default, Serialize)]
pub struct Guard {
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialects: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstreams: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remembers: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watching: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deltas: Option<Vec<String>>,
}

impl Guard {
    /// A guard that holds for every exchange of kind `messages`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A guard that never holds, for a hook that the settings switch off.
    pub fn never() -> Self {
        Self::new().kinds(Vec::<String>::new())
    }

    /// The request's kind is one of these. The default is `messages`.
    #[must_use]
    pub fn kinds<V: Into<String>>(mut self, kinds: impl IntoIterator<Item = V>) -> Self {
        self.kinds = Some(owned(kinds));
        self
    }

    /// The target's dialect is one of these. Not for the request hook.
    #[must_use]
    pub fn dialects<V: Into<String>>(mut self, dialects: impl IntoIterator<Item = V>) -> Self {
        self.dialects = Some(owned(dialects));
        self
    }

    /// The target lacks one of these features. Not for the request hook.
    #[must_use]
    pub fn lacks<V: Into<String>>(mut self, features: impl IntoIterator<Item = V>) -> Self {
        self.lacks = Some(owned(features));
        self
    }

    /// The upstream's name is one of these; `*` in a name matches any text. Not for the request
    /// hook.
    #[must_use]
    pub fn upstreams<V: Into<String>>(mut self, names: impl IntoIterator<Item = V>) -> Self {
        self.upstreams = Some(owned(names));
        self
    }

    /// The mapped model is one of these; `*` in a name matches any text: `claude-*`. Not for the
    /// request hook.
    #[must_use]
    pub fn models<V: Into<String>>(mut self, names: impl IntoIterator<Item = V>) -> Self {
        self.models = Some(owned(names));
        self
    }

    /// The request has this header with one of these values, compared byte by byte. If called for
    /// several headers, each of them must hold. Not for the response hook.
    #[must_use]
    pub fn header<V: Into<String>>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let headers = self.headers.get_or_insert_default();
        headers.insert(name.into(), owned(values));
        self
    }

    /// The attempt is a retry: the exchange's second or a later one. For the attempt and failure
    /// hooks.
    #[must_use]
    pub fn retries(mut self) -> Self {
        self.retries = Some(true);
        self
    }

    /// The plugin's [`kv`](crate::kv) has an entry under [`Target::key`](crate::Target::key). For
    /// the attempt hook. Replaces [`remembers_conversation`](Self::remembers_conversation).
    #[must_use]
    pub fn remembers_target(mut self) -> Self {
        self.remembers = Some("target");
        self
    }

    /// The plugin's [`kv`](crate::kv) has an entry under
    /// [`Request::conversation`](crate::Request::conversation), which is the whole key. For the
    /// request and attempt hooks. Replaces [`remembers_target`](Self::remembers_target).
    #[must_use]
    pub fn remembers_conversation(mut self) -> Self {
        self.remembers = Some("conversation");
        self
    }

    /// An earlier hook of this plugin has asked for the response with
    /// [`Request::watch_response`](crate::Request::watch_response). For the response hook.
    #[must_use]
    pub fn watching(mut self) -> Self {
        self.watching = Some(true);
        self
    }

    /// This JSONPath selects something in the request's body. Not for the response hook.
    #[must_use]
    pub fn path(mut self, json_path: impl Into<String>) -> Self {
        self.path = Some(json_path.into());
        self
    }

    /// The failure's status is one of these. For the failure hook.
    #[must_use]
    pub fn status(mut self, status: impl IntoIterator<Item = u16>) -> Self {
        self.status = Some(status.into_iter().collect());
        self
    }

    /// The event's type is one of these. For the response hook; pings of the upstream are shown
    /// only if `ping` is named.
    #[must_use]
    pub fn events<V: Into<String>>(mut self, names: impl IntoIterator<Item = V>) -> Self {
        self.events = Some(owned(names));
        self
    }

    /// The type of a `content_block_delta` is one of these; other events are not affected. For the
    /// response hook.
    #[must_use]
    pub fn deltas<V: Into<String>>(mut self, types: impl IntoIterator<Item = V>) -> Self {
        self.deltas = Some(owned(types));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_only_what_was_set() {
        assert_eq!(Manifest::new("x").to_json(), r#"{"summary":"x"}"#);
        let full = Manifest::new("x")
            .version("1")
            .on_error(OnError::Skip)
            .dialect("gemini")
            .stage(Stage::Messages)
            .reload(Reload::Conversation)
            .attempt(Guard::new().lacks(["cache_control"]).path("$.a"))
            .failure(Guard::new().status([400]))
            .response(Guard::new().events(["ping"]).deltas(["text_delta"]))
            .request(Guard::new().header("x-class", ["a"]))
            .request(Guard::never())
            .attempt(Guard::new().kinds(["count_tokens"]).retries());
        assert_eq!(
            full.to_json(),
            concat!(
                r#"{"summary":"x","version":"1","on_error":"skip","dialect":"gemini","#,
                r#""stage":"messages","reload":"conversation","guards":{"#,
                r#""request":[{"headers":{"x-class":["a"]}},{"kinds":[]}],"#,
                r#""attempt":[{"lacks":["cache_control"],"path":"$.a"},{"kinds":["count_tokens"],"retries":true}],"#,
                r#""failure":[{"status":[400]}],"#,
                r#""response":[{"events":["ping"],"deltas":["text_delta"]}]}}"#
            )
        );
    }

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn the_gateway_knows_every_key_that_is_written() {
        use witgate_contract::{
            guard::KvKey,
            manifest::{Hook, Manifest as Read},
        };

        let any = || Guard::new().kinds(["messages"]);
        let target = || {
            any()
                .dialects(["x"])
                .lacks(["y"])
                .upstreams(["up"])
                .models(["claude-*"])
        };
        let request = || any().header("x-a", ["b"]).path("$.a");
        let written = Manifest::new("x")
            .version("1")
            .on_error(OnError::Skip)
            .request(request().remembers_conversation())
            .attempt(
                target()
                    .header("x-a", ["b"])
                    .path("$.a")
                    .retries()
                    .remembers_target(),
            )
            .failure(target().path("$.a").retries().status([400]))
            .response(target().events(["ping"]).deltas(["text_delta"]).watching());
        let read = Read::parse(&written.to_json(), &Hook::ALL).unwrap();
        let [request, attempt, failure, response] = read
            .guards
            .map(|guard| guard.unwrap().alternatives.remove(0));
        assert!(request.headers.is_some() && request.path.is_some());
        assert_eq!(attempt.retries, Some(true));
        assert_eq!(request.remembers, Some(KvKey::Conversation));
        assert_eq!(attempt.remembers, Some(KvKey::Target));
        assert_eq!(failure.status, Some(vec![400]));
        assert!(response.events.is_some() && response.deltas.is_some());
        assert_eq!(response.watching, Some(true));
        assert!(attempt.upstreams.is_some() && failure.models.is_some());
    }
}

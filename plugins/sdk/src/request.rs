//! The client's request, and the target of the current attempt.

use serde::de::DeserializeOwned;

use crate::{
    edit::{EditError, Node, Operation},
    error::Error,
    host,
    outline::Outline,
    text::{self, Text},
};

/// The client's request, with the edits of the plugins that were called before this one.
///
/// The body stays with the gateway: query the parts that the rule needs (JSONPath, RFC 9535) and
/// hand back edits (JSON Patch, RFC 6902). Every byte outside of the edited places stays as it was.
///
/// In [`on_request`](crate::RequestHook::on_request) an edit holds for the whole exchange, in
/// [`on_attempt`](crate::AttemptHook::on_attempt) for this attempt only. In
/// [`on_failure`](crate::FailureHook::on_failure) the request can only be read.
#[derive(Debug)]
pub struct Request<'a> {
    host: &'a host::Request,
}

impl<'a> Request<'a> {
    pub(crate) fn over(host: &'a host::Request) -> Self {
        Self { host }
    }

    /// What is requested: `messages`, `count_tokens` or `models`. Kinds may be added: leave alone
    /// what you do not know.
    pub fn kind(&self) -> String {
        self.host.kind()
    }

    /// The HTTP method.
    pub fn method(&self) -> String {
        self.host.method()
    }

    /// The path below the upstream's base URL, without the query string: `/v1/messages`.
    pub fn path(&self) -> String {
        self.host.path()
    }

    /// The query string as it arrived, without the question mark, or empty: `beta=true`.
    pub fn query(&self) -> String {
        self.host.query()
    }

    /// The id of the exchange, as in the log.
    pub fn id(&self) -> String {
        self.host.id()
    }

    /// The session, if the client names one.
    pub fn session(&self) -> Option<String> {
        self.host.session()
    }

    /// The id of the conversation that the request continues: session and agent, or the opening if
    /// the client names no session. It is the same on each turn, and short enough for a key.
    pub fn conversation(&self) -> String {
        self.host.conversation()
    }

    /// All values of a header, in order; the case of the name does not matter. Empty for
    /// credentials, `host` and framing headers, which are never shown.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// Sets a header to exactly these values; no values remove it.
    pub fn set_header<V: Into<String>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), EditError> {
        self.host.set_header(name, &owned(values))
    }

    /// Sends the request to another path below the upstream's base URL, with an optional query
    /// string after `?`. Only in [`on_attempt`](crate::AttemptHook::on_attempt).
    pub fn set_path(&mut self, path_and_query: &str) -> Result<(), EditError> {
        self.host.set_path(path_and_query)
    }

    /// Whether the JSONPath selects anything in the body.
    pub fn matches(&self, json_path: &str) -> Result<bool, EditError> {
        self.host.matches(json_path)
    }

    /// The locations, as JSON Pointers, of all nodes that the JSONPath selects in the body.
    pub fn select(&self, json_path: &str) -> Result<Vec<String>, EditError> {
        self.host.select(json_path)
    }

    /// The locations and the JSON texts of all nodes that the JSONPath selects in the body.
    pub fn read(&self, json_path: &str) -> Result<Vec<Node>, EditError> {
        self.host.read(json_path)
    }

    /// The first node that the JSONPath selects, as a Rust value:
    /// `request.first::<String>("$.model")?`.
    pub fn first<T: DeserializeOwned>(&self, json_path: &str) -> Result<Option<T>, Error> {
        let nodes = self.read(json_path)?;
        Ok(nodes.first().map(Node::parse).transpose()?)
    }

    /// Every text that the model reads: of the system prompt, of messages and of tool results, as a
    /// string or in a block. All of them cross into the plugin, so prefer
    /// [`texts_matching`](Self::texts_matching) if a pattern can select the ones of interest.
    pub fn texts(&self) -> Result<Vec<Text>, Error> {
        text::matching(|path| self.read(path), "")
    }

    /// Like [`texts`](Self::texts), but only those in which the gateway finds this regular
    /// expression (I-Regexp, RFC 9485). The others never cross into the plugin.
    ///
    /// ```
    /// # use witgate_plugin::{Error, Request};
    /// fn redact(request: &mut Request) -> Result<(), Error> {
    ///     let texts = request.texts_matching("sk-[a-z0-9]{20}")?;
    ///     request.patch(texts.iter().map(|text| text.replace("(removed)")))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn texts_matching(&self, regex: &str) -> Result<Vec<Text>, Error> {
        text::matching(|path| self.read(path), regex)
    }

    /// Applies a JSON Patch to the body, as a whole or not at all.
    pub fn patch(&mut self, edits: impl IntoIterator<Item = Operation>) -> Result<(), EditError> {
        let edits: Vec<Operation> = edits.into_iter().collect();
        self.host.patch(&edits)
    }

    /// Removes every node that the JSONPath selects, and returns how many there were.
    pub fn remove_all(&mut self, json_path: &str) -> Result<u32, EditError> {
        self.host.remove_all(json_path)
    }

    /// The body without its long strings, for a plugin that replaces the body: every string value
    /// that takes more than `longest` bytes is replaced by a placeholder.
    /// [`rewrite`](Self::rewrite) puts the strings back;
    /// [`dialect::ClientRequest`](crate::dialect::ClientRequest) reads an outline.
    pub fn outline(&mut self, longest: u32) -> Result<Outline, EditError> {
        self.host.outline(longest)
    }

    /// Replaces the whole body. Each placeholder of the last [`outline`](Self::outline) in this
    /// call becomes the text that it represents, wherever it is in a string. For a string that is
    /// itself a JSON text see [`Outline::quoted`].
    pub fn rewrite(&mut self, body: impl ToString) -> Result<(), EditError> {
        self.host.rewrite(&body.to_string())
    }

    /// Adds a line to the record of the exchange: what was dropped because it cannot be expressed,
    /// or was done in another way. The line goes to the log, so keep the client's content out of
    /// it.
    pub fn note(&mut self, line: &str) {
        self.host.note(line);
    }
}

/// Where the current attempt goes: upstream, account and model.
#[derive(Debug)]
pub struct Target<'a> {
    host: &'a host::Target,
}

impl<'a> Target<'a> {
    pub(crate) fn over(host: &'a host::Target) -> Self {
        Self { host }
    }

    /// The upstream's name in the gateway's configuration.
    pub fn upstream(&self) -> String {
        self.host.upstream()
    }

    /// The protocol that the upstream speaks: `anthropic`, or the dialect of a dialect plugin.
    pub fn dialect(&self) -> String {
        self.host.dialect()
    }

    /// The account's name, if the upstream has accounts. The credential is never shown.
    pub fn account(&self) -> Option<String> {
        self.host.account()
    }

    /// The model that is sent: the requested one, or what the route maps it to.
    pub fn mapped_model(&self) -> String {
        self.host.mapped_model()
    }

    /// The model that the client requested.
    pub fn requested_model(&self) -> String {
        self.host.requested_model()
    }

    /// The number of this attempt in the exchange: 1 for the first.
    pub fn attempt(&self) -> u32 {
        self.host.attempt()
    }

    /// Whether the target lacks a feature: `cache_control`, `same-role-turns`, or any other word in
    /// the configuration's `lacks`.
    pub fn lacks(&self, feature: &str) -> bool {
        self.host.lacks(feature)
    }

    /// A key for [`kv`](crate::kv) under which a plugin remembers what it learned about this
    /// target. It names the upstream with its current configuration, and the mapped model, so what
    /// was learned is forgotten when the configuration changes.
    pub fn key(&self) -> String {
        self.host.key()
    }
}

pub(crate) fn owned<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Vec<String> {
    values.into_iter().map(Into::into).collect()
}

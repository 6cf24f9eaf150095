//! The client's request, and where the present attempt takes it.

use serde::de::DeserializeOwned;

use crate::{
    edit::{EditError, Node, Operation},
    error::Error,
    host,
    outline::Outline,
};

/// The client's request, as edited so far by the plugins before this one.
///
/// The body stays with the gateway: ask for the parts that the rule needs (JSONPath, RFC 9535) and hand back edits (JSON
/// Patch, RFC 6902). Every byte outside of the edited places stays as it was.
///
/// In [`on_request`](crate::RequestHook::on_request) an edit holds for the whole exchange, in
/// [`on_attempt`](crate::AttemptHook::on_attempt) for this attempt only. In
/// [`on_failure`](crate::FailureHook::on_failure) there is nothing but reading.
#[derive(Debug)]
pub struct Request<'a> {
    host: &'a host::Request,
}

impl<'a> Request<'a> {
    pub(crate) fn over(host: &'a host::Request) -> Self {
        Self { host }
    }

    /// What is asked for: `messages` or `count_tokens`. New kinds may come; leave what you do not know alone.
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

    /// The query string as it came, without the question mark, or empty: `beta=true`.
    pub fn query(&self) -> String {
        self.host.query()
    }

    /// The exchange's id, as it stands in the log.
    pub fn id(&self) -> String {
        self.host.id()
    }

    /// The conversation that the request belongs to, if the client tells.
    pub fn session(&self) -> Option<String> {
        self.host.session()
    }

    /// All values of a header, in order; the name's case does not matter. Credentials, `host` and framing headers are
    /// never shown.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// Sets a header to exactly these values; none removes it.
    pub fn set_header<V: Into<String>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), EditError> {
        self.host.set_header(name, &owned(values))
    }

    /// Sends the request to another path below the upstream's base URL, with an optional query string behind `?`. Only
    /// in [`on_attempt`](crate::AttemptHook::on_attempt).
    pub fn set_path(&mut self, path_and_query: &str) -> Result<(), EditError> {
        self.host.set_path(path_and_query)
    }

    /// Where: the pointers of all nodes of the body that the JSONPath selects.
    pub fn select(&self, path: &str) -> Result<Vec<String>, EditError> {
        self.host.select(path)
    }

    /// Where and what: as [`select`](Self::select), with the JSON text of each node.
    pub fn read(&self, path: &str) -> Result<Vec<Node>, EditError> {
        self.host.read(path)
    }

    /// The first node that the JSONPath selects, as a Rust value: `request.first::<String>("$.model")?`.
    pub fn first<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let nodes = self.read(path)?;
        Ok(nodes.first().map(Node::parse).transpose()?)
    }

    /// Whether the JSONPath selects anything.
    pub fn has(&self, path: &str) -> Result<bool, EditError> {
        Ok(!self.select(path)?.is_empty())
    }

    /// Applies a JSON Patch to the body: all of it, or nothing and an error.
    pub fn patch(&mut self, edits: impl IntoIterator<Item = Operation>) -> Result<(), EditError> {
        let edits: Vec<Operation> = edits.into_iter().collect();
        self.host.patch(&edits)
    }

    /// Removes every node that the JSONPath selects and tells how many: the commonest rule in one call.
    pub fn remove_all(&mut self, path: &str) -> Result<u32, EditError> {
        self.host.remove_all(path)
    }

    /// The body without its long texts, to be written anew: every string that is a value and is spelt with more than `longest`
    /// bytes is replaced by a stand-in. What is built from it goes back by [`rewrite`](Self::rewrite);
    /// [`dialect::Asked`](crate::dialect::Asked) reads it.
    pub fn outline(&mut self, longest: u32) -> Result<Outline, EditError> {
        self.host.outline(longest)
    }

    /// Replaces the whole body. Stand-ins of the last [`outline`](Self::outline) in this call become the texts they stand
    /// for, wherever they are in a string; in a string that is itself a JSON text, see [`Outline::quoted`].
    pub fn rewrite(&mut self, body: impl ToString) -> Result<(), EditError> {
        self.host.rewrite(&body.to_string())
    }

    /// Puts a line into the exchange's record: what could not be expressed and was left out, or done otherwise. Without any
    /// content of the client's, for the record stands in the log.
    pub fn note(&mut self, line: &str) {
        self.host.note(line);
    }
}

/// Where the present attempt goes.
#[derive(Debug)]
pub struct Target<'a> {
    host: &'a host::Target,
}

impl<'a> Target<'a> {
    pub(crate) fn over(host: &'a host::Target) -> Self {
        Self { host }
    }

    /// The upstream's name from the gateway's configuration.
    pub fn upstream(&self) -> String {
        self.host.upstream()
    }

    /// The protocol that the upstream speaks: `anthropic`, or the one that a dialect plugin implements.
    pub fn dialect(&self) -> String {
        self.host.dialect()
    }

    /// The account's name, if the upstream has accounts. Never its credential.
    pub fn account(&self) -> Option<String> {
        self.host.account()
    }

    /// The model that is sent: the client's, or what the route maps it to.
    pub fn model(&self) -> String {
        self.host.model()
    }

    /// The model that the client asked for.
    pub fn asked_model(&self) -> String {
        self.host.asked_model()
    }

    /// 1 for the first attempt of the exchange, 2 for the second, and so on.
    pub fn attempt(&self) -> u32 {
        self.host.attempt()
    }

    /// Whether the target lacks a feature: `cache_control`, `same-role-turns`, or any other word that the
    /// configuration's `lacks` names.
    pub fn lacks(&self, what: &str) -> bool {
        self.host.lacks(what)
    }
}

pub(crate) fn owned<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Vec<String> {
    values.into_iter().map(Into::into).collect()
}

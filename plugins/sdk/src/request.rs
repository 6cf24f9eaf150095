//! The client's request, and the target of the current attempt.

use serde::de::DeserializeOwned;

use crate::{
    edit::{EditError, Node, Operation, TextMatch, TextPart},
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
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit("{}", |request| {
    ///     request.set_header("x-team", ["blue"])?;
    ///     assert_eq!(request.header("X-Team"), ["blue"]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn set_header<V: Into<String>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), EditError> {
        self.host.set_header(name, &owned(values))
    }

    /// The items of a header that is a list, such as `anthropic-beta`: of all its values, in order.
    pub fn header_list(&self, name: &str) -> Vec<String> {
        let values = self.header(name);
        values
            .iter()
            .flat_map(|value| items(value))
            .map(str::to_owned)
            .collect()
    }

    /// Adds an item to a header that is a list, at the end of its last value. Returns whether it
    /// was not there already.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit("{}", |request| {
    ///     request.set_header("anthropic-beta", ["a, b"])?;
    ///     assert!(request.add_to_header("anthropic-beta", "c")?);
    ///     assert!(!request.add_to_header("anthropic-beta", "a")?);
    ///     assert_eq!(request.header("anthropic-beta"), ["a, b,c"]);
    ///     assert_eq!(request.header_list("anthropic-beta"), ["a", "b", "c"]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn add_to_header(&mut self, name: &str, item: &str) -> Result<bool, EditError> {
        let mut values = self.header(name);
        if values
            .iter()
            .any(|value| items(value).any(|one| one == item))
        {
            return Ok(false);
        }
        match values.last_mut() {
            Some(last) if items(last).next().is_some() => {
                last.push(',');
                last.push_str(item);
            }
            _ => values.push(item.to_owned()),
        }
        self.set_header(name, values)?;
        Ok(true)
    }

    /// Removes an item from a header that is a list. Returns whether it was there. Values without
    /// it stay as they are; a value that has nothing else is removed.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit("{}", |request| {
    ///     request.set_header("anthropic-beta", ["a, b", "c", "b"])?;
    ///     assert!(request.remove_from_header("anthropic-beta", "b")?);
    ///     assert_eq!(request.header("anthropic-beta"), ["a", "c"]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn remove_from_header(&mut self, name: &str, item: &str) -> Result<bool, EditError> {
        let before = self.header(name);
        let mut after = Vec::with_capacity(before.len());
        for value in &before {
            if items(value).all(|one| one != item) {
                after.push(value.clone());
                continue;
            }
            let left: Vec<&str> = items(value).filter(|one| *one != item).collect();
            if !left.is_empty() {
                after.push(left.join(","));
            }
        }
        let removed = after != before;
        if removed {
            self.set_header(name, after)?;
        }
        Ok(removed)
    }

    /// Sends the request to another path below the upstream's base URL, with an optional query
    /// string after `?`. Only in [`on_attempt`](crate::AttemptHook::on_attempt).
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit("{}", |request| {
    ///     request.set_path("/v1/chat?stream=true")?;
    ///     assert!(request.set_path("/../secrets").is_err());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn set_path(&mut self, path_and_query: &str) -> Result<(), EditError> {
        self.host.set_path(path_and_query)
    }

    /// Whether the JSONPath selects anything in the body.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit(r#"{"tools": []}"#, |request| {
    ///     assert!(request.matches("$.tools")?);
    ///     assert!(!request.matches("$.tools[0]")?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn matches(&self, json_path: &str) -> Result<bool, EditError> {
        self.host.matches(json_path)
    }

    /// The locations, as JSON Pointers, of all nodes that the JSONPath selects in the body.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit(r#"{"a": [{"b": 1}, {"b": 2}]}"#, |request| {
    ///     assert_eq!(request.select("$.a[?@.b > 1]")?, ["/a/1"]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn select(&self, json_path: &str) -> Result<Vec<String>, EditError> {
        self.host.select(json_path)
    }

    /// The locations and the JSON texts of all nodes that the JSONPath selects in the body.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit(r#"{"a": [1.0, "x"]}"#, |request| {
    ///     let nodes = request.read("$.a[*]")?;
    ///     assert_eq!((&*nodes[0].pointer, &*nodes[0].value), ("/a/0", "1.0"));
    ///     assert_eq!(nodes[1].parse::<String>()?, "x");
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn read(&self, json_path: &str) -> Result<Vec<Node>, EditError> {
        self.host.read(json_path)
    }

    /// The first node that the JSONPath selects, as a Rust value:
    /// `request.first::<String>("$.model")?`.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit(r#"{"max_tokens": 16}"#, |request| {
    ///     assert_eq!(request.first::<u64>("$.max_tokens")?, Some(16));
    ///     assert_eq!(request.first::<u64>("$.top_k")?, None);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn first<T: DeserializeOwned>(&self, json_path: &str) -> Result<Option<T>, Error> {
        let nodes = self.read(json_path)?;
        Ok(nodes.first().map(Node::parse).transpose()?)
    }

    /// Every text that the model reads, as a string or in a block: see [`TextPosition`] for where.
    /// Thinking is left out, because it is signed. All texts cross into the plugin, so prefer
    /// [`find_in_texts`](Self::find_in_texts), or [`texts_matching`](Self::texts_matching) if a
    /// pattern can select the ones of interest.
    ///
    /// [`TextPosition`]: crate::TextPosition
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let body = r#"{"system": "be brief", "messages": [{"role": "user", "content": "hi"}]}"#;
    /// edit(body, |request| {
    ///     let texts: Vec<_> = request.texts()?.into_iter().map(|text| text.text).collect();
    ///     assert_eq!(texts, ["be brief", "hi"]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
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

    /// What a regular expression (I-Regexp, RFC 9485) matches in the strings that the JSONPath
    /// selects. Only the matches cross into the plugin, so a long body costs it nothing.
    ///
    /// The expression is matched on what a string spells, whatever its escapes. It has no `\d`,
    /// `\b`, `(?i)` and no lazy quantifiers. Matches do not overlap, and empty ones do not count.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// edit(r#"{"a": "caf\u00e9 k=v"}"#, |request| {
    ///     let found = request.find_matches("$.a", "([a-z])=([a-z])")?;
    ///     let part = &found[0].part;
    ///     // An é has two bytes in UTF-8.
    ///     assert_eq!((part.start, part.end, &*part.text), (6, 9, "k=v"));
    ///     let value = found[0].groups[1].as_ref().map(|group| &*group.text);
    ///     assert_eq!(value, Some("v"));
    ///     Ok(())
    /// })?;
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn find_matches(&self, json_path: &str, regex: &str) -> Result<Vec<TextMatch>, EditError> {
        self.host.find_matches(json_path, regex)
    }

    /// Replaces everything that [`find_matches`](Self::find_matches) would find, and returns how
    /// many matches there were. In the replacement, `$1` to `$9` are the groups of the match, `$0`
    /// is the match, and `$$` a dollar sign. Every byte outside of the matches stays as it was.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let left = edit(r#"{"a": ["my\tpassword: abc \u0021", 1]}"#, |request| {
    ///     request.replace_matches("$.a[*]", "(password: )[^ ]+", "$1(removed)")?;
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"a": ["my\tpassword: (removed) \u0021", 1]}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn replace_matches(
        &mut self,
        json_path: &str,
        regex: &str,
        replacement: &str,
    ) -> Result<u32, EditError> {
        self.host.replace_matches(json_path, regex, replacement)
    }

    /// Replaces parts of strings, mostly of matches that were found, as a whole or not at all. The
    /// offsets are those before the call.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let left = edit(r#"{"system": "use k17 or k9"}"#, |request| {
    ///     let found = request.find_in_texts("k[0-9]+")?;
    ///     let numbered = found.iter().enumerate();
    ///     let parts = numbered.map(|(nth, key)| key.part.with(format!("[key {nth}]")));
    ///     request.replace_parts(parts)?;
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"system": "use [key 0] or [key 1]"}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn replace_parts(
        &mut self,
        parts: impl IntoIterator<Item = TextPart>,
    ) -> Result<(), EditError> {
        let parts: Vec<TextPart> = parts.into_iter().collect();
        self.host.replace_parts(&parts)
    }

    /// Like [`find_matches`](Self::find_matches), in [every text](Self::texts) that the model
    /// reads.
    pub fn find_in_texts(&self, regex: &str) -> Result<Vec<TextMatch>, EditError> {
        let mut all = Vec::new();
        for path in text::paths() {
            all.extend(self.find_matches(path, regex)?);
        }
        Ok(all)
    }

    /// Like [`replace_matches`](Self::replace_matches), in [every text](Self::texts) that the model
    /// reads.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let left = edit(r#"{"model": "blue", "system": "blue"}"#, |request| {
    ///     assert_eq!(request.replace_in_texts("blue", "green")?, 1);
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"model": "blue", "system": "green"}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn replace_in_texts(&mut self, regex: &str, replacement: &str) -> Result<u32, EditError> {
        let mut count = 0;
        for path in text::paths() {
            count += self.replace_matches(path, regex, replacement)?;
        }
        Ok(count)
    }

    /// Asks for the response to this request: the guards of this plugin's response hook with
    /// [`watching`](crate::Guard::watching) hold. Asked for in
    /// [`on_request`](crate::RequestHook::on_request), that is for the whole exchange, in
    /// [`on_attempt`](crate::AttemptHook::on_attempt) for the response to this attempt.
    pub fn watch_response(&mut self) {
        self.host.watch_response();
    }

    /// Applies a JSON Patch to the body, as a whole or not at all.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// # use witgate_plugin::Operation;
    /// let left = edit(r#"{"a": 1, "b": [2]}"#, |request| {
    ///     request.patch([Operation::replace("/a", "x"), Operation::add("/b/-", 3)])?;
    ///     // All or nothing: there is no `/c`.
    ///     assert!(request.patch([Operation::remove("/a"), Operation::remove("/c")]).is_err());
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"a": "x", "b": [2,3]}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn patch(&mut self, edits: impl IntoIterator<Item = Operation>) -> Result<(), EditError> {
        let edits: Vec<Operation> = edits.into_iter().collect();
        self.host.patch(&edits)
    }

    /// Removes every node that the JSONPath selects, and returns how many there were.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let left = edit(r#"{"a": {"x": 1}, "x": 2}"#, |request| {
    ///     assert_eq!(request.remove_all("$..x")?, 2);
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"a": {}}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// # use witgate_plugin::{Value, json};
    /// let left = edit(r#"{"text": "a long text"}"#, |request| {
    ///     let outline = request.outline(4)?;
    ///     let body: Value = witgate_plugin::serde_json::from_str(&outline.body)?;
    ///     request.rewrite(json!({ "prompt": body["text"] }))?;
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"prompt":"a long text"}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
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

/// The items of a header's value that is a list.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

pub(crate) fn owned<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Vec<String> {
    values.into_iter().map(Into::into).collect()
}

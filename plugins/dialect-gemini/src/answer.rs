//! Translates Gemini's chunks into the events of a message.

mod chunk;
mod finish;
mod lenient;
mod search;

use std::{borrow::Cow, collections::HashSet};

use witgate_plugin::{
    ErrorType, Event, Value,
    dialect::{Usage, Writer},
    json,
    serde_json::{Map, value::RawValue},
};

use self::{
    chunk::{Candidate, Chunk, FunctionCall, Part, UsageMetadata},
    finish::{Content, End, Finish},
    search::Search,
};
use crate::{dropped::Dropped, error::UpstreamError, names::Names};

type Object = Map<String, Value>;

/// The translation of one response, chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    writer: Writer,
    usage: UsageMetadata,
    /// The upstream's id of the response, limited to the characters that an id may have.
    id: Option<String>,
    /// The ids of all calls of the conversation: the ones in the request, and the ones so far.
    ids: HashSet<String>,
    /// How many calls there are in the response.
    calls: usize,
    /// What was written last.
    last: Last,
    /// Whether there is a text or a call, which is what makes a response.
    speaks: bool,
    /// Why the response ends, once the upstream has said so. More may still follow.
    finish: Option<Finish>,
    /// Why the prompt was blocked, if it was.
    blocked: Option<&'static str>,
    /// Whether the client asked for thinking.
    thinks: bool,
    /// What the model found on the web. `None` if the client did not ask for a search.
    search: Option<Search>,
    /// The upstream's signatures, until they are taken.
    signatures: Vec<String>,
    dropped: Dropped,
    /// Whether something was received that a message cannot express.
    lost: bool,
    /// The error that ended the response.
    pub(crate) error: Option<UpstreamError>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Thought,
    Text,
    Call,
}

/// What the translation needs to know about the exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) names: &'a Names,
    /// The exchange's id, used if the upstream sends none.
    pub(crate) exchange: &'a str,
    /// The model that the client requested.
    pub(crate) model: &'a str,
}

impl Answer {
    /// The answer to a request with these ids of calls, which must not come again.
    pub(crate) fn new(ids: HashSet<String>, thinks: bool) -> Self {
        Self {
            ids,
            thinks,
            ..Self::default()
        }
    }

    /// Lets the model's search results be blocks of the answer.
    pub(crate) fn expect_search(&mut self) {
        self.search = Some(Search::default());
    }

    /// Translates one event of the upstream. It may contain a whole response or a list of chunks.
    pub(crate) fn event(&mut self, data: &str, about: About<'_>) -> Vec<Event> {
        let data = data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Vec::new();
        }
        let read = if data.starts_with('[') {
            lenient::read(data)
        } else {
            lenient::read(data).map(|chunk| vec![chunk])
        };
        let Some(chunks) = read else {
            let what = "the upstream sent an event that is not a Gemini chunk";
            self.fail(UpstreamError::found(ErrorType::Api, what));
            return self.writer.take();
        };
        for chunk in chunks {
            self.chunk(chunk, about);
        }
        self.writer.take()
    }

    /// The events that follow the end of the stream.
    pub(crate) fn end(&mut self, complete: bool, about: About<'_>) -> Vec<Event> {
        if complete && self.error.is_none() {
            self.finish(about);
        }
        self.writer.take()
    }

    /// The signatures of the upstream since the last call.
    pub(crate) fn take_signatures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.signatures)
    }

    /// What could not be expressed, for the record. `None` after an error, which speaks for itself.
    pub(crate) fn note(&self) -> Option<String> {
        self.dropped.line().filter(|_| self.error.is_none())
    }

    fn chunk(&mut self, chunk: Chunk, about: About<'_>) {
        if let Some(error) = chunk.error {
            return self.fail(UpstreamError::in_stream(&error));
        }
        if let Some(counts) = chunk.usage_metadata {
            self.usage.update(counts);
        }
        if let Some(id) = chunk.response_id.as_deref().filter(|_| self.id.is_none()) {
            self.id = Some(
                id.chars()
                    .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
                    .collect(),
            );
        }
        // Only a request for several candidates gets more than one.
        if let Some(candidate) = chunk.candidates.into_iter().flatten().next() {
            return self.candidate(candidate, about);
        }
        let blocked = chunk
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason);
        if let Some(reason) = blocked {
            self.blocked = Some(finish::known_block(&reason));
        }
    }

    fn candidate(&mut self, candidate: Candidate, about: About<'_>) {
        let parts = candidate.content.and_then(|content| content.parts);
        for part in parts.into_iter().flatten() {
            self.part(part, about);
        }
        if let (Some(search), Some(found)) = (&mut self.search, &candidate.grounding_metadata) {
            search.add(found);
        }
        let is_lost = candidate.grounding_metadata.is_some() && self.search.is_none();
        for (field, is_there) in [
            ("groundingMetadata", is_lost),
            ("citationMetadata", candidate.citation_metadata.is_some()),
            (
                "urlContextMetadata",
                candidate.url_context_metadata.is_some(),
            ),
        ] {
            if is_there {
                self.dropped.left_out.add(field);
            }
        }
        let Some(reason) = candidate.finish_reason.filter(|reason| !reason.is_empty()) else {
            return;
        };
        let finish = Finish::new(reason, candidate.finish_message);
        let is_final = finish.is_final();
        if self
            .finish
            .as_ref()
            .is_none_or(|earlier| finish.replaces(earlier))
        {
            self.finish = Some(finish);
        }
        if is_final {
            self.finish(about);
        }
    }

    /// Ends the message as the upstream said.
    fn finish(&mut self, about: About<'_>) {
        if let Some(reason) = self.blocked.filter(|_| self.finish.is_none()) {
            let change = format!("blocked prompt ({reason}) to refusal");
            self.dropped.changed.add(change);
            return self.stop("refusal", about);
        }
        let Some(finish) = &self.finish else {
            return;
        };
        if self.lost && !self.writer.has_content() && !finish.is_final() {
            let what = "capability_rejected: a response without text or calls";
            return self.fail(UpstreamError::found(ErrorType::InvalidRequest, what));
        }
        let content = Content {
            begun: self.writer.has_content(),
            speaks: self.speaks,
            calls: self.calls > 0,
        };
        match finish.end(content) {
            End::Stop(stop) => self.stop(stop, about),
            End::Noted(stop, reason) => {
                let change = format!("finish reason {reason} to {stop}");
                self.dropped.changed.add(change);
                self.stop(stop, about);
            }
            End::Fail(error) => self.fail(error),
        }
    }

    fn stop(&mut self, stop: &str, about: About<'_>) {
        self.begin(about);
        let id = format!("srvtoolu_{}", self.id_or(about));
        for block in self
            .search
            .iter()
            .filter_map(|search| search.blocks(&id))
            .flatten()
        {
            self.writer.block(&block);
        }
        self.writer.end(stop, None, usage(&self.usage));
    }

    fn part(&mut self, part: Part, about: About<'_>) {
        let text = part.text.unwrap_or_default();
        let signature = part.thought_signature.unwrap_or_default();
        if part.thought == Some(true) {
            self.thought(&text, &signature, about);
        } else {
            self.sign(
                &signature,
                text.is_empty(),
                part.function_call.is_some(),
                about,
            );
            self.text(&text, about);
        }
        if let Some(call) = part.function_call {
            self.call(call, about);
        }
        if let Some(code) = part.executable_code.and_then(|code| code.code) {
            self.text(&format!("\n```python\n{code}\n```\n"), about);
        }
        if let Some(output) = part.code_execution_result.and_then(|result| result.output) {
            self.text(&format!("\n```\n{output}\n```\n"), about);
        }
        for (field, is_there) in [
            ("inlineData", part.inline_data.is_some()),
            ("fileData", part.file_data.is_some()),
            ("toolCall", part.tool_call.is_some()),
            ("toolResponse", part.tool_response.is_some()),
        ] {
            if is_there {
                self.dropped.left_out.add(field);
                self.lost = true;
            }
        }
    }

    fn thought(&mut self, text: &str, signature: &str, about: About<'_>) {
        if text.is_empty() && signature.is_empty() {
            return;
        }
        self.begin(about);
        self.writer.thinking(text);
        self.write_signature(signature);
        self.last = Last::Thought;
    }

    fn text(&mut self, text: &str, about: About<'_>) {
        if !text.is_empty() {
            self.begin(about);
            self.writer.text(text);
            self.last = Last::Text;
            self.speaks = true;
        }
    }

    /// Writes a part's signature to the thought before it, or to an empty thought.
    ///
    /// After a text it is dropped: clients treat the last block as the result, and Claude Code
    /// prints nothing if that is a thought. Before a text it is dropped if the client did not ask
    /// for thinking, because such clients read the first block. Gemini does not require these
    /// signatures.
    fn sign(&mut self, signature: &str, ends: bool, calls: bool, about: About<'_>) {
        if signature.is_empty() {
            return;
        }
        let follows_text = match self.last {
            Last::Nothing | Last::Thought => false,
            Last::Text => !calls,
            Last::Call => !calls && ends,
        };
        if follows_text {
            self.dropped.left_out.add("thoughtSignature after a text");
            return;
        }
        if !calls && !self.thinks && self.last != Last::Thought {
            self.dropped.left_out.add("thoughtSignature of a text");
            return;
        }
        self.begin(about);
        self.write_signature(signature);
        self.last = Last::Thought;
    }

    fn write_signature(&mut self, signature: &str) {
        if !signature.is_empty() {
            self.writer.signature(signature);
            self.signatures.push(signature.to_owned());
        }
    }

    fn call(&mut self, call: FunctionCall, about: About<'_>) {
        let Some(name) = call.name.filter(|name| !name.is_empty()) else {
            self.dropped.left_out.add("functionCall without a name");
            return;
        };
        self.begin(about);
        let id = self.id_of(call.id, about);
        self.writer.tool_use(&id, about.names.of_client(&name));
        self.writer.tool_input(&input(call.args.as_deref()));
        self.writer.close();
        self.ids.insert(id);
        self.calls += 1;
        self.last = Last::Call;
        self.speaks = true;
    }

    /// The upstream's id of a call, or a generated one if it is missing or already used in the
    /// conversation: Claude Code ignores a second call with the same id.
    fn id_of(&self, sent: Option<String>, about: About<'_>) -> String {
        let fits = |id: &String| {
            !id.is_empty()
                && id
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let answer = self.id.as_deref().filter(|id| !id.is_empty());
        let generated = [answer, Some(about.exchange)]
            .into_iter()
            .flatten()
            .map(|prefix| format!("toolu_{prefix}_{}", self.calls));
        let numbered = (0u32..).map(|n| format!("toolu_{}_{}_{n}", about.exchange, self.calls));
        let ids = sent
            .filter(fits)
            .into_iter()
            .chain(generated)
            .chain(numbered);
        ids.into_iter()
            .find(|id| !self.ids.contains(id))
            .unwrap_or_default()
    }

    /// The upstream's id of the response, or the exchange's.
    fn id_or<'a>(&'a self, about: About<'a>) -> &'a str {
        let id = self.id.as_deref().filter(|id| !id.is_empty());
        id.unwrap_or(about.exchange)
    }

    fn begin(&mut self, about: About<'_>) {
        if !self.writer.has_begun() {
            let id = format!("msg_{}", self.id_or(about));
            self.writer.begin(&id, about.model, usage(&self.usage));
        }
    }

    fn fail(&mut self, error: UpstreamError) {
        self.writer.fail(error.kind, &error.message);
        self.error = Some(error);
    }
}

/// The input of a call, which has to be an object.
fn input(args: Option<&RawValue>) -> Cow<'_, str> {
    let args = args.map_or("{}", RawValue::get);
    if args.starts_with('{') {
        return Cow::Borrowed(args);
    }
    match lenient::read(args) {
        None | Some(Value::Null) => Cow::Borrowed("{}"),
        Some(Value::String(text)) if lenient::read::<Object>(&text).is_some() => Cow::Owned(text),
        Some(other) => Cow::Owned(json!({ "input": other }).to_string()),
    }
}

fn usage(counts: &UsageMetadata) -> Usage {
    let prompt = counts
        .prompt_token_count
        .saturating_add(counts.tool_use_prompt_token_count);
    Usage {
        input: prompt.saturating_sub(counts.cached_content_token_count),
        cache_read: counts.cached_content_token_count,
        output: counts
            .candidates_token_count
            .saturating_add(counts.thoughts_token_count),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;

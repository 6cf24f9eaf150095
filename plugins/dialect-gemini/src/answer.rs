//! Translates Gemini's chunks into the events of a message.

mod chunk;
mod finish;

use std::collections::HashSet;

use witgate_plugin::{
    ErrorType, Event,
    dialect::{Usage, Writer},
    serde_json::{self, value::RawValue},
};

use self::{
    chunk::{Candidate, Chunk, FunctionCall, Part, UsageMetadata},
    finish::End,
};
use crate::{dropped::Dropped, error::UpstreamError, names::Names};

/// The translation of one response, chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    writer: Writer,
    usage: Usage,
    /// The upstream's id of the response, limited to the characters that an id may have.
    id: Option<String>,
    /// The ids of the calls so far.
    calls: HashSet<String>,
    /// What was written last.
    last: Last,
    /// The stop reason, once the upstream has sent one. Its counts may still follow.
    stop: Option<&'static str>,
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
    /// Translates one event of the upstream. It may contain a whole response or a list of chunks.
    pub(crate) fn event(&mut self, data: &str, about: About<'_>) -> Vec<Event> {
        let data = data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Vec::new();
        }
        let read = if data.starts_with('[') {
            serde_json::from_str(data)
        } else {
            serde_json::from_str(data).map(|chunk| vec![chunk])
        };
        match read {
            Ok(chunks) => {
                for chunk in chunks {
                    self.chunk(chunk, about);
                }
            }
            Err(_) => self.fail(UpstreamError::found(
                ErrorType::Api,
                "the upstream sent an event that is not a Gemini chunk",
            )),
        }
        self.writer.take()
    }

    /// The events that follow the end of the stream.
    pub(crate) fn end(&mut self, complete: bool) -> Vec<Event> {
        if let Some(stop) = self.stop.filter(|_| complete) {
            self.writer.end(stop, None, self.usage);
        }
        self.writer.take()
    }

    /// What could not be expressed, for the record. `None` after an error, which speaks for itself.
    pub(crate) fn note(&self) -> Option<String> {
        self.dropped.line().filter(|_| self.error.is_none())
    }

    fn chunk(&mut self, chunk: Chunk, about: About<'_>) {
        if let Some(error) = chunk.error {
            return self.fail(UpstreamError::in_stream(&error));
        }
        if let Some(counts) = &chunk.usage_metadata {
            self.usage = usage(counts);
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
            self.begin(about);
            self.stop = Some("refusal");
            let reason = finish::known_block(&reason);
            self.dropped
                .changed
                .add(format!("blocked prompt ({reason}) to refusal"));
        }
    }

    fn candidate(&mut self, candidate: Candidate, about: About<'_>) {
        let parts = candidate.content.and_then(|content| content.parts);
        for part in parts.into_iter().flatten() {
            self.part(part, about);
        }
        for (field, is_there) in [
            ("groundingMetadata", candidate.grounding_metadata.is_some()),
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
        let Some(reason) = candidate.finish_reason else {
            return;
        };
        let calls = !self.calls.is_empty();
        match finish::end(
            &reason,
            candidate.finish_message.as_deref(),
            self.writer.has_content(),
            calls,
        ) {
            End::Stop(_) | End::Noted(..) if self.lost && !self.writer.has_content() => {
                let what = "capability_rejected: a response without text or calls";
                self.fail(UpstreamError::found(ErrorType::InvalidRequest, what));
            }
            End::Stop(stop) => {
                self.begin(about);
                self.writer.close();
                self.stop = Some(stop);
            }
            End::Noted(stop, reason) => {
                self.dropped
                    .changed
                    .add(format!("finish reason {reason} to {stop}"));
                self.begin(about);
                self.writer.close();
                self.stop = Some(stop);
            }
            End::Fail(error) => self.fail(error),
        }
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
        self.writer.signature(signature);
        self.last = Last::Thought;
    }

    fn text(&mut self, text: &str, about: About<'_>) {
        if !text.is_empty() {
            self.begin(about);
            self.writer.text(text);
            self.last = Last::Text;
        }
    }

    /// Writes a part's signature to the thought before it, or to an empty thought.
    ///
    /// After a text it is dropped: clients treat the last block as the result, and Claude Code
    /// prints nothing if that is a thought. Gemini does not require these signatures.
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
            self.dropped.left_out.add("thoughtSignature behind a text");
            return;
        }
        self.begin(about);
        self.writer.signature(signature);
        self.last = Last::Thought;
    }

    fn call(&mut self, call: FunctionCall, about: About<'_>) {
        let Some(name) = call.name.filter(|name| !name.is_empty()) else {
            self.dropped.left_out.add("functionCall without a name");
            return;
        };
        self.begin(about);
        let id = self.id_of(call.id, about);
        self.writer.tool_use(&id, about.names.of_client(&name));
        let input = call.args.as_deref().map_or("{}", RawValue::get);
        self.writer
            .tool_input(if input == "null" { "{}" } else { input });
        self.writer.close();
        self.calls.insert(id);
        self.last = Last::Call;
    }

    /// The upstream's id of a call, or a generated one if it is missing or already used.
    fn id_of(&self, sent: Option<String>, about: About<'_>) -> String {
        let fits = |id: &String| {
            !id.is_empty()
                && id
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let answer = self.id.as_deref().unwrap_or(about.exchange);
        sent.filter(|id| fits(id) && !self.calls.contains(id))
            .unwrap_or_else(|| format!("toolu_{answer}_{}", self.calls.len()))
    }

    fn begin(&mut self, about: About<'_>) {
        if !self.writer.has_begun() {
            let id = self.id.as_deref().unwrap_or(about.exchange);
            self.writer
                .begin(&format!("msg_{id}"), about.model, self.usage);
        }
    }

    fn fail(&mut self, error: UpstreamError) {
        self.writer.fail(error.kind, &error.message);
        self.stop = None;
        self.error = Some(error);
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

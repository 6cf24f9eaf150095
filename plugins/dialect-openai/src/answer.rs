//! Translates the chunks of a chat completion into the events of an Anthropic message.
//!
//! Only what cannot be written yet is held back. Blocks never overlap: of several interleaved
//! calls, one is written as it arrives and the others follow. White space is held back because it
//! may turn out to be the whole text, which the API would reject when the client sends it back.

mod calls;
mod chunk;
mod json_end;

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};
use witgate_plugin::{
    Event,
    dialect::{DroppedFields, Usage, Writer},
};

use crate::{
    failure::{Failed, UpstreamError, classify},
    names::{Names, id_to_client, is_plain},
};
use calls::{Calls, Step};
use chunk::{Choice, Chunk, Content, Delta};

/// What the translation needs to know about the exchange.
pub(crate) struct Context<'a> {
    /// Used if the upstream sends no id.
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) names: &'a Names,
    pub(crate) stop_sequences: &'a [String],
    pub(crate) hides_thinking: bool,
}

/// The translation of one response, chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    writer: Writer,
    calls: Calls,
    open: Option<Kind>,
    /// Leading white space of this kind, written once more text arrives.
    blank: Option<(Kind, String)>,
    /// Text received while a call was in progress.
    deferred: Vec<(Kind, String)>,
    /// The upstream's id for this response, and its creation time.
    id: [String; 2],
    usage: Option<chunk::Usage>,
    finish: Option<Finish>,
    refused: bool,
    left_out: DroppedFields,
    failed: Option<Failed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

#[derive(Debug)]
struct Finish {
    reason: String,
    /// The stop sequence that was matched, if the server reports it.
    stop_sequence: Option<String>,
}

impl Answer {
    /// Translates one event of the upstream. A whole completion instead of a stream is one event.
    pub(crate) fn take(&mut self, event: &Event, context: &Context<'_>) -> Vec<Event> {
        let data = event.data.trim();
        if self.writer.has_ended() || data.is_empty() {
            return Vec::new();
        }
        if data == "[DONE]" {
            self.end(context);
        } else if event.name == "error" {
            let reported = UpstreamError::parse(data).or_else(|| UpstreamError::plain(data));
            self.fail(
                reported.unwrap_or_else(|| malformed("reported an error without a message")),
                context,
            );
        } else {
            match serde_json::from_str::<Chunk<'_>>(data) {
                Ok(chunk) => self.chunk(chunk, data, context),
                Err(_) => self.fail(
                    malformed("sent an event that is not a chat completion chunk"),
                    context,
                ),
            }
        }
        self.writer.take()
    }

    /// The events after the upstream's last one. None if the response is incomplete.
    pub(crate) fn finish(&mut self, complete: bool, context: &Context<'_>) -> Vec<Event> {
        if complete && self.finish.is_some() {
            self.end(context);
        }
        self.writer.take()
    }

    /// The error that ended the response. Returned only once.
    pub(crate) fn failed(&mut self) -> Option<Failed> {
        self.failed.take()
    }

    /// What could not be expressed. Returned only once, at the end of the response.
    pub(crate) fn note(&mut self) -> Option<String> {
        if !self.writer.has_ended() {
            return None;
        }
        std::mem::take(&mut self.left_out).line()
    }

    fn chunk(&mut self, chunk: Chunk<'_>, data: &str, context: &Context<'_>) {
        if let Some(reported) = chunk.error.and_then(reported) {
            return self.fail(reported, context);
        }
        let Some(choices) = chunk.choices else {
            if let Some(reported) = UpstreamError::parse(data) {
                return self.fail(reported, context);
            }
            self.usage = chunk.usage.or(self.usage);
            return;
        };
        if self.id[0].is_empty() {
            let created = chunk.created.0.unwrap_or_default();
            self.id = [chunk.id.to_string(), created.to_string()];
        }
        self.usage = chunk.usage.or(self.usage);
        let only_usage = choices.is_empty() && chunk.usage.is_some();
        for choice in choices {
            if choice.index.0.is_none_or(|index| index == 0) {
                self.choice(choice, context);
            }
        }
        // Some servers omit the end marker and keep the connection open.
        if only_usage && self.finish.is_some() {
            self.end(context);
        }
    }

    fn choice(&mut self, mut choice: Choice<'_>, context: &Context<'_>) {
        if let Some(reported) = choice.error.and_then(reported) {
            return self.fail(reported, context);
        }
        self.delta(choice.delta(), context);
        match &*choice.finish_reason {
            "" => {}
            "error" => self.fail(
                malformed("ended the response with an error that it did not describe"),
                context,
            ),
            // DeepSeek is out of resources, vLLM was ordered to abort.
            reason @ ("insufficient_system_resource" | "abort") => {
                let reported = UpstreamError {
                    kind: "overloaded".to_owned(),
                    ..malformed(&format!(
                        "ended the response early (finish_reason `{reason}`)"
                    ))
                };
                self.fail(reported, context);
            }
            reason => {
                self.flush(context);
                let matched = context
                    .stop_sequences
                    .iter()
                    .find(|text| **text == *choice.stop_reason);
                self.finish.get_or_insert(Finish {
                    reason: reason.to_owned(),
                    stop_sequence: matched.cloned(),
                });
            }
        }
    }

    fn delta(&mut self, delta: Delta<'_>, context: &Context<'_>) {
        self.write(Kind::Thinking, &delta.reasoning(), context);
        match &delta.content {
            Content::Text(text) => self.write(Kind::Text, text, context),
            Content::Parts(parts) => {
                for part in parts {
                    self.write(Kind::Thinking, &part.thinking(), context);
                    self.write(Kind::Text, &part.text, context);
                }
            }
        }
        if !delta.refusal.is_empty() {
            self.refused = true;
            self.write(Kind::Text, &delta.refusal, context);
        }
        for (what, value) in [
            ("annotations", delta.annotations),
            ("audio", delta.audio),
            ("images", delta.images),
        ] {
            if value.is_some_and(|value| !["null", "[]"].contains(&value.get())) {
                self.left_out.add(what);
            }
        }
        let legacy = delta.function_call.map(|function| chunk::ToolCall {
            index: chunk::Count(Some(0)),
            function,
            ..chunk::ToolCall::default()
        });
        self.calls.take(
            legacy
                .into_iter()
                .chain(delta.tool_calls.into_iter().flatten()),
        );
        while let Some(step) = self.calls.step(false) {
            self.write_call(&step, context);
        }
    }

    fn write(&mut self, kind: Kind, text: &str, context: &Context<'_>) {
        if text.is_empty() {
            return;
        }
        if let Some(step) = self.calls.end_if_whole() {
            self.write_call(&step, context);
        }
        if self.calls.in_progress() {
            self.deferred.push((kind, text.to_owned()));
            return;
        }
        self.write_deferred(context);
        let mut all = Cow::Borrowed(text);
        if self.open != Some(kind) {
            let blank = self.blank.take().filter(|(of, _)| *of == kind);
            if let Some((_, blank)) = blank {
                all = Cow::Owned(blank + text);
            }
            if all.trim().is_empty() {
                self.blank = Some((kind, all.into_owned()));
                return;
            }
            self.open = Some(kind);
        }
        self.begin(context);
        match kind {
            Kind::Text => self.writer.text(&all),
            Kind::Thinking if context.hides_thinking => {}
            Kind::Thinking => self.writer.thinking(&all),
        }
    }

    /// Writes the text that was received during a call that has ended.
    fn write_deferred(&mut self, context: &Context<'_>) {
        for (kind, text) in std::mem::take(&mut self.deferred) {
            self.write(kind, &text, context);
        }
    }

    fn write_call(&mut self, step: &Step, context: &Context<'_>) {
        self.begin(context);
        let (Step::Go(at) | Step::End(at)) = *step;
        let Some(call) = self.calls.get(at) else {
            return;
        };
        if !call.begun {
            call.begun = true;
            let [id, created] = &self.id;
            let answer = if id.is_empty() {
                [context.id, ""]
            } else {
                [&**id, created]
            };
            let id = id_to_client(&call.id, &answer, at);
            self.writer
                .tool_use(&id, context.names.original(&call.name));
            self.open = None;
            self.blank = None;
        }
        self.writer.tool_input(&std::mem::take(&mut call.arguments));
        if matches!(step, Step::End(_)) {
            self.writer.close();
        }
    }

    fn begin(&mut self, context: &Context<'_>) {
        if !self.writer.has_begun() {
            let usage = self.usage.as_ref().map(tokens).unwrap_or_default();
            self.writer
                .begin(&self.message_id(context), context.model, usage);
        }
    }

    /// A unique id. Clients distinguish messages by it, and some servers reuse their ids.
    fn message_id(&self, context: &Context<'_>) -> String {
        const UNIQUE: usize = 20;
        let [id, created] = &self.id;
        let plain: String = id.chars().filter(|c| is_plain(*c)).collect();
        match plain.len() {
            0 => format!("msg_{}", context.id),
            UNIQUE.. => format!("msg_{plain}"),
            _ => format!("msg_{plain}-{created}"),
        }
    }

    /// Writes everything that was held back: nothing more will arrive.
    fn flush(&mut self, context: &Context<'_>) {
        while let Some(step) = self.calls.step(true) {
            self.write_call(&step, context);
        }
        self.write_deferred(context);
        self.writer.close();
        self.open = None;
    }

    fn end(&mut self, context: &Context<'_>) {
        self.flush(context);
        if self.finish.is_none() && !self.writer.has_begun() {
            return;
        }
        self.begin(context);
        if self.calls.late() {
            self.left_out.add("arguments behind the end of a tool call");
        }
        let (reason, matched) = self.stop_reason();
        let usage = self.usage.as_ref().map(tokens).unwrap_or_default();
        self.writer.end(reason, matched.as_deref(), usage);
    }

    fn stop_reason(&mut self) -> (&'static str, Option<String>) {
        let finish = self.finish.take();
        let reason = finish.as_ref().map_or("stop", |finish| &finish.reason);
        if self.refused || reason == "content_filter" {
            return ("refusal", None);
        }
        if ["length", "max_tokens", "model_length"].contains(&reason) {
            return ("max_tokens", None);
        }
        if !["stop", "eos", "end_turn", "tool_calls", "function_call"].contains(&reason) {
            let word: String = reason.chars().filter(|c| is_plain(*c)).take(32).collect();
            self.left_out.add(format!("finish_reason {word}"));
        }
        if !self.calls.is_empty() {
            return ("tool_use", None);
        }
        match finish.and_then(|finish| finish.stop_sequence) {
            Some(matched) => ("stop_sequence", Some(matched)),
            None => ("end_turn", None),
        }
    }

    fn fail(&mut self, reported: UpstreamError, context: &Context<'_>) {
        let classified = classify(None, &reported, context.upstream);
        self.writer.fail(classified.kind, &classified.message);
        self.failed = Some(Failed {
            reported,
            classified,
        });
    }
}

fn reported(error: &RawValue) -> Option<UpstreamError> {
    let error: Value = serde_json::from_str(error.get()).ok()?;
    let empty = || malformed("reported an error without a message");
    (!error.is_null()).then(|| UpstreamError::of(&error).unwrap_or_else(empty))
}

fn malformed(what: &str) -> UpstreamError {
    UpstreamError {
        message: format!("the upstream {what}"),
        ..UpstreamError::default()
    }
}

/// Converts the usage. Anthropic's input tokens exclude those that were read from a cache.
fn tokens(usage: &chunk::Usage) -> Usage {
    let read = usage.read().unwrap_or_default();
    let prompt = usage.prompt_tokens.0.unwrap_or_default();
    Usage {
        input: prompt.saturating_sub(read),
        cache_read: read,
        output: usage.completion_tokens.0.unwrap_or_default(),
        ..Usage::default()
    }
}

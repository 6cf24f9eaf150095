//! The way back: chunks of a chat completion become the events of an Anthropic message.
//!
//! Nothing is held back but what cannot be written yet: blocks never overlap, so of several calls that come in turn one is
//! written as it comes and the others follow; and white space that may turn out to be all of a text, which clients would be
//! refused for sending back.

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

/// What is known of the exchange.
pub(crate) struct Around<'a> {
    /// Stands for the upstream's id where there is none.
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) names: &'a Names,
    pub(crate) stop_sequences: &'a [String],
    pub(crate) hides_thinking: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    writer: Writer,
    calls: Calls,
    open: Option<Kind>,
    /// White space of this kind, which is written if more comes.
    blank: Option<(Kind, String)>,
    /// What came while a call was under way.
    aside: Vec<(Kind, String)>,
    /// The upstream's id for this answer, and when it was made.
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
    /// The stop sequence that was met, where the server tells.
    stop_sequence: Option<String>,
}

impl Answer {
    /// What one event of the upstream becomes. A whole completion in place of a stream is one event.
    pub(crate) fn take(&mut self, event: &Event, around: &Around<'_>) -> Vec<Event> {
        let data = event.data.trim();
        if self.writer.has_ended() || data.is_empty() {
            return Vec::new();
        }
        if data == "[DONE]" {
            self.end(around);
        } else if event.name == "error" {
            let reported = UpstreamError::parse(data).or_else(|| UpstreamError::plain(data));
            self.fail(
                reported.unwrap_or_else(|| malformed("reported an error without a message")),
                around,
            );
        } else {
            match serde_json::from_str::<Chunk<'_>>(data) {
                Ok(chunk) => self.chunk(chunk, data, around),
                Err(_) => self.fail(
                    malformed("sent an event that is not a chat completion chunk"),
                    around,
                ),
            }
        }
        self.writer.take()
    }

    /// What is to come after the last event; nothing, if the answer is not at its end.
    pub(crate) fn finish(&mut self, complete: bool, around: &Around<'_>) -> Vec<Event> {
        if complete && self.finish.is_some() {
            self.end(around);
        }
        self.writer.take()
    }

    /// The error that ended the answer, told once.
    pub(crate) fn failed(&mut self) -> Option<Failed> {
        self.failed.take()
    }

    /// What of the answer could not be expressed, told once, at its end.
    pub(crate) fn note(&mut self) -> Option<String> {
        if !self.writer.has_ended() {
            return None;
        }
        std::mem::take(&mut self.left_out).line()
    }

    fn chunk(&mut self, chunk: Chunk<'_>, data: &str, around: &Around<'_>) {
        if let Some(reported) = chunk.error.and_then(reported) {
            return self.fail(reported, around);
        }
        let Some(choices) = chunk.choices else {
            if let Some(reported) = UpstreamError::parse(data) {
                return self.fail(reported, around);
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
                self.choice(choice, around);
            }
        }
        // Some servers forget to say that they are done, and keep the connection.
        if only_usage && self.finish.is_some() {
            self.end(around);
        }
    }

    fn choice(&mut self, mut choice: Choice<'_>, around: &Around<'_>) {
        if let Some(reported) = choice.error.and_then(reported) {
            return self.fail(reported, around);
        }
        self.delta(choice.delta(), around);
        match &*choice.finish_reason {
            "" => {}
            "error" => self.fail(
                malformed("ended the response with an error that it did not describe"),
                around,
            ),
            // DeepSeek has no room to go on, vLLM was told to stop.
            reason @ ("insufficient_system_resource" | "abort") => {
                let reported = UpstreamError {
                    kind: "overloaded".to_owned(),
                    ..malformed(&format!(
                        "ended the response early (finish_reason `{reason}`)"
                    ))
                };
                self.fail(reported, around);
            }
            reason => {
                self.settle(around);
                let met = around
                    .stop_sequences
                    .iter()
                    .find(|text| **text == *choice.stop_reason);
                self.finish.get_or_insert(Finish {
                    reason: reason.to_owned(),
                    stop_sequence: met.cloned(),
                });
            }
        }
    }

    fn delta(&mut self, delta: Delta<'_>, around: &Around<'_>) {
        self.write(Kind::Thinking, &delta.reasoning(), around);
        match &delta.content {
            Content::Text(text) => self.write(Kind::Text, text, around),
            Content::Parts(parts) => {
                for part in parts {
                    self.write(Kind::Thinking, &part.thinking(), around);
                    self.write(Kind::Text, &part.text, around);
                }
            }
        }
        if !delta.refusal.is_empty() {
            self.refused = true;
            self.write(Kind::Text, &delta.refusal, around);
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
        let older = delta.function_call.map(|function| chunk::ToolCall {
            index: chunk::Count(Some(0)),
            function,
            ..chunk::ToolCall::default()
        });
        self.calls.take(
            older
                .into_iter()
                .chain(delta.tool_calls.into_iter().flatten()),
        );
        while let Some(step) = self.calls.step(false) {
            self.go(&step, around);
        }
    }

    fn write(&mut self, kind: Kind, text: &str, around: &Around<'_>) {
        if text.is_empty() {
            return;
        }
        if let Some(step) = self.calls.end_if_whole() {
            self.go(&step, around);
        }
        if self.calls.under_way() {
            self.aside.push((kind, text.to_owned()));
            return;
        }
        self.write_aside(around);
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
        self.begin(around);
        match kind {
            Kind::Text => self.writer.text(&all),
            Kind::Thinking if around.hides_thinking => {}
            Kind::Thinking => self.writer.thinking(&all),
        }
    }

    /// What came while a call was under way that is no longer.
    fn write_aside(&mut self, around: &Around<'_>) {
        for (kind, text) in std::mem::take(&mut self.aside) {
            self.write(kind, &text, around);
        }
    }

    fn go(&mut self, step: &Step, around: &Around<'_>) {
        self.begin(around);
        let (Step::Go(at) | Step::End(at)) = *step;
        let Some(call) = self.calls.get(at) else {
            return;
        };
        if !call.begun {
            call.begun = true;
            let [id, created] = &self.id;
            let answer = if id.is_empty() {
                [around.id, ""]
            } else {
                [&**id, created]
            };
            let id = id_to_client(&call.id, &answer, at);
            self.writer.tool_use(&id, around.names.original(&call.name));
            self.open = None;
            self.blank = None;
        }
        self.writer.tool_input(&std::mem::take(&mut call.arguments));
        if matches!(step, Step::End(_)) {
            self.writer.close();
        }
    }

    fn begin(&mut self, around: &Around<'_>) {
        if !self.writer.has_begun() {
            let usage = self.usage.as_ref().map(tokens).unwrap_or_default();
            self.writer
                .begin(&self.message_id(around), around.model, usage);
        }
    }

    /// Clients tell messages apart by it, and not every server's ids are ever the same but once.
    fn message_id(&self, around: &Around<'_>) -> String {
        const UNIQUE: usize = 20;
        let [id, created] = &self.id;
        let plain: String = id.chars().filter(|c| is_plain(*c)).collect();
        match plain.len() {
            0 => format!("msg_{}", around.id),
            UNIQUE.. => format!("msg_{plain}"),
            _ => format!("msg_{plain}-{created}"),
        }
    }

    /// Writes what has been waiting: nothing more comes.
    fn settle(&mut self, around: &Around<'_>) {
        while let Some(step) = self.calls.step(true) {
            self.go(&step, around);
        }
        self.write_aside(around);
        self.writer.close();
        self.open = None;
    }

    fn end(&mut self, around: &Around<'_>) {
        self.settle(around);
        if self.finish.is_none() && !self.writer.has_begun() {
            return;
        }
        self.begin(around);
        if self.calls.late() {
            self.left_out.add("arguments behind the end of a tool call");
        }
        let (reason, met) = self.stop_reason();
        let usage = self.usage.as_ref().map(tokens).unwrap_or_default();
        self.writer.end(reason, met.as_deref(), usage);
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
            Some(met) => ("stop_sequence", Some(met)),
            None => ("end_turn", None),
        }
    }

    fn fail(&mut self, reported: UpstreamError, around: &Around<'_>) {
        let classified = classify(None, &reported, around.upstream);
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

/// Anthropic counts the tokens of the prompt without those that were read from a cache.
fn tokens(usage: &chunk::Usage) -> Usage {
    let read = usage.read().unwrap_or_default();
    let prompt = usage.prompt_tokens.0.unwrap_or_default();
    Usage {
        input: prompt.saturating_sub(read),
        cache_read: read,
        output: usage.completion_tokens.0.unwrap_or_default(),
    }
}

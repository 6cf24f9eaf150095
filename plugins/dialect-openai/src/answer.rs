//! Translates the chunks of a chat completion into the events of an Anthropic message.
//!
//! Only what cannot be written yet is held back. Blocks never overlap: of several interleaved
//! calls, one is written as it arrives and the others follow. White space is held back because it
//! may turn out to be the whole text, which the API would reject when the client sends it back.
//!
//! Some servers send a finish reason with every chunk, so nothing ends before the end of the
//! stream.

mod arguments;
mod calls;
mod chunk;
mod counts;
mod finish;
mod json_end;
mod json_text;
mod think;

use std::borrow::Cow;

use serde_json::{Map, Value};
use witgate_plugin::{
    Event,
    dialect::{DroppedFields, Writer},
};

use crate::{
    failure::{Failed, UpstreamError, classify},
    ids::{CallIds, State},
    names::{Names, is_plain},
    settings::ThinkTags,
    state::{self, is_empty},
};
use arguments::Digest;
use calls::{Calls, Step};
use chunk::{Choice, Chunk, Delta, Piece};
use counts::Counts;
use finish::Finish;
use json_text::Halves;
use think::Tagged;

pub(crate) use arguments::Schemas;

/// Names of events, and data, that some servers send while nothing happens.
const KEEPALIVES: [&str; 5] = ["ping", "pong", "keep-alive", "keepalive", "heartbeat"];

/// A shorter text may be said twice.
const SHORTEST_REPETITION: usize = 24;

/// What the translation needs to know about the exchange.
pub(crate) struct Context<'a> {
    /// Used if the upstream sends no id.
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) names: &'a Names,
    /// The ids of earlier calls.
    pub(crate) ids: &'a CallIds,
    pub(crate) schemas: &'a Schemas,
    pub(crate) stop_sequences: &'a [String],
    pub(crate) hides_thinking: bool,
    /// Whether a thinking block without a text is no surprise for the client.
    pub(crate) asks_thinking: bool,
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
    /// Separates thinking from the text.
    tagged: Tagged,
    halves: [Halves; 2],
    /// What was received of each kind, to recognise a whole message after its pieces.
    seen: [Digest; 2],
    /// Whether pieces of a message were received, as opposed to a whole one.
    in_pieces: bool,
    /// Whether there was thinking, even if it is hidden from the client.
    has_thought: bool,
    /// What the upstream wants back with the message, for the id of the next call.
    state: Map<String, Value>,
    /// The part of it that is in a signature, because no call may follow.
    signed: Map<String, Value>,
    any_state: bool,
    /// The client's ids of the calls so far.
    issued: Vec<String>,
    /// What must be stored, by the id of its call or the signature.
    stored: Vec<(String, Vec<u8>)>,
    /// The upstream's id for this response, and its creation time.
    id: [String; 2],
    counts: Counts,
    ending: Option<Ending>,
    /// Whether anything arrived after the last finish reason.
    goes_on: bool,
    refused: bool,
    left_out: DroppedFields,
    failed: Option<Failed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

/// How the response ends, as far as the upstream has said.
#[derive(Debug)]
struct Ending {
    finish: Finish,
    reason: String,
    /// The stop sequence that was matched, if the server reports it.
    stop_sequence: Option<String>,
}

impl Answer {
    pub(crate) fn new(tags: ThinkTags) -> Self {
        Self {
            tagged: Tagged::new(tags),
            ..Self::default()
        }
    }

    /// Translates one event of the upstream. A whole completion instead of a stream is one event.
    pub(crate) fn take(&mut self, event: &Event, context: &Context<'_>) -> Vec<Event> {
        let data = event.data.trim();
        if self.writer.has_ended() || data.is_empty() || is_keepalive(&event.name) {
            return Vec::new();
        }
        if event.name == "error" {
            let reported = UpstreamError::parse(data).or_else(|| UpstreamError::plain(data));
            self.fail(
                reported.unwrap_or_else(|| malformed("reported an error without a message")),
                context,
            );
        } else if !self.data(data, context) {
            self.lines(data, context);
        }
        self.writer.take()
    }

    /// The events after the upstream's last one. None if the response is incomplete.
    pub(crate) fn finish(&mut self, complete: bool, context: &Context<'_>) -> Vec<Event> {
        if complete && self.ending.is_some() {
            self.end(context);
        }
        self.writer.take()
    }

    /// The error that ended the response. Returned only once.
    pub(crate) fn failed(&mut self) -> Option<Failed> {
        self.failed.take()
    }

    /// What must be stored under ids and signatures. Returned only once.
    pub(crate) fn stored(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.stored)
    }

    /// What could not be expressed. Returned only once, at the end of the response.
    pub(crate) fn note(&mut self) -> Option<String> {
        if !self.writer.has_ended() {
            return None;
        }
        std::mem::take(&mut self.left_out).line()
    }

    /// Takes the data of one event. Returns false if it cannot be read.
    fn data(&mut self, data: &str, context: &Context<'_>) -> bool {
        if data.trim_matches('"').eq_ignore_ascii_case("[DONE]") {
            self.end(context);
        } else if let Some(chunk) = Chunk::read(data) {
            self.chunk(chunk, data, context);
        } else {
            return is_keepalive(data);
        }
        true
    }

    /// Takes chunks that are separated by single line feeds, and so arrive as one event.
    fn lines(&mut self, data: &str, context: &Context<'_>) {
        let mut lines = data.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_one = lines.clone().count() == 1;
        let read = lines.all(|line| self.writer.has_ended() || self.data(line, context));
        if is_one || !read {
            self.fail(
                malformed("sent an event that is not a chat completion chunk"),
                context,
            );
        }
    }

    fn chunk(&mut self, chunk: Chunk, data: &str, context: &Context<'_>) {
        if let Some(reported) = reported(&chunk.error) {
            return self.fail(reported, context);
        }
        self.counts.add(chunk.counts);
        let choices = chunk.choices.unwrap_or_default();
        if choices.is_empty() {
            let reported = UpstreamError::parse(data).filter(|_| data.starts_with(['{', '[']));
            if let Some(reported) = reported {
                self.fail(reported, context);
            }
            return;
        }
        if self.id[0].is_empty() {
            let created = chunk.created.unwrap_or_default();
            self.id = [chunk.id, created.to_string()];
        }
        for choice in choices {
            if choice.index == 0 {
                self.choice(choice, chunk.is_completion, context);
            }
        }
    }

    fn choice(&mut self, choice: Choice, is_completion: bool, context: &Context<'_>) {
        if let Some(reported) = reported(&choice.error) {
            return self.fail(reported, context);
        }
        let is_whole = is_completion && choice.message.is_some();
        let finish = Finish::of(&choice.finish_reason);
        if let Some(mut delta) = choice.delta.filter(|delta| !delta.is_empty()) {
            if finish.is_some() && self.is_repeated_by(&delta) {
                delta.content.clear();
            }
            self.in_pieces = true;
            self.delta(delta, context);
        }
        if let Some(message) = choice.message {
            self.message(message, context);
        }
        let finish = match finish {
            // A whole completion needs no finish reason.
            None if is_whole && self.ending.is_none() => Some(Finish::Complete),
            finish => finish,
        };
        if let Some(finish) = finish {
            let mut matched = context.stop_sequences.iter();
            self.settle(Ending {
                finish,
                reason: choice.finish_reason,
                stop_sequence: matched.find(|text| **text == choice.stop_reason).cloned(),
            });
        }
    }

    /// Sets how the response ends. Some servers send a reason and then `stop` once more.
    fn settle(&mut self, ending: Ending) {
        let confirms = ending.finish == Finish::Complete && !self.goes_on;
        if self.ending.is_none() || !confirms {
            self.ending = Some(ending);
        }
        self.goes_on = false;
    }

    /// Takes a whole message: what its pieces did not contain, if there were any.
    fn message(&mut self, mut message: Delta, context: &Context<'_>) {
        let is_first = self.seen.iter().all(|seen| seen.is_empty()) && self.calls.is_empty();
        if message.is_empty() || is_first {
            return self.delta(message, context);
        }
        let mut texts = [String::new(), std::mem::take(&mut message.thinking)];
        for piece in &message.content {
            match piece {
                Piece::Text(text) => texts[Kind::Text as usize].push_str(text),
                Piece::Thinking(text) => texts[Kind::Thinking as usize].push_str(text),
            }
        }
        let [text, thinking] = &texts;
        let mut delta = Delta {
            thinking: self.unseen(Kind::Thinking, thinking).to_owned(),
            content: vec![Piece::Text(self.unseen(Kind::Text, text).to_owned())],
            left_out: message.left_out,
            ..Delta::default()
        };
        if !self.refused {
            delta.refusal = message.refusal;
        }
        if !self.any_state {
            delta.state = message.state;
        }
        self.delta(delta, context);
        self.calls.take_whole(message.calls);
        self.write_calls(context);
    }

    /// Whether a piece is the whole text once more, as some servers send it with the finish reason.
    fn is_repeated_by(&self, delta: &Delta) -> bool {
        let [Piece::Text(text)] = &delta.content[..] else {
            return false;
        };
        text.len() >= SHORTEST_REPETITION && self.seen[Kind::Text as usize] == Digest::of(text)
    }

    /// What a whole text has beyond the one that was received in pieces.
    fn unseen<'a>(&self, kind: Kind, text: &'a str) -> &'a str {
        match self.seen[kind as usize].beyond(text) {
            Some(rest) => rest,
            None if self.in_pieces => "",
            // Some servers send pieces as messages.
            None => text,
        }
    }

    fn delta(&mut self, delta: Delta, context: &Context<'_>) {
        self.goes_on |= !delta.is_empty();
        self.any_state |= !delta.state.is_empty();
        state::add(&mut self.state, delta.state);
        self.receive(Kind::Thinking, &delta.thinking, context);
        for piece in &delta.content {
            match piece {
                Piece::Text(text) => self.receive(Kind::Text, text, context),
                Piece::Thinking(text) => self.receive(Kind::Thinking, text, context),
            }
        }
        if !delta.refusal.is_empty() {
            self.refused = true;
            self.end_text(context);
            self.write(Kind::Text, &delta.refusal, context);
        }
        for what in delta.left_out {
            self.left_out.add(what);
        }
        if !delta.calls.is_empty() {
            self.end_text(context);
            self.calls.take(delta.calls);
        }
        self.write_calls(context);
    }

    fn receive(&mut self, kind: Kind, text: &str, context: &Context<'_>) {
        self.seen[kind as usize].add(text);
        let text = self.halves[kind as usize].join(text);
        match kind {
            Kind::Thinking => self.write(kind, &text, context),
            Kind::Text => {
                for (kind, text) in self.tagged.take(&text) {
                    self.write(kind, &text, context);
                }
            }
        }
    }

    /// Writes what was held back of a text, because it ends here.
    fn end_text(&mut self, context: &Context<'_>) {
        for kind in [Kind::Thinking, Kind::Text] {
            let rest = self.halves[kind as usize].left_over();
            self.receive(kind, rest, context);
        }
        if let Some((kind, text)) = self.tagged.end() {
            self.write(kind, &text, context);
        }
    }

    fn write(&mut self, kind: Kind, text: &str, context: &Context<'_>) {
        if text.is_empty() {
            return;
        }
        if !self.holds_calls()
            && let Some(step) = self.calls.end_if_whole()
        {
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
            self.begin(context);
            if kind == Kind::Text {
                self.sign(context);
            }
            self.open = Some(kind);
        }
        self.begin(context);
        self.has_thought |= kind == Kind::Thinking;
        match kind {
            Kind::Text => self.writer.text(&all),
            Kind::Thinking if context.hides_thinking => {}
            Kind::Thinking => self.writer.thinking(&all),
        }
    }

    /// Signs the thinking before a text with what the upstream wants back with the message, because
    /// there may be no call whose id could carry it.
    ///
    /// Without thinking, an empty block is signed, but only before the first block and if the
    /// client asked for thinking: many clients read the first or the last block as the result.
    fn sign(&mut self, context: &Context<'_>) {
        let is_open = self.open == Some(Kind::Thinking) && !context.hides_thinking;
        let may_open = context.asks_thinking && !self.writer.has_content();
        if (is_open || may_open) && self.unsigned().next().is_some() {
            let client = context.ids.signature(self.state.clone());
            self.signed = self.state.clone();
            self.writer.signature(&client.id);
            let stored = client.stored.map(|stored| (client.id, stored));
            self.stored.extend(stored);
        }
    }

    /// The names of what the upstream wants back with the message and no signature carries. What
    /// is not opaque, such as the text of its thinking, is not wanted back without a call.
    fn unsigned(&self) -> impl Iterator<Item = &String> {
        let unsigned = self.state.iter().filter(|(name, value)| {
            state::is_opaque(name, value) && self.signed.get(*name) != Some(value)
        });
        unsigned.map(|(name, _)| name)
    }

    /// What the upstream wants back and nothing carries, for the record.
    fn lost(&self) -> Vec<String> {
        if self.calls.any_begun() {
            let late = self.state.keys();
            return late
                .map(|name| format!("{name} after the last tool call"))
                .collect();
        }
        let unsigned = self.unsigned();
        unsigned
            .map(|name| format!("{name} of a message without a tool call"))
            .collect()
    }

    /// Writes the text that was received during a call that has ended.
    fn write_deferred(&mut self, context: &Context<'_>) {
        for (kind, text) in std::mem::take(&mut self.deferred) {
            self.write(kind, &text, context);
        }
    }

    /// Whether calls wait for the end of the response: the id of the next one carries what the
    /// upstream wants back, and more of it may follow.
    fn holds_calls(&self) -> bool {
        !self.state.is_empty()
    }

    fn write_calls(&mut self, context: &Context<'_>) {
        let is_held = |name: &str| {
            let schema = context.schemas.get(context.names.original(name));
            schema.is_some()
        };
        while !self.holds_calls()
            && let Some(step) = self.calls.step(false, is_held)
        {
            self.write_call(&step, context);
        }
    }

    fn write_call(&mut self, step: &Step, context: &Context<'_>) {
        let (Step::Go(at) | Step::End(at)) = *step;
        if !self.begin_call(at, context) {
            return;
        }
        let Some(call) = self.calls.get(at) else {
            return;
        };
        let Step::End(_) = step else {
            return self.writer.tool_input(&call.arguments.ready());
        };
        let schema = context.schemas.get(context.names.original(&call.name));
        match call.arguments.finish(schema) {
            Some(rest) => self.writer.tool_input(&rest),
            None => self.left_out.add("arguments that are not an object"),
        }
        if call.state.iter().any(|state| !state.is_empty()) {
            self.left_out.add("state after its tool call");
        }
        self.writer.close();
    }

    /// Begins the block of a call, once. Returns false if the call has no name.
    fn begin_call(&mut self, at: usize, context: &Context<'_>) -> bool {
        match self.calls.get(at) {
            Some(call) if call.begun => return true,
            Some(call) if !call.name.is_empty() => {}
            _ => {
                self.left_out.add("tool call without a name");
                return false;
            }
        }
        self.begin(context);
        let Some(call) = self.calls.get(at) else {
            return false;
        };
        call.begun = true;
        let [id, created] = &self.id;
        let response = if id.is_empty() {
            [context.id, ""]
        } else {
            [&**id, created]
        };
        let [of_call, function] = std::mem::take(&mut call.state);
        let state = State {
            call: of_call,
            function,
            message: std::mem::take(&mut self.state),
        };
        let client = context
            .ids
            .for_client(&call.id, state, &response, at, &self.issued);
        self.writer
            .tool_use(&client.id, context.names.original(&call.name));
        let stored = client.stored.map(|stored| (client.id.clone(), stored));
        self.stored.extend(stored);
        self.issued.push(client.id);
        self.open = None;
        self.blank = None;
        true
    }

    fn begin(&mut self, context: &Context<'_>) {
        if !self.writer.has_begun() {
            self.writer.begin(
                &self.message_id(context),
                context.model,
                self.counts.tokens(),
            );
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
        self.end_text(context);
        while let Some(step) = self.calls.step(true, |_| false) {
            self.write_call(&step, context);
        }
        self.write_deferred(context);
        self.writer.close();
        self.open = None;
    }

    fn end(&mut self, context: &Context<'_>) {
        self.flush(context);
        if let Some(reported) = self.broken() {
            return self.fail(reported, context);
        }
        self.begin(context);
        if self.calls.late() {
            self.left_out.add("arguments after the end of a tool call");
        }
        for lost in self.lost() {
            self.left_out.add(lost);
        }
        let (reason, matched) = self.stop_reason();
        self.writer
            .end(reason, matched.as_deref(), self.counts.tokens());
    }

    /// Why the response is not a message, although it has ended.
    fn broken(&self) -> Option<UpstreamError> {
        let finish = self.ending.as_ref();
        let reason = finish.map_or("", |ending| &ending.reason);
        let early = || {
            malformed(&format!(
                "ended the response early (finish_reason `{reason}`)"
            ))
        };
        match finish.map_or(Finish::Complete, |ending| ending.finish) {
            Finish::Failed if reason == "error" => Some(malformed(
                "ended the response with an error that it did not describe",
            )),
            Finish::Failed => Some(early()),
            Finish::Overloaded => Some(UpstreamError {
                kind: "overloaded".to_owned(),
                ..early()
            }),
            other if other.explains_emptiness() || self.refused => None,
            _ => self
                .has_nothing()
                .then(|| malformed("ended the response without any content")),
        }
    }

    fn has_nothing(&self) -> bool {
        let ending = self.ending.as_ref();
        let matched = ending.is_some_and(|ending| ending.stop_sequence.is_some());
        let left_out = self.left_out != DroppedFields::default();
        !(self.writer.has_content() || self.has_thought || matched || left_out)
    }

    fn stop_reason(&mut self) -> (&'static str, Option<String>) {
        let ending = self.ending.take();
        match ending.as_ref().map(|ending| ending.finish) {
            _ if self.refused => return ("refusal", None),
            Some(Finish::Refused) => return ("refusal", None),
            Some(Finish::MaxTokens) => return ("max_tokens", None),
            Some(Finish::ContextFull) => return ("model_context_window_exceeded", None),
            _ => {}
        }
        if let Some(ending) = &ending
            && ending.finish == Finish::Unknown
        {
            let plain = ending.reason.chars().filter(|c| is_plain(*c));
            let word: String = plain.take(32).collect();
            self.left_out.add(format!("finish_reason {word}"));
        }
        if self.calls.any_begun() {
            return ("tool_use", None);
        }
        match ending.and_then(|ending| ending.stop_sequence) {
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

fn is_keepalive(word: &str) -> bool {
    KEEPALIVES
        .iter()
        .any(|keepalive| word.eq_ignore_ascii_case(keepalive))
}

/// The error in a member `error`. `None` if the member says nothing.
fn reported(error: &Value) -> Option<UpstreamError> {
    let empty = || malformed("reported an error without a message");
    (!is_empty(error)).then(|| UpstreamError::of(error).unwrap_or_else(empty))
}

fn malformed(what: &str) -> UpstreamError {
    UpstreamError {
        message: format!("the upstream {what}"),
        ..UpstreamError::default()
    }
}

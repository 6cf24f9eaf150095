//! Translates the conversation into contents that alternate between the user and the model.
//!
//! Everything between two turns of the model becomes one content. The results of its calls come
//! first, in the order of the calls, because Gemini requires them together. Everything else follows
//! in its order. A message becomes the same parts whatever comes after it, so the prefix of a
//! growing conversation stays the same and hits the upstream's cache.

use std::borrow::Cow;

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, Message, Role, ToolResult, ToolUse},
    json,
};

use super::{
    Destination,
    blocks::{Blocks, kind},
    media,
    wire::{Content, FunctionCall, FunctionResponse, Outcome, Part},
};
use crate::{dropped::Dropped, names};

/// The placeholder that Google documents for a missing signature, if the model rejects calls
/// without one.
///
/// It is sent with each such call, although it is only required in the current turn. A call whose
/// signature changed after its turn would change the prefix.
const SENTINEL: &str = "skip_thought_signature_validator";

/// What the model reads instead of a missing result.
const NO_RESULT: &str = "no result was recorded for this call";

/// The roles of contents.
const USER: &str = "user";
const MODEL: &str = "model";

/// The user's turn before a conversation that begins with the model's. Gemini rejects a call that
/// does not follow a turn of the user.
const BEGINNING: &str = "(the beginning of the conversation is missing)";

pub(super) struct Contents<'a, 'b> {
    blocks: Blocks<'a, 'b>,
    to: Destination<'b>,
}

impl<'a, 'b> Contents<'a, 'b> {
    pub(super) fn new(outline: &'a Outline, to: Destination<'b>, dropped: &'b mut Dropped) -> Self {
        Self {
            blocks: Blocks { outline, dropped },
            to,
        }
    }

    pub(super) fn of(&mut self, messages: &'a [Message]) -> Result<Vec<Content<'a>>, Refusal> {
        let filled: Vec<&Message> = messages
            .iter()
            .filter(|message| !message.content.is_empty())
            .collect();
        let mut contents = Vec::new();
        let mut calls = Vec::new();
        for turn in filled.chunk_by(|one, next| is_models(one) == is_models(next)) {
            let models = turn.first().is_some_and(|message| is_models(message));
            let parts = if models {
                calls = calls_of(turn);
                self.model_turn(turn)?
            } else {
                self.user_turn(turn, &std::mem::take(&mut calls))?
            };
            let role = if models { MODEL } else { USER };
            append(&mut contents, role, parts);
        }
        Ok(contents)
    }

    /// Translates a turn of the model. The signature of a thought belongs to the part after it. The
    /// thoughts themselves are not sent, because Gemini does not read them back.
    fn model_turn(&mut self, turn: &[&'a Message]) -> Result<Vec<Part<'a>>, Refusal> {
        let mut parts = Vec::new();
        let mut signature = None;
        let mut called = false;
        for block in turn.iter().flat_map(|message| &message.content) {
            match block {
                Block::Thinking { signature: new, .. } => {
                    let Some(new) = self.usable(new) else {
                        continue;
                    };
                    if signature.replace(new).is_some() {
                        self.blocks.dropped.left_out.add("thinking.signature");
                    }
                }
                Block::ToolUse(call) => {
                    let first = !std::mem::replace(&mut called, true);
                    let required = first && self.to.requires_signatures();
                    let sentinel = required.then_some(SENTINEL);
                    parts.push(Part {
                        thought_signature: signature.take().or(sentinel),
                        ..self.call(call)
                    });
                }
                block => {
                    let at = parts.len();
                    if !self.blocks.plain(block, &mut parts)? {
                        self.blocks.dropped.left_out.add(kind(block));
                    }
                    if let Some(part) = parts.get_mut(at) {
                        part.thought_signature = signature.take();
                    }
                }
            }
        }
        // A part of its own would need an empty text, which some servers reject.
        if signature.is_some() {
            self.blocks.dropped.left_out.add("thinking.signature");
        }
        Ok(parts)
    }

    /// A signature, if it can be sent. One that is not base64 is not Gemini's and would not parse.
    ///
    /// Once the upstream has rejected a signature, none is sent, because it does not say which one.
    fn usable(&mut self, signature: &'a str) -> Option<&'a str> {
        if signature.is_empty() {
            return None;
        }
        let base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
        let foreign =
            !self.blocks.outline.has_placeholder(signature) && !signature.chars().all(base64);
        if foreign || self.to.rejected_signatures {
            self.blocks.dropped.left_out.add("thinking.signature");
            return None;
        }
        Some(signature)
    }

    /// The id of a call, where the upstream knows ids.
    fn id(&self, call: &'a ToolUse) -> Option<&'a str> {
        let knows = !self.to.vertex || self.to.model.has_ids_on_vertex();
        knows.then_some(&call.id)
    }

    fn response(&self, call: &'a ToolUse, response: Outcome<'a>, parts: Vec<Part<'a>>) -> Part<'a> {
        Part {
            function_response: Some(FunctionResponse {
                id: self.id(call),
                name: names::on_the_wire(&call.name),
                response,
                parts,
            }),
            ..Part::default()
        }
    }

    fn call(&mut self, call: &'a ToolUse) -> Part<'a> {
        let args = if call.input.is_object() {
            Cow::Borrowed(&call.input)
        } else {
            self.blocks
                .dropped
                .changed
                .add("tool_use.input to an object");
            Cow::Owned(json!({ "input": call.input }))
        };
        Part {
            function_call: Some(FunctionCall {
                id: self.id(call),
                name: names::on_the_wire(&call.name),
                args,
            }),
            ..Part::default()
        }
    }

    fn user_turn(
        &mut self,
        turn: &[&'a Message],
        calls: &[&'a ToolUse],
    ) -> Result<Vec<Part<'a>>, Refusal> {
        let results: Vec<&'a ToolResult> = turn
            .iter()
            .flat_map(|message| &message.content)
            .filter_map(|block| match block {
                Block::ToolResult(result) => Some(result),
                _ => None,
            })
            .collect();
        let mut used = vec![false; results.len()];
        let (mut parts, mut beside) = (Vec::new(), Vec::new());
        for call in calls {
            let found = (0..results.len()).find(|&at| !used[at] && results[at].id == call.id);
            let Some(at) = found else {
                self.blocks
                    .dropped
                    .changed
                    .add("missing tool_result to an error");
                parts.push(self.response(call, Outcome::Error(NO_RESULT.into()), Vec::new()));
                continue;
            };
            used[at] = true;
            parts.push(self.result(call, results[at], &mut beside)?);
        }
        parts.append(&mut beside);
        let mut used = used.into_iter();
        for message in turn {
            for block in &message.content {
                match block {
                    Block::ToolResult(result) => {
                        if !used.next().unwrap_or_default() {
                            self.orphan(result, &mut parts)?;
                        }
                    }
                    Block::Text(text) if message.role == Role::System && !text.is_empty() => {
                        parts.push(Part::text(format!(
                            "<system-reminder>\n{text}\n</system-reminder>"
                        )));
                    }
                    block => {
                        if !self.blocks.plain(block, &mut parts)? {
                            self.blocks.dropped.left_out.add(kind(block));
                        }
                    }
                }
            }
        }
        Ok(parts)
    }

    /// The result of a call. Its texts are joined. Images and PDFs go into the response if the
    /// model accepts them there, otherwise into `beside`.
    fn result(
        &mut self,
        call: &'a ToolUse,
        result: &'a ToolResult,
        beside: &mut Vec<Part<'a>>,
    ) -> Result<Part<'a>, Refusal> {
        let (texts, media) = self.texts_and_media(result)?;
        let text = match texts.as_slice() {
            [only] => only.clone(),
            several => Cow::Owned(several.join("\n")),
        };
        let outcome = if result.is_error {
            Outcome::Error(text)
        } else {
            Outcome::Output(text)
        };
        let sees = self.to.model.sees_results();
        let (within, outside) = media
            .into_iter()
            .partition(|part| sees && media::fits_in_result(part));
        beside.extend::<Vec<Part<'a>>>(outside);
        Ok(self.response(call, outcome, within))
    }

    /// Translates a result without its call into text.
    fn orphan(&mut self, result: &'a ToolResult, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        self.blocks
            .dropped
            .changed
            .add("tool_result without its call to text");
        let (texts, media) = self.texts_and_media(result)?;
        let failed = if result.is_error { " (failed)" } else { "" };
        parts.push(Part::text(format!(
            "Tool result{failed}:\n{}",
            texts.join("\n")
        )));
        parts.extend(media);
        Ok(())
    }

    fn texts_and_media(
        &mut self,
        result: &'a ToolResult,
    ) -> Result<(Vec<Cow<'a, str>>, Vec<Part<'a>>), Refusal> {
        let mut all = Vec::new();
        for block in &result.content {
            if !self.blocks.plain(block, &mut all)? {
                self.blocks
                    .dropped
                    .left_out
                    .add(format!("tool_result {}", kind(block)));
            }
        }
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        for part in all {
            match part.text {
                Some(text) => texts.push(text),
                None => media.push(part),
            }
        }
        Ok((texts, media))
    }
}

/// Appends a turn. One after an empty turn continues the turn before: Gemini expects roles to
/// alternate.
fn append<'a>(contents: &mut Vec<Content<'a>>, role: &'static str, mut parts: Vec<Part<'a>>) {
    match contents.last_mut() {
        _ if parts.is_empty() => {}
        Some(last) if last.role == Some(role) => last.parts.append(&mut parts),
        _ => contents.push(Content {
            role: Some(role),
            parts,
        }),
    }
}

/// Lets the conversation begin with the user, and with these parts.
pub(super) fn begin<'a>(contents: &mut Vec<Content<'a>>, mut parts: Vec<Part<'a>>) {
    match contents.first_mut() {
        Some(first) if first.role == Some(USER) => {
            parts.append(&mut first.parts);
            first.parts = parts;
        }
        None if parts.is_empty() => {}
        _ => {
            if parts.is_empty() {
                parts.push(Part::text(BEGINNING));
            }
            let role = Some(USER);
            contents.insert(0, Content { role, parts });
        }
    }
}

fn is_models(message: &Message) -> bool {
    message.role == Role::Assistant
}

fn calls_of<'a>(turn: &[&'a Message]) -> Vec<&'a ToolUse> {
    let blocks = turn.iter().flat_map(|message| &message.content);
    let calls = blocks.filter_map(|block| match block {
        Block::ToolUse(call) => Some(call),
        _ => None,
    });
    calls.collect()
}

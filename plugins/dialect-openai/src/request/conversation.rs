//! Translates the messages of a conversation into the order that a chat completion requires.
//!
//! An assistant message with tool calls must be followed by the results of all calls, in their
//! order, with nothing in between. In Anthropic's format the results are in user messages, among
//! other blocks. They may follow a system message, and they may be missing.

use serde_json::{Map, Value};
use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, Message, Role, ToolResult, ToolUse},
};

use super::{
    chat::{self, Call, Function, Part, Parts, ToolCall},
    content::{Content, joined, kind},
};
use crate::{
    failure::Used,
    ids::CallIds,
    settings::{MidSystem, Options, Thoughts},
    state,
};

/// What the model reads instead of a missing result.
const NO_RESULT: &str = "[no result: the call was not carried out, or its result is lost]";

/// What the model is assumed to have said between the results of its calls and a user message, for
/// servers that accept no user message directly after a result.
const BETWEEN: &str = "[results received]";

/// A translated conversation, and what it uses of the things that an upstream may refuse.
pub(crate) struct Spoken {
    pub(crate) messages: Vec<chat::Message>,
    pub(crate) used: Used,
}

/// Translates a conversation, message by message.
pub(crate) struct Conversation<'a> {
    content: Content<'a>,
    outline: &'a Outline,
    options: &'a Options,
    ids: &'a CallIds,
    messages: Vec<chat::Message>,
    /// Parts of tool results that are not text. They go to the beginning of the next user message.
    attached: Vec<Part>,
    /// Whether there was a system message after the first message.
    mid_system: bool,
    /// Whether there is a cache breakpoint.
    breakpoints: bool,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        content: Content<'a>,
        outline: &'a Outline,
        options: &'a Options,
        ids: &'a CallIds,
    ) -> Self {
        Self {
            content,
            outline,
            options,
            ids,
            messages: Vec::new(),
            attached: Vec::new(),
            mid_system: false,
            breakpoints: false,
        }
    }

    /// Adds the system prompt, as a part of the first user message if the model has no such role.
    pub(crate) fn system(&mut self, blocks: Vec<Block>, as_user: bool) {
        let content = self.content.system(blocks);
        if content.is_empty() {
            return;
        }
        if as_user {
            self.content.dropped.changed("system prompt as user text");
            self.attached.push(Part::text(content));
        } else {
            self.messages.push(chat::Message::System {
                content: content.into(),
            });
        }
    }

    /// Sets a cache breakpoint after what was translated last.
    pub(crate) fn breakpoint(&mut self, breakpoint: Option<Value>) {
        let (Some(breakpoint), Some(last)) = (breakpoint, self.messages.last_mut()) else {
            return;
        };
        self.breakpoints |= last.set_breakpoint(breakpoint);
    }

    pub(crate) fn translate(&mut self, mut messages: Vec<Message>) -> Result<(), Refusal> {
        let mut remaining = &mut messages[..];
        while let [message, following @ ..] = remaining {
            let blocks = std::mem::take(&mut message.content);
            let breakpoint = message.breakpoint.take();
            let role = message.role;
            if role != Role::User {
                self.user(Vec::new());
            }
            match role {
                Role::User => {
                    let parts = self.content.user(blocks)?;
                    self.user(parts);
                }
                Role::System => self.mid_system(blocks),
                Role::Assistant => {
                    let calls = self.assistant(blocks);
                    self.results(calls, following)?;
                }
            }
            if role != Role::Assistant {
                self.breakpoint(breakpoint);
            }
            remaining = following;
        }
        if matches!(self.messages.last(), Some(chat::Message::Assistant { tool_calls, .. }) if tool_calls.is_empty())
        {
            self.content
                .dropped
                .changed("beginning of the answer as an answer before");
        }
        Ok(())
    }

    /// Adds a user message with the attached parts and these, unless there are none.
    fn user(&mut self, more: Vec<Part>) {
        let mut parts = std::mem::take(&mut self.attached);
        parts.extend(more);
        if parts.is_empty() {
            return;
        }
        if !self.options.user_after_tool
            && let Some(chat::Message::Tool { content, .. }) = self.messages.last_mut()
        {
            match all_texts(parts) {
                Ok(texts) => {
                    content.text.push_str(&texts);
                    self.content
                        .dropped
                        .changed("text after a tool_result as a part of it");
                    return;
                }
                Err(others) => parts = others,
            }
            self.between();
        }
        // A server that accepts a system message only at the beginning usually requires
        // alternating roles, too.
        if let (MidSystem::User, Some(chat::Message::User { content })) =
            (self.options.mid_system, self.messages.last_mut())
        {
            content.parts.extend(parts);
            return;
        }
        let content = Parts::from(parts);
        self.messages.push(chat::Message::User { content });
    }

    /// Separates a user message from the tool message before.
    fn between(&mut self) {
        self.content
            .dropped
            .changed("answer between a tool_result and what follows it");
        self.messages.push(chat::Message::Assistant {
            content: Some(BETWEEN.to_owned()),
            reasoning_content: None,
            reasoning: None,
            tool_calls: Vec::new(),
            state: Map::new(),
        });
    }

    /// The translated conversation, and what it uses.
    pub(crate) fn end(self) -> Spoken {
        let is_user_after_tool = |pair: &[chat::Message]| {
            matches!(
                pair,
                [chat::Message::Tool { .. }, chat::Message::User { .. }]
            )
        };
        let has_parts = |message: &chat::Message| matches!(message, chat::Message::User { content } if content.parts.len() > 1 || content.parts.iter().any(|part| !matches!(part, Part::Text { .. })));
        let used = Used {
            system: matches!(self.messages.first(), Some(chat::Message::System { .. })),
            mid_system: self.mid_system && self.options.mid_system == MidSystem::System,
            user_after_tool: self.messages.windows(2).any(is_user_after_tool),
            alternating_roles: self.options.mid_system == MidSystem::User
                && !self.options.user_after_tool,
            images: self.content.sends_images,
            parts: self.messages.iter().any(has_parts),
            breakpoints: self.breakpoints,
            ..Used::default()
        };
        Spoken {
            messages: self.messages,
            used,
        }
    }

    fn mid_system(&mut self, blocks: Vec<Block>) {
        let content = self.content.system(blocks);
        if content.is_empty() {
            return;
        }
        self.mid_system |= !self.messages.is_empty();
        match self.options.mid_system {
            MidSystem::User if !self.messages.is_empty() => {
                self.content
                    .dropped
                    .changed("system message as user message");
                self.user(vec![Part::text(format!("<system>\n{content}\n</system>"))]);
            }
            _ => self.messages.push(chat::Message::System {
                content: content.into(),
            }),
        }
    }

    /// Adds an assistant message. Returns the client's ids of its calls.
    fn assistant(&mut self, blocks: Vec<Block>) -> Vec<String> {
        let mut texts = Vec::new();
        let mut thoughts = Vec::new();
        let mut ids = Vec::new();
        let mut tool_calls = Vec::new();
        let mut signed = Map::new();
        for block in blocks {
            if let Block::Thinking { signature, .. } = &block {
                let state = self.ids.state(signature).message;
                signed = if state.is_empty() { signed } else { state };
            }
            match block {
                Block::Text(text) => texts.push(text),
                Block::Thinking { text, .. } if self.options.reasoning != Thoughts::Nowhere => {
                    thoughts.push(text)
                }
                Block::ToolUse(call) => {
                    ids.push(call.id.clone());
                    tool_calls.push(self.call(call));
                }
                other => self.content.dropped.left_out(kind(&other)),
            }
        }
        let text = joined(texts);
        if text.is_empty() && tool_calls.is_empty() {
            return ids;
        }
        let thoughts = joined(thoughts);
        let (reasoning_content, reasoning) = match self.options.reasoning {
            // DeepSeek requires it, even empty, in every message that calls a tool.
            Thoughts::ReasoningContent if !tool_calls.is_empty() || !thoughts.is_empty() => {
                (Some(thoughts), None)
            }
            Thoughts::Reasoning if !thoughts.is_empty() => (None, Some(thoughts)),
            _ => (None, None),
        };
        self.messages.push(chat::Message::Assistant {
            content: (!text.is_empty()).then_some(text),
            reasoning_content,
            reasoning,
            tool_calls,
            state: self.message_state(&ids, signed),
        });
        ids
    }

    /// What the upstream wants back with a message: what these calls carry, which is all of it, or
    /// else its signature.
    fn message_state(&self, ids: &[String], signed: Map<String, Value>) -> Map<String, Value> {
        let mut kept = Map::new();
        for id in ids {
            state::add(&mut kept, self.ids.state(id).message);
        }
        if kept.is_empty() { signed } else { kept }
    }

    fn call(&mut self, call: ToolUse) -> ToolCall {
        let state = self.ids.state(&call.id);
        ToolCall {
            id: self.ids.for_upstream(&call.id),
            r#type: Function::Function,
            function: Call {
                name: self.content.names.send(call.name),
                arguments: self.outline.quoted(&call.input),
                state: state.function,
            },
            state: state.call,
        }
    }

    /// Moves the results of these calls directly after them. The text around them stays in its
    /// message.
    fn results(&mut self, calls: Vec<String>, following: &mut [Message]) -> Result<(), Refusal> {
        for id in calls {
            let found = take_result(&id, following);
            let tool_call_id = self.ids.for_upstream(&id);
            let content = match found {
                None => {
                    self.content.dropped.changed("tool_use without its result");
                    NO_RESULT.to_owned()
                }
                Some(result) => {
                    let (text, attached) = self.content.result(result.content, result.is_error)?;
                    for (index, part) in attached.into_iter().enumerate() {
                        let heading =
                            format!("[attachment {} of tool call {tool_call_id}]", index + 1);
                        self.attached.extend([Part::text(heading), part]);
                    }
                    text
                }
            };
            self.messages.push(chat::Message::Tool {
                tool_call_id,
                content: content.into(),
            });
        }
        Ok(())
    }
}

impl Spoken {
    /// Makes every content a single text.
    pub(crate) fn flatten(&mut self) {
        for message in &mut self.messages {
            let chat::Message::User { content } = message else {
                continue;
            };
            match all_texts(std::mem::take(&mut content.parts)) {
                Ok(texts) => content.parts.push(Part::text(texts.trim_start())),
                Err(parts) => content.parts = parts,
            }
        }
        self.used.parts = false;
    }
}

/// The parts as one text, each after an empty line. Returns them unchanged if they are not all
/// texts.
fn all_texts(parts: Vec<Part>) -> Result<String, Vec<Part>> {
    if parts.iter().any(|part| !matches!(part, Part::Text { .. })) {
        return Err(parts);
    }
    let mut texts = String::new();
    for part in parts {
        if let Part::Text { text } = part {
            texts.push_str("\n\n");
            texts.push_str(&text);
        }
    }
    Ok(texts)
}

/// Takes the result of a call out of the user messages before the next assistant message.
fn take_result(id: &str, following: &mut [Message]) -> Option<ToolResult> {
    let before_answer = following
        .iter_mut()
        .take_while(|message| message.role != Role::Assistant);
    for message in before_answer.filter(|message| message.role == Role::User) {
        let is_its = |block: &Block| matches!(block, Block::ToolResult(result) if result.id == id);
        if let Some(at) = message.content.iter().position(is_its)
            && let Block::ToolResult(result) = message.content.remove(at)
        {
            return Some(result);
        }
    }
    None
}

//! The conversation: who said what, in the order that a chat completion wants.
//!
//! Behind an answer that calls tools stand the results of all calls, in the order of the calls, and nothing between. In Anthropic's
//! form they stand in user messages, among other things, perhaps behind a system message, and perhaps not at all.

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, Message, Role, ToolResult, ToolUse},
};

use super::{
    chat::{self, Call, Function, Part, Parts, ToolCall},
    content::{Content, joined, kind},
};
use crate::{
    names::id_to_upstream,
    settings::{MidSystem, Options, Thoughts},
};

/// What a model reads in place of a result that is not there.
const NO_RESULT: &str = "[no result: the call was not carried out, or its result is lost]";

/// Translates a conversation, message by message.
pub(crate) struct Conversation<'a> {
    content: Content<'a>,
    outline: &'a Outline,
    options: &'a Options,
    pub(crate) messages: Vec<chat::Message>,
    /// What came with the results of tools and cannot stand in them: it goes to the beginning of the next user message.
    attached: Vec<Part>,
    /// Whether there was a system message in the middle.
    pub(crate) mid_system: bool,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(content: Content<'a>, outline: &'a Outline, options: &'a Options) -> Self {
        Self {
            content,
            outline,
            options,
            messages: Vec::new(),
            attached: Vec::new(),
            mid_system: false,
        }
    }

    pub(crate) fn system(&mut self, blocks: Vec<Block>) {
        let content = self.content.system(blocks);
        if !content.is_empty() {
            self.messages.push(chat::Message::System { content });
        }
    }

    pub(crate) fn translate(&mut self, mut messages: Vec<Message>) -> Result<(), Refusal> {
        let mut rest = &mut messages[..];
        while let [message, following @ ..] = rest {
            let blocks = std::mem::take(&mut message.content);
            if message.role != Role::User {
                self.user(Vec::new());
            }
            match message.role {
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
            rest = following;
        }
        if matches!(self.messages.last(), Some(chat::Message::Assistant { tool_calls, .. }) if tool_calls.is_empty())
        {
            self.content
                .dropped
                .changed("beginning of the answer as an answer before");
        }
        Ok(())
    }

    /// A user message of what is attached and these parts, if there is anything.
    fn user(&mut self, more: Vec<Part>) {
        let mut parts = std::mem::take(&mut self.attached);
        parts.extend(more);
        if parts.is_empty() {
            return;
        }
        // Whoever takes system messages only at first mostly wants roles to alternate, too.
        if let (MidSystem::User, Some(chat::Message::User { content })) =
            (self.options.mid_system, self.messages.last_mut())
        {
            content.0.extend(parts);
            return;
        }
        let content = Parts(parts);
        self.messages.push(chat::Message::User { content });
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
            _ => self.messages.push(chat::Message::System { content }),
        }
    }

    /// Returns the ids of the calls, as the client knows them.
    fn assistant(&mut self, blocks: Vec<Block>) -> Vec<String> {
        let mut texts = Vec::new();
        let mut thoughts = Vec::new();
        let mut ids = Vec::new();
        let mut tool_calls = Vec::new();
        for block in blocks {
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
            // DeepSeek wants it of every answer that calls a tool, if only as an empty one.
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
        });
        ids
    }

    fn call(&mut self, call: ToolUse) -> ToolCall {
        ToolCall {
            id: id_to_upstream(call.id),
            r#type: Function::Function,
            function: Call {
                name: self.content.names.send(call.name),
                arguments: self.outline.quoted(&call.input),
            },
        }
    }

    /// Brings the results of these calls to their place. Texts that stand around them stay in their messages.
    fn results(&mut self, calls: Vec<String>, following: &mut [Message]) -> Result<(), Refusal> {
        for id in calls {
            let found = take_result(&id, following);
            let tool_call_id = id_to_upstream(id);
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
                content,
            });
        }
        Ok(())
    }
}

/// The result of a call, out of the user messages before the next answer.
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

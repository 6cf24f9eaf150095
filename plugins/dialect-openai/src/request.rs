//! Translates an Anthropic request into a chat completion request.
//!
//! A conversation becomes the same bytes in every turn, so that the upstream's prompt cache hits.
//! Nothing depends on later messages, on time or on chance.

mod chat;
mod content;
mod conversation;
mod dropped;
mod effort;
mod limits;
mod schema;
mod tools;

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, ClientRequest, ToolDef},
};

use crate::{
    failure::{Capabilities, OPTIONAL, Used},
    ids::CallIds,
    names::{Names, hash},
    settings::{MaxTokens, Options, Thoughts},
};
use chat::{Chat, StreamOptions};
use content::Content;
use conversation::{Conversation, Spoken};
use dropped::Dropped;

/// What this attempt needs in addition to the client's request.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) model: String,
    pub(crate) session: Option<String>,
    pub(crate) options: &'a Options,
    pub(crate) capabilities: &'a Capabilities,
    /// The ids of the conversation's calls.
    pub(crate) ids: &'a CallIds,
    /// The number of output tokens that fit the context, if the previous attempt found out.
    pub(crate) room: Option<u64>,
    /// Whether the upstream takes cache breakpoints (`cache_control`).
    pub(crate) breakpoints: bool,
}

/// A request for the upstream.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) body: Chat,
    pub(crate) names: Names,
    pub(crate) used: Used,
    /// What was dropped or changed, for the record.
    pub(crate) note: Option<String>,
}

pub(crate) fn translate(
    mut asked: ClientRequest,
    outline: &Outline,
    wanted: &Wanted<'_>,
) -> Result<Translated, Refusal> {
    let options = wanted.options;
    let mut names = Names::default();
    let mut dropped = Dropped::default();
    if wanted.breakpoints && !wanted.capabilities.without("cache_control") {
        for kind in ["text", "image", "document", "tool_result", "tools"] {
            asked.dropped.remove(&format!("{kind}.cache_control"));
        }
    } else {
        asked.system_breakpoint = None;
        for message in &mut asked.messages {
            message.breakpoint = None;
        }
        for tool in &mut asked.tools {
            if let ToolDef::Tool(tool) = tool {
                tool.breakpoint = None;
            }
        }
    }
    dropped.left_out.extend(std::mem::take(&mut asked.dropped));
    if asked.top_k.is_some() {
        dropped.left_out("top_k");
    }
    let offer = tools::offer(&mut asked, outline, options, &mut names, &mut dropped)?;
    let format = asked.schema.take().map(|schema| {
        let format = tools::format(schema, options.response_format, outline, &mut dropped);
        asked.system.extend(format.prompt.map(Block::Text));
        format.member
    });
    let parallel = (!asked.parallel_tools && !offer.tools.is_empty()).then_some(false);
    let has_tools = !offer.tools.is_empty();
    let effort = effort::effort(&asked, has_tools, wanted, &mut dropped);
    let max = limits::max_tokens(asked.max_tokens.take(), wanted, &mut dropped);
    let stop = limits::stops(
        std::mem::take(&mut asked.stop_sequences),
        wanted.capabilities,
        &mut dropped,
    );
    let (temperature, top_p) = (asked.temperature.take(), asked.top_p.take());
    let spoken = messages(asked, outline, wanted, &mut names, &mut dropped)?;

    let named = |name| max.clone().filter(|_| options.max_tokens == name);
    let mut body = Chat {
        model: wanted.model.clone(),
        messages: spoken.messages,
        tools: offer.tools,
        tool_choice: offer.choice,
        parallel_tool_calls: parallel,
        max_tokens: named(MaxTokens::MaxTokens),
        max_completion_tokens: named(MaxTokens::MaxCompletionTokens),
        temperature,
        top_p,
        stop,
        reasoning_effort: effort,
        response_format: format.flatten(),
        prompt_cache_key: wanted
            .session
            .clone()
            .filter(|_| options.prompt_cache_key)
            .map(cache_key),
        stream: true,
        stream_options: options.stream_usage.then_some(StreamOptions {
            include_usage: true,
        }),
    };
    let optional = body.remove_unsupported(wanted.capabilities, &mut dropped);
    let used = Used {
        max_tokens: max.and_then(|max| Some((options.max_tokens, max.as_u64()?))),
        optional,
        reasoning: options.reasoning != Thoughts::Nowhere,
        format: body
            .response_format
            .as_ref()
            .map(|_| options.response_format),
        tool_force: offer.force,
        tools: has_tools,
        effort: body.reasoning_effort,
        stops: body.stop.len(),
        breakpoints: spoken.used.breakpoints
            || body.tools.iter().any(|tool| tool.cache_control.is_some()),
        ..spoken.used
    };
    Ok(Translated {
        body,
        names,
        used,
        note: dropped.line(),
    })
}

fn messages(
    asked: ClientRequest,
    outline: &Outline,
    wanted: &Wanted<'_>,
    names: &mut Names,
    dropped: &mut Dropped,
) -> Result<Spoken, Refusal> {
    let options = wanted.options;
    let content = Content {
        dropped,
        names,
        files: options.files,
        images: options.images,
        sends_images: false,
    };
    let mut conversation = Conversation::new(content, outline, options, wanted.ids);
    conversation.system(asked.system, wanted.capabilities.no_system());
    conversation.breakpoint(asked.system_breakpoint);
    conversation.translate(asked.messages)?;
    let mut spoken = conversation.end();
    if wanted.capabilities.plain_content() {
        spoken.flatten();
    }
    Ok(spoken)
}

impl Chat {
    /// Removes what the upstream does not accept. Returns the optional members that are left.
    fn remove_unsupported(
        &mut self,
        capabilities: &Capabilities,
        dropped: &mut Dropped,
    ) -> Vec<&'static str> {
        let mut present = Vec::new();
        for name in OPTIONAL {
            let without = capabilities.without(name);
            let kept = match name {
                "stream_options" => keep(&mut self.stream_options, without),
                "parallel_tool_calls" => keep(&mut self.parallel_tool_calls, without),
                "temperature" => keep(&mut self.temperature, without),
                "top_p" => keep(&mut self.top_p, without),
                "reasoning_effort" => keep(&mut self.reasoning_effort, without),
                "stop" => keep_list(&mut self.stop, without),
                _ => keep(&mut self.prompt_cache_key, without),
            };
            match kept {
                Some(true) => present.push(name),
                Some(false) => dropped.left_out(name),
                None => {}
            }
        }
        present
    }
}

/// Whether the member is kept. `None` if it was not present.
fn keep<T>(member: &mut Option<T>, without: bool) -> Option<bool> {
    member.as_ref()?;
    if without {
        *member = None;
    }
    Some(!without)
}

fn keep_list<T>(member: &mut Vec<T>, without: bool) -> Option<bool> {
    let present = !member.is_empty();
    if without {
        member.clear();
    }
    present.then_some(!without)
}

/// The cache key for a session, at most 64 characters as OpenAI requires.
fn cache_key(session: String) -> String {
    if session.len() <= 64 {
        return session;
    }
    format!("{:016x}", hash(&[&session]))
}

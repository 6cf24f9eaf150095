//! Translates an Anthropic request into a chat completion request.
//!
//! A conversation becomes the same bytes in every turn, so that the upstream's prompt cache hits.
//! Nothing depends on later messages, on time or on chance.

mod chat;
mod content;
mod conversation;
mod dropped;
mod tools;

use serde_json::Number;
use witgate_plugin::{
    Outline, Refusal,
    dialect::{ClientRequest, Thinking},
};

use crate::{
    failure::{Capabilities, OPTIONAL, Used},
    ids::CallIds,
    names::{Names, hash},
    settings::{MaxTokens, Options, Thoughts},
};
use chat::{Chat, StreamOptions};
use content::Content;
use conversation::Conversation;
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
    asked: ClientRequest,
    outline: &Outline,
    wanted: &Wanted<'_>,
) -> Result<Translated, Refusal> {
    let options = wanted.options;
    let mut names = Names::default();
    let mut dropped = Dropped::default();
    dropped.left_out.extend(asked.dropped);
    let tools = tools::tools(asked.tools, &asked.tool_choice, &mut names, &mut dropped)?;
    let tool_choice = tools::choice(asked.tool_choice, &mut names).filter(|_| !tools.is_empty());
    let parallel = (!asked.parallel_tools && !tools.is_empty()).then_some(false);

    let content = Content {
        dropped: &mut dropped,
        names: &mut names,
        files: options.files,
    };
    let mut conversation = Conversation::new(content, outline, options, wanted.ids);
    conversation.system(asked.system);
    conversation.translate(asked.messages)?;
    let Conversation {
        messages,
        mid_system,
        ..
    } = conversation;

    if asked.top_k.is_some() {
        dropped.left_out("top_k");
    }
    let max = max_tokens(asked.max_tokens, wanted, &mut dropped);
    let mut body = Chat {
        model: wanted.model.clone(),
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: parallel,
        max_tokens: max
            .clone()
            .filter(|_| options.max_tokens == MaxTokens::MaxTokens),
        max_completion_tokens: max
            .clone()
            .filter(|_| options.max_tokens == MaxTokens::MaxCompletionTokens),
        temperature: asked.temperature,
        top_p: asked.top_p,
        stop: asked.stop_sequences,
        reasoning_effort: effort(
            asked.effort.as_deref(),
            &asked.thinking,
            options,
            &mut dropped,
        ),
        response_format: asked
            .schema
            .map(|schema| tools::format(schema, &mut dropped)),
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
        mid_system,
        reasoning: options.reasoning != Thoughts::Nowhere,
    };
    Ok(Translated {
        body,
        names,
        used,
        note: dropped.line(),
    })
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
            let kept = match name {
                "stream_options" => keep(&mut self.stream_options, capabilities.without(name)),
                "parallel_tool_calls" => {
                    keep(&mut self.parallel_tool_calls, capabilities.without(name))
                }
                "temperature" => keep(&mut self.temperature, capabilities.without(name)),
                "top_p" => keep(&mut self.top_p, capabilities.without(name)),
                "reasoning_effort" => keep(&mut self.reasoning_effort, capabilities.without(name)),
                _ => keep(&mut self.prompt_cache_key, capabilities.without(name)),
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

fn max_tokens(asked: Option<Number>, wanted: &Wanted<'_>, dropped: &mut Dropped) -> Option<Number> {
    let asked = asked?;
    let most = [wanted.options.max_output, wanted.room]
        .into_iter()
        .flatten()
        .min();
    match (asked.as_u64(), most) {
        (Some(number), Some(most)) if number > most => {
            dropped.capped(number, most);
            Some(most.into())
        }
        _ => Some(asked),
    }
}

/// The `reasoning_effort`. OpenAI knows Anthropic's levels and some more.
fn effort(
    requested: Option<&str>,
    thinking: &Thinking,
    options: &Options,
    dropped: &mut Dropped,
) -> Option<&'static str> {
    const WORDS: [&str; 6] = ["minimal", "low", "medium", "high", "xhigh", "max"];
    let word = requested.and_then(|requested| WORDS.into_iter().find(|word| *word == requested));
    if requested.is_some() && !(options.effort && word.is_some()) {
        dropped.left_out("output_config.effort");
    }
    if *thinking != Thinking::Unsaid && !options.effort {
        dropped.left_out("thinking");
    }
    if !options.effort {
        return None;
    }
    match thinking {
        Thinking::Disabled => Some("none"),
        Thinking::Enabled {
            budget: Some(budget),
        } if word.is_none() => Some(match budget {
            ..=4_096 => "low",
            ..=16_384 => "medium",
            _ => "high",
        }),
        _ => word,
    }
}

/// The cache key for a session, at most 64 characters as OpenAI requires.
fn cache_key(session: String) -> String {
    if session.len() <= 64 {
        return session;
    }
    format!("{:016x}", hash(&[&session]))
}

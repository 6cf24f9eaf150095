//! Translates a Messages request into a Gemini request.

mod blocks;
mod contents;
mod media;
mod thinking;
mod tools;
mod wire;

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, ClientRequest, DroppedFields},
    serde_json,
};

use self::{
    contents::Contents,
    wire::{Body, Content, Counted, GenerationConfig, Part, SafetySetting},
};
use crate::{dropped::Dropped, model::Model, names::Names, schema, settings::Settings};

/// A request for the upstream, and what is needed to translate its response.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) body: String,
    pub(crate) names: Names,
    /// What was left out or changed, for the record.
    pub(crate) note: Option<String>,
}

/// The model and upstream that a request is translated for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) model: Model,
    /// The model as in the path: `models/gemini-2.5-flash`.
    pub(crate) path: &'a str,
    pub(crate) vertex: bool,
    pub(crate) signatures: Signatures,
}

/// What is known about the signatures in the history.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signatures {
    /// The upstream requires a signature for each step, regardless of the model's name.
    pub(crate) required: bool,
    /// The upstream has rejected a signature.
    pub(crate) rejected: bool,
}

/// The categories that have a safety filter.
const CATEGORIES: [&str; 4] = [
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
];

/// Claude Code's first system block. Its digits differ from session to session and mean nothing to
/// others, but would prevent sessions from sharing a cached prefix.
const BILLING: &str = "x-anthropic-billing-header:";

/// The number of stop sequences that Gemini accepts.
const MOST_STOP_SEQUENCES: usize = 5;

/// Translates a request for `streamGenerateContent`.
pub(crate) fn message(
    asked: &mut ClientRequest,
    outline: &Outline,
    to: Destination<'_>,
    settings: &Settings,
) -> Result<Translated, Refusal> {
    let mut dropped = Dropped {
        left_out: std::mem::take(&mut asked.dropped),
        ..Dropped::default()
    };
    let asked = &*asked;
    let offered = tools::offered(asked, outline, &mut dropped)?;
    let mut body = prompt(asked, outline, to, &mut dropped)?;
    body.tool_config = tools::config(asked, &offered, &mut dropped);
    body.tools = offered.tools;
    body.safety_settings = settings
        .safety
        .iter()
        .flat_map(|threshold| of_all_categories(threshold))
        .collect();
    body.generation_config = Some(generation(asked, to.model, settings, &mut dropped)?);
    finish(&body, offered.names, &dropped)
}

/// Translates a request for `countTokens`: only what is counted, without the generation settings.
pub(crate) fn count(
    asked: &mut ClientRequest,
    outline: &Outline,
    to: Destination<'_>,
) -> Result<Translated, Refusal> {
    let mut dropped = Dropped {
        left_out: std::mem::take(&mut asked.dropped),
        ..Dropped::default()
    };
    let asked = &*asked;
    let offered = tools::offered(asked, outline, &mut dropped)?;
    let mut body = prompt(asked, outline, to, &mut dropped)?;
    body.tools = offered.tools;
    if to.vertex {
        return finish(&body, offered.names, &dropped);
    }
    // Empty, because the SDK's requests always include it.
    body.generation_config = Some(GenerationConfig::default());
    let counted = Counted {
        generate_content_request: wire::Request {
            model: to.path,
            body,
        },
    };
    finish(&counted, offered.names, &dropped)
}

fn finish(
    body: &impl serde::Serialize,
    names: Names,
    dropped: &Dropped,
) -> Result<Translated, Refusal> {
    let body = serde_json::to_string(body).map_err(|error| {
        Refusal::new(
            500,
            "api_error",
            format!("cannot serialize the request: {error}"),
        )
    })?;
    Ok(Translated {
        body,
        names,
        note: dropped.line(),
    })
}

/// The part of the request that the model reads.
fn prompt<'a>(
    asked: &'a ClientRequest,
    outline: &'a Outline,
    to: Destination<'_>,
    dropped: &mut Dropped,
) -> Result<Body<'a>, Refusal> {
    let system = system(&asked.system, &mut dropped.left_out);
    let contents = Contents::new(outline, to, dropped).of(&asked.messages)?;
    Ok(Body {
        contents,
        system_instruction: system,
        ..Body::default()
    })
}

fn system<'a>(blocks: &'a [Block], left_out: &mut DroppedFields) -> Option<Content<'a>> {
    let mut parts = Vec::new();
    for block in blocks {
        match block {
            Block::Text(text) if text.starts_with(BILLING) => left_out.add("system billing header"),
            Block::Text(text) if text.is_empty() => {}
            Block::Text(text) => parts.push(Part::text(text.as_str())),
            other => left_out.add(format!("system {}", blocks::kind(other))),
        }
    }
    (!parts.is_empty()).then_some(Content { role: None, parts })
}

fn of_all_categories(threshold: &str) -> impl Iterator<Item = SafetySetting<'_>> {
    CATEGORIES.into_iter().map(move |category| SafetySetting {
        category,
        threshold,
    })
}

fn generation<'a>(
    asked: &'a ClientRequest,
    model: Model,
    settings: &Settings,
    dropped: &mut Dropped,
) -> Result<GenerationConfig<'a>, Refusal> {
    let stops = &asked.stop_sequences;
    for _ in stops.iter().skip(MOST_STOP_SEQUENCES) {
        dropped.left_out.add("stop_sequences");
    }
    let schema = match &asked.schema {
        Some(_) if !asked.tools.is_empty() && !model.formats_beside_tools() => {
            return Err(rejected("output_config.format beside tools"));
        }
        schema => schema.as_ref().map(schema::of_response),
    };
    Ok(GenerationConfig {
        max_output_tokens: max_output(model, asked, settings, dropped),
        temperature: asked.temperature.as_ref(),
        top_p: asked.top_p.as_ref(),
        top_k: asked.top_k.as_ref(),
        stop_sequences: stops
            .iter()
            .take(MOST_STOP_SEQUENCES)
            .map(String::as_str)
            .collect(),
        response_mime_type: schema.is_some().then_some("application/json"),
        response_json_schema: schema,
        thinking_config: thinking::config(model, asked, dropped),
    })
}

fn max_output(
    model: Model,
    asked: &ClientRequest,
    settings: &Settings,
    dropped: &mut Dropped,
) -> Option<u64> {
    let wanted = asked.max_tokens.as_ref()?.as_u64()?;
    let most = settings
        .max_output_tokens
        .or_else(|| model.most_output())
        .unwrap_or(wanted);
    if wanted > most {
        dropped.changed.add(format!("max_tokens lowered to {most}"));
    }
    Some(wanted.min(most))
}

/// Rejects a request whose response would be wrong without `what`.
fn rejected(what: &str) -> Refusal {
    Refusal::invalid_request(format!("capability_rejected: {what}"))
}

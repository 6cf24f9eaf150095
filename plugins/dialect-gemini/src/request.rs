//! Translates a Messages request into a Gemini request.

mod blocks;
mod contents;
mod deferred;
mod media;
mod thinking;
mod tools;
mod wire;

use std::borrow::Cow;

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, ClientRequest, DroppedFields},
    serde_json::{self, Number},
};

use self::{
    contents::Contents,
    wire::{Body, Content, Counted, GenerationConfig, Part, SafetySetting},
};
use crate::{
    dropped::Dropped, learned::Learned, model::Model, names::Names, schema, settings::Settings,
};

/// A request for the upstream, and what is needed to translate its response.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) body: String,
    pub(crate) names: Names,
    /// What was left out or changed, for the record.
    pub(crate) note: Option<String>,
    /// Whether the model may search the web.
    pub(crate) searches: bool,
}

/// The model and upstream that a request is translated for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) model: Model,
    /// The name of the model, as the route has it.
    pub(crate) name: &'a str,
    /// The model as in the path: `models/gemini-2.5-flash`.
    pub(crate) path: &'a str,
    pub(crate) vertex: bool,
    pub(crate) learned: &'a Learned,
    /// Whether it has just rejected a signature. It does not say which.
    pub(crate) rejected_signatures: bool,
}

impl Destination<'_> {
    fn takes_system(self) -> bool {
        self.model.takes_system() && !self.learned.no_system
    }

    fn requires_signatures(self) -> bool {
        self.model.requires_signatures() || self.learned.requires_signatures
    }
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
    let offered = tools::offered(asked, outline, to, &mut dropped)?;
    let mut body = prompt(asked, outline, to, &mut dropped)?;
    body.tool_config = tools::config(asked, &offered, &mut dropped);
    let searches = offered.searches;
    body.tools = offered.tools;
    body.safety_settings = settings
        .safety(to.name)
        .into_iter()
        .flat_map(of_all_categories)
        .collect();
    body.generation_config = Some(generation(asked, to, settings, &mut dropped)?);
    Ok(Translated {
        searches,
        ..finish(&body, offered.names, &dropped)?
    })
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
    let offered = tools::offered(asked, outline, to, &mut dropped)?;
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
        searches: false,
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
    let mut contents = Contents::new(outline, to, dropped).of(&asked.messages)?;
    let (first, system_instruction) = match system {
        Some(system) if !to.takes_system() => {
            dropped.changed.add("system to a text of the user");
            (system.parts, None)
        }
        system => (Vec::new(), system),
    };
    contents::begin(&mut contents, first);
    Ok(Body {
        contents,
        system_instruction,
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
    to: Destination<'_>,
    settings: &Settings,
    dropped: &mut Dropped,
) -> Result<GenerationConfig<'a>, Refusal> {
    let schema = match &asked.schema {
        Some(_) if !asked.tools.is_empty() && !to.model.formats_beside_tools() => {
            return Err(rejected("output_config.format beside tools"));
        }
        schema => schema
            .as_ref()
            .map(|schema| schema::of_response(schema, &mut dropped.keywords)),
    };
    Ok(GenerationConfig {
        max_output_tokens: max_output(to, asked, settings, dropped),
        temperature: asked.temperature.as_ref(),
        top_p: asked.top_p.as_ref(),
        top_k: top_k(to, asked, dropped),
        stop_sequences: stop_sequences(asked, dropped),
        response_mime_type: schema.is_some().then_some("application/json"),
        response_json_schema: schema,
        thinking_config: thinking::config(to.model, asked, dropped),
    })
}

/// The stop sequences that Gemini accepts: five different ones, none of them empty.
fn stop_sequences<'a>(asked: &'a ClientRequest, dropped: &mut Dropped) -> Vec<&'a str> {
    let mut stops: Vec<&str> = Vec::new();
    for stop in &asked.stop_sequences {
        if stops.contains(&stop.as_str()) {
            continue;
        }
        if stop.is_empty() || stops.len() == MOST_STOP_SEQUENCES {
            dropped.left_out.add("stop_sequences");
        } else {
            stops.push(stop);
        }
    }
    stops
}

fn max_output(
    to: Destination<'_>,
    asked: &ClientRequest,
    settings: &Settings,
    dropped: &mut Dropped,
) -> Option<u64> {
    let wanted = asked.max_tokens.as_ref()?.as_u64()?;
    let known = settings
        .max_output_tokens(to.name)
        .or(to.model.most_output());
    let most = [known, to.learned.most_output]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(wanted);
    if wanted > most {
        dropped.changed.add(format!("max_tokens lowered to {most}"));
    }
    Some(wanted.min(most))
}

/// The `topK`, lowered to the model's limit. 0, which is no limit, is the default anyway.
fn top_k<'a>(
    to: Destination<'_>,
    asked: &'a ClientRequest,
    dropped: &mut Dropped,
) -> Option<Cow<'a, Number>> {
    let wanted = asked.top_k.as_ref()?;
    let most = to
        .learned
        .most_top_k
        .unwrap_or_else(|| to.model.most_top_k());
    match wanted.as_u64() {
        Some(0) => {
            dropped.left_out.add("top_k");
            None
        }
        Some(wanted) if wanted > most => {
            dropped.changed.add(format!("top_k lowered to {most}"));
            Some(Cow::Owned(most.into()))
        }
        _ => Some(Cow::Borrowed(wanted)),
    }
}

/// Rejects a request whose response would be wrong without `what`.
fn rejected(what: &str) -> Refusal {
    Refusal::invalid_request(format!("capability_rejected: {what}"))
}

//! Collects the parts of a request that cost tokens.
//!
//! Images and documents are megabytes of base64, so the gateway counts and measures them. Only
//! texts, small images and documents of readable length cross into the plugin.

use witgate_plugin::{EditError, Request};

use crate::{
    base64,
    count::{Characters, Content},
    image, pdf,
};

/// The lists of blocks: in messages, in the results and documents inside them, and one level
/// deeper.
const LISTS_OF_BLOCKS: &[&str] = &[
    "$.messages[*].content",
    "$.messages[*].content[*].content",
    "$.messages[*].content[*].source.content",
    "$.messages[*].content[*].content[*].content",
    "$.messages[*].content[*].content[*].source.content",
];

/// The members of a block that the model reads.
const READ_BY_THE_MODEL: &str =
    "'text','thinking','name','tool_name','input','title','context','url','query'";

/// In characters of base64. A longer image nearly always has the maximum size that a model sees.
const SMALL_IMAGE: usize = 1 << 16;

/// In characters of base64: the length assumed for one page.
const PAGE: u64 = 1 << 16;

/// In characters of base64. Longer documents are only measured, not read.
const READABLE: u64 = 4 << 20;

/// The most pages that the API accepts in one document.
const MOST_PAGES: u64 = 600;

pub(crate) fn content(request: &Request) -> Result<Content, EditError> {
    let mut content = Content::default();
    let mut read = |query: &str| -> Result<u64, EditError> {
        let nodes = request.read(query)?;
        for node in &nodes {
            content.characters.add(Characters::of_json(&node.value));
        }
        Ok(nodes.len() as u64)
    };
    if request.matches("$.system[0:1]")? {
        read("$.system[*].text")?;
    } else {
        read("$.system")?;
    }
    let tools = read("$.tools[*]")?;
    read(r#"$.messages[?search(@.content, "")].content"#)?;
    for list in LISTS_OF_BLOCKS {
        read(&format!("{list}[*][{READ_BY_THE_MODEL}]"))?;
        read(&format!(r#"{list}[?search(@.content, "")].content"#))?;
        read(&format!(r#"{list}[?@.source.type == "text"].source.data"#))?;
    }
    content.tools = tools;
    content.messages = request.select("$.messages[*]")?.len() as u64;
    for list in LISTS_OF_BLOCKS {
        content.blocks += request.select(&format!("{list}[?@.type]"))?.len() as u64;
        content.images += images(request, list)?;
        content.pages += pages(request, list)?;
    }
    Ok(content)
}

/// The tokens of a list's images. A small image's size is read from its header; all others cost the
/// maximum.
fn images(request: &Request, list: &str) -> Result<u64, EditError> {
    let all = request
        .select(&format!(r#"{list}[?@.type == "image"]"#))?
        .len() as u64;
    if all == 0 {
        return Ok(0);
    }
    let small = request.read(&format!(
        r#"{list}[?@.type == "image" && length(@.source.data) <= {SMALL_IMAGE}].source.data"#
    ))?;
    let tokens: u64 = small
        .iter()
        .map(|node| image::tokens(node.value.trim_matches('"')))
        .sum();
    Ok(tokens + (all - small.len() as u64) * image::MOST)
}

/// The pages of a list's documents: counted, or estimated from the length. A document that is not
/// part of the request counts as one page.
fn pages(request: &Request, list: &str) -> Result<u64, EditError> {
    // Documents made of text or blocks are counted as text.
    let opaque = r#"@.source.type != "text" && @.source.type != "content""#;
    let documents = format!(r#"{list}[?@.type == "document" && {opaque}"#);
    let all = request.select(&format!("{documents}]"))?.len() as u64;
    if all == 0 {
        return Ok(0);
    }
    let readable = request.read(&format!(
        "{documents} && length(@.source.data) <= {READABLE}].source.data"
    ))?;
    let mut pages = all - readable.len() as u64;
    for node in &readable {
        let data = node.value.trim_matches('"');
        let counted = pdf::pages(&base64::decode(data));
        pages += counted.unwrap_or_else(|| pages_of(data.len() as u64));
    }
    let mut reached = 1;
    // Each doubling of the length that a document reaches doubles its pages.
    while reached < MOST_PAGES {
        let size = (PAGE * reached * 2).max(READABLE + 1);
        let longer = request.select(&format!("{documents} && length(@.source.data) >= {size}]"))?;
        if longer.is_empty() {
            break;
        }
        let more = reached.min(MOST_PAGES - reached);
        pages += longer.len() as u64 * more;
        reached += more;
    }
    Ok(pages)
}

/// Estimates the pages of a document from its length.
fn pages_of(length: u64) -> u64 {
    (length / PAGE).clamp(1, MOST_PAGES)
}

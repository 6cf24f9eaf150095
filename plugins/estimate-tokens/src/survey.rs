//! What a request is made of.
//!
//! Images and documents are megabytes of base64, so they are counted and measured where they lie; only texts and the data of
//! small images are read.

use witgate_plugin::{EditError, Request};

use crate::{
    base64,
    count::{Characters, Content},
    image, pdf,
};

/// Where blocks are: in messages, in the results and documents that these hold, and in what those hold.
const LISTS_OF_BLOCKS: &[&str] = &[
    "$.messages[*].content",
    "$.messages[*].content[*].content",
    "$.messages[*].content[*].source.content",
    "$.messages[*].content[*].content[*].content",
    "$.messages[*].content[*].content[*].source.content",
];

/// The members of a block that a model gets to read.
const READ_BY_THE_MODEL: &str =
    "'text','thinking','name','tool_name','input','title','context','url','query'";

/// In characters of base64. An image with more than this is nearly always one of the greatest size that a model sees.
const SMALL_IMAGE: usize = 1 << 16;

/// In characters of base64: what a page takes at least, and in the middle of many documents.
const PAGE: u64 = 1 << 16;

/// In characters of base64. Longer documents are not read, but measured.
const READABLE: u64 = 4 << 20;

/// The most pages that the API takes in one document.
const MOST_PAGES: u64 = 600;

pub(crate) fn look(request: &Request) -> Result<Content, EditError> {
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

/// What the images of a list cost. The size of a small one is read off its head; all others cost the most.
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
    let read: u64 = small
        .iter()
        .map(|node| image::tokens(node.value.trim_matches('"')))
        .sum();
    Ok(read + (all - small.len() as u64) * image::MOST)
}

/// How many pages the documents of a list have, or by their length may have. One that is not sent along counts as one page.
fn pages(request: &Request, list: &str) -> Result<u64, EditError> {
    // The others are texts and blocks, which are read.
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
        let seen = pdf::pages(&base64::decode(data));
        pages += seen.unwrap_or_else(|| pages_of(data.len() as u64));
    }
    let mut reached = 1;
    // Each doubling of the size that a document reaches adds as many pages as it had.
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

/// How many pages a document of this length may have.
fn pages_of(length: u64) -> u64 {
    (length / PAGE).clamp(1, MOST_PAGES)
}

//! How messages of one role become one: the edits, without looking at a document.

use witgate_plugin::{Operation, json};

/// A message that stands beside another of its role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn {
    pub(crate) index: usize,
    pub(crate) content: Content,
}

/// What a message's content is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A text, as its JSON text with the quotation marks.
    Text(String),
    /// A text that is too long to be handled here.
    LongText,
    /// So many blocks.
    Blocks(usize),
    /// None of these, or the message has other members that would be lost. It stays as it is and parts its neighbours.
    Untouchable,
}

/// The patch that joins these runs, each of which is in the order of the document.
///
/// Text and text become one text with a blank line between them; otherwise blocks are appended, a text as a text block.
/// An empty text disappears, for an empty text block is refused by the API.
pub(crate) fn plan(runs: &[Vec<Turn>]) -> Vec<Operation> {
    let mut edits = Vec::new();
    // From the end, so that the indices still to come stay right.
    for run in runs.iter().rev() {
        let parts = run.split(|turn| turn.content == Content::Untouchable);
        for part in parts.rev() {
            if let [first, rest @ ..] = part
                && !rest.is_empty()
            {
                join(first, rest, &mut edits);
            }
        }
    }
    edits
}

/// The content of the first message as it grows.
enum Whole {
    /// Still a text; the inside of its JSON text.
    Text(String),
    /// In the document, so many blocks.
    Blocks(usize),
}

const EMPTY: &str = "\"\"";

fn join(first: &Turn, rest: &[Turn], edits: &mut Vec<Operation>) {
    let at = format!("/messages/{}/content", first.index);
    let mut whole = match &first.content {
        Content::Text(text) => Whole::Text(inside(text).to_owned()),
        Content::Blocks(count) => Whole::Blocks(*count),
        Content::LongText => {
            edits.extend(make_block(first.index));
            Whole::Blocks(1)
        }
        Content::Untouchable => return,
    };
    for turn in rest {
        whole = match (whole, &turn.content) {
            (whole, Content::Untouchable) => whole,
            (whole, Content::Text(text)) if text == EMPTY => whole,
            (Whole::Text(text), Content::Text(more)) if text.is_empty() => {
                Whole::Text(inside(more).to_owned())
            }
            (Whole::Text(text), Content::Text(more)) => {
                Whole::Text(format!("{text}\\n\\n{}", inside(more)))
            }
            (whole, _) => {
                let count = whole.into_blocks(&at, edits);
                Whole::Blocks(append(turn, &at, count, edits))
            }
        };
    }
    if let Whole::Text(text) = whole {
        edits.push(Operation::replace_json(at, format!("\"{text}\"")));
    }
    let gone = rest.iter().rev();
    edits.extend(gone.map(|turn| Operation::remove(format!("/messages/{}", turn.index))));
}

impl Whole {
    fn into_blocks(self, at: &str, edits: &mut Vec<Operation>) -> usize {
        match self {
            Self::Blocks(count) => count,
            Self::Text(text) if text.is_empty() => {
                edits.push(Operation::replace_json(at, "[]"));
                0
            }
            Self::Text(text) => {
                let blocks = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
                edits.push(Operation::replace_json(at, blocks));
                1
            }
        }
    }
}

/// Appends what a message holds to the blocks at `at`, and tells how many there are then. Nothing is copied through
/// here: the gateway moves the bytes.
fn append(turn: &Turn, at: &str, count: usize, edits: &mut Vec<Operation>) -> usize {
    let from = format!("/messages/{}/content", turn.index);
    match turn.content {
        Content::Blocks(more) => {
            // The first one each time, for those behind it move up.
            let one = || Operation::move_to(format!("{from}/0"), format!("{at}/-"));
            edits.extend(std::iter::repeat_with(one).take(more));
            count + more
        }
        Content::Text(_) | Content::LongText => {
            edits.push(Operation::add(format!("{at}/-"), json!({ "type": "text" })));
            edits.push(Operation::move_to(from, format!("{at}/{count}/text")));
            count + 1
        }
        Content::Untouchable => count,
    }
}

/// Makes the text of a message a list with one text block, by moving it. The message has no members but role and content, so
/// the place beside them is free.
fn make_block(index: usize) -> [Operation; 3] {
    let content = format!("/messages/{index}/content");
    let beside = format!("/messages/{index}/blocks");
    [
        Operation::add(beside.clone(), json!([{ "type": "text" }])),
        Operation::move_to(content.clone(), format!("{beside}/0/text")),
        Operation::move_to(beside, content),
    ]
}

/// A JSON string's text without its quotation marks, escapes as they are.
fn inside(json: &str) -> &str {
    json.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(contents: impl IntoIterator<Item = Content>) -> Vec<Turn> {
        let turn = |(index, content)| Turn { index, content };
        contents.into_iter().enumerate().map(turn).collect()
    }

    fn text(text: &str) -> Content {
        Content::Text(format!("\"{text}\""))
    }

    #[test]
    fn two_texts_are_joined_by_a_blank_line_with_their_escapes() {
        assert_eq!(
            plan(&[run([text("a\\u0041"), text("b")])]),
            [
                Operation::replace_json("/messages/0/content", r#""a\u0041\n\nb""#),
                Operation::remove("/messages/1"),
            ]
        );
    }

    #[test]
    fn an_empty_text_leaves_no_trace() {
        assert_eq!(
            plan(&[run([text(""), text("b"), text("")])]),
            [
                Operation::replace_json("/messages/0/content", r#""b""#),
                Operation::remove("/messages/2"),
                Operation::remove("/messages/1"),
            ]
        );
        assert_eq!(
            plan(&[run([text(""), Content::Blocks(1)])])[0],
            Operation::replace_json("/messages/0/content", "[]"),
        );
    }

    #[test]
    fn blocks_and_long_texts_are_moved_not_carried() {
        let edits = plan(&[run([
            Content::Blocks(2),
            Content::LongText,
            Content::Blocks(1),
        ])]);
        assert_eq!(
            edits,
            [
                Operation::add("/messages/0/content/-", json!({"type": "text"})),
                Operation::move_to("/messages/1/content", "/messages/0/content/2/text"),
                Operation::move_to("/messages/2/content/0", "/messages/0/content/-"),
                Operation::remove("/messages/2"),
                Operation::remove("/messages/1"),
            ]
        );
    }

    #[test]
    fn an_untouchable_message_parts_its_neighbours() {
        let parted = run([text("a"), Content::Untouchable, text("b")]);
        assert_eq!(plan(&[parted]), []);
        let parted = run([
            text("a"),
            text("b"),
            Content::Untouchable,
            text("c"),
            text("d"),
        ]);
        let removed: Vec<Operation> = plan(&[parted])
            .into_iter()
            .filter(|edit| matches!(edit, Operation::Remove(_)))
            .collect();
        assert_eq!(
            removed,
            [
                Operation::remove("/messages/4"),
                Operation::remove("/messages/1")
            ]
        );
    }

    #[test]
    fn nothing_to_join_is_no_edit() {
        assert_eq!(plan(&[]), []);
        assert_eq!(plan(&[run([text("a")])]), []);
    }
}

//! Plans the edits that join messages of one role. No document is read here.

use witgate_plugin::{Operation, json};

/// A message that is adjacent to another of its role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn<C> {
    pub(crate) index: usize,
    /// `None` if it is neither a text nor blocks, or the message has other members that would be
    /// lost. Such a message stays as it is, and nothing is joined across it.
    pub(crate) content: Option<C>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A text, as its JSON text with the quotation marks.
    Text(String),
    /// A text that is too long to cross into the plugin.
    LongText,
    /// This many blocks.
    Blocks(usize),
}

/// The patch that joins these runs, each of which is in the order of the document.
///
/// Two texts become one text with a blank line between them. Otherwise blocks are appended, a text
/// as a text block. An empty text is dropped, because the API rejects empty text blocks.
///
/// `None` if that takes more than [`MOST_EDITS`] besides removals and one edit for each run.
pub(crate) fn by_moving(runs: &[Vec<Turn<Content>>]) -> Option<Vec<Operation>> {
    let edits = plan(runs, moved);
    let removed = |edit: &&Operation| matches!(edit, Operation::Remove(_));
    let others = edits.len() - edits.iter().filter(removed).count();
    (others <= MOST_EDITS + runs.len()).then_some(edits)
}

/// The most edits of a patch that is applied one edit after the other, which takes some
/// milliseconds.
const MOST_EDITS: usize = 4_000;

/// Like [`by_moving`], but each joined content is written as a whole: one edit for all of its
/// blocks.
pub(crate) fn by_writing(runs: &[Vec<Turn<String>>]) -> Vec<Operation> {
    plan(runs, written)
}

/// Messages that become one: their indices and contents.
type Part<'t, C> = [(usize, &'t C)];

/// Plans all runs. `join` makes the content of the first message of a part.
fn plan<C>(
    runs: &[Vec<Turn<C>>],
    join: fn(&Part<'_, C>, &str, &mut Vec<Operation>),
) -> Vec<Operation> {
    let mut edits = Vec::new();
    // From the end, so that the indices of earlier messages stay valid.
    for run in runs.iter().rev() {
        for part in run.split(|turn| turn.content.is_none()).rev() {
            let known = part
                .iter()
                .filter_map(|turn| Some((turn.index, turn.content.as_ref()?)));
            let part: Vec<(usize, &C)> = known.collect();
            if let [(first, _), others @ ..] = part.as_slice()
                && !others.is_empty()
            {
                join(&part, &format!("/messages/{first}/content"), &mut edits);
                let removed = others.iter().rev();
                edits.extend(
                    removed.map(|(index, _)| Operation::remove(format!("/messages/{index}"))),
                );
            }
        }
    }
    edits
}

/// The content of the first message while others are joined to it.
enum Whole {
    /// Still a text; the inside of its JSON text.
    Text(String),
    /// This many blocks, in the document.
    Blocks(usize),
}

const EMPTY: &str = "\"\"";

fn moved(part: &Part<'_, Content>, at: &str, edits: &mut Vec<Operation>) {
    let Some(((first, content), others)) = part.split_first() else {
        return;
    };
    let mut whole = match content {
        Content::Text(text) => Whole::Text(inside(text).to_owned()),
        Content::Blocks(count) => Whole::Blocks(*count),
        Content::LongText => {
            edits.extend(make_block(*first));
            Whole::Blocks(1)
        }
    };
    for (index, content) in others {
        whole = match (whole, content) {
            (whole, Content::Text(text)) if text == EMPTY => whole,
            (Whole::Text(mut text), Content::Text(more)) => {
                append_text(&mut text, more);
                Whole::Text(text)
            }
            (whole, content) => {
                let count = whole.into_blocks(at, edits);
                Whole::Blocks(append(*index, content, at, count, edits))
            }
        };
    }
    if let Whole::Text(text) = whole {
        edits.push(Operation::replace_json(at, format!("\"{text}\"")));
    }
}

fn written(part: &Part<'_, String>, at: &str, edits: &mut Vec<Operation>) {
    let mut text = String::new();
    // The inside of the list, once there are blocks.
    let mut blocks: Option<String> = None;
    for (_, content) in part {
        if let Some(list) = content.strip_prefix('[') {
            let blocks = blocks.get_or_insert_with(|| match text.as_str() {
                "" => String::new(),
                text => text_block(text),
            });
            append_blocks(blocks, list.strip_suffix(']').unwrap_or(list).trim());
        } else if content.as_str() != EMPTY {
            match &mut blocks {
                Some(blocks) => append_blocks(blocks, &text_block(inside(content))),
                None => append_text(&mut text, content),
            }
        }
    }
    let whole = match blocks {
        Some(blocks) => format!("[{blocks}]"),
        None => format!("\"{text}\""),
    };
    edits.push(Operation::replace_json(at, whole));
}

/// Appends a text, given with its quotation marks, after a blank line.
fn append_text(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("\\n\\n");
    }
    text.push_str(inside(more));
}

/// Appends blocks, given without the brackets around them.
fn append_blocks(blocks: &mut String, more: &str) {
    if !blocks.is_empty() && !more.is_empty() {
        blocks.push(',');
    }
    blocks.push_str(more);
}

/// A text block; the text without its quotation marks.
fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":"{text}"}}"#)
}

/// The list of one text block for a text with its quotation marks.
pub(crate) fn list_of(text: &str) -> String {
    format!("[{}]", text_block(inside(text)))
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
                let blocks = format!("[{}]", text_block(&text));
                edits.push(Operation::replace_json(at, blocks));
                1
            }
        }
    }
}

/// Appends the content of a message to the blocks at `at`, and returns their new number. The
/// gateway moves the bytes; none cross into the plugin.
fn append(
    index: usize,
    content: &Content,
    at: &str,
    count: usize,
    edits: &mut Vec<Operation>,
) -> usize {
    let from = format!("/messages/{index}/content");
    match content {
        Content::Blocks(more) => {
            // Always the first, because the others move up.
            let one = || Operation::move_to(format!("{from}/0"), format!("{at}/-"));
            edits.extend(std::iter::repeat_with(one).take(*more));
            count + *more
        }
        Content::Text(_) | Content::LongText => {
            edits.push(Operation::add(format!("{at}/-"), json!({ "type": "text" })));
            edits.push(Operation::move_to(from, format!("{at}/{count}/text")));
            count + 1
        }
    }
}

/// Turns the text of a message into a list with one text block, by moving it. The message has only
/// role and content, so another member can be added for a moment.
fn make_block(index: usize) -> [Operation; 3] {
    let content = format!("/messages/{index}/content");
    let beside = format!("/messages/{index}/blocks");
    [
        Operation::add(beside.clone(), json!([{ "type": "text" }])),
        Operation::move_to(content.clone(), format!("{beside}/0/text")),
        Operation::move_to(beside, content),
    ]
}

/// A JSON string without its quotation marks; escapes stay.
fn inside(json: &str) -> &str {
    json.strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<C>(contents: impl IntoIterator<Item = C>) -> Vec<Turn<C>> {
        turns(contents.into_iter().map(Some))
    }

    fn turns<C>(contents: impl IntoIterator<Item = Option<C>>) -> Vec<Turn<C>> {
        let turn = |(index, content)| Turn { index, content };
        contents.into_iter().enumerate().map(turn).collect()
    }

    fn text(text: &str) -> Content {
        Content::Text(format!("\"{text}\""))
    }

    #[test]
    fn two_texts_are_joined_by_a_blank_line_and_keep_their_escapes() {
        assert_eq!(
            by_moving(&[run([text("a\\u0041"), text("b")])]).unwrap(),
            [
                Operation::replace_json("/messages/0/content", r#""a\u0041\n\nb""#),
                Operation::remove("/messages/1"),
            ]
        );
    }

    #[test]
    fn an_empty_text_is_dropped() {
        assert_eq!(
            by_moving(&[run([text(""), text("b"), text("")])]).unwrap(),
            [
                Operation::replace_json("/messages/0/content", r#""b""#),
                Operation::remove("/messages/2"),
                Operation::remove("/messages/1"),
            ]
        );
        assert_eq!(
            by_moving(&[run([text(""), Content::Blocks(1)])]).unwrap()[0],
            Operation::replace_json("/messages/0/content", "[]"),
        );
    }

    #[test]
    fn blocks_and_long_texts_are_moved_not_copied() {
        let edits = by_moving(&[run([
            Content::Blocks(2),
            Content::LongText,
            Content::Blocks(1),
        ])])
        .unwrap();
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
    fn nothing_is_joined_across_a_message_that_must_stay() {
        let run = turns([Some(text("a")), None, Some(text("b"))]);
        assert_eq!(by_moving(&[run]), Some(vec![]));
        let known = |name| Some(text(name));
        let run = turns([known("a"), known("b"), None, known("c"), known("d")]);
        let removed: Vec<Operation> = by_moving(&[run])
            .unwrap()
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
    fn many_blocks_are_written_at_once() {
        for (contents, whole) in [
            (
                ["[1, 2]", r#""a""#, "[ 3 ]"],
                r#"[1, 2,{"type":"text","text":"a"},3]"#,
            ),
            (
                [r#""a""#, r#""b\u0041""#, "[1]"],
                r#"[{"type":"text","text":"a\n\nb\u0041"},1]"#,
            ),
            ([r#""""#, "[ ]", "[1]"], "[1]"),
            (["[]", r#""a""#, r#""""#], r#"[{"type":"text","text":"a"}]"#),
            ([r#""""#, r#""a""#, r#""b""#], r#""a\n\nb""#),
        ] {
            let edits = by_writing(&[run(contents.map(str::to_owned))]);
            let gone = |index| Operation::remove(format!("/messages/{index}"));
            let replace = Operation::replace_json("/messages/0/content", whole);
            assert_eq!(edits, [replace, gone(2), gone(1)]);
        }
    }

    #[test]
    fn a_plan_of_many_moves_is_not_made() {
        let many = |count| run((0..count).map(|_| Content::Blocks(1)));
        assert!(by_moving(&[many(MOST_EDITS)]).is_some());
        assert!(by_moving(&[many(MOST_EDITS + 3)]).is_none());
        // Texts need one edit together, however many they are.
        assert!(by_moving(&[run((0..50_000).map(|_| text("a")))]).is_some());
    }

    #[test]
    fn nothing_to_join_is_no_edit() {
        assert_eq!(by_moving(&[]), Some(vec![]));
        assert_eq!(by_moving(&[run([text("a")])]), Some(vec![]));
        assert_eq!(by_writing(&[run(["[1]".to_owned()])]), []);
    }
}

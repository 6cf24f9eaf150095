//! Finds thinking in a text between tags, such as `<think>` and `</think>`, however the tags are
//! cut into pieces.

use super::Kind;
use crate::settings::ThinkTags;

/// Opening tags with their closing ones.
const TAGS: [(&str, &str); 9] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    // Gemini at Google's own endpoint.
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    // Mistral.
    ("[THINK]", "[/THINK]"),
    // Cohere.
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    // Kimi.
    ("◁think▷", "◁/think▷"),
];

/// Separates a text as it arrives. Only a tag with which the text begins counts.
#[derive(Debug)]
pub(crate) struct Tagged {
    tags: ThinkTags,
    place: Place,
    /// What may be a part of a tag, or white space next to one.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// In thinking, until this tag.
    Thinking {
        until: &'static str,
        begun: bool,
    },
    /// After thinking. White space that follows it belongs to the tags.
    After,
    Text,
}

impl Default for Tagged {
    fn default() -> Self {
        Self::new(ThinkTags::Auto)
    }
}

impl Tagged {
    pub(crate) fn new(tags: ThinkTags) -> Self {
        Self {
            tags,
            place: Place::Start,
            held: String::new(),
        }
    }

    /// Takes a piece of the text, and returns what can be written.
    pub(crate) fn take(&mut self, text: &str) -> Vec<(Kind, String)> {
        self.held.push_str(text);
        let mut out = Vec::new();
        loop {
            let moved = match self.place {
                Place::Start => self.start(),
                Place::After => self.after(),
                Place::Thinking { until, begun } => self.thinking(until, begun, &mut out),
                Place::Text => {
                    out.push((Kind::Text, std::mem::take(&mut self.held)));
                    false
                }
            };
            if !moved {
                return out;
            }
        }
    }

    /// The text has ended, or a tool call follows. Returns what was held back.
    pub(crate) fn end(&mut self) -> Option<(Kind, String)> {
        let held = std::mem::take(&mut self.held);
        let place = std::mem::replace(&mut self.place, Place::Start);
        // Only the beginning of a response can be inside thinking that the prompt has opened.
        if self.tags == ThinkTags::Opened {
            self.tags = ThinkTags::Auto;
        }
        match place {
            Place::Thinking { .. } => Some((Kind::Thinking, held.trim_end().to_owned())),
            Place::After => None,
            Place::Start | Place::Text => Some((Kind::Text, held)),
        }
        .filter(|(_, text)| !text.is_empty())
    }

    /// Whether the place has changed, so that what is held must be looked at again.
    fn start(&mut self) -> bool {
        if self.tags == ThinkTags::None {
            self.place = Place::Text;
            return true;
        }
        let text = self.held.trim_start();
        for (open, until) in TAGS {
            if begins_with(text, open) {
                self.held = text[open.len()..].to_owned();
                self.place = Place::Thinking {
                    until,
                    begun: false,
                };
                return true;
            }
        }
        if TAGS.iter().any(|(open, _)| begins_with(open, text)) {
            return false;
        }
        self.place = match self.tags {
            ThinkTags::Opened => Place::Thinking {
                until: TAGS[0].1,
                begun: false,
            },
            _ => Place::Text,
        };
        true
    }

    fn after(&mut self) -> bool {
        self.held = self.held.trim_start().to_owned();
        if self.held.is_empty() {
            return false;
        }
        let before = std::mem::replace(&mut self.tags, ThinkTags::Auto);
        let moved = self.start();
        self.tags = before;
        moved
    }

    fn thinking(
        &mut self,
        until: &'static str,
        mut begun: bool,
        out: &mut Vec<(Kind, String)>,
    ) -> bool {
        if !begun {
            self.held = self.held.trim_start().to_owned();
        }
        let end = find(&self.held, until);
        let (thinking, held) = match end {
            Some(at) => (&self.held[..at], &self.held[at + until.len()..]),
            None => self.held.split_at(safe(&self.held, until)),
        };
        let thinking = match end {
            Some(_) => thinking.trim_end(),
            None => thinking,
        };
        if !thinking.is_empty() {
            begun = true;
            out.push((Kind::Thinking, thinking.to_owned()));
        }
        self.held = held.to_owned();
        self.place = match end {
            Some(_) => Place::After,
            None => Place::Thinking { until, begun },
        };
        end.is_some()
    }
}

/// Whether a text begins with another, in any case.
fn begins_with(text: &str, beginning: &str) -> bool {
    let part = text.as_bytes().get(..beginning.len());
    part.is_some_and(|part| part.eq_ignore_ascii_case(beginning.as_bytes()))
}

/// Where a tag is in a text, in any case.
fn find(text: &str, tag: &str) -> Option<usize> {
    let mut windows = text.as_bytes().windows(tag.len());
    windows.position(|part| part.eq_ignore_ascii_case(tag.as_bytes()))
}

/// How much of a text is certainly thinking: not the beginning of the tag, nor white space before.
fn safe(text: &str, tag: &str) -> usize {
    let bytes = text.as_bytes();
    let longest = tag.len().min(bytes.len() + 1) - 1;
    let part = (1..=longest).rev().find(|length| {
        tag.as_bytes()[..*length].eq_ignore_ascii_case(&bytes[bytes.len() - length..])
    });
    let before = bytes.len() - part.unwrap_or_default();
    // A part that ends inside a character of the tag ends there in the text, too.
    text.get(..before)
        .map_or(text.len(), |text| text.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thinking and the text after these pieces.
    fn read(tags: ThinkTags, pieces: &[&str]) -> (String, String) {
        let mut tagged = Tagged::new(tags);
        let mut out: Vec<_> = pieces.iter().flat_map(|piece| tagged.take(piece)).collect();
        out.extend(tagged.end());
        let of = |wanted| {
            let texts = out.iter().filter(|(kind, _)| *kind == wanted);
            texts.map(|(_, text)| text.as_str()).collect()
        };
        (of(Kind::Thinking), of(Kind::Text))
    }

    #[test]
    fn thinking_is_separated_wherever_the_pieces_are_cut() {
        for (text, thinking, rest) in [
            (
                "<think>\nThe user wants a.\n</think>\n\nHere is a.",
                "The user wants a.",
                "Here is a.",
            ),
            (" \n<THINK>a < b </ c</Think>d", "a < b </ c", "d"),
            ("<think></think>a", "", "a"),
            ("<think>a</think><think>b</think>c", "ab", "c"),
            ("<think>a\n\nb", "a\n\nb", ""),
            ("<think>a</thin", "a</thin", ""),
            ("<think>a</think>", "a", ""),
            ("◁think▷ö◁/think▷ä", "ö", "ä"),
            ("[THINK]a[/THINK]b", "a", "b"),
            ("<seed:think>a</seed:think>b", "a", "b"),
            ("a <think>b</think>", "", "a <think>b</think>"),
            ("  <thin ice", "", "  <thin ice"),
            ("<th", "", "<th"),
            ("\n a", "", "\n a"),
            ("a</think>b", "", "a</think>b"),
        ] {
            let wanted = (thinking.to_owned(), rest.to_owned());
            assert_eq!(read(ThinkTags::Auto, &[text]), wanted, "{text}");
            let single: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<&str> = single.iter().map(String::as_str).collect();
            assert_eq!(read(ThinkTags::Auto, &single), wanted, "{text}");
            for (at, _) in text.char_indices() {
                let (first, second) = text.split_at(at);
                assert_eq!(
                    read(ThinkTags::Auto, &[first, "", second]),
                    wanted,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn the_setting_says_whether_a_text_begins_inside_thinking() {
        let text = "hm\n</think>\n\na";
        let wanted = ("hm".to_owned(), "a".to_owned());
        assert_eq!(read(ThinkTags::Opened, &[text]), wanted);
        assert_eq!(read(ThinkTags::Opened, &["<think>", text]), wanted);
        let mut tagged = Tagged::new(ThinkTags::Opened);
        tagged.take(text);
        tagged.end();
        let after_a_call = tagged.take("b");
        assert_eq!(after_a_call, [(Kind::Text, "b".to_owned())]);
        let text = "<think>hm</think>a";
        let wanted = (String::new(), text.to_owned());
        assert_eq!(read(ThinkTags::None, &[text]), wanted);
    }
}

//! Computes tokens from characters, images and pages.
//!
//! The tokeniser is not public, so these are rules of thumb, chosen to be rather too high than too
//! low. With too low an estimate a client runs into the model's limit; with too high a one it only
//! compacts a little early.

/// The parts of a request that cost tokens.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) characters: Characters,
    /// The tokens of all images, each counted by [`crate::image::tokens`].
    pub(crate) images: u64,
    pub(crate) pages: u64,
    pub(crate) messages: u64,
    pub(crate) blocks: u64,
    pub(crate) tools: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Characters {
    ascii: u64,
    other: u64,
}

/// Tokens for the role and the separators around a message.
const PER_MESSAGE: u64 = 4;

/// Tokens for the separators around a block.
const PER_BLOCK: u64 = 3;

/// Tokens for the instructions about tools, from Anthropic's documentation, rounded up.
const FOR_TOOLS: u64 = 350;

/// Tokens for a page. Anthropic's documentation says 1,500 to 3,000.
const PER_PAGE: u64 = 2_250;

impl Content {
    pub(crate) fn tokens(&self) -> u64 {
        self.characters.tokens()
            + self.images
            + self.pages * PER_PAGE
            + self.messages * PER_MESSAGE
            + self.blocks * PER_BLOCK
            + if self.tools > 0 { FOR_TOOLS } else { 0 }
    }
}

impl Characters {
    /// Counts the characters of a JSON text, without its quotation marks and with an escape as one
    /// character. A value that is not a string counts as it is written, because tools and their
    /// inputs reach a model that way.
    pub(crate) fn of_json(json: &str) -> Self {
        let text = json
            .strip_prefix('"')
            .and_then(|inner| inner.strip_suffix('"'))
            .unwrap_or(json);
        let mut counted = Self::default();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match (character, character.is_ascii()) {
                ('\\', _) if characters.next() == Some('u') => {
                    // An escape such as `\u00e9`, which is rarely ASCII.
                    characters.by_ref().take(4).for_each(drop);
                    counted.other += 1;
                }
                (_, true) => counted.ascii += 1,
                (_, false) => counted.other += 1,
            }
        }
        counted
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.ascii += more.ascii;
        self.other += more.other;
    }

    /// One token for 3.5 ASCII characters, which fits a mixture of prose, code and JSON. One token
    /// for 1.4 other characters, which fits Chinese and Japanese and is too high for Cyrillic.
    fn tokens(self) -> u64 {
        (self.ascii * 2 + self.other * 5).div_ceil(7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn characters(json: &str) -> (u64, u64) {
        let Characters { ascii, other } = Characters::of_json(json);
        (ascii, other)
    }

    #[test]
    fn an_escape_is_one_character() {
        assert_eq!(characters(r#""ab\n\"c""#), (5, 0));
        assert_eq!(characters(r#""\u00e9é""#), (0, 2));
        assert_eq!(characters(r#"{"a":1}"#), (7, 0));
        assert_eq!(characters(r#""""#), (0, 0));
        // Truncated escapes cannot occur in a document, and must not panic.
        assert_eq!(characters("\\u0"), (0, 1));
        assert_eq!(characters("\\"), (1, 0));
    }

    #[test]
    fn everything_adds_up() {
        let content = Content {
            characters: Characters { ascii: 7, other: 7 },
            images: 100,
            pages: 2,
            messages: 1,
            blocks: 2,
            tools: 5,
        };
        assert_eq!(content.tokens(), 7 + 100 + 4_500 + 4 + 6 + 350);
        assert_eq!(Content::default().tokens(), 0);
    }
}

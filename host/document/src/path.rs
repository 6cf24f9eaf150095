//! JSONPath, RFC 9535: parsed queries.

use std::{fmt, str::FromStr, sync::Arc};

use crate::Error;

mod compare; // compares values
mod filter; // evaluates filter expressions
mod finder; // where an I-Regexp matches
mod literal_prefilter; // literals that a pattern requires
mod parse; // the grammar
mod regex; // I-Regexp, RFC 9485
mod walk; // selects nodes of a text

pub(crate) use compare::equal;
pub(crate) use finder::{Finder, Found};
pub(crate) use walk::{Duplicates, Place, Walk};

/// A JSONPath query (RFC 9535) that is well formed and well typed.
///
/// Cheap to clone. `Display` returns the text it was parsed from.
#[derive(Clone, Debug)]
pub struct Path {
    parsed: Arc<Parsed>,
}

#[derive(Debug)]
struct Parsed {
    text: String,
    query: Query,
    /// The names of all name selectors and the strings in comparisons. The query refers to them by
    /// slot.
    words: Vec<Word>,
    /// See [`Path::pattern_literals`].
    pattern_literals: Vec<String>,
}

/// A string that a query mentions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Whether it is a member name. Otherwise it is a value.
    pub(crate) key: bool,
}

impl Path {
    /// Parses a query, including its `$`.
    ///
    /// # Errors
    ///
    /// `BadPath` says what is wrong and at which byte. `TooMuch` for a query of more than 100
    /// segments, or with filters and parentheses nested deeper than 24.
    pub fn parse(text: &str) -> Result<Path, Error> {
        let (query, words) = parse::query(text)?;
        let parsed = Parsed {
            text: text.to_owned(),
            pattern_literals: literal_prefilter::of_query(&query),
            query,
            words,
        };
        Ok(Path {
            parsed: Arc::new(parsed),
        })
    }

    /// Returns member names that must all occur in a text for the path to select anything there.
    ///
    /// It is conservative: a name the path could do without is left out. Names may repeat.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        let needs = self.query().segments.first().map(|first| &first.needs);
        let name = |&slot: &usize| {
            let word = &self.parsed.words[slot];
            word.key.then_some(word.text.as_str())
        };
        needs.into_iter().flatten().filter_map(name)
    }

    /// Returns the name of the top-level member that the path begins at, if it begins at one.
    pub(crate) fn first_name(&self) -> Option<&str> {
        match self.query().segments.first() {
            Some(Segment {
                deep: false,
                selectors,
                ..
            }) => match selectors.as_slice() {
                [Selector::Name(slot)] => Some(&self.parsed.words[*slot].text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the literals, in lower case, that `match` and `search` require. Each must occur in a
    /// string, in any case, for the path to select anything. That string is below what the first
    /// segment selects.
    pub(crate) fn pattern_literals(&self) -> &[String] {
        &self.parsed.pattern_literals
    }

    /// The text the path was parsed from.
    pub(crate) fn text(&self) -> &str {
        &self.parsed.text
    }

    pub(crate) fn query(&self) -> &Query {
        &self.parsed.query
    }

    pub(crate) fn words(&self) -> &[Word] {
        &self.parsed.words
    }

    /// Returns the name if the path is `$..name` and nothing else.
    pub(crate) fn anywhere(&self) -> Option<&str> {
        match self.query().segments.as_slice() {
            [
                Segment {
                    deep: true,
                    selectors,
                    ..
                },
            ] => match selectors.as_slice() {
                [Selector::Name(slot)] => Some(&self.parsed.words[*slot].text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Paths are equal if their texts are equal.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parsed, &other.parsed) || self.parsed.text == other.parsed.text
    }
}

impl FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parsed.text)
    }
}

#[derive(Debug)]
pub(crate) struct Query {
    /// Whether it begins at `$`. Otherwise it begins at `@`.
    pub(crate) absolute: bool,
    pub(crate) segments: Vec<Segment>,
}

impl Query {
    /// Whether it selects at most one node in any text.
    fn is_singular(&self) -> bool {
        self.segments.iter().all(|segment| {
            let one = [Selector::Name(0), Selector::Index(0)];
            let same =
                |a: &Selector, b: &Selector| std::mem::discriminant(a) == std::mem::discriminant(b);
            !segment.deep
                && segment.selectors.len() == 1
                && one.iter().any(|kind| same(kind, &segment.selectors[0]))
        })
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    /// Whether it is a `..` segment, which applies to a node and all its descendants.
    pub(crate) deep: bool,
    pub(crate) selectors: Vec<Selector>,
    /// Words that this segment and the following ones require, as slots of `Parsed::words`.
    pub(crate) needs: Vec<usize>,
}

impl Segment {
    /// Returns how many elements at the end of an array the segment needs, if only a few.
    fn tail(&self) -> Option<usize> {
        /// For more elements, a backward search does not pay.
        const FEW: usize = 32;

        // Only a negative index counts from the end: 0 is the first element.
        let from_end = |selector: &Selector| match selector {
            Selector::Index(from)
            | Selector::Slice {
                start: Some(from),
                end: None,
                step: 1,
            } if *from < 0 => usize::try_from(from.unsigned_abs()).ok(),
            _ => None,
        };
        let all: Option<Vec<usize>> = self.selectors.iter().map(from_end).collect();
        let most = all?.into_iter().max()?;
        (!self.deep && (1..=FEW).contains(&most)).then_some(most)
    }
}

#[derive(Debug)]
pub(crate) enum Selector {
    /// A slot of `Parsed::words`.
    Name(usize),
    All,
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Filter(Logic),
}

#[derive(Debug)]
pub(crate) enum Logic {
    Or(Vec<Logic>),
    And(Vec<Logic>),
    Not(Box<Logic>),
    Exists(Query),
    Compare(Operand, Order, Operand),
    Regex {
        /// Whether it is `match`, which needs the whole text to match. Otherwise it is `search`.
        whole: bool,
        input: Operand,
        pattern: Pattern,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Null,
    Bool(bool),
    /// A JSON number token.
    Number(String),
    /// A slot of `Parsed::words`.
    String(usize),
    /// A singular query.
    Node(Query),
    Length(Box<Operand>),
    Count(Query),
    Value(Query),
}

#[derive(Debug)]
pub(crate) enum Pattern {
    /// Part of the query. `None` if it is not an I-Regexp, which matches nothing.
    Fixed(Option<Box<regex::Regex>>),
    /// Read from the document for each node.
    Found(Operand),
}

//! Parses queries by the grammar and typing rules of RFC 9535. The file is long because a grammar
//! reads best as a whole.

use super::{Logic, Operand, Order, Pattern, Query, Segment, Selector, Word, regex::Regex};
use crate::{Error, number};

/// The maximum number of segments, including those of filters, which bounds the depth of a walk.
const MAX_SEGMENTS: usize = 100;

/// The maximum nesting of filters and parentheses. Both parsing and evaluation recurse over them.
const MAX_NESTING: usize = 24;

/// The largest integer: RFC 9535, section 2.1, allows the exact range of I-JSON.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Parses `text` as a query, and returns the words in it.
pub(super) fn query(text: &str) -> Result<(Query, Vec<Word>), Error> {
    let mut parser = Parser {
        text,
        at: 0,
        words: Vec::new(),
        segments: 0,
        nesting: 0,
    };
    parser.expect("$")?;
    let segments = parser.segments()?;
    if parser.at < text.len() {
        return Err(parser.error("a segment or the end"));
    }
    let query = Query {
        absolute: true,
        segments,
    };
    Ok((query, parser.words))
}

struct Parser<'p> {
    text: &'p str,
    at: usize,
    words: Vec<Word>,
    segments: usize,
    nesting: usize,
}

/// The result of a function call, by the types of RFC 9535, section 2.4.1.
enum Call {
    Value(Operand),
    Logical(Logic),
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn looking_at(&self, token: &str) -> bool {
        self.text[self.at..].starts_with(token)
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.looking_at(token);
        if there {
            self.at += token.len();
        }
        there
    }

    fn expect(&mut self, token: &str) -> Result<(), Error> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.error(&format!("`{token}`")))
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn error(&self, wanted: &str) -> Error {
        let found = match self.peek() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".to_owned(),
        };
        self.wrong(self.at, &format!("got {found}, expected {wanted}"))
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        Error::BadPath(format!("path `{}`: {what} at byte {at}", self.text))
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            let what = format!(
                "path `{}`: nested deeper than {MAX_NESTING} levels",
                self.text
            );
            return Err(Error::TooMuch(what));
        }
        Ok(())
    }

    fn segments(&mut self) -> Result<Vec<Segment>, Error> {
        let mut segments = Vec::new();
        loop {
            let before = self.at;
            self.space();
            let deep = self.take("..");
            let selectors = if self.looking_at("[") {
                self.bracketed()?
            } else if deep || self.take(".") {
                vec![self.shorthand()?]
            } else {
                // The whitespace belongs to what follows the query.
                self.at = before;
                break;
            };
            self.segments += 1;
            if self.segments > MAX_SEGMENTS {
                let what = format!("path `{}`: more than {MAX_SEGMENTS} segments", self.text);
                return Err(Error::TooMuch(what));
            }
            segments.push(Segment {
                deep,
                selectors,
                needs: Vec::new(),
            });
        }
        let mut needs = Vec::new();
        for segment in segments.iter_mut().rev() {
            if let [selector] = segment.selectors.as_slice() {
                selector_needs(selector, &mut needs);
            }
            needs.sort_unstable();
            needs.dedup();
            segment.needs.clone_from(&needs);
        }
        Ok(segments)
    }

    fn shorthand(&mut self) -> Result<Selector, Error> {
        if self.take("*") {
            return Ok(Selector::All);
        }
        let rest = &self.text[self.at..];
        let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        if !rest.starts_with(first) {
            return Err(self.error("a name or `*`"));
        }
        let len = rest
            .find(|c: char| !first(c) && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let name = rest[..len].to_owned();
        self.at += len;
        Ok(self.name(name))
    }

    fn name(&mut self, text: String) -> Selector {
        Selector::Name(self.word(Word { text, key: true }))
    }

    /// Returns the slot of a word, a new one if it was not mentioned before.
    fn word(&mut self, word: Word) -> usize {
        let known = self.words.iter().position(|known| *known == word);
        known.unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        })
    }

    fn bracketed(&mut self) -> Result<Vec<Selector>, Error> {
        self.expect("[")?;
        let mut selectors = Vec::new();
        loop {
            self.space();
            selectors.push(self.selector()?);
            self.space();
            if !self.take(",") {
                break;
            }
        }
        if self.take("]") {
            Ok(selectors)
        } else {
            Err(self.error("`,` or `]`"))
        }
    }

    fn selector(&mut self) -> Result<Selector, Error> {
        match self.peek() {
            Some('"' | '\'') => {
                let name = self.string()?;
                Ok(self.name(name))
            }
            Some('*') => {
                self.at += 1;
                Ok(Selector::All)
            }
            Some('?') => {
                self.at += 1;
                self.enter()?;
                self.space();
                let logic = self.logic()?;
                self.nesting -= 1;
                Ok(Selector::Filter(logic))
            }
            Some('-' | ':' | '0'..='9') => self.index_or_slice(),
            _ => Err(self.error("a selector")),
        }
    }

    fn index_or_slice(&mut self) -> Result<Selector, Error> {
        let start = self.integer()?;
        let after_start = self.at;
        self.space();
        if !self.take(":") {
            self.at = after_start;
            return start
                .map(Selector::Index)
                .ok_or_else(|| self.error("an index"));
        }
        self.space();
        let end = self.integer()?;
        let after_end = self.at;
        self.space();
        let mut step = None;
        if self.take(":") {
            let after_colon = self.at;
            self.space();
            step = self.integer()?;
            if step.is_none() {
                self.at = after_colon;
            }
        } else {
            self.at = after_end;
        }
        Ok(Selector::Slice {
            start,
            end,
            step: step.unwrap_or(1),
        })
    }

    fn integer(&mut self) -> Result<Option<i64>, Error> {
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with('-'));
        let count = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return if sign == 0 {
                Ok(None)
            } else {
                Err(self.error("an integer"))
            };
        }
        let token = &rest[..sign + count];
        let zero = rest[sign..].starts_with('0');
        if zero && (count > 1 || sign == 1) {
            return Err(self.wrong(self.at, &format!("`{token}` is not an integer")));
        }
        let value: Option<i64> = token.parse().ok();
        let value = value.filter(|value| (-MAX_INTEGER..=MAX_INTEGER).contains(value));
        let Some(value) = value else {
            return Err(self.wrong(self.at, &format!("`{token}` is not within ±(2^53 - 1)")));
        };
        self.at += token.len();
        Ok(Some(value))
    }

    fn string(&mut self) -> Result<String, Error> {
        let quote = self.peek().unwrap_or('"');
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.error("the end of the string"));
            };
            let at = self.at;
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(text),
                '\\' => text.push(self.escape(quote)?),
                c if c < ' ' => return Err(self.wrong(at, "raw control character in a string")),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, Error> {
        let Some(c) = self.peek() else {
            return Err(self.error("an escape"));
        };
        let plain = match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '/' | '\\' => c,
            c if c == quote => c,
            'u' => {
                self.at += 1;
                let first = self.unit()?;
                let paired = (0xd800..0xdc00).contains(&first) && self.take("\\u");
                let second = if paired { Some(self.unit()?) } else { None };
                let units = std::iter::once(first).chain(second);
                return match char::decode_utf16(units).next() {
                    Some(Ok(c)) => Ok(c),
                    _ => Err(self.wrong(self.at, "an unpaired surrogate ends")),
                };
            }
            _ => return Err(self.error("an escape")),
        };
        self.at += c.len_utf8();
        Ok(plain)
    }

    fn unit(&mut self) -> Result<u16, Error> {
        let unit = crate::string::unit(&self.text.as_bytes()[self.at..]);
        let unit = unit.ok_or_else(|| self.error("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn logic(&mut self) -> Result<Logic, Error> {
        let mut any = vec![self.all_of()?];
        loop {
            let before = self.at;
            self.space();
            if !self.take("||") {
                self.at = before;
                break;
            }
            self.space();
            any.push(self.all_of()?);
        }
        Ok(single_or(any, Logic::Or))
    }

    fn all_of(&mut self) -> Result<Logic, Error> {
        let mut all = vec![self.basic()?];
        loop {
            let before = self.at;
            self.space();
            if !self.take("&&") {
                self.at = before;
                break;
            }
            self.space();
            all.push(self.basic()?);
        }
        Ok(single_or(all, Logic::And))
    }

    fn basic(&mut self) -> Result<Logic, Error> {
        let negated = self.take("!");
        if negated {
            self.space();
        }
        let logic = if self.take("(") {
            self.enter()?;
            self.space();
            let logic = self.logic()?;
            self.space();
            self.expect(")")?;
            self.nesting -= 1;
            logic
        } else {
            self.test_or_comparison(negated)?
        };
        Ok(if negated {
            Logic::Not(Box::new(logic))
        } else {
            logic
        })
    }

    fn test_or_comparison(&mut self, negated: bool) -> Result<Logic, Error> {
        let start = self.at;
        let left = match self.peek() {
            Some('@' | '$') => {
                let query = self.filter_query()?;
                match self.order() {
                    None => return Ok(Logic::Exists(query)),
                    Some(_) if !query.is_singular() => {
                        return Err(self.wrong(
                            start,
                            "a query that may select several nodes cannot be compared",
                        ));
                    }
                    Some(order) => (Operand::Node(query), Some(order)),
                }
            }
            Some('a'..='z') if self.is_call() => match self.call()? {
                Call::Logical(logic) => {
                    return match self.order() {
                        None => Ok(logic),
                        Some(_) => {
                            Err(self.wrong(start, "the result of this function cannot be compared"))
                        }
                    };
                }
                Call::Value(value) => (value, self.order()),
            },
            _ => (self.literal()?, self.order()),
        };
        match left {
            (_, Some(_)) if negated => {
                Err(self.wrong(start, "a negated comparison needs parentheses"))
            }
            (left, Some(order)) => {
                self.space();
                Ok(Logic::Compare(left, order, self.comparable()?))
            }
            (_, None) => Err(self.wrong(start, "a value must be compared with something")),
        }
    }

    /// Takes a comparison operator after optional whitespace, or nothing.
    fn order(&mut self) -> Option<Order> {
        let before = self.at;
        self.space();
        for (token, order) in [
            ("==", Order::Equal),
            ("!=", Order::Unequal),
            ("<=", Order::LessOrEqual),
            (">=", Order::GreaterOrEqual),
            ("<", Order::Less),
            (">", Order::Greater),
        ] {
            if self.take(token) {
                return Some(order);
            }
        }
        self.at = before;
        None
    }

    fn filter_query(&mut self) -> Result<Query, Error> {
        let absolute = self.peek() == Some('$');
        self.at += 1;
        let segments = self.segments()?;
        Ok(Query { absolute, segments })
    }

    fn comparable(&mut self) -> Result<Operand, Error> {
        let start = self.at;
        match self.peek() {
            Some('@' | '$') => {
                let query = self.filter_query()?;
                if query.is_singular() {
                    Ok(Operand::Node(query))
                } else {
                    Err(self.wrong(
                        start,
                        "a query that may select several nodes is not a single value",
                    ))
                }
            }
            Some('a'..='z') if self.is_call() => match self.call()? {
                Call::Value(value) => Ok(value),
                Call::Logical(_) => {
                    Err(self.wrong(start, "the result of this function is not a value"))
                }
            },
            _ => self.literal(),
        }
    }

    fn literal(&mut self) -> Result<Operand, Error> {
        match self.peek() {
            Some('"' | '\'') => {
                let text = self.string()?;
                return Ok(Operand::String(self.word(Word { text, key: false })));
            }
            Some('-' | '0'..='9') => {
                let Some(end) = number::end(self.text.as_bytes(), self.at) else {
                    return Err(self.wrong(self.at, "malformed number"));
                };
                let token = self.text[self.at..end].to_owned();
                self.at = end;
                return Ok(Operand::Number(token));
            }
            _ => {}
        }
        for (word, value) in [
            ("true", Operand::Bool(true)),
            ("false", Operand::Bool(false)),
            ("null", Operand::Null),
        ] {
            if self.take(word) {
                return Ok(value);
            }
        }
        Err(self.error("a query, a function or a literal"))
    }

    /// Whether a function name and its parenthesis follow, with nothing between them.
    fn is_call(&self) -> bool {
        let rest = &self.text[self.at..];
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        rest.trim_start_matches(name).starts_with('(')
    }

    fn call(&mut self) -> Result<Call, Error> {
        let start = self.at;
        let len = self.text[start..].find('(').unwrap_or(0);
        let name = &self.text[start..start + len];
        let name = name.to_owned();
        self.at = start + len + 1;
        self.enter()?;
        self.space();
        let call = match name.as_str() {
            "length" => Call::Value(Operand::Length(Box::new(self.comparable()?))),
            "count" => Call::Value(Operand::Count(self.nodes_argument(&name)?)),
            "value" => Call::Value(Operand::Value(self.nodes_argument(&name)?)),
            "match" | "search" => {
                let input = self.comparable()?;
                self.space();
                self.expect(",")?;
                self.space();
                let pattern = match self.comparable()? {
                    Operand::String(slot) => {
                        let text = &self.words[slot].text;
                        Pattern::Fixed(Regex::new(text, name == "match").map(Box::new))
                    }
                    found => Pattern::Found(found),
                };
                Call::Logical(Logic::Regex {
                    whole: name == "match",
                    input,
                    pattern,
                })
            }
            _ => return Err(self.wrong(start, &format!("unknown function `{name}`"))),
        };
        self.space();
        self.expect(")")?;
        self.nesting -= 1;
        Ok(call)
    }

    fn nodes_argument(&mut self, function: &str) -> Result<Query, Error> {
        match self.peek() {
            Some('@' | '$') => self.filter_query(),
            _ => Err(self.error(&format!("a query for `{function}`"))),
        }
    }
}

fn single_or(mut parts: Vec<Logic>, joined: fn(Vec<Logic>) -> Logic) -> Logic {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => joined(parts),
    }
}

/// Adds the words that a segment of this one selector requires below the node it applies to.
fn selector_needs(selector: &Selector, needs: &mut Vec<usize>) {
    match selector {
        Selector::Name(slot) => needs.push(*slot),
        Selector::Filter(logic) => logic_needs(logic, needs),
        Selector::All | Selector::Index(_) | Selector::Slice { .. } => {}
    }
}

fn logic_needs(logic: &Logic, needs: &mut Vec<usize>) {
    match logic {
        Logic::And(parts) => parts.iter().for_each(|part| logic_needs(part, needs)),
        Logic::Exists(query) => query_needs(query, needs),
        Logic::Compare(a, order, b) if *order != Order::Unequal => match (a, b) {
            // A missing value is neither equal to, less than nor greater than a literal.
            (Operand::Node(query), literal) | (literal, Operand::Node(query))
                if is_literal(literal) =>
            {
                query_needs(query, needs);
                if let (Operand::String(slot), Order::Equal, false) =
                    (literal, order, query.absolute)
                {
                    needs.push(*slot);
                }
            }
            _ => {}
        },
        Logic::Regex {
            input: Operand::Node(query),
            ..
        } => query_needs(query, needs),
        Logic::Or(_) | Logic::Not(_) | Logic::Compare(..) | Logic::Regex { .. } => {}
    }
}

fn query_needs(query: &Query, needs: &mut Vec<usize>) {
    // A query from `$` may select nodes outside of the node that is filtered.
    if !query.absolute
        && let Some(first) = query.segments.first()
    {
        needs.extend(&first.needs);
    }
}

fn is_literal(operand: &Operand) -> bool {
    matches!(
        operand,
        Operand::Null | Operand::Bool(_) | Operand::Number(_) | Operand::String(_)
    )
}

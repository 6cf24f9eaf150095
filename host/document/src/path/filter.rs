//! Evaluates filter expressions (RFC 9535, section 2.3.5) directly on the text.

use super::{
    Logic, Operand, Order, Pattern, Query,
    compare::{Value, holds},
    regex::Regex,
    walk::{Duplicates, Flow, Place, Walk},
};
use crate::{Error, literal_filter, scan::is_container};

impl<'t> Walk<'t> {
    /// Whether a filter holds for the node at `place`.
    pub(super) fn is_wanted(&mut self, logic: &'t Logic, place: Place) -> Result<bool, Error> {
        // A filter reads, so equal keys mean the last one even if the query itself applies to all.
        let before = std::mem::replace(&mut self.duplicates, Duplicates::Last);
        let wanted = self.logic(logic, place);
        self.duplicates = before;
        wanted
    }

    fn logic(&mut self, logic: &'t Logic, place: Place) -> Result<bool, Error> {
        match logic {
            Logic::Or(parts) => {
                for part in parts {
                    if self.logic(part, place)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Logic::And(parts) => {
                for part in parts {
                    if !self.logic(part, place)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Logic::Not(inner) => Ok(!self.logic(inner, place)?),
            Logic::Exists(query) => Ok(self.first(query, place)?.is_some()),
            Logic::Compare(left, order, right) => self.comparison(left, *order, right, place),
            Logic::Regex {
                whole,
                input,
                pattern,
            } => self.regex(*whole, input, pattern, place),
        }
    }

    fn comparison(
        &mut self,
        left: &'t Operand,
        order: Order,
        right: &'t Operand,
        place: Place,
    ) -> Result<bool, Error> {
        let left = self.operand(left, place)?;
        let right = self.operand(right, place)?;
        holds(self.text, &left, order, &right, &mut self.budget)
    }

    fn regex(
        &mut self,
        whole: bool,
        input: &'t Operand,
        pattern: &'t Pattern,
        place: Place,
    ) -> Result<bool, Error> {
        let input = match input {
            Operand::Node(query) => match self.first(query, place)? {
                Some(node) if self.lacks_literal(pattern, node)? => return Ok(false),
                Some(node) => self.value(node)?,
                None => Value::Nothing,
            },
            input => self.operand(input, place)?,
        };
        let Value::String(input) = input else {
            return Ok(false);
        };
        let found = match pattern {
            Pattern::Fixed(None) => return Ok(false),
            Pattern::Fixed(Some(regex)) => return regex.is_match(&input, &mut self.budget),
            Pattern::Found(found) => found,
        };
        let Value::String(text) = self.operand(found, place)? else {
            return Ok(false);
        };
        let known = |(known, known_whole, _): &(String, bool, Option<Regex>)| {
            *known == *text && *known_whole == whole
        };
        if !self.pattern.as_ref().is_some_and(known) {
            let regex = Regex::found(&text, whole, &mut self.budget)?;
            self.pattern = Some((text.to_string(), whole, regex));
        }
        let regex = self
            .pattern
            .as_ref()
            .and_then(|(_, _, regex)| regex.as_ref());
        let Some(regex) = regex else { return Ok(false) };
        regex.is_match(&input, &mut self.budget)
    }

    /// Whether a string lacks the literal that the pattern requires. That search is faster than
    /// decoding the string.
    fn lacks_literal(&mut self, pattern: &Pattern, node: Place) -> Result<bool, Error> {
        let Pattern::Fixed(Some(regex)) = pattern else {
            return Ok(false);
        };
        let Some(literal) = &regex.required_literal else {
            return Ok(false);
        };
        if self.text.get(node.start) != Some(&b'"') {
            return Ok(false);
        }
        let token = self.span(node)?;
        Ok(!literal_filter::may_hold(&self.text[token], literal))
    }

    fn operand(&mut self, operand: &'t Operand, place: Place) -> Result<Value<'t>, Error> {
        Ok(match operand {
            Operand::Null => Value::Null,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Number(token) => Value::Number(token.as_bytes().into()),
            Operand::String(slot) => Value::String(self.word(*slot).into()),
            Operand::Node(query) => match self.first(query, place)? {
                Some(node) => self.value(node)?,
                None => Value::Nothing,
            },
            Operand::Length(of) => {
                let of = self.length_operand(of, place)?;
                match of {
                    LengthOperand::Node(node) => Value::count(self.count_children(node)?),
                    LengthOperand::Value(Value::String(text)) => Value::count(text.chars().count()),
                    LengthOperand::Value(_) => Value::Nothing,
                }
            }
            Operand::Count(query) => {
                let mut count = 0;
                self.each(query, place, &mut |_, _| {
                    count += 1;
                    Ok(Flow::Continue(()))
                })?;
                Value::count(count)
            }
            Operand::Value(query) => match self.only(query, place)? {
                Some(node) => self.value(node)?,
                None => Value::Nothing,
            },
        })
    }

    /// The argument of `length`. A container is returned as a place, since only its children are
    /// counted.
    fn length_operand(
        &mut self,
        operand: &'t Operand,
        place: Place,
    ) -> Result<LengthOperand<'t>, Error> {
        let node = match operand {
            Operand::Node(query) => self.first(query, place)?,
            Operand::Value(query) => self.only(query, place)?,
            _ => None,
        };
        match node {
            Some(node) if is_container(self.text, node.start) => Ok(LengthOperand::Node(node)),
            Some(node) => self.value(node).map(LengthOperand::Value),
            None => self.operand(operand, place).map(LengthOperand::Value),
        }
    }

    fn value(&mut self, place: Place) -> Result<Value<'t>, Error> {
        let value = Value::read(self.text, place.start, place.depth)?;
        let len = match &value {
            Value::String(text) => text.len(),
            _ => 0,
        };
        self.budget.spend(1, len)?;
        Ok(value)
    }

    fn first(&mut self, query: &'t Query, place: Place) -> Result<Option<Place>, Error> {
        let mut first = None;
        self.each(query, place, &mut |_, node| {
            first = Some(node);
            Ok(Flow::Break(()))
        })?;
        Ok(first)
    }

    /// Returns the single node a query selects. `None` if it selects none or several.
    fn only(&mut self, query: &'t Query, place: Place) -> Result<Option<Place>, Error> {
        let mut only = None;
        let mut more = false;
        self.each(query, place, &mut |_, node| {
            more = only.is_some();
            only = Some(node);
            Ok(if more {
                Flow::Break(())
            } else {
                Flow::Continue(())
            })
        })?;
        Ok(only.filter(|_| !more))
    }

    fn each(
        &mut self,
        query: &'t Query,
        place: Place,
        sink: &mut dyn FnMut(&mut Walk<'t>, Place) -> Result<Flow, Error>,
    ) -> Result<(), Error> {
        self.budget.spend(1, 0)?;
        let from = if query.absolute { self.root() } else { place };
        self.follow(from, &query.segments, sink).map(|_| ())
    }
}

enum LengthOperand<'t> {
    Node(Place),
    Value(Value<'t>),
}

//! Compares values by RFC 9535, section 2.3.5.2.2. Equality is the same as in RFC 6902, section
//! 4.6.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use super::Order;
use crate::{
    Error,
    budget::Budget,
    number,
    scan::{Children, string_end, value_end},
    string,
};

/// An operand of a comparison.
#[derive(Clone, Debug)]
pub(crate) enum Value<'t> {
    /// A query that selected no node, or a function without a result.
    Nothing,
    Null,
    Bool(bool),
    /// A JSON number token.
    Number(Cow<'t, [u8]>),
    String(Cow<'t, str>),
    /// An array or object, by its offset in the text.
    Container(usize),
}

impl<'t> Value<'t> {
    pub(super) fn count(count: usize) -> Self {
        Value::Number(count.to_string().into_bytes().into())
    }

    /// Reads the value at `start`, which is nested in `depth` containers.
    pub(super) fn read(text: &'t [u8], start: usize, depth: usize) -> Result<Self, Error> {
        Ok(match text.get(start) {
            Some(b'{' | b'[') => Value::Container(start),
            Some(b'"') => {
                let token = &text[start..string_end(text, start)?];
                let decoded = string::inside(token);
                Value::String(
                    decoded
                        .ok_or_else(|| Error::document(start, "malformed escape in a string"))?,
                )
            }
            _ => {
                let end = value_end(text, start, depth)?;
                match &text[start..end] {
                    b"null" => Value::Null,
                    b"true" => Value::Bool(true),
                    b"false" => Value::Bool(false),
                    token => Value::Number(token.into()),
                }
            }
        })
    }
}

/// Whether `left order right` holds. Containers are offsets in `text`.
pub(super) fn holds(
    text: &[u8],
    left: &Value<'_>,
    order: Order,
    right: &Value<'_>,
    budget: &mut Budget,
) -> Result<bool, Error> {
    let less = |a: &Value<'_>, b: &Value<'_>| match (a, b) {
        (Value::Number(a), Value::Number(b)) => number::compare(a, b) == Ordering::Less,
        // UTF-8 sorts like scalar values, which is the order the RFC prescribes for strings.
        (Value::String(a), Value::String(b)) => a < b,
        _ => false,
    };
    Ok(match order {
        Order::Equal => same(text, left, right, budget)?,
        Order::Unequal => !same(text, left, right, budget)?,
        Order::Less => less(left, right),
        Order::Greater => less(right, left),
        Order::LessOrEqual => less(left, right) || same(text, left, right, budget)?,
        Order::GreaterOrEqual => less(right, left) || same(text, left, right, budget)?,
    })
}

fn same(text: &[u8], a: &Value<'_>, b: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    match (a, b) {
        (Value::Container(a), Value::Container(b)) => equal((text, *a), (text, *b), budget),
        (a, b) => Ok(same_scalar(a, b)),
    }
}

fn same_scalar(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Nothing, Value::Nothing) | (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => number::compare(a, b) == Ordering::Equal,
        (Value::String(a), Value::String(b)) => a == b,
        _ => false,
    }
}

/// Whether two values, each given as a text and its offset there, are equal as JSON. Numbers are
/// compared by value, strings decoded, and objects in any order with the last of equal keys.
pub(crate) fn equal(
    a: (&[u8], usize),
    b: (&[u8], usize),
    budget: &mut Budget,
) -> Result<bool, Error> {
    let (a_text, b_text) = (a.0, b.0);
    // The pairs still to be compared. A list instead of recursion, so that depth costs no stack.
    let mut pairs = vec![(a.1, b.1)];
    while let Some((a, b)) = pairs.pop() {
        budget.spend(1, 0)?;
        let (left, right) = (Value::read(a_text, a, 0)?, Value::read(b_text, b, 0)?);
        match (left, right) {
            (Value::Container(a), Value::Container(b)) => {
                if a_text[a] != b_text[b] {
                    return Ok(false);
                }
                let matched = if a_text[a] == b'{' {
                    let (left, mut right) =
                        (members(a_text, a, budget)?, members(b_text, b, budget)?);
                    let same_len = left.len() == right.len();
                    let paired: Option<Vec<_>> = left
                        .into_iter()
                        .map(|(name, a)| Some((a, right.remove(&name)?)))
                        .collect();
                    paired.filter(|_| same_len)
                } else {
                    let (left, right) =
                        (elements(a_text, a, budget)?, elements(b_text, b, budget)?);
                    (left.len() == right.len()).then(|| left.into_iter().zip(right).collect())
                };
                match matched {
                    Some(matched) => pairs.extend(matched),
                    None => return Ok(false),
                }
            }
            (left, right) => {
                if !same_scalar(&left, &right) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

fn members<'t>(
    text: &'t [u8],
    at: usize,
    budget: &mut Budget,
) -> Result<HashMap<Cow<'t, str>, usize>, Error> {
    let mut members = HashMap::new();
    let mut children = Children::of(text, at)?;
    while let Some(child) = children.next()? {
        let end = value_end(text, child.start, 0)?;
        budget.spend(1, end - child.lead)?;
        if let Some(key) = child.key {
            let name = string::inside(&text[key.clone()]);
            let name =
                name.ok_or_else(|| Error::document(key.start, "malformed escape in a key"))?;
            members.insert(name, child.start);
        }
        children.passed(end);
    }
    Ok(members)
}

fn elements(text: &[u8], at: usize, budget: &mut Budget) -> Result<Vec<usize>, Error> {
    let mut elements = Vec::new();
    let mut children = Children::of(text, at)?;
    while let Some(child) = children.next()? {
        let end = value_end(text, child.start, 0)?;
        budget.spend(1, end - child.lead)?;
        elements.push(child.start);
        children.passed(end);
    }
    Ok(elements)
}

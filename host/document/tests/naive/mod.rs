//! JSONPath and JSON Patch on `serde_json::Value`, written for clarity instead of speed.

use std::fmt;

use proptest::prelude::*;
use serde_json::Value;
use witgate_document::{Document, Operation};

use crate::support::{Json, json, name};

/// A query with the selectors in which implementations differ most.
#[derive(Clone, Debug)]
pub(crate) struct Query(Vec<(bool, Vec<Selector>)>);

#[derive(Clone, Debug)]
pub(crate) enum Selector {
    Name(&'static str),
    All,
    Index(i64),
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Has(&'static str),
    HasNot(&'static str),
    Is(&'static str, &'static str),
    Longer(usize),
    /// The element at this place equals this text.
    At(i64, &'static str),
    /// A query from here selects something.
    Some(Query),
    /// A query from here selects nothing.
    None(Query),
    /// A query from here selects more nodes than this.
    More(Query, usize),
    /// A text that contains this literal pattern.
    Holds(&'static str),
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let bound = || prop::option::of(-4i64..5);
    let selector = prop_oneof![
        4 => name().prop_map(Selector::Name),
        2 => Just(Selector::All),
        1 => (-4i64..5).prop_map(Selector::Index),
        1 => (bound(), bound(), bound()).prop_map(|(start, end, step)| Selector::Slice(start, end, step)),
        1 => name().prop_map(Selector::Has),
        1 => name().prop_map(Selector::HasNot),
        1 => (name(), prop::sample::select(&["1", "true", "\"a\"", "null"][..])).prop_map(|(n, v)| Selector::Is(n, v)),
        1 => (0usize..3).prop_map(Selector::Longer),
    ];
    let selectors = prop_oneof![
        4 => prop::collection::vec(selector.clone(), 1),
        1 => prop::collection::vec(selector, 1..3),
    ];
    prop::collection::vec((prop::bool::weighted(0.3), selectors), 0..4).prop_map(Query)
}

/// A text with arrays of up to 44 elements, long enough for the index to record their ends.
pub(crate) fn lists() -> impl Strategy<Value = String> {
    let list = |inner: BoxedStrategy<Json>| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..6),
            1 => prop::collection::vec(inner, 6..45),
        ]
        .prop_map(Json::List)
    };
    let inner = prop_oneof![2 => json(), 1 => list(json().boxed())];
    let list = list(inner.boxed());
    let json = prop_oneof![
        3 => list.clone(),
        1 => (name(), list).prop_map(|(name, list)| Json::Object(vec![(name, list)])),
    ];
    (json, any::<u64>()).prop_map(|(json, seed)| json.spell(seed))
}

/// A query mostly about places in arrays: from either end, several at once, also in filters.
pub(crate) fn list_query() -> impl Strategy<Value = Query> {
    let plain = || {
        prop_oneof![
            6 => place().prop_map(Selector::Index),
            4 => (bound(), bound(), bound()).prop_map(|(start, end, step)| Selector::Slice(start, end, step)),
            2 => place().prop_map(|start| Selector::Slice(Some(start), None, None)),
            2 => Just(Selector::All),
            1 => name().prop_map(Selector::Name),
        ]
    };
    let text = prop::sample::select(&["1", "\"a\"", "null"][..]);
    let inner = || segments(plain().boxed(), 3);
    let selector = prop_oneof![
        10 => plain(),
        1 => name().prop_map(Selector::Has),
        1 => (0usize..3).prop_map(Selector::Longer),
        1 => (place(), text).prop_map(|(at, text)| Selector::At(at, text)),
        1 => inner().prop_map(Selector::Some),
        1 => inner().prop_map(Selector::None),
        1 => (inner(), 0usize..3).prop_map(|(query, least)| Selector::More(query, least)),
        1 => prop::sample::select(&["a", "brackets", "MEANING", "absent"][..]).prop_map(Selector::Holds),
    ];
    segments(selector.boxed(), 4)
}

fn segments(selector: BoxedStrategy<Selector>, most: usize) -> impl Strategy<Value = Query> {
    // Only places at the ends of an array, which are answered from its end.
    let end = prop_oneof![
        3 => (-3i64..2).prop_map(Selector::Index),
        1 => (-3i64..2).prop_map(|start| Selector::Slice(Some(start), None, None)),
    ];
    let selectors = prop_oneof![
        2 => prop::collection::vec(selector.clone(), 1),
        1 => prop::collection::vec(selector, 2..5),
        2 => prop::collection::vec(end, 1..4),
    ];
    prop::collection::vec((prop::bool::weighted(0.15), selectors), 1..most).prop_map(Query)
}

/// A place in an array, usually near one of its ends.
fn place() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -3i64..4,
        3 => -12i64..12,
        1 => -50i64..50,
        1 => prop::sample::select(&[-MOST, MOST][..]),
    ]
}

/// The largest number in a query.
const MOST: i64 = (1 << 53) - 1;

fn bound() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(place())
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, '$')
    }
}

impl Query {
    fn write(&self, f: &mut fmt::Formatter<'_>, from: char) -> fmt::Result {
        write!(f, "{from}")?;
        for (deep, selectors) in &self.0 {
            let parts: Vec<String> = selectors.iter().map(Selector::to_string).collect();
            write!(f, "{}[{}]", if *deep { ".." } else { "" }, parts.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = witgate_document::string::encode;
        let bound = |bound: &Option<i64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        match self {
            Selector::Name(name) => write!(f, "{}", quoted(name)),
            Selector::All => write!(f, "*"),
            Selector::Index(index) => write!(f, "{index}"),
            Selector::Slice(start, end, step) => {
                write!(f, "{}:{}:{}", bound(start), bound(end), bound(step))
            }
            Selector::Has(name) => write!(f, "?@[{}]", quoted(name)),
            Selector::HasNot(name) => write!(f, "?!@[{}]", quoted(name)),
            Selector::Is(name, value) => write!(f, "?@[{}] == {value}", quoted(name)),
            Selector::Longer(len) => write!(f, "?length(@) > {len}"),
            Selector::At(at, text) => write!(f, "?@[{at}] == {text}"),
            Selector::Some(query) => {
                write!(f, "?")?;
                query.write(f, '@')
            }
            Selector::None(query) => {
                write!(f, "?!")?;
                query.write(f, '@')
            }
            Selector::More(query, least) => {
                write!(f, "?count(")?;
                query.write(f, '@')?;
                write!(f, ") > {least}")
            }
            Selector::Holds(piece) => write!(f, "?search(@, \"{piece}\")"),
        }
    }
}

type Node<'v> = (String, &'v Value);

impl Query {
    pub(crate) fn select<'v>(&self, root: &'v Value) -> Vec<Node<'v>> {
        let mut nodes = vec![(String::new(), root)];
        for (deep, selectors) in &self.0 {
            let mut next = Vec::new();
            for node in nodes {
                let from = if *deep {
                    with_descendants(node)
                } else {
                    vec![node]
                };
                for node in from {
                    for selector in selectors {
                        next.extend(selector.select(&node));
                    }
                }
            }
            nodes = next;
        }
        nodes
    }
}

fn children<'v>((at, value): &Node<'v>) -> Vec<Node<'v>> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| (format!("{at}/{i}"), item))
            .collect(),
        Value::Object(members) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            members
                .iter()
                .map(|(name, value)| (format!("{at}/{}", escaped(name)), value))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn with_descendants(node: Node<'_>) -> Vec<Node<'_>> {
    let below: Vec<Node<'_>> = children(&node)
        .into_iter()
        .flat_map(with_descendants)
        .collect();
    let mut all = vec![node];
    all.extend(below);
    all
}

impl Selector {
    fn select<'v>(&self, node: &Node<'v>) -> Vec<Node<'v>> {
        let all = children(node);
        let len = all.len() as i64;
        let member = |value: &Value, name: &str| {
            value
                .as_object()
                .and_then(|members| members.get(name))
                .cloned()
        };
        match self {
            Selector::All => all,
            Selector::Name(name) => match node
                .1
                .as_object()
                .and_then(|members| members.keys().position(|key| key == name))
            {
                Some(index) => vec![all[index].clone()],
                None => Vec::new(),
            },
            Selector::Index(index) if node.1.is_array() => {
                let index = if *index < 0 { index + len } else { *index };
                all.into_iter()
                    .enumerate()
                    .filter(|(i, _)| *i as i64 == index)
                    .map(|(_, node)| node)
                    .collect()
            }
            Selector::Slice(start, end, step) if node.1.is_array() => {
                let normal = |at: i64| if at < 0 { at + len } else { at };
                let step = step.unwrap_or(1);
                let mut chosen = Vec::new();
                if step > 0 {
                    let mut at = normal(start.unwrap_or(0)).max(0);
                    while at < normal(end.unwrap_or(len)).min(len) {
                        chosen.push(all[at as usize].clone());
                        at += step;
                    }
                } else if step < 0 {
                    let mut at = normal(start.unwrap_or(len - 1)).min(len - 1);
                    let end = end.map_or(-1, |end| normal(end).max(-1));
                    while at > end {
                        chosen.push(all[at as usize].clone());
                        at += step;
                    }
                }
                chosen
            }
            Selector::Index(_) | Selector::Slice(..) => Vec::new(),
            Selector::Has(name) => all
                .into_iter()
                .filter(|(_, value)| member(value, name).is_some())
                .collect(),
            Selector::HasNot(name) => all
                .into_iter()
                .filter(|(_, value)| member(value, name).is_none())
                .collect(),
            Selector::Is(name, wanted) => {
                let wanted: Value = serde_json::from_str(wanted).expect("json");
                let is = |value: &Value| {
                    member(value, name).is_some_and(|value| values_equal(&value, &wanted))
                };
                all.into_iter().filter(|(_, value)| is(value)).collect()
            }
            Selector::Longer(least) => {
                let len = |value: &Value| match value {
                    Value::String(text) => Some(text.chars().count()),
                    Value::Array(items) => Some(items.len()),
                    Value::Object(members) => Some(members.len()),
                    _ => None,
                };
                all.into_iter()
                    .filter(|(_, value)| len(value).is_some_and(|len| len > *least))
                    .collect()
            }
            Selector::At(at, wanted) => {
                let wanted: Value = serde_json::from_str(wanted).expect("json");
                let element = Selector::Index(*at);
                let is = |node: &Node<'v>| {
                    let found = element.select(node);
                    found.iter().any(|(_, value)| values_equal(value, &wanted))
                };
                all.into_iter().filter(is).collect()
            }
            Selector::Some(query) => all
                .into_iter()
                .filter(|(_, value)| !query.select(value).is_empty())
                .collect(),
            Selector::None(query) => all
                .into_iter()
                .filter(|(_, value)| query.select(value).is_empty())
                .collect(),
            Selector::More(query, least) => all
                .into_iter()
                .filter(|(_, value)| query.select(value).len() > *least)
                .collect(),
            Selector::Holds(piece) => all
                .into_iter()
                .filter(|(_, value)| value.as_str().is_some_and(|text| text.contains(piece)))
                .collect(),
        }
    }
}

/// Equality by RFC 6902, with numbers compared by value.
pub(crate) fn values_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| values_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same =
                |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| values_equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

pub(crate) fn apply(root: &mut Value, edit: &Operation) -> Result<(), String> {
    let parsed = |text: &bytes::Bytes| {
        serde_json::from_slice::<Value>(text).map_err(|error| error.to_string())
    };
    match edit {
        Operation::Add { at, value } => add(root, at, parsed(value)?),
        Operation::Remove { at } => remove(root, at).map(|_| ()),
        Operation::Replace { at, value } => {
            *find(root, at).ok_or("nothing there")? = parsed(value)?;
            Ok(())
        }
        Operation::Move { from, to } => {
            if from == to {
                return find(root, from)
                    .map(|_| ())
                    .ok_or("nothing there".to_owned());
            }
            if to.starts_with(&format!("{from}/")) {
                return Err("into itself".to_owned());
            }
            let value = remove(root, from)?;
            add(root, to, value)
        }
        Operation::Copy { from, to } => {
            let value = find(root, from).ok_or("nothing there")?.clone();
            add(root, to, value)
        }
        Operation::Test { at, value } => {
            let same = values_equal(find(root, at).ok_or("nothing there")?, &parsed(value)?);
            if same {
                Ok(())
            } else {
                Err("another value".to_owned())
            }
        }
        Operation::ReplacePart {
            at,
            start,
            end,
            text,
        } => {
            let Some(Value::String(whole)) = find(root, at) else {
                return Err("no string".to_owned());
            };
            let (before, rest) = whole.split_at_checked(*start).ok_or("past the end")?;
            let length = end.checked_sub(*start).ok_or("no part")?;
            let (_, after) = rest.split_at_checked(length).ok_or("past the end")?;
            *whole = format!("{before}{text}{after}");
            Ok(())
        }
    }
}

fn find<'v>(root: &'v mut Value, at: &str) -> Option<&'v mut Value> {
    root.pointer_mut(at)
}

fn split(at: &str) -> Result<(&str, String), String> {
    let (above, last) = at.rsplit_once('/').ok_or("the root")?;
    Ok((above, last.replace("~1", "/").replace("~0", "~")))
}

fn index(token: &str, len: usize) -> Result<usize, String> {
    let plain =
        token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    let index = token.parse().ok().filter(|_| plain).ok_or("no index")?;
    if index < len {
        Ok(index)
    } else {
        Err("past the end".to_owned())
    }
}

fn add(root: &mut Value, at: &str, value: Value) -> Result<(), String> {
    if at.is_empty() {
        *root = value;
        return Ok(());
    }
    let (above, last) = split(at)?;
    match find(root, above) {
        Some(Value::Array(items)) => {
            let len = items.len();
            items.insert(
                if last == "-" {
                    len
                } else {
                    index(&last, len + 1)?
                },
                value,
            );
            Ok(())
        }
        Some(Value::Object(members)) => {
            members.insert(last, value);
            Ok(())
        }
        _ => Err("no parent".to_owned()),
    }
}

fn remove(root: &mut Value, at: &str) -> Result<Value, String> {
    let (above, last) = split(at)?;
    match find(root, above) {
        Some(Value::Array(items)) => {
            let index = index(&last, items.len())?;
            Ok(items.remove(index))
        }
        Some(Value::Object(members)) => members.remove(&last).ok_or("nothing there".to_owned()),
        _ => Err("no parent".to_owned()),
    }
}

/// The start of a node in the text, to sort by.
pub(crate) fn order(document: &Document, at: &str) -> usize {
    document.get(at).expect("valid").expect("there").as_ptr() as usize
}

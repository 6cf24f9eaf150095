//! Digests of a part in which formatting, escapes and cache marks do not count.
//!
//! All are made in one pass over the text, without a tree: of a long conversation only the new
//! messages are read, but one of them may be long.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use twox_hash::XxHash3_64;

/// Digests of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// Without the thinking blocks of a message, and the order of keys does not count.
    pub(super) check: u64,
    /// With both.
    pub(super) cache: u64,
    /// Of the signatures of a message's thinking blocks; 0 without any.
    pub(super) thinking: u64,
}

/// Reads a part; `None` if it is not JSON.
pub(super) fn read(text: &[u8]) -> Option<Digest> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = Value(Place::Part).deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(value.digest)
}

/// Where a value is. A text, as `system` or as a message's content, is the same as one text block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Part,
    Content,
    Block,
    Other,
}

/// A value that was read.
#[derive(Clone, Copy, Default)]
struct Read {
    digest: Digest,
    /// The digest of its signature, if it is a thinking block.
    signature: Option<u64>,
}

impl Read {
    fn new(check: u64, cache: u64) -> Self {
        Self {
            digest: Digest {
                check,
                cache,
                thinking: 0,
            },
            signature: None,
        }
    }

    fn plain(digest: u64) -> Self {
        Self::new(digest, digest)
    }
}

/// The first input of a value's digest, so that `1` and `"1"` differ.
#[derive(Clone, Copy)]
enum Kind {
    Null = 1,
    Bool,
    Integer,
    Float,
    Text,
    List,
    Object,
}

/// Combines two digests; their order counts.
fn mix(a: u64, b: u64) -> u64 {
    // Odd constants with about as many ones as zeros: small inputs spread over all bits.
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ ((product >> 64) as u64)
}

fn of(kind: Kind, digest: u64) -> u64 {
    mix(kind as u64, digest)
}

fn of_text(text: &str) -> u64 {
    of(Kind::Text, XxHash3_64::oneshot(text.as_bytes()))
}

#[derive(Default)]
struct List(Digest);

impl List {
    fn push(&mut self, item: Read) {
        match item.signature {
            Some(signature) => self.0.thinking = mix(self.0.thinking, signature).max(1),
            None => self.0.check = mix(self.0.check, item.digest.check),
        }
        self.0.cache = mix(self.0.cache, item.digest.cache);
    }

    fn end(self) -> Read {
        let (check, cache) = (of(Kind::List, self.0.check), of(Kind::List, self.0.cache));
        let mut list = Read::new(check, cache);
        list.digest.thinking = self.0.thinking;
        list
    }
}

#[derive(Default)]
struct Object(Digest);

impl Object {
    fn insert(&mut self, key: &str, value: Read) {
        let key = of_text(key);
        let check = mix(key, value.digest.check);
        self.0.check = self.0.check.wrapping_add(check);
        self.0.cache = mix(self.0.cache, mix(key, value.digest.cache));
    }

    fn end(self) -> Read {
        Read::new(
            of(Kind::Object, self.0.check),
            of(Kind::Object, self.0.cache),
        )
    }
}

fn text_block(text: Read) -> Read {
    let mut block = Object::default();
    block.insert("type", Read::plain(of_text("text")));
    block.insert("text", text);
    block.end()
}

/// Reads one value.
struct Value(Place);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Read, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Read;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Read, E> {
        Ok(Read::plain(of(Kind::Null, 0)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Read, E> {
        Ok(Read::plain(of(Kind::Bool, u64::from(value))))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Read, E> {
        Ok(Read::plain(of(Kind::Integer, value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Read, E> {
        Ok(Read::plain(of(Kind::Integer, value.cast_unsigned())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Read, E> {
        Ok(Read::plain(of(Kind::Float, value.to_bits())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Read, E> {
        let text = Read::plain(of_text(value));
        Ok(match self.0 {
            Place::Part => text_block(text),
            Place::Content => {
                let mut blocks = List::default();
                blocks.push(text_block(text));
                blocks.end()
            }
            Place::Block | Place::Other => text,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Read, A::Error> {
        let place = match self.0 {
            Place::Content => Place::Block,
            Place::Part | Place::Block | Place::Other => Place::Other,
        };
        let mut list = List::default();
        while let Some(item) = items.next_element_seed(Value(place))? {
            list.push(item);
        }
        Ok(list.end())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Read, A::Error> {
        let mut object = Object::default();
        let mut thinking = 0;
        let mut block = ThinkingBlock::default();
        while let Some(key) = members.next_key::<Key<'de>>()? {
            if key.0 == "cache_control" {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let place = match (self.0, &*key.0) {
                (Place::Part, "content") => Place::Content,
                _ => Place::Other,
            };
            let value = members.next_value_seed(Value(place))?;
            object.insert(&key.0, value);
            match self.0 {
                Place::Part => thinking |= value.digest.thinking,
                Place::Block => block.member(&key.0, value.digest.cache),
                Place::Content | Place::Other => {}
            }
        }
        let mut read = object.end();
        read.digest.thinking = thinking;
        read.signature = block.signature();
        Ok(read)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What tells a thinking block from others, as digests.
#[derive(Default)]
struct ThinkingBlock {
    kind: u64,
    signature: u64,
    data: u64,
}

impl ThinkingBlock {
    fn member(&mut self, key: &str, value: u64) {
        match key {
            "type" => self.kind = value,
            "signature" => self.signature = value,
            "data" => self.data = value,
            _ => {}
        }
    }

    fn signature(&self) -> Option<u64> {
        if self.kind == of_text("thinking") {
            Some(self.signature)
        } else if self.kind == of_text("redacted_thinking") {
            Some(self.data)
        } else {
            None
        }
    }
}

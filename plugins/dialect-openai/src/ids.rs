//! The ids of tool calls. A client gets ids that the Messages API accepts and that are unique in
//! the conversation; the upstream gets its own ids back, and with them what it wants back.
//!
//! An id that is fine is the same on both sides. Any other is encoded in the client's id. Ids are
//! the one thing that every client sends back, so they also carry an upstream's state. State that
//! would make an id too long is kept in the store.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use witgate_plugin::dialect::{Block, Message, ToolUse};

use crate::{
    LONGEST,
    names::{hash, is_plain},
    state,
};

/// OpenAI's limit for a call's id.
const LONGEST_ID: usize = 40;

/// A shorter id is likely to be reused in a later conversation: `call_0`.
const SHORTEST_UNIQUE_ID: usize = 12;

/// The longest id for a client. Clients use ids as file names, which have at most 255 bytes.
const LONGEST_CLIENT_ID: usize = 240;

/// The longest signature for a client: what reaches the plugin whole when it comes back.
const LONGEST_SIGNATURE: usize = LONGEST as usize;

/// The longest of the upstream's ids that is in the client's id although the state is not.
const LONGEST_KEPT: usize = 100;

/// The beginning of an id that contains the upstream's: this, 16 digits, `_` and the content.
const ENCODED: &str = "wg_";

/// The signature that Google documents for calls whose own signature is lost.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What a client's id or signature contains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Carried {
    /// The upstream's id.
    #[serde(rename = "i", skip_serializing_if = "String::is_empty")]
    id: String,
    /// A hash of the upstream's name. Another upstream does not get the state.
    #[serde(rename = "u", skip_serializing_if = "String::is_empty")]
    upstream: String,
    #[serde(flatten)]
    state: State,
    /// The state is in the store.
    #[serde(rename = "s", skip_serializing_if = "std::ops::Not::not")]
    stored: bool,
    /// The state is a signature of Google's.
    #[serde(rename = "g", skip_serializing_if = "std::ops::Not::not")]
    google: bool,
}

/// What the upstream wants back with a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// In the call.
    #[serde(rename = "c", skip_serializing_if = "Map::is_empty")]
    pub(crate) call: Map<String, Value>,
    /// In the call's function.
    #[serde(rename = "f", skip_serializing_if = "Map::is_empty")]
    pub(crate) function: Map<String, Value>,
    /// In the message that contains the call.
    #[serde(rename = "m", skip_serializing_if = "Map::is_empty")]
    pub(crate) message: Map<String, Value>,
}

/// An id or a signature for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientId {
    pub(crate) id: String,
    /// What must be stored under the id.
    pub(crate) stored: Option<Vec<u8>>,
}

/// The ids of a conversation, as the client sent them.
#[derive(Debug, Default)]
pub(crate) struct CallIds {
    upstream: String,
    used: BTreeSet<String>,
    carried: BTreeMap<String, Carried>,
    /// Whether the store has forgotten what a call needs.
    pub(crate) forgotten: bool,
}

impl CallIds {
    /// Reads the ids of a conversation's calls, and the signatures. `recall` reads the store.
    pub(crate) fn read<E>(
        messages: &[Message],
        upstream: &str,
        recall: impl Fn(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut ids = Self {
            upstream: format!("{:08x}", hash(&[upstream]) >> 32),
            ..Self::default()
        };
        for id in messages.iter().flat_map(carriers) {
            if let Some(mut carried) = decode(id) {
                if carried.stored {
                    ids.recall(&mut carried, recall(id)?);
                }
                carried.state = match carried.upstream == ids.upstream {
                    true => carried.state.allowed(),
                    false => State::default(),
                };
                ids.carried.insert(id.to_owned(), carried);
            }
            ids.used.insert(id.to_owned());
        }
        Ok(ids)
    }

    fn recall(&mut self, carried: &mut Carried, stored: Option<Vec<u8>>) {
        match stored.and_then(|stored| serde_json::from_slice(&stored).ok()) {
            Some(stored) => *carried = stored,
            None => {
                self.forgotten = true;
                if carried.google {
                    carried.sign();
                }
            }
        }
    }

    /// Adds the documented placeholder where a message's first call has no signature.
    pub(crate) fn sign(&mut self, messages: &[Message]) {
        for call in messages.iter().filter_map(|message| calls(message).next()) {
            self.carried.entry(call.id.clone()).or_default().sign();
        }
    }

    /// The id that is sent to the upstream: its own, if it made one.
    pub(crate) fn for_upstream(&self, id: &str) -> String {
        match self.carried.get(id) {
            Some(carried) if !carried.id.is_empty() => carried.id.clone(),
            _ if (1..=LONGEST_ID).contains(&id.len()) => id.to_owned(),
            _ => format!("call_{:016x}", hash(&[id])),
        }
    }

    /// What the upstream wants back with a call, or with the message that has this signature.
    pub(crate) fn state(&self, id: &str) -> State {
        let carried = self.carried.get(id);
        carried.map_or_else(State::default, |carried| carried.state.clone())
    }

    /// The id that is sent to the client for a call of the upstream's.
    ///
    /// `response` identifies the response and `position` the call within it. `issued` are the ids
    /// of the response's earlier calls.
    pub(crate) fn for_client(
        &self,
        id: &str,
        state: State,
        response: &[&str],
        position: usize,
        issued: &[String],
    ) -> ClientId {
        let is_new = |id: &String| !self.used.contains(id) && !issued.contains(id);
        let has_state = state != State::default();
        let own = id.to_owned();
        if !has_state && is_fine(id) && is_new(&own) {
            return ClientId {
                id: own,
                stored: None,
            };
        }
        let extra = state.call.get("extra_content");
        let google = extra.is_some_and(|extra| !extra["google"].is_null());
        let carried = Carried {
            id: own,
            upstream: match has_state {
                true => self.upstream.clone(),
                false => String::new(),
            },
            google,
            state,
            stored: false,
        };
        let position = position.to_string();
        let parts: Vec<&str> = response.iter().copied().chain([&*position, id]).collect();
        // Another hash if a server uses the ids of its responses again.
        let mut salt = String::new();
        loop {
            let mut salted = parts.clone();
            salted.extend(Some(&*salt).filter(|salt| !salt.is_empty()));
            let client = encode(&carried, hash(&salted), LONGEST_CLIENT_ID);
            if is_new(&client.id) {
                return client;
            }
            salt.push('+');
        }
    }

    /// The signature that carries what the upstream wants back with a message.
    pub(crate) fn signature(&self, message: Map<String, Value>) -> ClientId {
        let carried = Carried {
            upstream: self.upstream.clone(),
            state: State {
                message,
                ..State::default()
            },
            ..Carried::default()
        };
        let hash = hash(&[&json!(carried).to_string()]);
        encode(&carried, hash, LONGEST_SIGNATURE)
    }
}

impl State {
    /// Only what the plugin itself would have kept: the client may have made the id.
    fn allowed(self) -> Self {
        Self {
            call: state::of_call(self.call),
            function: state::of_call(self.function),
            message: state::of_message(self.message),
        }
    }
}

impl Carried {
    /// Adds the placeholder for a signature if the call has none.
    fn sign(&mut self) {
        let signature = json!({ "thought_signature": NO_SIGNATURE });
        let extra = self.state.call.entry("extra_content");
        extra.or_insert_with(|| json!({ "google": signature }));
    }
}

fn calls(message: &Message) -> impl Iterator<Item = &ToolUse> {
    message.content.iter().filter_map(|block| match block {
        Block::ToolUse(call) => Some(call),
        _ => None,
    })
}

/// What may carry state: the ids of calls, and signatures.
fn carriers(message: &Message) -> impl Iterator<Item = &str> {
    message.content.iter().filter_map(|block| match block {
        Block::ToolUse(call) => Some(&*call.id),
        Block::Thinking { signature, .. } => Some(&**signature),
        _ => None,
    })
}

/// Whether an error says that a call has no signature, which Gemini requires.
pub(crate) fn lacks_signature(message: &str) -> bool {
    let lower = message.to_ascii_lowercase().replace('_', " ");
    lower.contains("missing") && lower.contains("thought signature")
}

/// Whether an id can be the same on both sides.
fn is_fine(id: &str) -> bool {
    (SHORTEST_UNIQUE_ID..=LONGEST_ID).contains(&id.len())
        && id.chars().all(is_plain)
        && !id.starts_with(ENCODED)
}

fn encode(carried: &Carried, hash: u64, longest: usize) -> ClientId {
    let has_state = carried.state != State::default();
    if carried.id.is_empty() && !has_state {
        return ClientId {
            id: format!("call_{hash:016x}"),
            stored: None,
        };
    }
    // An id alone is written as it is.
    let plain = !has_state && !carried.id.starts_with('{');
    let content = match plain {
        true => carried.id.clone(),
        false => json!(carried).to_string(),
    };
    let whole = format!("{ENCODED}{hash:016x}_{}", to_base64(content.as_bytes()));
    if whole.len() <= longest {
        return ClientId {
            id: whole,
            stored: None,
        };
    }
    let fits = carried.id.len() <= LONGEST_KEPT;
    let short = json!(Carried {
        id: if fits {
            carried.id.clone()
        } else {
            String::new()
        },
        upstream: carried.upstream.clone(),
        google: carried.google,
        stored: true,
        state: State::default(),
    });
    let short = short.to_string();
    ClientId {
        id: format!("{ENCODED}{hash:016x}_{}", to_base64(short.as_bytes())),
        stored: Some(json!(carried).to_string().into_bytes()),
    }
}

/// The content of an id that [`encode`] made.
fn decode(id: &str) -> Option<Carried> {
    let (digits, content) = id.strip_prefix(ENCODED)?.split_at_checked(16)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let content = content.strip_prefix('_')?;
    if !digits.bytes().all(is_digit) {
        return None;
    }
    let content = String::from_utf8(from_base64(content)?).ok()?;
    if content.starts_with('{') {
        return serde_json::from_str(&content).ok();
    }
    Some(Carried {
        id: content,
        ..Carried::default()
    })
}

/// The alphabet of base64url, which the Messages API accepts in ids.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes as base64url without padding.
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 2);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=group.len() {
            let index = bits >> (18 - 6 * at) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for (at, letter) in group.iter().enumerate() {
            let index = ALPHABET.iter().position(|own| own == letter)?;
            bits |= u32::try_from(index).ok()? << (18 - 6 * at);
        }
        let [_, group_bytes @ ..] = bits.to_be_bytes();
        bytes.extend(&group_bytes[..group.len().checked_sub(1)?]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use witgate_plugin::dialect::Role;

    use super::*;

    fn conversation(ids: &[&str]) -> Vec<Message> {
        let call = |id: &&str| {
            Block::ToolUse(ToolUse {
                id: (*id).to_owned(),
                name: "f".to_owned(),
                input: json!({}),
            })
        };
        vec![Message {
            role: Role::Assistant,
            content: ids.iter().map(call).collect(),
            breakpoint: None,
        }]
    }

    fn read(ids: &[&str], upstream: &str, stored: Option<&[u8]>) -> CallIds {
        let recall = |_: &str| Ok::<_, ()>(stored.map(<[u8]>::to_vec));
        CallIds::read(&conversation(ids), upstream, recall).unwrap()
    }

    fn signed(signature: &str) -> State {
        let extra = json!({ "google": { "thought_signature": signature } });
        State {
            call: Map::from_iter([("extra_content".to_owned(), extra)]),
            ..State::default()
        }
    }

    fn is_valid(id: &str) -> bool {
        (1..=LONGEST_CLIENT_ID).contains(&id.len()) && id.chars().all(is_plain)
    }

    #[test]
    fn the_upstream_gets_its_own_id_back_whatever_its_shape() {
        let long = "x".repeat(90);
        let longer = "ö/".repeat(400);
        for id in [
            "call_abcdefgh12",
            "O4kbyHTo9",
            "call_0",
            "functions.Read:0",
            "{\"i\":1}",
            "größe",
            "chatcmpl-tool-0123456789abcdef0123456789abcdef",
            "wg_0123456789abcdef_eA",
            &long,
            &longer,
        ] {
            let new = read(&[], "up", None);
            let client = new.for_client(id, State::default(), &["r"], 0, &[]);
            assert!(is_valid(&client.id), "{}", client.id);
            let back = read(&[&client.id], "up", client.stored.as_deref());
            assert_eq!(back.for_upstream(&client.id), id);
            let elsewhere = read(&[&client.id], "other", client.stored.as_deref());
            assert_eq!(elsewhere.for_upstream(&client.id), id);
            let again = back.for_client(id, State::default(), &["r"], 0, &[]);
            assert!(is_valid(&again.id), "{}", again.id);
            assert_ne!(again.id, client.id, "unique in the conversation");
            let issued = [client.id.clone()];
            let twice = new.for_client(id, State::default(), &["r"], 0, &issued);
            assert_ne!(twice.id, client.id, "unique in the response");
            let later = new.for_client(id, State::default(), &["s"], 0, &[]);
            let is_own = client.id == id;
            assert_eq!(later.id == client.id, is_own, "unique if the id recurs");
        }
    }

    #[test]
    fn an_id_that_is_fine_stays_the_same() {
        for id in ["call_abcdefgh12", "toolu_01AbCdEfGhIjKlMnOpQrStUv"] {
            let client = read(&[], "up", None).for_client(id, State::default(), &["r"], 0, &[]);
            assert_eq!(client.id, id);
        }
        let missing = read(&[], "up", None).for_client("", State::default(), &["r"], 0, &[]);
        assert_eq!(
            read(&[&missing.id], "up", None).for_upstream(&missing.id),
            missing.id
        );
    }

    #[test]
    fn a_long_id_of_another_origin_is_always_shortened_in_the_same_way() {
        let ids = read(&["toolu_01"], "up", None);
        assert_eq!(ids.for_upstream("toolu_01"), "toolu_01");
        let long = "x".repeat(41);
        let short = ids.for_upstream(&long);
        assert!(short.len() <= LONGEST_ID, "{short}");
        assert_eq!(short, ids.for_upstream(&long));
        assert!(!ids.for_upstream("").is_empty());
        for invalid in [
            "wg_",
            "wg_0123456789abcdef_",
            "wg_0123456789abcdef_?",
            "wg_0123456789abcdeg_eA",
            "wg_0123456789abcdéf_eA",
            "wg_0123456789abcdef_e30x",
        ] {
            let ids = read(&[invalid], "up", None);
            assert_eq!(ids.for_upstream(invalid), invalid);
        }
    }

    #[test]
    fn state_goes_back_to_the_upstream_that_sent_it_and_to_no_other() {
        for signature in ["c2ln".to_owned(), "c2ln".repeat(2_000)] {
            let state = signed(&signature);
            let new = read(&[], "up", None);
            let client = new.for_client("call_abcdefgh12", state.clone(), &["r"], 0, &[]);
            assert!(is_valid(&client.id), "{}", client.id);
            let stored = client.stored.as_deref();
            assert_eq!(stored.is_some(), signature.len() > 200);
            let back = read(&[&client.id], "up", stored);
            assert_eq!(back.state(&client.id), state);
            assert_eq!(back.for_upstream(&client.id), "call_abcdefgh12");
            let other = read(&[&client.id], "other", stored);
            assert_eq!(other.state(&client.id), State::default());
            assert!(!back.forgotten);
        }
    }

    #[test]
    fn an_id_that_the_client_made_adds_nothing_else_to_the_request() {
        let state = State {
            call: Map::from_iter([("type".to_owned(), json!("x"))]),
            function: Map::from_iter([("name".to_owned(), json!("x"))]),
            message: Map::from_iter([("role".to_owned(), json!("system"))]),
        };
        let client = read(&[], "up", None).for_client("call_1", state, &["r"], 0, &[]);
        let back = read(&[&client.id], "up", client.stored.as_deref());
        assert_eq!(back.state(&client.id), State::default());
    }

    #[test]
    fn a_forgotten_signature_is_replaced_by_the_documented_placeholder() {
        let state = signed(&"c2ln".repeat(2_000));
        let client = read(&[], "up", None).for_client("call_1", state, &["r"], 0, &[]);
        let back = read(&[&client.id], "up", None);
        assert!(back.forgotten);
        assert_eq!(back.for_upstream(&client.id), "call_1");
        assert_eq!(back.state(&client.id), signed(NO_SIGNATURE));
    }

    #[test]
    fn the_first_call_of_a_message_is_signed_if_it_has_no_signature() {
        let own = read(&[], "up", None).for_client("call_1", signed("c2ln"), &["r"], 0, &[]);
        let messages = [conversation(&[&own.id]), conversation(&["a", "b"])].concat();
        let mut ids = CallIds::read(&messages, "up", |_| Ok::<_, ()>(None)).unwrap();
        ids.sign(&messages);
        assert_eq!(ids.state(&own.id), signed("c2ln"));
        assert_eq!(ids.state("a"), signed(NO_SIGNATURE));
        assert_eq!(ids.state("b"), State::default());
        assert_eq!(ids.for_upstream("a"), "a");
    }

    #[test]
    fn base64_keeps_every_byte() {
        for length in 0..7 {
            let bytes: Vec<u8> = (0..length).map(|n| 255 - n * 37).collect();
            assert_eq!(from_base64(&to_base64(&bytes)).unwrap(), bytes);
        }
        assert_eq!(to_base64(b"functions.Read:0"), "ZnVuY3Rpb25zLlJlYWQ6MA");
        assert_eq!(from_base64("a"), Some(Vec::new()));
    }
}

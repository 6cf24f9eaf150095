//! The check of signed thinking: what a signature records, and what a request does to it.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value, json};

/// The beta that allows `thinking.block_binding` and reports what happened to blocks.
pub const BINDING_BETA: &str = "thinking-binding-controls-2026-08-01";

/// What a signature records of the request it was made for. Signatures are valid at every strict
/// upstream of the process, as they are across real platforms.
#[derive(Clone)]
struct Record {
    redacted: bool,
    model: String,
    organization: String,
    prefix: Prefix,
    /// The thinking block before this one, in this turn or an earlier one.
    predecessor: Option<String>,
    turn: u64,
    /// Which thinking block of the turn this is.
    index: usize,
    /// How many other blocks of the turn are before this one.
    others: usize,
}

/// Digests of what a thinking block is bound to.
#[derive(Clone)]
pub struct Prefix {
    system: u64,
    tools: u64,
    messages: Vec<u64>,
}

static ISSUED: LazyLock<Mutex<HashMap<String, Record>>> = LazyLock::new(Mutex::default);

/// The digests of a message's blocks, by the digest of the message, to name the first that changed.
static BLOCKS: LazyLock<Mutex<HashMap<u64, Vec<Block>>>> = LazyLock::new(Mutex::default);

static NUMBER: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Copy, PartialEq)]
struct Block {
    digest: u64,
    is_result: bool,
}

/// What to do with a block that fails the prefix check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch {
    Refuse,
    Drop,
    Allow,
    /// The model does not check.
    Ignore,
}

/// Who reads the blocks of a request, and by which rules.
pub struct Reader<'a> {
    pub model: &'a str,
    pub organization: &'a str,
    pub mismatch: Mismatch,
    /// Whether the request has the beta of [`BINDING_BETA`].
    pub beta: bool,
    /// Whether the error names what differs.
    pub names: bool,
    pub reads: &'a dyn Fn(&str, &str) -> bool,
    pub is_account_bound: &'a dyn Fn(&str) -> bool,
}

/// What a request's thinking came to.
#[derive(Default)]
pub struct Verdict {
    /// The positions of blocks that the model does not see.
    pub dropped: HashSet<(usize, usize)>,
    pub transformations: Vec<Value>,
    /// The predecessor of what is made next.
    last: Option<String>,
}

enum Difference {
    System,
    Tools,
    /// At this place of the request.
    Content(usize, usize),
    /// A changed tool result is not named.
    ToolResult,
    Older,
    Predecessor,
}

impl Prefix {
    pub fn of(body: &Value) -> Self {
        let messages = body["messages"].as_array();
        Self {
            system: digest(&system(&body["system"])),
            tools: tools(&body["tools"]),
            messages: messages.into_iter().flatten().map(message).collect(),
        }
    }
}

/// Makes the signatures of one turn.
pub struct Signer {
    model: String,
    organization: String,
    prefix: Prefix,
    last: Option<String>,
    turn: u64,
    made: usize,
}

impl Signer {
    pub fn new(model: &str, organization: &str, prefix: Prefix, verdict: &Verdict) -> Self {
        Self {
            model: model.to_owned(),
            organization: organization.to_owned(),
            prefix,
            last: verdict.last.clone(),
            turn: NUMBER.fetch_add(1, Ordering::Relaxed),
            made: 0,
        }
    }

    /// The signature of the next thinking block, after this many other blocks.
    pub fn sign(&mut self, redacted: bool, others: usize) -> String {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let signature = signature(number, &self.prefix);
        let record = Record {
            redacted,
            model: self.model.clone(),
            organization: self.organization.clone(),
            prefix: self.prefix.clone(),
            predecessor: self.last.replace(signature.clone()),
            turn: self.turn,
            index: self.made,
            others,
        };
        self.made += 1;
        ISSUED.lock().unwrap().insert(signature.clone(), record);
        signature
    }
}

/// Opaque text of the alphabet and length of real signatures, with a character that some JSON
/// writers escape.
fn signature(number: u64, prefix: &Prefix) -> String {
    let mut text = format!("EqQB/{number:08}");
    for seed in 0..8_u64 {
        let of = (seed, number, prefix.system, prefix.tools, &prefix.messages);
        text.push_str(&format!("{:016x}", hash(&of)));
    }
    text + "=="
}

/// Judges the thinking of a request. The error is the message of a 400.
pub fn judge(body: &Value, reader: &Reader) -> Result<Verdict, String> {
    let prefix = Prefix::of(body);
    judge_latest(body)?;
    let mut verdict = Verdict::default();
    // The blocks before, as they were sent and without those dropped for their prefix.
    let mut before: Option<String> = None;
    for (at, index, block) in thinking(body) {
        let redacted = block["type"] == "redacted_thinking";
        let field = if redacted { "data" } else { "signature" };
        let signature = block[field].as_str().unwrap_or_default();
        let record = ISSUED.lock().unwrap().get(signature).cloned();
        let record = record.filter(|record| record.redacted == redacted);
        let Some(record) = record else {
            return Err(invalid(at, index, redacted));
        };
        if let Some(reason) = reader.cannot_read(&record) {
            verdict.report("thinking_dropped", at, index, reason);
            verdict.dropped.insert((at, index));
            before = Some(signature.to_owned());
            continue;
        }
        let Some(difference) = difference(&record, &prefix, at, before.as_deref()) else {
            before = Some(signature.to_owned());
            continue;
        };
        let reason = "prefix_binding_mismatch";
        match reader.mismatch {
            Mismatch::Refuse => return Err(reader.refusal(at, index, redacted, &difference)),
            Mismatch::Drop => {
                verdict.report("thinking_dropped", at, index, reason);
                verdict.dropped.insert((at, index));
                continue;
            }
            Mismatch::Allow => verdict.report("thinking_mismatch_allowed", at, index, reason),
            Mismatch::Ignore => {}
        }
        before = Some(signature.to_owned());
    }
    verdict.last = before;
    Ok(verdict)
}

impl Reader<'_> {
    fn cannot_read(&self, record: &Record) -> Option<&'static str> {
        if (self.is_account_bound)(&record.model) && record.organization != self.organization {
            Some("organization_binding_mismatch")
        } else if !(self.reads)(self.model, &record.model) {
            Some("model_binding_mismatch")
        } else {
            None
        }
    }

    fn refusal(&self, at: usize, index: usize, redacted: bool, what: &Difference) -> String {
        let mut text = invalid(at, index, redacted);
        text.push_str(
            ". The block is bound to a different conversation. Remove the block, or set \
             `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\".",
        );
        if !self.beta {
            text.push_str(&format!(
                " That setting requires the `{BINDING_BETA}` value in the `anthropic-beta` header."
            ));
        }
        if self.names {
            text.push_str(&what.sentence());
        }
        text
    }
}

impl Verdict {
    fn report(&mut self, kind: &str, at: usize, index: usize, reason: &str) {
        let path = format!("messages.{at}.content.{index}");
        let entry = json!({"type": kind, "path": path, "reason": reason});
        self.transformations.push(entry);
    }
}

impl Difference {
    /// The last sentence of the error, with the blank before it.
    fn sentence(&self) -> String {
        let differs = "differs from the one this block was created with.";
        match self {
            Self::System => format!(" The `system` prompt {differs}"),
            Self::Tools => format!(" The `tools` list {differs}"),
            Self::Content(at, index) => format!(
                " Content before this block differs from when it was created, first at \
                 `messages.{at}.content.{index}`."
            ),
            Self::Older => " A message older than `messages.0.content.0` differs from when this \
                            block was created."
                .to_owned(),
            Self::Predecessor => {
                " The `thinking` block that preceded this one when it was created \
                                  is missing from this request."
                    .to_owned()
            }
            Self::ToolResult => String::new(),
        }
    }
}

fn invalid(at: usize, index: usize, redacted: bool) -> String {
    let what = if redacted {
        "Invalid `data` in `redacted_thinking` block"
    } else {
        "Invalid `signature` in `thinking` block"
    };
    format!("messages.{at}.content.{index}: {what}")
}

/// What differs for the block in message `at`, whose predecessor in the request is this one.
fn difference(
    record: &Record,
    now: &Prefix,
    at: usize,
    before: Option<&str>,
) -> Option<Difference> {
    if record.prefix.system != now.system {
        return Some(Difference::System);
    }
    if record.prefix.tools != now.tools {
        return Some(Difference::Tools);
    }
    let (was, is) = (&record.prefix.messages, &now.messages[..at]);
    if was != is {
        return Some(content_difference(was, is));
    }
    // A run may begin anywhere: what was removed from its start is not missed.
    let predecessor = record.predecessor.as_deref();
    (before.is_some() && before != predecessor).then_some(Difference::Predecessor)
}

fn content_difference(was: &[u64], is: &[u64]) -> Difference {
    if is.len() < was.len() && was.ends_with(is) {
        return Difference::Older;
    }
    let at = was.iter().zip(is).take_while(|(a, b)| a == b).count();
    let (Some(was), Some(is)) = (was.get(at), is.get(at)) else {
        return Difference::Content(at, 0);
    };
    let blocks = BLOCKS.lock().unwrap();
    let (was, is) = (&blocks[was], &blocks[is]);
    let index = was.iter().zip(is).take_while(|(a, b)| a == b).count();
    match (was.get(index), is.get(index)) {
        (Some(was), Some(is)) if was.is_result && is.is_result => Difference::ToolResult,
        _ => Difference::Content(at, index),
    }
}

/// What is kept of the latest assistant message has to be a run of one turn's blocks, with the same
/// blocks between them.
fn judge_latest(body: &Value) -> Result<(), String> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let latest = messages
        .iter()
        .rposition(|message| message["role"] == "assistant");
    let issued = ISSUED.lock().unwrap();
    let mut before: Option<(usize, &Record)> = None;
    let of_latest = thinking(body).filter(|(at, ..)| Some(*at) == latest);
    for (thoughts, (at, index, block)) in of_latest.enumerate() {
        let others = index - thoughts;
        let signature = block["signature"].as_str().or(block["data"].as_str());
        let Some(record) = issued.get(signature.unwrap_or_default()) else {
            return Ok(());
        };
        let follows = before.is_none_or(|(were, before)| {
            record.turn == before.turn
                && record.index == before.index + 1
                && record.others.checked_sub(before.others) == others.checked_sub(were)
        });
        if !follows {
            return Err(format!(
                "messages.{at}.content.{index}: `thinking` or `redacted_thinking` blocks in the \
                 latest assistant message cannot be modified. These blocks must remain as they \
                 were in the original response."
            ));
        }
        before = Some((others, record));
    }
    Ok(())
}

/// Every thinking block with its place.
fn thinking(body: &Value) -> impl Iterator<Item = (usize, usize, &Value)> {
    let messages = body["messages"].as_array().into_iter().flatten();
    messages.enumerate().flat_map(|(at, message)| {
        let blocks = message["content"].as_array().into_iter().flatten();
        let blocks = blocks.enumerate().filter(|(_, block)| is_thinking(block));
        blocks.map(move |(index, block)| (at, index, block))
    })
}

fn is_thinking(block: &Value) -> bool {
    block["type"] == "thinking" || block["type"] == "redacted_thinking"
}

fn system(system: &Value) -> Value {
    match system {
        Value::String(text) => json!([{"type": "text", "text": text}]),
        Value::Array(blocks) => blocks.iter().map(without_cache_control).collect(),
        other => other.clone(),
    }
}

fn tools(tools: &Value) -> u64 {
    let tools = tools.as_array().into_iter().flatten();
    let loaded = tools.filter(|tool| tool["defer_loading"] != true);
    let mut set: Vec<u64> = loaded
        .map(|tool| digest(&without_cache_control(tool)))
        .collect();
    set.sort_unstable();
    hash(&set)
}

/// Digests a message and remembers its parts.
fn message(message: &Value) -> u64 {
    let mut rest = message.as_object().cloned().unwrap_or_default();
    let content = rest.remove("content").unwrap_or_default();
    let blocks: Vec<Block> = match &content {
        Value::Array(blocks) => blocks
            .iter()
            .filter(|block| !is_thinking(block))
            .map(|block| Block {
                digest: digest(&without_cache_control(block)),
                is_result: block["type"] == "tool_result",
            })
            .collect(),
        // A string is not the same as a block of the same text: that is not established.
        other => vec![Block {
            digest: digest(other),
            is_result: false,
        }],
    };
    let digests: Vec<u64> = blocks.iter().map(|block| block.digest).collect();
    let whole = hash(&(digest(&Value::Object(rest)), content.is_array(), digests));
    BLOCKS.lock().unwrap().insert(whole, blocks);
    whole
}

/// The block without its mark and those of the blocks inside it. A tool's input keeps a member of
/// that name, for it is data.
pub fn without_cache_control(block: &Value) -> Value {
    let Value::Object(members) = block else {
        return block.clone();
    };
    let kept = members.iter().filter(|(name, _)| *name != "cache_control");
    let kept = kept.map(|(name, value)| match value {
        Value::Array(inner) if name == "content" => {
            let inner = inner.iter().map(without_cache_control).collect();
            (name.clone(), Value::Array(inner))
        }
        _ => (name.clone(), value.clone()),
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

/// A digest that does not depend on the order of keys.
fn digest(value: &Value) -> u64 {
    let mut state = DefaultHasher::new();
    walk(value, &mut state);
    state.finish()
}

fn walk(value: &Value, state: &mut DefaultHasher) {
    match value {
        Value::Array(items) => {
            (b'[', items.len()).hash(state);
            items.iter().for_each(|item| walk(item, state));
        }
        Value::Object(members) => {
            (b'{', members.len()).hash(state);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                name.hash(state);
                walk(value, state);
            }
        }
        scalar => scalar.to_string().hash(state),
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut state = DefaultHasher::new();
    value.hash(&mut state);
    state.finish()
}

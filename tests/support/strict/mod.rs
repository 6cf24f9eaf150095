//! A strict upstream: it signs thinking over the conversation before it, as the Messages API does,
//! and refuses or drops thinking whose conversation has changed. It also keeps a prompt cache and
//! knows the API versions.

mod cache;
mod check;
mod models;
mod session;
mod turn;

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

pub use cache::Usage;
pub use check::BINDING_BETA;
pub use models::Check;
pub use session::Session;
pub use turn::{Part, Turn};

use super::{Answer, Received, Upstream};
use cache::Cache;
use check::{Mismatch, Prefix, Reader, Signer, Verdict, judge};

/// The version of the API that refuses sampling fields.
pub const NEW_VERSION: &str = "2026-10-21";
pub const OLD_VERSION: &str = "2023-06-01";

/// A running strict upstream. It can be used wherever an [`Upstream`] can.
pub struct Strict {
    upstream: Upstream,
    state: Arc<State>,
}

/// How a strict upstream differs from the default one: all accounts are new, each key is an
/// organization of its own, and errors name what changed.
pub struct Rules {
    unnamed: bool,
    all_old: bool,
    old: Vec<String>,
    organizations: HashMap<String, String>,
    lacks_block_binding: bool,
    lacks_new_version: bool,
    reads: Box<Readers>,
    is_account_bound: Box<dyn Fn(&str) -> bool + Send + Sync>,
    script: Box<dyn Fn(&Asked) -> Turn + Send + Sync>,
    first: Box<Faults>,
}

/// Whether a model reads the thinking of another.
type Readers = dyn Fn(&str, &str) -> bool + Send + Sync;

/// What is answered before the rules apply.
type Faults = dyn Fn(&Received) -> Option<Answer> + Send + Sync;

/// A request that was accepted, for the script.
pub struct Asked<'a> {
    /// Counts the turns of this upstream from 1.
    pub number: usize,
    pub received: &'a Received,
    pub body: &'a Value,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub path: String,
    /// The credential of the request.
    pub key: String,
    pub status: u16,
    /// The message of the error.
    pub refusal: Option<String>,
    /// What `input_transformations` says, or would say if the request had the beta.
    pub transformations: Vec<Value>,
    /// How many thinking blocks the model read.
    pub read: usize,
    pub usage: Usage,
    /// The content of the response.
    pub content: Vec<Value>,
}

struct State {
    rules: Rules,
    cache: Cache,
    outcomes: Mutex<Vec<Outcome>>,
    turns: Mutex<usize>,
}

impl Deref for Strict {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.upstream
    }
}

impl Strict {
    /// A strict upstream by the default rules. See [`turn_of`] for what it says.
    pub fn start() -> Self {
        Self::rules().start()
    }

    pub fn rules() -> Rules {
        Rules {
            unnamed: false,
            all_old: false,
            old: Vec::new(),
            organizations: HashMap::new(),
            lacks_block_binding: false,
            lacks_new_version: false,
            reads: Box::new(models::reads),
            is_account_bound: Box::new(models::is_account_bound),
            script: Box::new(turn_of),
            first: Box::new(|_| None),
        }
    }

    /// What became of each request to messages and `count_tokens`, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.state.outcomes.lock().unwrap().clone()
    }

    /// The messages of all errors, in order.
    pub fn refusals(&self) -> Vec<String> {
        let outcomes = self.outcomes().into_iter();
        outcomes.filter_map(|outcome| outcome.refusal).collect()
    }

    /// Expects that no request was refused, and that the model has read all thinking it was sent.
    #[track_caller]
    pub fn lost_nothing(&self) {
        let outcomes = self.outcomes();
        assert!(!outcomes.is_empty(), "no request reached the upstream");
        for (at, outcome) in outcomes.iter().enumerate() {
            let number = at + 1;
            assert_eq!(outcome.refusal, None, "request {number}");
            let none: &[Value] = &[];
            assert_eq!(outcome.transformations, none, "request {number}");
        }
    }
}

/// What an upstream without a script says: thinking and a call of the first tool, or a text if
/// there is no tool or a result has just arrived.
pub fn turn_of(asked: &Asked) -> Turn {
    let last = asked.body["messages"].as_array().and_then(|all| all.last());
    let blocks = last.and_then(|message| message["content"].as_array());
    let answers = blocks
        .into_iter()
        .flatten()
        .any(|block| block["type"] == "tool_result");
    match asked.body["tools"][0]["name"].as_str() {
        Some(tool) if !answers => Turn::tool(tool, json!({"path": format!("/{}", asked.number)})),
        _ => Turn::text(&format!("turn {}", asked.number)),
    }
}

impl Rules {
    /// Leaves out the last sentence of the error, which names what differs.
    pub fn unnamed(mut self) -> Self {
        self.unnamed = true;
        self
    }

    /// Lets a failed check through, as on accounts made before 2026-08-31.
    pub fn old_accounts(mut self) -> Self {
        self.all_old = true;
        self
    }

    /// Like [`Self::old_accounts`] for the account of this key.
    pub fn old_account(mut self, key: &str) -> Self {
        self.old.push(key.to_owned());
        self
    }

    /// Puts the account of this key into an organization.
    pub fn organization(mut self, key: &str, organization: &str) -> Self {
        self.organizations
            .insert(key.to_owned(), organization.to_owned());
        self
    }

    /// Refuses `thinking.block_binding`, as a server that does not know the field.
    pub fn without_block_binding(mut self) -> Self {
        self.lacks_block_binding = true;
        self
    }

    /// Refuses version 2026-10-21.
    pub fn without_new_version(mut self) -> Self {
        self.lacks_new_version = true;
        self
    }

    /// Decides whether the first model reads the thinking of the second.
    pub fn reads(mut self, reads: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.reads = Box::new(reads);
        self
    }

    /// Decides whether a model's thinking is bound to the account that made it.
    pub fn account_bound(mut self, bound: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.is_account_bound = Box::new(bound);
        self
    }

    /// Decides what the model says.
    pub fn script(mut self, script: impl Fn(&Asked) -> Turn + Send + Sync + 'static) -> Self {
        self.script = Box::new(script);
        self
    }

    /// Is asked before everything else, for faults such as a 429.
    pub fn first(
        mut self,
        first: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.first = Box::new(first);
        self
    }

    pub fn start(self) -> Strict {
        let state = Arc::new(State {
            rules: self,
            cache: Cache::default(),
            outcomes: Mutex::default(),
            turns: Mutex::default(),
        });
        let answering = Arc::clone(&state);
        let upstream = Upstream::with(move |received| answering.answer(received));
        Strict { upstream, state }
    }

    fn organization_of(&self, key: &str) -> String {
        let named = self.organizations.get(key).cloned();
        named.unwrap_or_else(|| format!("organization of {key}"))
    }

    fn mismatch(&self, model: &str, key: &str, set: Option<&str>) -> Mismatch {
        let old = self.all_old || self.old.iter().any(|old| old == key);
        match (models::check(model), set) {
            (Check::Never, _) => Mismatch::Ignore,
            (_, Some("drop_block")) => Mismatch::Drop,
            (Check::ByAccount, None) if old => Mismatch::Allow,
            _ => Mismatch::Refuse,
        }
    }

    fn judge(&self, received: &Received, body: &Value) -> Result<Verdict, String> {
        self.is_version(received, body)?;
        let (key, beta) = (received.key(), has_beta(received));
        let set = self.behavior(body, beta)?;
        let model = body["model"].as_str().ok_or("model: Field required")?;
        let reader = Reader {
            model,
            organization: &self.organization_of(&key),
            mismatch: self.mismatch(model, &key, set),
            beta,
            names: !self.unnamed,
            reads: &*self.reads,
            is_account_bound: &*self.is_account_bound,
        };
        judge(body, &reader)
    }

    fn is_version(&self, received: &Received, body: &Value) -> Result<(), String> {
        match received.header("anthropic-version") {
            None => Err("anthropic-version: header is required".to_owned()),
            Some(OLD_VERSION) => Ok(()),
            Some(NEW_VERSION) if !self.lacks_new_version => {
                let sampling = ["temperature", "top_p", "top_k"];
                match sampling.iter().find(|name| body.get(name).is_some()) {
                    Some(name) => Err(extra(name)),
                    None => Ok(()),
                }
            }
            Some(other) => Err(format!(
                "anthropic-version: `{other}` is an invalid version"
            )),
        }
    }

    /// The value of `prefix_mismatch_behavior`, if the request may and does set it.
    fn behavior<'a>(&self, body: &'a Value, beta: bool) -> Result<Option<&'a str>, String> {
        let thinking = &body["thinking"];
        let Some(binding) = thinking.get("block_binding") else {
            return Ok(None);
        };
        let kind = thinking["type"].as_str().unwrap_or_default();
        if !beta || self.lacks_block_binding || !["adaptive", "enabled"].contains(&kind) {
            return Err(extra(&format!("thinking.{kind}.block_binding")));
        }
        match binding.get("prefix_mismatch_behavior") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(set)) if set == "error" || set == "drop_block" => Ok(Some(set)),
            Some(_) => Err(format!(
                "thinking.{kind}.block_binding.prefix_mismatch_behavior: Input should be 'error' \
                 or 'drop_block'"
            )),
        }
    }
}

impl State {
    fn answer(&self, received: &Received) -> Answer {
        if let Some(answer) = (self.rules.first)(received) {
            return answer;
        }
        let path = received.path.split('?').next().unwrap_or_default();
        let counts = match path {
            "/v1/messages" => false,
            "/v1/messages/count_tokens" => true,
            _ => return Answer::error(404, "not_found_error", "Not Found"),
        };
        let body: Value = match serde_json::from_slice(&received.body) {
            Ok(body) => body,
            Err(error) => return Answer::error(400, "invalid_request_error", &error.to_string()),
        };
        let mut outcome = Outcome::of(received);
        let answer = match self.rules.judge(received, &body) {
            Err(refusal) => outcome.refuse(refusal),
            Ok(verdict) => {
                outcome.transformations.clone_from(&verdict.transformations);
                outcome.read = thoughts(&body) - verdict.dropped.len();
                if counts {
                    self.count(&body, &verdict)
                } else {
                    self.message(received, &body, &verdict, &mut outcome)
                }
            }
        };
        self.outcomes.lock().unwrap().push(outcome);
        answer
    }

    fn count(&self, body: &Value, verdict: &Verdict) -> Answer {
        // A scope of its own: counting does not write to the cache.
        let usage = Cache::default().count("", body, &verdict.dropped);
        let tokens = usage.read + usage.created + usage.uncached;
        Answer::json(200, &json!({"input_tokens": tokens}).to_string())
    }

    fn message(
        &self,
        received: &Received,
        body: &Value,
        verdict: &Verdict,
        outcome: &mut Outcome,
    ) -> Answer {
        let number = {
            let mut turns = self.turns.lock().unwrap();
            *turns += 1;
            *turns
        };
        let model = body["model"].as_str().unwrap_or_default();
        let organization = self.rules.organization_of(&outcome.key);
        let scope = format!("{organization} {model}");
        outcome.usage = self.cache.count(&scope, body, &verdict.dropped);
        let turn = self.turn(number, received, body);
        let mut signer = Signer::new(model, &organization, Prefix::of(body), verdict);
        outcome.content = turn.blocks(number, &mut signer);
        let id = format!("msg_{}_{number:06}", self.name());
        let mut message = json!({
            "id": id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": outcome.content,
            "stop_reason": turn.stop_reason(),
            "stop_sequence": null,
            "usage": outcome.usage.json(&outcome.content),
        });
        if has_beta(received) {
            message["input_transformations"] = json!(verdict.transformations);
        }
        let betas = received.header("anthropic-beta").unwrap_or_default();
        if let Some(found) = self.cache.diagnose(&id, &organization, betas, body) {
            message["diagnostics"] = found;
        }
        let answer = if body["stream"] == true {
            Answer::sse(&turn::stream(&message))
        } else {
            Answer::json(200, &message.to_string())
        };
        answer.header("request-id", &format!("req_{number:06}"))
    }

    fn turn(&self, number: usize, received: &Received, body: &Value) -> Turn {
        let asked = Asked {
            number,
            received,
            body,
        };
        let turn = (self.rules.script)(&asked);
        if body["thinking"]["type"] == "disabled" {
            turn.without_thinking()
        } else {
            turn
        }
    }

    /// Distinguishes the message ids of two upstreams.
    fn name(&self) -> String {
        format!("{:x}", std::ptr::from_ref(self).addr())
    }
}

impl Outcome {
    fn of(received: &Received) -> Self {
        Self {
            path: received.path.clone(),
            key: received.key(),
            status: 200,
            refusal: None,
            transformations: Vec::new(),
            read: 0,
            usage: Usage::default(),
            content: Vec::new(),
        }
    }

    fn refuse(&mut self, refusal: String) -> Answer {
        self.status = 400;
        let answer = Answer::error(400, "invalid_request_error", &refusal);
        self.refusal = Some(refusal);
        answer.header("request-id", "req_refused")
    }
}

impl Usage {
    fn json(self, content: &[Value]) -> Value {
        let written: usize = content.iter().map(|block| block.to_string().len()).sum();
        json!({
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": self.created,
            "cache_read_input_tokens": self.read,
            "output_tokens": written / 4,
        })
    }
}

fn thoughts(body: &Value) -> usize {
    let messages = body["messages"].as_array().into_iter().flatten();
    let blocks = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let kinds = ["thinking", "redacted_thinking"];
    blocks
        .filter(|block| kinds.iter().any(|kind| block["type"] == *kind))
        .count()
}

fn has_beta(received: &Received) -> bool {
    let named = received
        .headers
        .iter()
        .filter(|(name, _)| name == "anthropic-beta");
    named
        .flat_map(|(_, value)| value.split(','))
        .any(|value| value.trim() == BINDING_BETA)
}

fn extra(field: &str) -> String {
    format!("{field}: Extra inputs are not permitted")
}

//! The prefix of an exchange: whether it continues what the conversation sent before. See
//! [`crate::ledger`].

use std::{sync::Arc, time::Instant};

use tracing::warn;
use witgate_document::Operation;

use crate::{
    ids::{ConversationId, ExchangeId},
    ledger::{Break, Comparison, Culprit, Digests, Edit, Editor, Entry, Ledger, compare, hash},
    message::{Request, RequestKind, Target},
    pipeline::{Edits, Run},
};

use super::{Snapshot, attempt::HostEdits};

/// The most edits of a plugin that are remembered.
const EDITS: usize = 64;

/// How an exchange compares with the one before.
pub(super) enum Outcome {
    /// Nothing is known of its conversation.
    New,
    Compared(Comparison),
}

impl Outcome {
    /// The prefix check in words: `new`, `kept`, or where it was broken and by whom.
    pub(super) fn check(&self) -> String {
        self.words(|found| found.check.as_ref())
    }

    /// The same for the prompt cache.
    pub(super) fn cache(&self) -> String {
        self.words(|found| found.cache.as_ref())
    }

    fn words(&self, of: fn(&Comparison) -> Option<&Break>) -> String {
        match self {
            Self::New => "new".to_owned(),
            Self::Compared(found) => match of(found) {
                None => "kept".to_owned(),
                Some(broken) => format!("broken; {broken}"),
            },
        }
    }

    /// Each break, with the name of the comparison.
    pub(super) fn breaks(&self) -> impl Iterator<Item = (&'static str, &Break)> {
        let both = match self {
            Self::New => None,
            Self::Compared(found) => Some(found.both()),
        };
        let each = both.into_iter().flatten();
        each.filter_map(|(check, broken)| Some((check, broken?)))
    }
}

/// The conversation of an exchange.
pub(super) struct Prefix {
    id: ExchangeId,
    conversation: ConversationId,
    ledger: Arc<Ledger>,
    received: Arc<Digests>,
    requested_model: Arc<str>,
    previous: Option<Arc<Entry>>,
    /// What the current attempt sends.
    sent: Option<Entry>,
}

impl Prefix {
    /// Reads a request as it was received. `None` if it is no message, or if the configuration
    /// switches the ledger off.
    pub(super) fn begin(snapshot: &Snapshot, request: &Request) -> Option<Box<Self>> {
        if request.kind != RequestKind::Messages || !snapshot.config.prefix_ledger {
            return None;
        }
        let now = Instant::now();
        let conversation = snapshot.ledger.get(&request.conversation, now);
        let latest = conversation.as_ref().and_then(|known| known.latest());
        let received = Digests::of(&request.body, latest.map(|entry| &*entry.received))?;
        let previous = conversation.and_then(|known| known.previous(&received));
        Some(Box::new(Self {
            id: request.id.clone(),
            conversation: request.conversation.clone(),
            ledger: Arc::clone(&snapshot.ledger),
            received: Arc::new(received),
            requested_model: Arc::clone(&request.requested_model),
            previous,
            sent: None,
        }))
    }

    /// Reads the request that an attempt sends.
    pub(super) fn sends(
        &mut self,
        run: &mut Run,
        request: &Request,
        target: &Target,
        host_edits: HostEdits,
    ) {
        let editors = editors(run, target);
        let body = match run.messages_body() {
            Some(body) if target.is_foreign() => body,
            _ => &request.body,
        };
        let sent = if editors.is_empty() && host_edits.extra_body == 0 {
            // Nothing of the prefix was edited.
            Some(Arc::clone(&self.received))
        } else {
            let known = self.previous.as_ref().map(|entry| &*entry.sent);
            Digests::of(body, known.or(Some(&self.received))).map(Arc::new)
        };
        self.sent = sent.map(|sent| Entry {
            received: Arc::clone(&self.received),
            sent,
            requested_model: Arc::clone(&self.requested_model),
            target: format!("{} {}", target.upstream, target.model),
            editors,
        });
    }

    /// Compares what the attempt sent with the exchange before. Warns of a break that is not the
    /// client's, once per conversation and culprit. `None` if the body cannot be read.
    pub(super) fn compare(&self) -> Option<Outcome> {
        let sent = self.sent.as_ref()?;
        let Some(previous) = &self.previous else {
            return Some(Outcome::New);
        };
        let found = compare(previous, sent);
        for (check, broken) in found.both() {
            if let Some(broken) = broken
                && broken.by != Culprit::Client
                && self
                    .ledger
                    .is_news(&self.conversation, broken.by.to_string())
            {
                self.warn(check, broken);
            }
        }
        Some(Outcome::Compared(found))
    }

    fn warn(&self, check: &str, broken: &Break) {
        let Break { at, by } = broken;
        let (edit, old, new) = match by {
            Culprit::Plugin { edit, .. } => (Some(edit), None, None),
            Culprit::Reload { edit, old, new, .. } => (Some(edit), Some(old), Some(new)),
            Culprit::Client | Culprit::Route | Culprit::Gateway => (None, None, None),
        };
        warn!(
            id = %self.id, conversation = %self.conversation, check, at, %by, edit, old, new,
            "the conversation sent before was changed: its thinking or its prompt cache may be lost"
        );
    }

    /// Keeps what the attempt sent, since the upstream accepted it.
    pub(super) fn keep(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.ledger.put(&self.conversation, sent, Instant::now());
        }
    }
}

/// The plugins that edited the body, without edits that leave the prefix as it is.
fn editors(run: &mut Run, target: &Target) -> Vec<Editor> {
    let edits = run.receipt().edits.clone();
    let mut editors: Vec<Editor> = Vec::new();
    for Edits {
        plugin,
        patch,
        left_out,
        ..
    } in edits
    {
        // The body of a translated request is compared before its translation.
        if target.is_foreign() && !run.sees_messages(&plugin) {
            continue;
        }
        let in_prefix = patch.iter().filter(|edit| is_in_prefix(edit));
        let mut edits: Vec<Edit> = in_prefix.take(EDITS).map(edit_of).collect();
        if left_out > 0 {
            edits.push(Edit {
                at: String::new(),
                digest: u64::from(left_out),
            });
        }
        if edits.is_empty() {
            continue;
        }
        match editors.iter_mut().find(|editor| editor.plugin == plugin) {
            Some(editor) => editor.edits.extend(edits),
            None => editors.push(Editor {
                version: run.version(&plugin),
                plugin,
                edits,
            }),
        }
    }
    editors
}

fn edit_of(edit: &Operation) -> Edit {
    Edit {
        at: place(edit).to_owned(),
        digest: hash(Operation::write_list(std::slice::from_ref(edit)).as_bytes()),
    }
}

fn place(edit: &Operation) -> &str {
    match edit {
        Operation::Add { at, .. }
        | Operation::Replace { at, .. }
        | Operation::Remove { at }
        | Operation::Test { at, .. } => at,
        Operation::Move { to, .. } | Operation::Copy { to, .. } => to,
    }
}

fn is_in_prefix(edit: &Operation) -> bool {
    let in_prefix = |at: &str| {
        let top = at.split('/').nth(1);
        top.is_none_or(|top| matches!(top, "system" | "tools" | "messages"))
    };
    let from = match edit {
        Operation::Move { from, .. } => in_prefix(from),
        _ => false,
    };
    from || in_prefix(place(edit))
}

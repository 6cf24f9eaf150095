//! The prefix of an exchange: whether it continues what the conversation sent before. See
//! [`crate::ledger`].

use std::{sync::Arc, time::Instant};

use tracing::warn;
use witgate_document::{Document, Operation};

use crate::{
    accounts::Accounts,
    ids::{ConversationId, ExchangeId, PluginId},
    ledger::{Break, Comparison, Culprit, Digests, Edit, Editor, Entry, Ledger, compare, hash},
    message::{Request, RequestKind, Target},
    off_worker::{is_large, off_worker},
    pipeline::{Edits, Run},
};

use super::{Snapshot, attempt::HostEdits};

/// The most edits of a plugin that are remembered.
const EDITS: usize = 64;

/// How an exchange compares with the one before.
pub(super) enum Outcome {
    /// Nothing is known of its conversation.
    New,
    Compared(Box<Comparison>),
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

    /// The upstream has reported that thinking was bound to the account that made it.
    pub(super) fn thinking_was_bound(&mut self) {
        if let Self::Compared(found) = self {
            found.thinking_was_bound();
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
    accounts: Arc<Accounts>,
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
        let conversation = snapshot.ledger.get(request.conversation.id(), now);
        let known = conversation.as_ref().map(|known| known.received());
        let received = off_worker(is_large(&request.body), || {
            Digests::of(&request.body, &known.unwrap_or_default())
        })?;
        let previous = conversation.and_then(|known| known.previous(&received));
        Some(Box::new(Self {
            id: request.id.clone(),
            conversation: request.conversation.id().clone(),
            ledger: Arc::clone(&snapshot.ledger),
            accounts: Arc::clone(&snapshot.accounts),
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
        let edits = prefix_edits(run, target);
        let body = match run.messages_body() {
            Some(body) if target.is_foreign() => body,
            _ => &request.body,
        };
        let sent = off_worker(is_large(body), || {
            self.sent_digests(&edits, host_edits, body)
        });
        self.sent = sent.map(|sent| Entry {
            received: Arc::clone(&self.received),
            sent,
            requested_model: Arc::clone(&self.requested_model),
            target: format!("{} {}", target.upstream, target.model),
            organization: target
                .account
                .as_ref()
                .and_then(|account| self.accounts.organization(target.index, account)),
            account: target.account.clone(),
            editors: self.editors(run, &edits),
        });
    }

    /// The plugins that edited the prefix, now or in the exchange before.
    fn editors(&self, run: &Run, edits: &[Edits]) -> Vec<Editor> {
        let mut editors = Vec::new();
        for edits in edits {
            add(&mut editors, run, &edits.plugin, edits_of(edits));
        }
        let before = self.previous.iter().flat_map(|entry| &entry.editors);
        for editor in before.filter(|editor| !editor.edits.is_empty()) {
            add(&mut editors, run, &editor.plugin, Vec::new());
        }
        editors
    }

    fn sent_digests(
        &self,
        edits: &[Edits],
        host_edits: HostEdits,
        body: &Document,
    ) -> Option<Arc<Digests>> {
        if edits.is_empty() && host_edits.extra_body == 0 {
            // Nothing of the prefix was edited.
            return Some(Arc::clone(&self.received));
        }
        let previous = self.previous.iter().map(|entry| &*entry.sent);
        let known: Vec<&Digests> = previous.chain([&*self.received]).collect();
        let are_complete =
            host_edits.extra_body == 0 && edits.iter().all(|edits| edits.left_out == 0);
        let sent = if are_complete {
            let places: Vec<&str> = edits.iter().flat_map(places).collect();
            self.received.after(&places, body, &known)
        } else {
            Digests::of(body, &known)
        };
        sent.map(Arc::new)
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
        Some(Outcome::Compared(Box::new(found)))
    }

    fn warn(&self, check: &str, broken: &Break) {
        let Break { at, by } = broken;
        let (edit, old, new) = match by {
            Culprit::Plugin { edit, .. } => (Some(edit), None, None),
            Culprit::Reload { edit, old, new, .. } => (Some(edit), Some(old), Some(new)),
            Culprit::Account { old, new } => {
                let (old, new) = (old.as_str(), new.as_str());
                warn!(
                    id = %self.id, conversation = %self.conversation, check, at, %by, old, new,
                    "the conversation continues on another account: its prompt cache is lost"
                );
                return;
            }
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

/// What plugins edited in the prefix.
fn prefix_edits(run: &mut Run, target: &Target) -> Vec<Edits> {
    let mut all = run.receipt().edits.clone();
    all.retain_mut(|edits| {
        edits.patch.retain(is_in_prefix);
        let any = !edits.patch.is_empty() || edits.left_out > 0;
        // The body of a translated request is compared before its translation.
        any && (!target.is_foreign() || run.sees_messages(&edits.plugin))
    });
    all
}

/// Adds the edits of a plugin to its others.
fn add(editors: &mut Vec<Editor>, run: &Run, plugin: &PluginId, edits: Vec<Edit>) {
    match editors.iter_mut().find(|editor| editor.plugin == *plugin) {
        Some(editor) => editor.edits.extend(edits),
        None => editors.push(Editor {
            version: run.version(plugin),
            plugin: plugin.clone(),
            edits,
        }),
    }
}

fn edits_of(edits: &Edits) -> Vec<Edit> {
    let mut all: Vec<Edit> = edits.patch.iter().take(EDITS).map(edit_of).collect();
    if edits.left_out > 0 {
        all.push(Edit {
            at: String::new(),
            digest: u64::from(edits.left_out),
        });
    }
    all
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
        | Operation::Test { at, .. }
        | Operation::ReplacePart { at, .. } => at,
        Operation::Move { to, .. } | Operation::Copy { to, .. } => to,
    }
}

/// The places that an attempt's edits changed.
fn places(edits: &Edits) -> impl Iterator<Item = &str> {
    edits.patch.iter().flat_map(|edit| {
        let from = match edit {
            Operation::Move { from, .. } => Some(&**from),
            _ => None,
        };
        from.into_iter().chain([place(edit)])
    })
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

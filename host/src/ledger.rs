//! The prefix ledger: digests of what each conversation has received and sent, to tell whether an
//! exchange continues the one before it and who changed it otherwise.
//!
//! It is bounded by number and by idle time. A value is plain data behind `get` and `put`, so that
//! another store can hold it. It does no I/O and reads no clock.

mod digest; // digests of a body
mod compare; // kept, or broken where and by whom

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{ids::ConversationId, recent::Recent};

pub(crate) use compare::{Break, Comparison, Culprit, Edit, Editor, Entry, compare};
pub(crate) use digest::{Digests, hash};

/// The most conversations. The one that was idle for longest is forgotten first.
const CONVERSATIONS: usize = 2_000;
/// Longer than most pauses in a conversation, and than any prompt cache.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Lines of messages in one conversation: a client may fork it, and mix in requests of its own.
const BRANCHES: usize = 4;

/// The conversations of the process.
pub(crate) struct Ledger(Mutex<Recent<ConversationId, History>>);

impl Default for Ledger {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(CONVERSATIONS)))
    }
}

/// What is known of one conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The last exchange of each line of messages, the latest last.
    branches: Vec<Arc<Entry>>,
    /// The culprits that were reported.
    warned: Vec<String>,
}

impl History {
    /// The exchange that one with these digests continues, or forks from: the one with the most
    /// messages in common, and the latest of several.
    pub(crate) fn previous(&self, received: &Digests) -> Option<Arc<Entry>> {
        let shared = |entry: &&Arc<Entry>| entry.received.shared(received);
        let related = self.branches.iter().filter(|entry| shared(entry) > 0);
        related.max_by_key(shared).cloned()
    }

    /// What was received in the last exchange of each line, the latest first.
    pub(crate) fn received(&self) -> Vec<&Digests> {
        let latest = self.branches.iter().rev();
        latest.map(|entry| &*entry.received).collect()
    }

    /// Adds an exchange, which replaces the one that it continues.
    fn add(&mut self, entry: Arc<Entry>) {
        self.branches
            .retain(|old| !entry.received.continues(&old.received));
        if self.branches.len() == BRANCHES {
            self.branches.remove(0);
        }
        self.branches.push(entry);
    }
}

impl Ledger {
    pub(crate) fn get(&self, id: &ConversationId, now: Instant) -> Option<History> {
        let mut conversations = self.0.lock();
        conversations.forget_idle(IDLE, now);
        conversations.get(id).cloned()
    }

    /// Adds an exchange to its conversation.
    pub(crate) fn put(&self, id: &ConversationId, entry: Entry, now: Instant) {
        let mut conversations = self.0.lock();
        conversations.forget_idle(IDLE, now);
        let conversation = conversations.use_or_insert(id.clone(), now, History::default);
        conversation.add(Arc::new(entry));
    }

    /// Whether a culprit has to be reported: it was not before, in this conversation.
    pub(crate) fn is_news(&self, id: &ConversationId, culprit: String) -> bool {
        let mut conversations = self.0.lock();
        let Some(conversation) = conversations.get_mut(id) else {
            return true;
        };
        let news = !conversation.warned.contains(&culprit);
        if news {
            conversation.warned.push(culprit);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use witgate_document::{Document, Operation};

    use super::*;

    fn entry(first: &str) -> Entry {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{first}"}}]}}"#);
        let received = Arc::new(Digests::of(&Document::new(body), &[]).unwrap());
        Entry {
            sent: Arc::clone(&received),
            received,
            requested_model: "m".into(),
            target: "up m".to_owned(),
            account: None,
            organization: None,
            editors: Vec::new(),
        }
    }

    fn id(n: usize) -> ConversationId {
        ConversationId::of_session(&n.to_string(), None)
    }

    #[test]
    fn a_conversation_is_forgotten_after_a_day() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        ledger.put(&id(1), entry("a"), now);
        let almost = IDLE.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(ledger.get(&id(1), now + almost).is_some());
        assert!(ledger.get(&id(1), now + IDLE).is_none());
    }

    #[test]
    fn a_conversation_has_a_limited_number_of_branches() {
        let mut conversation = History::default();
        for first in ["a", "b", "c", "d", "e", "e"] {
            conversation.add(Arc::new(entry(first)));
        }
        assert_eq!(conversation.branches.len(), BRANCHES);
        let of = |first| conversation.previous(&entry(first).received);
        assert!(of("a").is_none() && of("b").is_some() && of("e").is_some());
    }

    #[test]
    fn a_culprit_is_news_once_per_conversation() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        ledger.put(&id(1), entry("a"), now);
        ledger.put(&id(2), entry("a"), now);
        let news = |n, culprit: &str| ledger.is_news(&id(n), culprit.to_owned());
        assert!(news(1, "route") && !news(1, "route"));
        assert!(news(1, "plugin:x") && news(2, "route"));
    }

    /// An exchange in which a plugin writes all questions in capitals.
    fn exchange(texts: &[String], marked: usize, before: &History) -> Entry {
        let each = texts.iter().enumerate().map(|(at, text)| {
            let mark = if at == marked {
                r#","cache_control":{}"#
            } else {
                ""
            };
            format!(r#"{{"content":[{{"type":"text","text":"{text}"{mark}}}]}}"#)
        });
        let messages = each.collect::<Vec<_>>().join(",");
        let mut body = Document::new(format!(r#"{{"system":"s","messages":[{messages}]}}"#));
        let received = Digests::of(&body, &before.received()).unwrap();
        let questions = texts
            .iter()
            .enumerate()
            .filter(|(_, text)| text.starts_with('q'));
        let (patch, edits): (Vec<_>, Vec<_>) = questions
            .map(|(at, text)| {
                let at = format!("/messages/{at}/content/0/text");
                let value = format!("\"{}\"", text.to_uppercase());
                let digest = hash(value.as_bytes());
                let edit = Edit {
                    at: at.clone(),
                    digest,
                };
                (
                    Operation::Replace {
                        at,
                        value: value.into(),
                    },
                    edit,
                )
            })
            .unzip();
        body.patch(&patch).unwrap();
        let places: Vec<&str> = edits.iter().map(|edit| &*edit.at).collect();
        let sent = received.after(&places, &body, &[&received]).unwrap();
        Entry {
            sent: Arc::new(sent),
            received: Arc::new(received),
            editors: vec![Editor {
                plugin: "capitals".parse().unwrap(),
                version: "1".to_owned(),
                edits,
            }],
            ..entry("a")
        }
    }

    #[test]
    fn a_thousand_random_conversations_with_forks_and_compactions_do_not_alarm() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1_000 {
            let mut conversation = History::default();
            let mut texts: Vec<String> = Vec::new();
            for turn in 0..random.usize(3..10) {
                match random.usize(..8) {
                    0 if !texts.is_empty() => texts.truncate(random.usize(..texts.len())),
                    1 => texts = vec![format!("summary {turn}")],
                    _ => {}
                }
                texts.push(format!("q{turn} {}", random.u8(..)));
                let now = exchange(&texts, random.usize(..texts.len()), &conversation);
                let before = conversation.previous(&now.received);
                let found = before.map(|before| compare(&before, &now));
                for (_, broken) in found.iter().flat_map(Comparison::both) {
                    let by = broken.map_or(&Culprit::Client, |broken| &broken.by);
                    assert_eq!(by, &Culprit::Client, "{found:?} {texts:?}");
                }
                conversation.add(Arc::new(now));
                texts.push(format!("a{turn} {}", random.u8(..)));
            }
        }
    }
}

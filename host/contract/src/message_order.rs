//! The order of the events of a message, by which a stream that a plugin changed is checked.
//!
//! Clients build a message from its events: they append a block when it starts, and find the block
//! of a delta by its index. A stream that leaves out a start, or a number, breaks them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::event_type_str;

/// Follows the events of one message.
#[derive(Clone, Debug, Default)]
pub struct MessageOrder {
    stage: Stage,
    /// The number of blocks that have started.
    blocks: u64,
    open: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Begun,
    /// A `message_delta` came.
    Ending,
    Ended,
}

/// What the place of an event in a message depends on. Reading it is most of the work of a check,
/// so an event that several plugins let pass is read once.
#[derive(Debug)]
pub struct Step {
    kind: Kind,
    index: Option<u64>,
    /// What is wrong with the data.
    flaw: Option<String>,
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    /// It is no part of a message.
    Other,
}

/// The members of an event that its place depends on.
#[derive(Default, Deserialize)]
struct Members<'a> {
    #[serde(borrow, rename = "type")]
    name: Option<std::borrow::Cow<'a, str>>,
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

impl Step {
    /// Reads an event.
    #[must_use]
    pub fn of(name: &str, data: &str) -> Self {
        let name = event_type_str(name, data);
        let kind = Kind::of(&name);
        let members: Option<Members<'_>> = match data.trim_start().starts_with('{') {
            true => serde_json::from_str(data).ok(),
            false => None,
        };
        let flaw = match &members {
            None if serde_json::from_str::<&RawValue>(data).is_err() => {
                Some(format!("the data of an event `{name}` is not JSON"))
            }
            None => kind.flaw(&Members::default()),
            Some(members) => kind.flaw(members),
        };
        Self {
            kind,
            index: members.and_then(|members| members.index),
            flaw,
        }
    }

    fn index(&self) -> Result<u64, String> {
        let missing = || format!("a `{}` has no `index`", self.kind.name());
        self.index.ok_or_else(missing)
    }
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "message_start" => Self::MessageStart,
            "content_block_start" => Self::BlockStart,
            "content_block_delta" => Self::BlockDelta,
            "content_block_stop" => Self::BlockStop,
            "message_delta" => Self::MessageDelta,
            "message_stop" => Self::MessageStop,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::MessageStart => "message_start",
            Self::BlockStart => "content_block_start",
            Self::BlockDelta => "content_block_delta",
            Self::BlockStop => "content_block_stop",
            Self::MessageDelta => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Other => "",
        }
    }

    /// What is wrong with the data of an event of this type.
    fn flaw(self, members: &Members<'_>) -> Option<String> {
        let name = self.name();
        let (key, needed) = match self {
            Self::MessageStart => ("message", Some(members.message)),
            Self::BlockStart => ("content_block", Some(members.content_block)),
            Self::BlockDelta | Self::MessageDelta => ("delta", Some(members.delta)),
            Self::BlockStop | Self::MessageStop => ("", None),
            Self::Other => return None,
        };
        if members.name.as_deref() != Some(name) {
            return Some(format!("the data of an event `{name}` has another `type`"));
        }
        let is_object =
            |value: Option<&RawValue>| value.is_some_and(|value| value.get().starts_with('{'));
        let has_it = needed.is_none_or(is_object);
        (!has_it).then(|| format!("the data of an event `{name}` has no object `{key}`"))
    }
}

impl MessageOrder {
    /// Takes the next event. `made` says that a plugin may have made it: then its data is checked
    /// as well. Events that are no part of a message may come anywhere.
    ///
    /// # Errors
    ///
    /// Why the event cannot come here, for the author of the plugin.
    pub fn take(&mut self, step: &Step, made: bool) -> Result<(), String> {
        if made && let Some(flaw) = &step.flaw {
            return Err(flaw.clone());
        }
        match step.kind {
            Kind::MessageStart => self.start(),
            Kind::BlockStart => self.start_block(step.index()?),
            Kind::BlockDelta => self.in_block(step).map(drop),
            Kind::BlockStop => {
                let index = self.in_block(step)?;
                self.open.remove(&index);
                Ok(())
            }
            Kind::MessageDelta => self.ending(),
            Kind::MessageStop => self.stop(),
            Kind::Other => Ok(()),
        }
    }

    /// Checks that the message has ended.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn end(&self) -> Result<(), String> {
        match self.stage {
            Stage::Ended => Ok(()),
            Stage::Before => Err("nothing is left of the message".to_owned()),
            Stage::Begun | Stage::Ending => Err("the message has no `message_stop`".to_owned()),
        }
    }

    fn start(&mut self) -> Result<(), String> {
        if self.stage != Stage::Before {
            return Err("the message has a second `message_start`".to_owned());
        }
        self.stage = Stage::Begun;
        Ok(())
    }

    fn start_block(&mut self, index: u64) -> Result<(), String> {
        self.within("content_block_start")?;
        if self.stage == Stage::Ending {
            return Err("a block starts after `message_delta`".to_owned());
        }
        if index != self.blocks {
            return Err(format!(
                "block {index} starts where block {} is next: the blocks after one that is left \
                 out or added need new indexes",
                self.blocks
            ));
        }
        self.blocks += 1;
        self.open.insert(index);
        Ok(())
    }

    fn in_block(&self, step: &Step) -> Result<u64, String> {
        let (kind, index) = (step.kind.name(), step.index()?);
        self.within(kind)?;
        if !self.open.contains(&index) {
            return Err(format!(
                "a `{kind}` is for block {index}, which is not open"
            ));
        }
        Ok(index)
    }

    fn ending(&mut self) -> Result<(), String> {
        self.within("message_delta")?;
        if let Some(open) = self.open.first() {
            return Err(format!(
                "block {open} has no `content_block_stop` before `message_delta`"
            ));
        }
        self.stage = Stage::Ending;
        Ok(())
    }

    fn stop(&mut self) -> Result<(), String> {
        self.within("message_stop")?;
        if self.stage != Stage::Ending {
            return Err("the message has no `message_delta` before `message_stop`".to_owned());
        }
        self.stage = Stage::Ended;
        Ok(())
    }

    fn within(&self, kind: &str) -> Result<(), String> {
        match self.stage {
            Stage::Before => Err(format!("a `{kind}` comes before `message_start`")),
            Stage::Ended => Err(format!("a `{kind}` comes after the end of the message")),
            Stage::Begun | Stage::Ending => Ok(()),
        }
    }
}

/// Whether the end of a message begins with an event of this type.
#[must_use]
pub fn is_end(kind: &str) -> bool {
    matches!(kind, "message_delta" | "message_stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"type":"message_start","message":{}}"#;
    const BLOCK: &str = r#"{"type":"content_block_start","index":0,"content_block":{}}"#;
    const SECOND: &str = r#"{"type":"content_block_start","index":1,"content_block":{}}"#;
    const DELTA: &str = r#"{"type":"content_block_delta","index":0,"delta":{}}"#;
    const CLOSE: &str = r#"{"type":"content_block_stop","index":0}"#;
    const END: &str = r#"{"type":"message_delta","delta":{}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn follow(events: &[&str]) -> Result<(), String> {
        let mut order = MessageOrder::default();
        for data in events {
            order.take(&Step::of("", data), true)?;
        }
        order.end()
    }

    #[test]
    fn a_message_is_in_order() {
        let ping = r#"{"type":"ping"}"#;
        for events in [
            &[START, BLOCK, DELTA, DELTA, CLOSE, END, STOP][..],
            &[START, END, STOP],
            &[START, BLOCK, CLOSE, END, END, STOP],
            &[
                "{}",
                ping,
                START,
                BLOCK,
                ping,
                SECOND,
                DELTA,
                CLOSE,
                r#"{"type":"content_block_stop","index":1}"#,
                END,
                STOP,
                ping,
            ],
        ] {
            assert_eq!(follow(events), Ok(()), "{events:?}");
        }
    }

    #[test]
    fn what_clients_cannot_follow_is_named() {
        for (events, why) in [
            (&[BLOCK][..], "before `message_start`"),
            (&[], "nothing is left"),
            (&[START, START], "second `message_start`"),
            (&[START, DELTA], "block 0, which is not open"),
            (&[START, BLOCK, CLOSE, DELTA], "block 0, which is not open"),
            (&[START, BLOCK, CLOSE, CLOSE], "block 0, which is not open"),
            (&[START, SECOND], "block 1 starts where block 0 is next"),
            (
                &[START, BLOCK, CLOSE, BLOCK],
                "block 0 starts where block 1 is next",
            ),
            (&[START, BLOCK, END], "block 0 has no `content_block_stop`"),
            (&[START, END, BLOCK], "after `message_delta`"),
            (&[START, STOP], "no `message_delta`"),
            (&[START, END], "no `message_stop`"),
            (&[START, END, STOP, STOP], "after the end"),
            (&[START, END, STOP, DELTA], "after the end"),
        ] {
            let found = follow(events).unwrap_err();
            assert!(found.contains(why), "{events:?}: {found}");
        }
    }

    #[test]
    fn the_data_of_an_event_that_a_plugin_made_is_checked() {
        let take = |name: &str, data: &str, made| {
            let mut order = MessageOrder::default();
            for data in [START, BLOCK] {
                order.take(&Step::of("", data), false).unwrap();
            }
            order.take(&Step::of(name, data), made)
        };
        for (name, data, why) in [
            ("x", "not json", "not JSON"),
            (
                "content_block_delta",
                r#"{"index":0,"delta":{}}"#,
                "another `type`",
            ),
            (
                "content_block_stop",
                r#"{"type":"message_stop","index":0}"#,
                "another `type`",
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","index":0}"#,
                "no object `delta`",
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","delta":{}}"#,
                "no `index`",
            ),
            ("content_block_stop", "[0]", "another `type`"),
        ] {
            let found = take(name, data, true).unwrap_err();
            assert!(found.contains(why), "{name} {data}: {found}");
        }
        // The upstream's own may be odd.
        assert_eq!(take("x", "not json", false), Ok(()));
        assert_eq!(take("content_block_delta", r#"{"index":0}"#, false), Ok(()));
    }
}

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

impl MessageOrder {
    /// Takes the next event. `made` says that a plugin may have made it: then its data is checked
    /// as well. Events that are no part of a message may come anywhere.
    ///
    /// # Errors
    ///
    /// Why the event cannot come here, for the author of the plugin.
    pub fn take(&mut self, name: &str, data: &str, made: bool) -> Result<(), String> {
        let kind = event_type_str(name, data);
        if made {
            check_data(&kind, data)?;
        }
        match &*kind {
            "message_start" => self.start(),
            "content_block_start" => self.start_block(index(&kind, data)?),
            "content_block_delta" => self.in_block(&kind, index(&kind, data)?),
            "content_block_stop" => {
                let index = index(&kind, data)?;
                self.in_block(&kind, index)?;
                self.open.remove(&index);
                Ok(())
            }
            "message_delta" => self.ending(),
            "message_stop" => self.stop(),
            _ => Ok(()),
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

    fn in_block(&self, kind: &str, index: u64) -> Result<(), String> {
        self.within(kind)?;
        if !self.open.contains(&index) {
            return Err(format!(
                "a `{kind}` is for block {index}, which is not open"
            ));
        }
        Ok(())
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

fn index(kind: &str, data: &str) -> Result<u64, String> {
    let members: Members<'_> = serde_json::from_str(data).unwrap_or_default();
    members
        .index
        .ok_or_else(|| format!("a `{kind}` has no `index`"))
}

/// Checks the data of an event that a plugin made.
fn check_data(kind: &str, data: &str) -> Result<(), String> {
    if serde_json::from_str::<&RawValue>(data).is_err() {
        return Err(format!("the data of an event `{kind}` is not JSON"));
    }
    let needed = match kind {
        "message_start" => "message",
        "content_block_start" => "content_block",
        "content_block_delta" | "message_delta" => "delta",
        "content_block_stop" | "message_stop" => "type",
        _ => return Ok(()),
    };
    let members: Members<'_> = match data.trim_start().starts_with('{') {
        true => serde_json::from_str(data).unwrap_or_default(),
        false => Members::default(),
    };
    if members.name.as_deref() != Some(kind) {
        return Err(format!("the data of an event `{kind}` has another `type`"));
    }
    let is_object =
        |value: Option<&RawValue>| value.is_some_and(|value| value.get().starts_with('{'));
    let has_it = match needed {
        "message" => is_object(members.message),
        "content_block" => is_object(members.content_block),
        "delta" => is_object(members.delta),
        _ => true,
    };
    match has_it {
        true => Ok(()),
        false => Err(format!(
            "the data of an event `{kind}` has no object `{needed}`"
        )),
    }
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
            order.take("", data, true)?;
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
            order.take("message_start", START, false).unwrap();
            order.take("content_block_start", BLOCK, false).unwrap();
            order.take(name, data, made)
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

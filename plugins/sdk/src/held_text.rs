//! Text that is held back until it is known whether it is a placeholder.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    error::Error,
    response::{Event, EventVerdict},
    typed::{Delta, StreamEvent},
};

/// Replaces placeholders in a response, such as `[[secret-7]]`, however they are split into events.
///
/// Models answer in pieces, so a placeholder may begin in one event and end in another. Text that
/// may be the beginning of one is held back, block by block, until that is known, at the latest
/// until its block stops. Everything else goes on at once; an event without a placeholder keeps its
/// own bytes. Texts and the input of tools are looked at, but not thinking, which is signed.
///
/// ```
/// use witgate_plugin::{
///     Error, Event, EventVerdict, Guard, HeldText, Manifest, NoSettings, Plugin, Response,
///     ResponseHook,
/// };
///
/// struct Restores {
///     held: HeldText,
/// }
///
/// impl Plugin for Restores {
///     type Settings = NoSettings;
///
///     fn new(_: NoSettings) -> Result<Self, Error> {
///         Ok(Self { held: HeldText::between("[[", "]]", 40) })
///     }
///
///     fn describe(&self) -> Manifest {
///         Manifest::new("restores names").response(HeldText::guard())
///     }
/// }
///
/// impl ResponseHook for Restores {
///     fn on_event(&mut self, _: &mut Response, event: Event) -> Result<EventVerdict, Error> {
///         self.held.on_event(event, |found| Ok((found == "[[name]]").then(|| "Ada".to_owned())))
///     }
///
///     fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
///         Ok(self.held.on_end())
///     }
/// }
///
/// use witgate_plugin::testing::{Exchange, message};
///
/// let mut exchange = Exchange::<Restores>::new(r#"{"model": "m"}"#); let sent =
/// exchange.stream(message(&["Hello [", "[na", "me]], [hi]"])).unwrap(); let texts: Vec<_> =
/// sent.iter().filter_map(|event| Some(event.typed().text()?.1.to_owned())).collect();
/// assert_eq!(texts.concat(), "Hello Ada, [hi]");
/// ```
#[derive(Debug, Clone)]
pub struct HeldText {
    open: String,
    close: String,
    longest: usize,
    /// What is held back, by the index of the block.
    held: BTreeMap<u64, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    kind: Kind,
    text: String,
}

/// What a delta adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A JSON text, in which a replacement is part of a string.
    Json,
}

impl HeldText {
    /// Looks for placeholders that begin and end with these texts and have at most `longest` bytes
    /// in all. Longer ones are not held back.
    ///
    /// # Panics
    ///
    /// If `open` or `close` is empty.
    #[must_use]
    pub fn between(open: impl Into<String>, close: impl Into<String>, longest: usize) -> Self {
        let (open, close) = (open.into(), close.into());
        assert!(
            !open.is_empty() && !close.is_empty(),
            "a placeholder needs a beginning and an end"
        );
        Self {
            open,
            close,
            longest,
            held: BTreeMap::new(),
        }
    }

    /// The guard of a response hook that calls [`on_event`](Self::on_event): the events that have
    /// to be shown, and no others.
    #[must_use]
    pub fn guard() -> crate::Guard {
        crate::Guard::new()
            .events(["content_block_delta", "content_block_stop"])
            .deltas(["text_delta", "input_json_delta"])
    }

    /// Takes the next event and replaces the placeholders that end in it. `replace` returns the new
    /// text of a placeholder, which it gets with its beginning and end, or `None` to leave it.
    ///
    /// # Errors
    ///
    /// Those of `replace`.
    pub fn on_event(
        &mut self,
        mut event: Event,
        mut replace: impl FnMut(&str) -> Result<Option<String>, Error>,
    ) -> Result<EventVerdict, Error> {
        let (index, kind, text) = match event.typed() {
            StreamEvent::ContentBlockDelta {
                index,
                delta: Delta::Text { text },
            } => (index, Kind::Text, text),
            StreamEvent::ContentBlockDelta {
                index,
                delta: Delta::InputJson { partial_json },
            } => (index, Kind::Json, partial_json),
            StreamEvent::MessageStart { .. } | StreamEvent::Ping => return Ok(EventVerdict::Keep),
            _ => return Ok(self.let_go(event)),
        };
        let before = self.held.remove(&index);
        let whole = match &before {
            Some(held) => held.text.clone() + &text,
            None => text.clone(),
        };
        let (passed, held) = self.replaced(&whole, kind, &mut replace)?;
        if !held.is_empty() {
            self.held.insert(index, Held { kind, text: held });
        }
        if before.is_none() && passed == text {
            return Ok(EventVerdict::Keep);
        }
        if passed.is_empty() {
            return Ok(EventVerdict::Discard);
        }
        event.replace(kind.pointer(), passed)?;
        Ok(EventVerdict::Replace(vec![event]))
    }

    /// What is still held back after the response was cut short.
    #[must_use]
    pub fn on_end(&mut self) -> Vec<Event> {
        let held = std::mem::take(&mut self.held).into_iter();
        held.map(|(index, held)| held.event(index)).collect()
    }

    /// Lets go of what is held back for a block before another event of it.
    fn let_go(&mut self, event: Event) -> EventVerdict {
        #[derive(Deserialize)]
        struct OfBlock {
            index: u64,
        }
        let Ok(OfBlock { index }) = event.parse() else {
            return EventVerdict::Keep;
        };
        match self.held.remove(&index) {
            Some(held) => EventVerdict::Replace(vec![held.event(index), event]),
            None => EventVerdict::Keep,
        }
    }

    /// The text with its placeholders replaced, and the end of it that may be the beginning of one.
    fn replaced(
        &self,
        text: &str,
        kind: Kind,
        replace: &mut impl FnMut(&str) -> Result<Option<String>, Error>,
    ) -> Result<(String, String), Error> {
        let mut passed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&self.open) {
            passed.push_str(&rest[..at]);
            rest = &rest[at..];
            let inside = &rest[self.open.len()..];
            let end = inside.find(&self.close);
            let end = end.map(|end| self.open.len() + end + self.close.len());
            match end {
                Some(end) if self.begins_again(&rest[..end]) > 0 => {
                    let again = self.begins_again(&rest[..end]);
                    passed.push_str(&rest[..again]);
                    rest = &rest[again..];
                }
                Some(end) if end <= self.longest => {
                    match replace(&rest[..end])? {
                        Some(new) => passed.push_str(&kind.spelt(new)),
                        None => passed.push_str(&rest[..end]),
                    }
                    rest = &rest[end..];
                }
                None if rest.len() < self.longest => return Ok((passed, rest.to_owned())),
                // It is too long to be one. Another may begin right after.
                _ => {
                    let first = rest.chars().next().map_or(0, char::len_utf8);
                    passed.push_str(&rest[..first]);
                    rest = &rest[first..];
                }
            }
        }
        let held = self.beginning_at_end_of(rest);
        passed.push_str(&rest[..rest.len() - held]);
        Ok((passed, rest[rest.len() - held..].to_owned()))
    }

    /// Where the last beginning in a placeholder is: before it is text.
    fn begins_again(&self, placeholder: &str) -> usize {
        let before_end = &placeholder[..placeholder.len() - self.close.len()];
        before_end.rfind(&self.open).unwrap_or(0)
    }

    /// How many bytes at the end of a text are the beginning of a placeholder.
    fn beginning_at_end_of(&self, text: &str) -> usize {
        let longest = (self.open.len() - 1).min(text.len());
        let is_beginning = |length: &usize| {
            self.open.is_char_boundary(*length) && text.ends_with(&self.open[..*length])
        };
        (1..=longest).rev().find(is_beginning).unwrap_or(0)
    }
}

impl Held {
    fn event(&self, index: u64) -> Event {
        match self.kind {
            Kind::Text => Event::text_delta(index, &self.text),
            Kind::Json => Event::input_json_delta(index, &self.text),
        }
    }
}

impl Kind {
    /// Where the text of a delta is in its event.
    fn pointer(self) -> &'static str {
        match self {
            Self::Text => "/delta/text",
            Self::Json => "/delta/partial_json",
        }
    }

    /// A replacement as it is written here.
    fn spelt(self, new: String) -> String {
        match self {
            Self::Text => new,
            Self::Json => {
                let quoted = serde_json::Value::from(new).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(found: &str) -> Result<Option<String>, Error> {
        Ok(match found {
            "[[a]]" => Some("Ada \"L\"".to_owned()),
            "[[gone]]" => Some(String::new()),
            _ => None,
        })
    }

    fn held() -> HeldText {
        HeldText::between("[[", "]]", 10)
    }

    /// What each event becomes, as text.
    fn passed(held: &mut HeldText, pieces: &[&str]) -> Vec<String> {
        let one = |piece: &&str| {
            let event = Event::text_delta(0, piece);
            match held.on_event(event, name).expect("replaces") {
                EventVerdict::Keep => format!("={piece}"),
                EventVerdict::Discard => "-".to_owned(),
                EventVerdict::Replace(events) => {
                    let texts = events.iter().map(|event| {
                        let typed = event.typed();
                        typed.text().expect("a text").1.to_owned()
                    });
                    texts.collect::<Vec<_>>().join("|")
                }
            }
        };
        pieces.iter().map(one).collect()
    }

    #[test]
    fn a_placeholder_is_replaced_wherever_it_is_split() {
        for (pieces, wanted) in [
            (&["hi [[a]]!"][..], &["hi Ada \"L\"!"][..]),
            (&["hi [", "[a]]!"], &["hi ", "Ada \"L\"!"]),
            (&["hi ", "[[a]", "]"], &["=hi ", "-", "Ada \"L\""]),
            (&["[", "x"], &["-", "[x"]),
            (&["[x]", "[[b]]"], &["=[x]", "=[[b]]"]),
            (&["[[gone]]"], &["-"]),
            (&["[[", "much too long"], &["-", "[[much too long"]),
            // What looked like one may hold one.
            (&["[[[a]]"], &["[Ada \"L\""]),
            (&["[[x [[a]]"], &["[[x Ada \"L\""]),
        ] {
            assert_eq!(passed(&mut held(), pieces), wanted, "{pieces:?}");
        }
    }

    #[test]
    fn every_split_of_a_text_gives_the_same() {
        let text = "é [[a]] [[ ]] [[a]][[gone]]x [[unknown]] [";
        let wanted = "é Ada \"L\" [[ ]] Ada \"L\"x [[unknown]] [";
        for split in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut held = held();
            let mut out = String::new();
            let mut events = vec![Event::text_delta(0, &text[..split])];
            events.push(Event::text_delta(0, &text[split..]));
            events.push(Event::block_stop(0));
            for event in events {
                let sent = match held.on_event(event.clone(), name).expect("replaces") {
                    EventVerdict::Keep => vec![event],
                    EventVerdict::Discard => vec![],
                    EventVerdict::Replace(events) => events,
                };
                for event in sent {
                    out.push_str(event.typed().text().map_or("", |(_, text)| text));
                }
            }
            assert_eq!(out, wanted, "{split}");
            assert!(held.on_end().is_empty());
        }
    }

    #[test]
    fn what_is_held_back_goes_out_before_its_block_stops_and_after_a_cut() {
        let mut held = held();
        assert_eq!(passed(&mut held, &["hi [[a"]), ["hi "]);
        let stop = Event::block_stop(0);
        let verdict = held.on_event(stop.clone(), name).expect("replaces");
        let wanted = vec![Event::text_delta(0, "[[a"), stop];
        assert_eq!(verdict, EventVerdict::Replace(wanted));
        assert_eq!(passed(&mut held, &["["]), ["-"]);
        assert_eq!(held.on_end(), [Event::text_delta(0, "[")]);
    }

    #[test]
    fn blocks_are_held_back_apart() {
        let mut held = held();
        let mut show = |index, text: &str| {
            let event = Event::text_delta(index, text);
            held.on_event(event, name).expect("replaces")
        };
        assert_eq!(show(0, "[["), EventVerdict::Discard);
        assert_eq!(show(1, "a]]"), EventVerdict::Keep);
        let verdict = show(0, "a]]");
        let wanted = vec![Event::text_delta(0, "Ada \"L\"")];
        assert_eq!(verdict, EventVerdict::Replace(wanted));
    }

    #[test]
    fn in_the_input_of_a_tool_a_replacement_is_part_of_a_string() {
        let mut held = held();
        let event = Event::input_json_delta(3, "{\"to\": \"[[a]]\"");
        let verdict = held.on_event(event, name).expect("replaces");
        let wanted = Event::input_json_delta(3, "{\"to\": \"Ada \\\"L\\\"\"");
        assert_eq!(verdict, EventVerdict::Replace(vec![wanted]));
    }

    #[test]
    fn what_cannot_be_read_passes_after_what_is_held_back() {
        let mut held = held();
        assert_eq!(passed(&mut held, &["["]), ["-"]);
        // Half of a surrogate pair alone cannot be a Rust string.
        let odd = Event {
            name: "content_block_delta".to_owned(),
            data: r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83d"}}"#
                .to_owned(),
        };
        let verdict = held.on_event(odd.clone(), name).expect("replaces");
        let wanted = vec![Event::text_delta(0, "["), odd];
        assert_eq!(verdict, EventVerdict::Replace(wanted));
    }
}

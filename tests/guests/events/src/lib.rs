//! Does to the answer what the settings say; without them it keeps everything.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `events`, `deltas` | those of its guard |
//! | `kinds` | the kinds of its guards; by default `["messages", "count_tokens"]` |
//! | `discard` | a list of event names that do not go on |
//! | `replace` | an object from event names to the events in their place, each `{"name", "data"}`; `data` is any JSON value |
//! | `shout` | replaces each text delta by itself in capitals |
//! | `hold` | holds all text deltas back until the end, or the cut, and sends them then as one |
//! | `at_end` | a list of events |
//! | `body` | what an answer that is no message is replaced by |
//! | `headers` | an object from names to lists of values, set at the first event or the body |
//! | `remember` | a JSONPath; what it selects in the request stands in the header `x-remembered` of the answer |

use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Guard, Manifest, Node, Plugin, Request, Response,
    ResponseHook, Target, Value, Verdict, export, json, settings,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    events: Option<Vec<String>>,
    deltas: Option<Vec<String>>,
    kinds: Option<Vec<String>>,
    discard: Vec<String>,
    replace: BTreeMap<String, Vec<Told>>,
    shout: bool,
    hold: bool,
    at_end: Vec<Told>,
    body: Option<Value>,
    headers: BTreeMap<String, Vec<String>>,
    remember: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    name: String,
    data: Value,
}

impl From<Told> for Event {
    fn from(told: Told) -> Self {
        Self::new(told.name, told.data)
    }
}

/// What it knows of the exchange it serves.
#[derive(Default)]
struct Events {
    begun: bool,
    held: Option<Event>,
    remembered: Option<String>,
}

impl Plugin for Events {
    fn describe() -> Result<Manifest, Error> {
        let settings: Settings = settings()?;
        let kinds = settings
            .kinds
            .unwrap_or_else(|| vec!["messages".to_owned(), "count_tokens".to_owned()]);
        let attempt = Guard::new().kinds(kinds);
        let mut response = attempt.clone();
        if let Some(events) = settings.events {
            response = response.events(events);
        }
        if let Some(deltas) = settings.deltas {
            response = response.deltas(deltas);
        }
        Ok(Manifest::new("changes answers as it is told")
            .attempt(attempt)
            .response(response))
    }
}

impl AttemptHook for Events {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let settings: Settings = settings()?;
        if let Some(path) = settings.remember {
            let nodes: Vec<Node> = request.read(&path)?;
            self.remembered = nodes.into_iter().next().map(|node| node.value);
        }
        Ok(Verdict::proceed())
    }
}

impl ResponseHook for Events {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let mut settings: Settings = settings()?;
        self.begin(response, &settings)?;
        if settings.discard.contains(&event.name) {
            return Ok(EventVerdict::Discard);
        }
        if let Some(others) = settings.replace.remove(&event.name) {
            let others = others.into_iter().map(Event::from).collect();
            return Ok(EventVerdict::Replace(others));
        }
        match text_delta(&event) {
            Some(delta) if settings.shout => Ok(EventVerdict::Replace(vec![delta.shouted()])),
            Some(delta) if settings.hold => {
                self.hold(delta);
                Ok(EventVerdict::Discard)
            }
            _ if event.name == "content_block_stop" && self.held.is_some() => {
                let held = self.held.take();
                Ok(EventVerdict::Replace(
                    held.into_iter().chain([event]).collect(),
                ))
            }
            _ => Ok(EventVerdict::Keep),
        }
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        let settings: Settings = settings()?;
        let told = settings.at_end.into_iter().map(Event::from);
        Ok(self.held.take().into_iter().chain(told).collect())
    }

    fn on_body(&mut self, response: &mut Response, _: String) -> Result<Option<String>, Error> {
        let settings: Settings = settings()?;
        self.begin(response, &settings)?;
        Ok(settings.body.map(|body| body.to_string()))
    }
}

impl Events {
    /// The head of the answer can be changed until something has gone out.
    fn begin(&mut self, response: &mut Response, settings: &Settings) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        for (name, values) in &settings.headers {
            response.set_header(name, values)?;
        }
        if let Some(remembered) = &self.remembered {
            response.set_header("x-remembered", [remembered])?;
        }
        Ok(())
    }

    fn hold(&mut self, delta: Delta) {
        let before = self.held.take().as_ref().and_then(text_delta);
        let text = before.map_or(String::new(), |before| before.text) + &delta.text;
        self.held = Some(Delta { text, ..delta }.event());
    }
}

struct Delta {
    index: u64,
    text: String,
}

fn text_delta(event: &Event) -> Option<Delta> {
    let data: Value = event.parse().ok()?;
    if data["delta"]["type"] != "text_delta" {
        return None;
    }
    Some(Delta {
        index: data["index"].as_u64()?,
        text: data["delta"]["text"].as_str()?.to_owned(),
    })
}

impl Delta {
    fn shouted(self) -> Event {
        let text = self.text.to_uppercase();
        Self { text, ..self }.event()
    }

    fn event(self) -> Event {
        Event::new(
            "content_block_delta",
            json!({
                "type": "content_block_delta",
                "index": self.index,
                "delta": { "type": "text_delta", "text": self.text },
            }),
        )
    }
}

export!(Events: AttemptHook, ResponseHook);

#[cfg(test)]
mod tests {
    use witgate_plugin::testing::Exchange;

    use super::*;

    fn delta(text: &str) -> Event {
        let text = text.to_owned();
        Delta { index: 0, text }.event()
    }

    fn answered(settings: Value) -> Exchange<Events> {
        Exchange::new(json!({"model": "m"})).settings(settings)
    }

    #[test]
    fn held_text_comes_out_before_its_block_stops() {
        let stop = Event::new("content_block_stop", json!({"type": "content_block_stop"}));
        let out = answered(json!({"hold": true}))
            .stream([delta("a"), delta("b"), stop.clone()])
            .unwrap();
        assert_eq!(out, [delta("ab"), stop]);
    }

    #[test]
    fn held_text_comes_out_after_a_cut() {
        let mut exchange = answered(json!({"hold": true}));
        exchange.on_event(delta("a")).unwrap();
        assert_eq!(exchange.on_cut().unwrap(), [delta("a")]);
    }

    #[test]
    fn events_are_replaced_and_added_as_told() {
        let told = json!({"name": "x", "data": {"type": "x"}});
        let settings = json!({"shout": true, "discard": ["ping"], "replace": {"old": [told]}, "at_end": [told]});
        let event = |name: &str| Event::new(name, json!({"type": name}));
        let out = answered(settings)
            .stream([event("ping"), delta("a"), event("old"), event("other")])
            .unwrap();
        assert_eq!(out, [delta("A"), event("x"), event("other"), event("x")]);
    }

    #[test]
    fn what_the_attempt_saw_stands_in_the_answer() {
        let mut exchange = answered(json!({"remember": "$.model", "headers": {"x-a": ["b"]}}));
        exchange.on_attempt().unwrap();
        exchange.on_event(delta("a")).unwrap();
        assert_eq!(exchange.response_header("x-remembered"), ["\"m\""]);
        assert_eq!(exchange.response_header("x-a"), ["b"]);
    }
}

//! Changes the response as the settings say. Without settings it keeps everything.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `events`, `deltas` | those of its guard |
//! | `kinds` | the kinds of its guards; by default `["messages", "count_tokens"]` |
//! | `upstreams`, `models` | those of its response guard |
//! | `watch` | a JSONPath: the response hook is called only if it selects something in the request |
//! | `discard` | a list of event names to discard |
//! | `replace` | an object from event names to the events that replace them, each `{"name", "data"}`; `data` is any JSON value |
//! | `shout` | replaces each text delta by itself in capitals |
//! | `hold` | holds back all text deltas until the end, also of a truncated stream, and sends them as one |
//! | `at_end` | a list of events |
//! | `body` | what replaces the body of a response that is not a message |
//! | `headers` | an object from names to lists of values, set at the first event or the body |
//! | `remember` | a JSONPath; what it selects in the request becomes the response header `x-remembered` |

use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Delta, Error, Event, EventVerdict, Guard, Manifest, Plugin, Request, Response,
    ResponseHook, StreamEvent, Target, Value, Verdict, export,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    events: Option<Vec<String>>,
    deltas: Option<Vec<String>>,
    kinds: Option<Vec<String>>,
    upstreams: Option<Vec<String>>,
    models: Option<Vec<String>>,
    watch: Option<String>,
    discard: Vec<String>,
    replace: BTreeMap<String, Vec<Sent>>,
    shout: bool,
    hold: bool,
    at_end: Vec<Sent>,
    body: Option<Value>,
    headers: BTreeMap<String, Vec<String>>,
    remember: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    name: String,
    data: Value,
}

impl From<&Sent> for Event {
    fn from(sent: &Sent) -> Self {
        Self::new(sent.name.as_str(), sent.data.clone())
    }
}

struct Events {
    settings: Settings,
    begun: bool,
    /// The index of the block and its text.
    held: Option<(u64, String)>,
    remembered: Option<String>,
}

impl Plugin for Events {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            begun: false,
            held: None,
            remembered: None,
        })
    }

    fn describe(&self) -> Manifest {
        let settings = &self.settings;
        let attempt = match &settings.kinds {
            Some(kinds) => Guard::new().kinds(kinds),
            None => Guard::new().kinds(["messages", "count_tokens"]),
        };
        let mut response = attempt.clone();
        if let Some(events) = &settings.events {
            response = response.events(events);
        }
        if let Some(deltas) = &settings.deltas {
            response = response.deltas(deltas);
        }
        if let Some(upstreams) = &settings.upstreams {
            response = response.upstreams(upstreams);
        }
        if let Some(models) = &settings.models {
            response = response.models(models);
        }
        if settings.watch.is_some() {
            response = response.watching();
        }
        Manifest::new("changes responses as the settings say")
            .attempt(attempt)
            .response(response)
    }
}

impl AttemptHook for Events {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        if let Some(path) = &self.settings.remember {
            let nodes = request.read(path)?;
            self.remembered = nodes.into_iter().next().map(|node| node.value);
        }
        if let Some(path) = &self.settings.watch
            && request.matches(path)?
        {
            request.watch_response();
        }
        Ok(Verdict::Proceed)
    }
}

impl ResponseHook for Events {
    fn on_event(
        &mut self,
        response: &mut Response,
        mut event: Event,
    ) -> Result<EventVerdict, Error> {
        self.begin(response)?;
        if self.settings.discard.contains(&event.name) {
            return Ok(EventVerdict::Discard);
        }
        if let Some(others) = self.settings.replace.get(&event.name) {
            return Ok(EventVerdict::Replace(
                others.iter().map(Event::from).collect(),
            ));
        }
        match event.typed() {
            StreamEvent::ContentBlockDelta {
                delta: Delta::Text { text },
                ..
            } if self.settings.shout => {
                event.replace("/delta/text", text.to_uppercase())?;
                Ok(EventVerdict::Replace(vec![event]))
            }
            StreamEvent::ContentBlockDelta {
                index,
                delta: Delta::Text { text },
            } if self.settings.hold => {
                let held = self.held.get_or_insert((index, String::new()));
                held.1.push_str(&text);
                Ok(EventVerdict::Discard)
            }
            StreamEvent::ContentBlockStop { .. } if self.held.is_some() => {
                let held = self.let_go();
                Ok(EventVerdict::Replace(
                    held.into_iter().chain([event]).collect(),
                ))
            }
            _ => Ok(EventVerdict::Keep),
        }
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        let held = self.let_go();
        let at_end = self.settings.at_end.iter().map(Event::from);
        Ok(held.into_iter().chain(at_end).collect())
    }

    fn on_body(&mut self, response: &mut Response, _: String) -> Result<Option<String>, Error> {
        self.begin(response)?;
        Ok(self.settings.body.as_ref().map(Value::to_string))
    }
}

impl Events {
    /// Sets headers at the first call, before anything was sent.
    fn begin(&mut self, response: &mut Response) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        for (name, values) in &self.settings.headers {
            response.set_header(name, values)?;
        }
        if let Some(remembered) = &self.remembered {
            response.set_header("x-remembered", [remembered])?;
        }
        Ok(())
    }

    fn let_go(&mut self) -> Option<Event> {
        let (index, text) = self.held.take()?;
        Some(Event::text_delta(index, &text))
    }
}

export!(Events: AttemptHook, ResponseHook);

#[cfg(test)]
mod tests {
    use witgate_plugin::{json, testing::Exchange};

    use super::*;

    fn delta(text: &str) -> Event {
        Event::text_delta(0, text)
    }

    fn answered(settings: Value) -> Exchange<Events> {
        Exchange::new(json!({"model": "m"})).settings(settings)
    }

    #[test]
    fn held_text_comes_out_before_its_block_stops() {
        let stop = Event::new(
            "content_block_stop",
            json!({"type": "content_block_stop", "index": 0}),
        );
        let out = answered(json!({"hold": true}))
            .stream([delta("a"), delta("b"), stop.clone()])
            .unwrap();
        assert_eq!(out, [delta("ab"), stop]);
    }

    #[test]
    fn held_text_comes_out_after_a_truncated_stream() {
        let mut exchange = answered(json!({"hold": true}));
        exchange.on_event(delta("a")).unwrap();
        assert_eq!(exchange.on_cut().unwrap(), [delta("a")]);
    }

    #[test]
    fn events_are_replaced_and_added_as_the_settings_say() {
        let sent = json!({"name": "x", "data": {"type": "x"}});
        let events = ["ping", "content_block_delta", "old", "other"];
        let settings = json!({"events": events, "shout": true, "discard": ["ping"], "replace": {"old": [sent]}, "at_end": [sent]});
        let event = |name: &str| Event::new(name, json!({"type": name}));
        let out = answered(settings)
            .stream([event("ping"), delta("a"), event("old"), event("other")])
            .unwrap();
        assert_eq!(out, [delta("A"), event("x"), event("other"), event("x")]);
    }

    #[test]
    fn a_guard_asks_for_upstream_model_and_request() {
        for (settings, shown) in [
            (json!({"upstreams": ["test"], "models": ["m*"]}), true),
            (json!({"upstreams": ["other"]}), false),
            (json!({"models": ["n*"]}), false),
            (json!({"watch": "$.model"}), true),
            (json!({"watch": "$.absent"}), false),
            (json!({"deltas": ["thinking_delta"]}), false),
        ] {
            let mut exchange = answered(settings.clone());
            exchange.on_attempt().unwrap();
            assert_eq!(exchange.would_show(&delta("a")), shown, "{settings}");
        }
    }

    #[test]
    fn what_no_client_can_follow_is_an_error() {
        use witgate_plugin::testing::message;

        for settings in [
            json!({"discard": ["message_start"]}),
            json!({"discard": ["content_block_start"]}),
            json!({"discard": ["content_block_stop"]}),
            json!({"discard": ["message_stop"]}),
            json!({"at_end": [{"name": "content_block_delta", "data": {
                "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "late"}}}]}),
        ] {
            let error = answered(settings.clone())
                .stream(message(&["a"]))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("does not leave a message"),
                "{settings}: {error}"
            );
        }
    }

    #[test]
    fn what_comes_at_the_end_is_inside_of_the_message() {
        use witgate_plugin::testing::message;

        let sent =
            |event: &Event| json!({"name": event.name, "data": event.parse::<Value>().unwrap()});
        let block = [
            Event::block_start(1, json!({"type": "text", "text": ""})),
            Event::text_delta(1, "more"),
            Event::block_stop(1),
        ];
        let at_end: Vec<Value> = block.iter().map(sent).collect();
        let mut wanted = message(&["a"]);
        wanted.splice(4..4, block);
        let out = answered(json!({"at_end": at_end}))
            .stream(message(&["a"]))
            .unwrap();
        assert_eq!(out, wanted);
    }

    #[test]
    fn what_the_attempt_saw_is_in_the_response() {
        let mut exchange = answered(json!({"remember": "$.model", "headers": {"x-a": ["b"]}}));
        exchange.on_attempt().unwrap();
        exchange.on_event(delta("a")).unwrap();
        assert_eq!(exchange.response_header("x-remembered"), ["\"m\""]);
        assert_eq!(exchange.response_header("x-a"), ["b"]);
    }
}

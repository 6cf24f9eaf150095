//! A whole dialect for a protocol that only tests speak, in capital letters. What the upstream
//! sends decides whether the plugin behaves.
//!
//! | the upstream sends | the plugin makes of it |
//! | --- | --- |
//! | `{"HELLO": id, "IN": n}` | the beginning of the message |
//! | `{"WORD": text}` | text |
//! | `{"HOLD": text}` | text, held back until other text arrives, or the end |
//! | `{"BYE": reason, "OUT": n}` | nothing yet |
//! | `[DONE]`, or the body's own end after a `BYE` | the end of the message |
//! | `{"WOE": "BUSY", "SAYS": text, "WAIT": seconds}` | an error |
//! | `{"NOTE": what}` | a note that it was left out |
//! | `{"ALL": [...]}` | each of the above, one after the other |
//! | `{"DO": what}` | `ERR`, `PANIC`, `SPIN`, `END TWICE`, `SET HEADER`; with ` AT END` appended, only at the end |
//! | anything else | nothing |
//!
//! | setting | meaning |
//! | --- | --- |
//! | `dialect` | its name; `toy` by default |
//! | `kinds` | the kinds of its guards; all by default |
//! | `refuses` | kinds that it refuses |

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Operation,
    Plugin, Refusal, Request, Response, ResponseHook, Target, Value, Verdict, export, json,
    serde_json,
};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    dialect: String,
    kinds: Vec<String>,
    refuses: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialect: "toy".to_owned(),
            kinds: ["messages", "count_tokens", "models"]
                .map(str::to_owned)
                .to_vec(),
            refuses: Vec::new(),
        }
    }
}

/// What it knows of its exchange.
#[derive(Default)]
struct Toy {
    settings: Settings,
    /// The number of events that it was shown in all attempts.
    seen: u32,
    /// What a failure said, for the next attempt.
    failed: u32,
    wait: Option<u64>,
    message: Message,
    at_end: Option<String>,
}

/// The message of the current attempt.
#[derive(Default)]
struct Message {
    begun: bool,
    in_text: bool,
    held: String,
    bye: Option<(String, u64)>,
}

impl Plugin for Toy {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            ..Self::default()
        })
    }

    fn describe(&self) -> Manifest {
        let guard = || Guard::new().kinds(self.settings.kinds.clone());
        Manifest::new("translates a toy protocol")
            .dialect(&self.settings.dialect)
            .attempt(guard())
            .failure(guard())
            .response(guard())
    }
}

impl AttemptHook for Toy {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        self.message = Message::default();
        let kind = request.kind();
        if self.settings.refuses.contains(&kind) {
            let refusal = Refusal::invalid_request(format!("capability_rejected: {kind}"));
            return Ok(refusal.into());
        }
        match kind.as_str() {
            "messages" => request.set_path("/SHOUT?HOW=LOUD")?,
            "count_tokens" => request.set_path("/COUNT")?,
            _ => {
                request.set_path("/MODELS?ALL=1")?;
                return Ok(Verdict::Proceed);
            }
        }
        let said: Option<Value> = request.first("$.messages[-1:].content")?;
        let stream: Option<Value> = request.first("$.stream")?;
        let body = json!({
            "MODEL": target.mapped_model(), "SAY": said, "STREAM": stream,
            "SEEN": self.seen, "FAILED": self.failed,
        });
        request.note("left out: manners");
        request.patch([Operation::replace("", body)])?;
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Toy {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        self.failed += 1;
        if let Some(seconds) = self.wait.take() {
            failure.set_cooldown(Duration::from_secs(seconds));
        }
        // An error that was translated as an event is in Anthropic's form already.
        let Ok(Value::Object(woe)) = serde_json::from_str(&failure.body()) else {
            return Ok(());
        };
        let Some(says) = woe.get("SAYS").and_then(Value::as_str) else {
            return Ok(());
        };
        if woe["WOE"] == "BUSY" {
            failure.set_status(529)?;
            failure.set_error_type("overloaded_error")?;
        }
        failure.set_body(error(&failure.error_type(), says))?;
        Ok(())
    }
}

impl ResponseHook for Toy {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        self.seen += 1;
        if event.data == "[DONE]" {
            return Ok(EventVerdict::Replace(self.message.end()));
        }
        let said: Value = event.parse()?;
        let mut events = Vec::new();
        match said.get("ALL").and_then(Value::as_array) {
            Some(all) => {
                for said in all {
                    events.extend(self.translate(said, response)?);
                }
                events.extend(self.message.end());
            }
            None => events = self.translate(&said, response)?,
        }
        Ok(EventVerdict::Replace(events))
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        if let Some(what) = self.at_end.take() {
            return self.misbehave(&what, response);
        }
        if response.complete() {
            return Ok(self.message.end());
        }
        let mut events = self.message.let_go();
        // The gateway has to drop this event.
        events.push(event(json!({ "type": "message_stop" })));
        Ok(events)
    }

    fn on_body(&mut self, response: &mut Response, body: String) -> Result<Option<String>, Error> {
        let said: Value = serde_json::from_str(&body)?;
        if let Some(what) = said["DO"].as_str() {
            self.misbehave(what, response)?;
        }
        if let Some(models) = said["MODELS"].as_array() {
            let entry = |id: &Value| json!({ "type": "model", "id": id, "display_name": id });
            let data: Vec<Value> = models.iter().map(entry).collect();
            return Ok(Some(json!({ "data": data }).to_string()));
        }
        let count = said.get("COUNT");
        Ok(count.map(|count| json!({ "input_tokens": count }).to_string()))
    }
}

impl Toy {
    fn translate(&mut self, said: &Value, response: &mut Response) -> Result<Vec<Event>, Error> {
        let text = |key: &str| said[key].as_str().map(str::to_owned);
        if let Some(id) = text("HELLO") {
            return Ok(self.message.begin(&id, &said["IN"], response));
        }
        if let Some(word) = text("WORD") {
            let mut events = self.message.let_go();
            events.extend(self.message.text(&word));
            return Ok(events);
        }
        if let Some(word) = text("HOLD") {
            self.message.held.push_str(&word);
            return Ok(Vec::new());
        }
        if let Some(what) = text("NOTE") {
            response.note(&format!("left out: {what}"));
            return Ok(Vec::new());
        }
        if let Some(reason) = text("BYE") {
            let out = said["OUT"].as_u64().unwrap_or_default();
            self.message.bye = Some((reason, out));
            return Ok(Vec::new());
        }
        if let Some(woe) = text("WOE") {
            self.wait = said["WAIT"].as_u64();
            let kind = match woe.as_str() {
                "BUSY" => "overloaded_error",
                "WRONG" => "invalid_request_error",
                _ => "api_error",
            };
            let says = text("SAYS").unwrap_or_default();
            // The gateway has to drop events after an error.
            let after = event(json!({ "type": "after_the_end" }));
            return Ok(vec![event(error(kind, &says)), after]);
        }
        match text("DO") {
            Some(what) => self.misbehave(&what, response),
            None => Ok(Vec::new()),
        }
    }

    fn misbehave(&mut self, what: &str, response: &mut Response) -> Result<Vec<Event>, Error> {
        if let Some(what) = what.strip_suffix(" AT END") {
            self.at_end = Some(what.to_owned());
            return Ok(Vec::new());
        }
        match what {
            "ERR" => Err(Error::new("the upstream asked it to fail")),
            "PANIC" => panic!("the upstream asked it to panic"),
            "SPIN" => loop {
                std::hint::black_box(0);
            },
            "END TWICE" => {
                let mut events = self.message.end();
                events.extend(events.clone());
                Ok(events)
            }
            "SET HEADER" => {
                let said = match response.set_header("x-toy", ["1"]) {
                    Ok(()) => "done".to_owned(),
                    Err(error) => error.to_string(),
                };
                Ok(self.message.text(&said))
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Message {
    fn begin(&mut self, id: &str, input: &Value, response: &Response) -> Vec<Event> {
        self.begun = true;
        let message = json!({
            "id": format!("msg_{id}"), "type": "message", "role": "assistant",
            "model": response.requested_model(), "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": input, "output_tokens": 0 },
        });
        vec![event(
            json!({ "type": "message_start", "message": message }),
        )]
    }

    fn text(&mut self, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.in_text {
            self.in_text = true;
            let block = json!({ "type": "text", "text": "" });
            events.push(event(
                json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            ));
        }
        let delta = json!({ "type": "text_delta", "text": text });
        events.push(event(
            json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        ));
        events
    }

    fn let_go(&mut self) -> Vec<Event> {
        match std::mem::take(&mut self.held) {
            held if held.is_empty() => Vec::new(),
            held => self.text(&held),
        }
    }

    /// The end of the message. Empty if the upstream did not send a `BYE`.
    fn end(&mut self) -> Vec<Event> {
        let Some((reason, output)) = self.bye.take().filter(|_| self.begun) else {
            return Vec::new();
        };
        let mut events = self.let_go();
        if std::mem::take(&mut self.in_text) {
            events.push(event(json!({ "type": "content_block_stop", "index": 0 })));
        }
        let reason = match reason.as_str() {
            "FULL" => "max_tokens",
            _ => "end_turn",
        };
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        let usage = json!({ "output_tokens": output });
        events.push(event(
            json!({ "type": "message_delta", "delta": delta, "usage": usage }),
        ));
        events.push(event(json!({ "type": "message_stop" })));
        events
    }
}

fn error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

fn event(data: Value) -> Event {
    let name = data["type"].as_str().unwrap_or_default().to_owned();
    Event::new(name, data)
}

export!(Toy: AttemptHook, FailureHook, ResponseHook);

//! Has one defect of those that `witgate plugin test --hostile` looks for: the setting `defect`
//! names it, as the check that finds it. Without the setting it does nothing.

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Delta, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest,
    Operation, Plugin, Refusal, Request, RequestHook, Response, ResponseHook, StreamEvent, Target,
    Value, Verdict, export, kv, serde_json,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    defect: String,
}

struct Defects {
    defect: String,
    /// Locations in the request, before other plugins edited it.
    remembered: Vec<String>,
    attempted: bool,
    /// The index of the open block.
    open: Option<u64>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Plugin for Defects {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            defect: settings.defect,
            remembered: Vec::new(),
            attempted: false,
            open: None,
        })
    }

    fn describe(&self) -> Manifest {
        let guard = || Guard::new().kinds(["messages", "count_tokens"]);
        Manifest::new("has a defect")
            .request(guard())
            .attempt(guard())
            .failure(guard())
            .response(guard())
    }
}

impl RequestHook for Defects {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        match self.defect.as_str() {
            "neighbours" => self.remembered = request.select(TEXTS)?,
            "lost-end" => {
                if kv::get("busy")?.is_some() {
                    return Ok(Refusal::new(529, "overloaded_error", "busy").into());
                }
                kv::set("busy", "1", DAY)?;
            }
            _ => {}
        }
        Ok(Verdict::Proceed)
    }
}

const TEXTS: &str = "$.messages[*].content[?@.type == 'text'].text";

impl AttemptHook for Defects {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let is_retry = std::mem::replace(&mut self.attempted, true);
        match self.defect.as_str() {
            "spelling" => {
                let model = request.read("$.model")?;
                if model.iter().any(|model| model.value.contains('\\')) {
                    return Err("a model without a name".into());
                }
            }
            "content-forms" => {
                // Fails if the content is a list of blocks.
                request.first::<String>("$.messages[-1:].content")?;
            }
            "empty" => {
                let first = &request.read("$.messages[0].role")?[0];
                assert!(
                    first.value.contains("user"),
                    "a conversation begins with the user"
                );
            }
            "block-kinds" => {
                let known = "['text', 'image', 'thinking', 'tool_use', 'tool_result']";
                let unknown: Vec<String> = known
                    .split('\'')
                    .skip(1)
                    .step_by(2)
                    .map(|kind| format!("@.type != '{kind}'"))
                    .collect();
                let path = format!("$.messages[*].content[?{}]", unknown.join(" && "));
                request.remove_all(&path)?;
            }
            "unknown-members" => {
                request.remove_all("$.messages[*].x_unknown")?;
            }
            "exact-numbers" => {
                if let Some(value) = request.first::<Value>("$.x_unknown")? {
                    request.patch([Operation::replace("/x_unknown", value)])?;
                }
            }
            "betas" => {
                if let Some(first) = request.header("anthropic-beta").first() {
                    request.set_header("anthropic-beta", [format!("{first},mine-2025-01-01")])?;
                }
            }
            "api-version" => request.patch([Operation::add("/temperature", 1)])?,
            "large" => {
                // Finds each character by counting from the beginning.
                for text in request.texts()? {
                    for at in (0..text.text.len()).step_by(64) {
                        std::hint::black_box(text.text.chars().nth(at));
                    }
                }
            }
            "count-tokens" => {
                let limit = request.first::<u64>("$.max_tokens")?;
                limit.ok_or("no max_tokens")?;
            }
            "neighbours" => {
                let edits = self.remembered.iter().map(|at| Operation::copy_to(at, at));
                request.patch(edits.collect::<Vec<_>>())?;
            }
            "retry" if !is_retry => request.patch([Operation::add("/x_marked", true)])?,
            "growing-conversation" => {
                let messages = request.select("$.messages[*]")?.len();
                if messages > 0 {
                    request.patch([Operation::add("/messages/0/x_turn", messages as u64)])?;
                }
            }
            "forgotten-kv" if request.session().is_some() => {
                let answered = request.matches("$.messages[?@.role == 'assistant']")?;
                if answered && kv::get(&request.conversation())?.is_none() {
                    return Err("the conversation has no state".into());
                }
                kv::set(&request.conversation(), "1", DAY)?;
            }
            _ => {}
        }
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Defects {
    fn on_failure(&mut self, _: &Request, _: &Target, failure: &mut Failure) -> Result<(), Error> {
        if self.defect == "upstream-errors" {
            serde_json::from_str::<Value>(&failure.body())?;
        }
        Ok(())
    }
}

impl ResponseHook for Defects {
    fn on_event(&mut self, _: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let typed = event.typed();
        match &typed {
            StreamEvent::ContentBlockStart { index, .. } => self.open = Some(*index),
            StreamEvent::ContentBlockStop { .. } => self.open = None,
            _ => {}
        }
        match (self.defect.as_str(), typed) {
            ("odd-events", StreamEvent::Other) => Ok(EventVerdict::Discard),
            (
                "pieces",
                StreamEvent::ContentBlockDelta {
                    delta: Delta::Text { text },
                    ..
                },
            ) if text.contains("[[secret-1]]") => {
                let mut event = event;
                event.replace("/delta/text", text.replace("[[secret-1]]", "hunter2"))?;
                Ok(EventVerdict::Replace(vec![event]))
            }
            _ => Ok(EventVerdict::Keep),
        }
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        if self.defect == "lost-end" {
            kv::delete("busy")?;
        }
        Ok(match (self.defect.as_str(), self.open) {
            ("cuts", Some(index)) if !response.complete() => {
                vec![Event::text_delta(index, " (the end)")]
            }
            _ => Vec::new(),
        })
    }
}

export!(Defects: RequestHook, AttemptHook, FailureHook, ResponseHook);

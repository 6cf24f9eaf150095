//! Tests that `testing::Exchange` treats a plugin as the gateway does.

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, EditError, Error, Event, EventVerdict, Failure, FailureHook, Guard, Hook,
    Manifest, NoSettings, Operation, Plugin, Request, RequestHook, Response, ResponseHook,
    RetryTarget, Target, TextPosition, Verdict, export, json, kv, log,
    testing::{Exchange, Failed, edit, message},
};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    fail: bool,
    tag: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fail: false,
            tag: "seen".to_owned(),
        }
    }
}

/// A plugin that uses every function once.
#[derive(Debug)]
struct Everything {
    settings: Settings,
    attempts: u32,
    events: u32,
}

impl Plugin for Everything {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            settings,
            attempts: 0,
            events: 0,
        })
    }

    fn describe(&self) -> Manifest {
        Manifest::new("uses everything once")
            .attempt(Guard::new().lacks(["x"]).path("$.model"))
            .attempt(Guard::new().dialects(["gemini"]).kinds(["count_tokens"]))
    }
}

impl RequestHook for Everything {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        request.patch([Operation::add("/tag", self.settings.tag.as_str())])?;
        request.set_header("x-seen", ["yes"])?;
        if self.settings.fail {
            return Err(Error::new("failed on purpose"));
        }
        Ok(Verdict::Proceed)
    }
}

impl AttemptHook for Everything {
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        self.attempts += 1;
        assert_eq!(self.attempts, target.attempt());
        request.patch([Operation::add("/attempt", target.attempt())])?;
        request.set_path("/v2/messages?a=b")?;
        let sum = kv::increment("attempts", 1, Duration::from_secs(10))?;
        log::info(format!("attempt {sum} in all"));
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Everything {
    fn on_failure(
        &mut self,
        request: &Request,
        _: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        if request.matches("$.attempt")? && failure.status() == 400 {
            failure.set_retry(RetryTarget::SameAccount, Duration::from_millis(5));
            failure.set_cooldown(Duration::from_secs(1));
        }
        failure.set_status(200)?;
        Ok(())
    }
}

impl ResponseHook for Everything {
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        self.events += 1;
        if self.events == 1 {
            response.set_header("x-attempts", [self.attempts.to_string()])?;
        }
        Ok(match event.name.as_str() {
            "gone" => EventVerdict::Discard,
            "two" => EventVerdict::Replace(vec![event.clone(), event]),
            _ => EventVerdict::Keep,
        })
    }

    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let late = response.set_header("x-late", ["yes"]);
        assert!(matches!(late, Err(EditError::NotAllowed(_))), "{late:?}");
        Ok(vec![Event::new("end", json!(response.complete()))])
    }
}

export!(Everything: RequestHook, AttemptHook, FailureHook, ResponseHook);

const BODY: &str = r#"{"model":"m"}"#;

#[test]
fn an_edit_for_the_request_stays_and_one_for_an_attempt_does_not() {
    let mut exchange = Exchange::<Everything>::new(BODY).mapped_to("n");
    exchange.on_request().unwrap();
    exchange.on_attempt().unwrap();
    assert_eq!(exchange.body(), r#"{"model":"n","tag":"seen","attempt":1}"#);
    assert_eq!(exchange.path_and_query(), "/v2/messages?a=b");
    exchange.on_attempt().unwrap();
    assert_eq!(exchange.body(), r#"{"model":"n","tag":"seen","attempt":2}"#);
    assert_eq!(exchange.request_header("X-Seen"), ["yes"]);
}

#[test]
fn the_edits_of_a_call_that_fails_are_taken_back() {
    let settings = json!({"fail": true});
    let mut exchange = Exchange::<Everything>::new(BODY).settings(settings);
    let error = exchange.on_request().unwrap_err();
    assert_eq!(error.to_string(), "failed on purpose");
    assert_eq!(exchange.body(), BODY);
    assert!(exchange.request_header("x-seen").is_empty());
}

#[test]
fn a_malformed_body_is_the_clients_fault() {
    let mut exchange = Exchange::<Everything>::new(r#"{"model":"m", oops"#);
    let refusal = exchange.on_request().unwrap().expect_refusal();
    assert_eq!(refusal["type"], "invalid_request_error");
    let message = refusal["message"].as_str().unwrap();
    assert!(
        message.starts_with("the body is not valid JSON: "),
        "{message}"
    );
}

#[test]
fn settings_are_checked_when_the_plugin_is_described() {
    let misspelt = json!({"tagg": "x"});
    let refused = Exchange::<Everything>::new(BODY)
        .settings(misspelt)
        .describe();
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("settings: unknown field `tagg`"), "{text}");
}

#[test]
fn one_of_several_guards_is_enough() {
    let ask = |exchange: Exchange<Everything>| { exchange }.would_call(Hook::Attempt);
    assert!(!ask(Exchange::new(BODY)));
    assert!(ask(Exchange::new(BODY).lacks("x")));
    assert!(!ask(Exchange::new("{}").lacks("x")));
    assert!(!ask(Exchange::new(BODY).lacks("x").count_tokens()));
    assert!(ask(Exchange::new("{}").dialect("gemini").count_tokens()));
    assert!(Exchange::<Everything>::new("{}").would_call(Hook::Request));
}

#[test]
fn kv_entries_outlive_the_exchange_until_they_expire() {
    let mut first = Exchange::<Everything>::new(BODY);
    first.on_attempt().unwrap();
    let mut second = first.next(BODY);
    second.on_attempt().unwrap();
    second.wait(Duration::from_secs(11));
    second.on_attempt().unwrap();
    let lines: Vec<&str> = second.log().iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        lines,
        ["attempt 1 in all", "attempt 2 in all", "attempt 1 in all"]
    );
}

#[test]
fn a_failure_hook_that_fails_leaves_the_failure_as_it_was() {
    let mut exchange = Exchange::<Everything>::new(BODY);
    exchange.on_attempt().unwrap();
    let mut failed = Failed::new(400, "invalid_request_error", "{}");
    // A failure cannot have 200, so the hook errs after it has asked for a retry.
    assert!(exchange.on_failure(&mut failed).is_err());
    assert_eq!((failed.retry(), failed.cooldown()), (None, None));
    assert_eq!(failed.status(), 400);
}

#[test]
fn a_stream_passes_event_by_event_with_the_state_of_the_attempt() {
    let mut exchange = Exchange::<Everything>::new(BODY);
    exchange.on_attempt().unwrap();
    let event = |name: &str| Event::new(name, json!({}));
    let out = exchange
        .stream([event("one"), event("gone"), event("two")])
        .unwrap();
    let names: Vec<&str> = out.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "two", "end"]);
    assert_eq!(out[3].data, "true");
    assert_eq!(exchange.response_header("x-attempts"), ["1"]);
}

#[test]
fn a_truncated_response_is_not_complete() {
    let mut exchange = Exchange::<Everything>::new(BODY);
    exchange.on_event(Event::new("one", json!({}))).unwrap();
    assert_eq!(exchange.on_cut().unwrap()[0].data, "false");
}

/// A plugin that tries what is not allowed.
#[derive(Debug)]
struct Forbidden;

impl Plugin for Forbidden {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("tries what is not allowed")
    }
}

impl RequestHook for Forbidden {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let path = request.set_path("/v1/other");
        assert!(matches!(path, Err(EditError::NotAllowed(_))), "{path:?}");
        let key = request.set_header("X-Api-Key", ["mine"]);
        assert!(matches!(key, Err(EditError::NotAllowed(_))), "{key:?}");
        assert!(request.header("x-api-key").is_empty());
        let split = request.set_header("x-a", ["b\r\nx-api-key: mine"]);
        assert!(matches!(split, Err(EditError::BadValue(_))), "{split:?}");
        let query = request.select("$..[");
        assert!(matches!(query, Err(EditError::BadQuery(_))), "{query:?}");
        let nothing = request.patch([Operation::remove("/nothing")]);
        assert!(
            matches!(nothing, Err(EditError::NotApplicable(_))),
            "{nothing:?}"
        );
        Ok(Verdict::Proceed)
    }
}

#[test]
fn what_is_not_allowed_is_an_error_and_changes_nothing() {
    let mut exchange = Exchange::<Forbidden>::new(BODY).header("x-api-key", "secret");
    exchange.on_request().unwrap();
    assert_eq!(exchange.body(), BODY);
}

/// A plugin that removes keys from every text.
#[derive(Debug)]
struct Redacts;

impl Plugin for Redacts {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("removes keys")
    }
}

impl RequestHook for Redacts {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        for text in request.texts()? {
            log::debug(format!(
                "{:?} {} {}",
                text.position, text.pointer, text.text
            ));
        }
        let texts = request.texts_matching(r"it's\-[0-9]+")?;
        request.patch(texts.iter().map(|text| text.replace("(gone)")))?;
        Ok(Verdict::Proceed)
    }
}

#[test]
fn every_text_is_found_wherever_it_is() {
    let body = r#"{ "model": "it's-1", "system": "be\u0020it's-2",
        "messages": [
            {"role": "user", "content": "plain"},
            {"role": "user", "content": [
                {"type": "text", "text": "it's-3"},
                {"type": "image", "text": "it's-4"},
                {"type": "tool_result", "tool_use_id": "t", "content": "it's-5"},
                {"type": "tool_result", "tool_use_id": "u", "content": [{"type": "text", "text": "it's-6"}]}]}] }"#;
    let mut exchange = Exchange::<Redacts>::new(body);
    exchange.on_request().unwrap();
    let mut wanted = body.to_owned();
    for found in ["be\\u0020it's-2", "it's-3", "it's-5", "it's-6"] {
        wanted = wanted.replace(found, "(gone)");
    }
    assert_eq!(exchange.body(), wanted);
    let lines: Vec<&str> = exchange
        .log()
        .iter()
        .map(|(_, line)| line.as_str())
        .collect();
    let (system, message, result) = (
        TextPosition::System,
        TextPosition::Message,
        TextPosition::ToolResult,
    );
    assert_eq!(
        lines,
        [
            format!("{system:?} /system be it's-2"),
            format!("{message:?} /messages/0/content plain"),
            format!("{message:?} /messages/1/content/0/text it's-3"),
            format!("{result:?} /messages/1/content/2/content it's-5"),
            format!("{result:?} /messages/1/content/3/content/0/text it's-6"),
        ]
    );
}

#[test]
fn a_system_prompt_in_blocks_is_text_as_well() {
    let body = r#"{"model":"m","system":[{"type":"text","text":"it's-1"}],"messages":[]}"#;
    let mut exchange = Exchange::<Redacts>::new(body);
    exchange.on_request().unwrap();
    assert_eq!(exchange.body(), body.replace("it's-1", "(gone)"));
}

/// A plugin that holds back each text until its block stops, and sees no other event.
#[derive(Debug, Default)]
struct Holds {
    held: String,
}

impl Plugin for Holds {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn describe(&self) -> Manifest {
        Manifest::new("holds back")
            .failure(Guard::new().status([400]))
            .response(
                Guard::new()
                    .events(["content_block_delta"])
                    .deltas(["text_delta"]),
            )
    }
}

impl FailureHook for Holds {}

impl ResponseHook for Holds {
    fn on_event(&mut self, _: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        self.held
            .push_str(event.typed().text().map_or("", |(_, text)| text));
        Ok(EventVerdict::Discard)
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        Ok(vec![Event::text_delta(0, &self.held)])
    }
}

#[test]
fn a_test_sees_that_a_guard_hides_the_stop_of_a_block() {
    let mut exchange = Exchange::<Holds>::new(BODY);
    let events = message(&["he", "llo"]);
    assert!(exchange.would_show(&events[2]));
    assert!(!exchange.would_show(&events[4]));
    // In the gateway this text would come after its block, so it is an error here as there.
    let error = exchange.stream(events.clone()).unwrap_err().to_string();
    assert!(error.contains("block 0, which is not open"), "{error}");
    // After a cut the block is still open.
    let mut cut = Exchange::<Holds>::new(BODY);
    let sent = cut.stream_cut(events.into_iter().take(4)).unwrap();
    assert_eq!(sent.last(), Some(&Event::text_delta(0, "hello")));
}

#[test]
fn a_failure_guard_is_checked_with_its_status() {
    let mut exchange = Exchange::<Holds>::new(BODY);
    let failed = |status| Failed::new(status, "api_error", "{}");
    assert!(exchange.would_handle(&failed(400)));
    assert!(!exchange.would_handle(&failed(500)));
}

#[test]
fn lists_in_headers_are_read_over_all_values() {
    let checked = edit("{}", |request| {
        assert!(!request.remove_from_header("x-list", "a")?);
        assert!(request.add_to_header("x-list", "a")?);
        assert_eq!(request.header("x-list"), ["a"]);
        request.set_header("x-list", ["a , b", "c", " , "])?;
        assert_eq!(request.header_list("X-List"), ["a", "b", "c"]);
        assert!(!request.add_to_header("x-list", "b")?);
        assert!(request.remove_from_header("x-list", "c")?);
        assert_eq!(request.header("x-list"), ["a , b", " , "]);
        Ok(())
    });
    checked.unwrap();
}

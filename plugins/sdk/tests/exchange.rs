//! What `testing::Exchange` promises: that a rule meets natively what it meets in the gateway.

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, EditError, Error, Event, EventVerdict, Failure, FailureHook, Guard, Hook,
    Manifest, Operation, Plugin, Request, RequestHook, Response, ResponseHook, Retry, Target,
    Verdict, export, json, kv, log, settings,
    testing::{Exchange, Failed},
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

/// A rule that uses everything once.
#[derive(Debug, Default)]
struct Everything {
    attempts: u32,
    events: u32,
}

impl Plugin for Everything {
    fn describe() -> Result<Manifest, Error> {
        let _: Settings = settings()?;
        Ok(Manifest::new("uses everything once")
            .attempt(Guard::new().lacks(["x"]).path("$.model"))
            .attempt(Guard::new().dialects(["gemini"]).kinds(["count_tokens"])))
    }
}

impl RequestHook for Everything {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let Settings { tag, fail } = settings()?;
        request.patch([Operation::add("/tag", tag)])?;
        request.set_header("x-seen", ["yes"])?;
        if fail {
            return Err(Error::new("failed on purpose"));
        }
        Ok(Verdict::proceed())
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
        Ok(Verdict::proceed())
    }
}

impl FailureHook for Everything {
    fn on_failure(
        &mut self,
        request: &Request,
        _: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        if request.has("$.attempt")? && failure.status() == 400 {
            failure.set_retry(Retry::Same, Duration::from_millis(5))?;
            failure.set_rest(Duration::from_secs(1))?;
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
fn settings_are_checked_where_the_plugin_is_described() {
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
fn what_kv_holds_outlives_the_exchange_until_its_time_is_up() {
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
    // 200 is no failure, so the hook errs after it has asked for a retry.
    assert!(exchange.on_failure(&mut failed).is_err());
    assert_eq!((failed.retry(), failed.rest()), (None, None));
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
fn a_cut_answer_is_not_complete() {
    let mut exchange = Exchange::<Everything>::new(BODY);
    exchange.on_event(Event::new("one", json!({}))).unwrap();
    assert_eq!(exchange.on_cut().unwrap()[0].data, "false");
}

/// A rule that tries what is not allowed.
#[derive(Debug, Default)]
struct Forbidden;

impl Plugin for Forbidden {
    fn describe() -> Result<Manifest, Error> {
        Ok(Manifest::new("tries what is not allowed"))
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
        Ok(Verdict::proceed())
    }
}

#[test]
fn what_is_not_allowed_is_an_error_and_no_edit() {
    let mut exchange = Exchange::<Forbidden>::new(BODY).header("x-api-key", "secret");
    exchange.on_request().unwrap();
    assert_eq!(exchange.body(), BODY);
}

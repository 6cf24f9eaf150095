//! Mends what one server sends and wants, between the dialect and the upstream. Without settings it
//! changes nothing.
//!
//! | setting | meaning |
//! | --- | --- |
//! | `dialects` | the dialects that its guards name; by default `openai` |
//! | `path` | the JSONPath of its attempt guard |
//! | `set` | an object from pointers to the values that are added to the body that is sent |
//! | `saw` | set the header `x-wire-saw`: the path and the client's `anthropic-version` |
//! | `mend` | an object from texts to what replaces them in events and bodies |
//! | `retry` | a text: an error that contains it is tried again, if the request has what `path` selects |
//! | `fails` | it fails at the first event or body |

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Operation,
    Plugin, Request, Response, ResponseHook, RetryTarget, Stage, Target, Value, Verdict, export,
};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    dialects: Vec<String>,
    path: Option<String>,
    set: BTreeMap<String, Value>,
    saw: bool,
    mend: BTreeMap<String, String>,
    retry: Option<String>,
    fails: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialects: vec!["openai".to_owned()],
            path: None,
            set: BTreeMap::new(),
            saw: false,
            mend: BTreeMap::new(),
            retry: None,
            fails: false,
        }
    }
}

struct Wire {
    settings: Settings,
}

impl Plugin for Wire {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    fn describe(&self) -> Manifest {
        let guard = || {
            let guard = Guard::new().kinds(["messages", "count_tokens"]);
            match self.settings.dialects.as_slice() {
                [] => guard,
                dialects => guard.dialects(dialects),
            }
        };
        let attempt = match &self.settings.path {
            Some(path) => guard().path(path),
            None => guard(),
        };
        Manifest::new("mends what one server sends and wants")
            .stage(Stage::Wire)
            .attempt(attempt)
            .failure(guard())
            .response(guard())
    }
}

impl AttemptHook for Wire {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        let set = self.settings.set.iter();
        let edits: Vec<_> = set
            .map(|(pointer, value)| Operation::add(pointer, value.clone()))
            .collect();
        request.patch(edits)?;
        if self.settings.saw {
            let version = request.header("anthropic-version");
            let saw = format!("{} {}", request.path(), version.join(","));
            request.set_header("x-wire-saw", [saw.trim_end()])?;
        }
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Wire {
    fn on_failure(
        &mut self,
        request: &Request,
        _: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let Some(text) = &self.settings.retry else {
            return Ok(());
        };
        let sent = match &self.settings.path {
            Some(path) => request.matches(path)?,
            None => true,
        };
        if sent && failure.body().contains(text) {
            failure.set_retry(RetryTarget::SameAccount, Duration::ZERO);
        }
        Ok(())
    }
}

impl ResponseHook for Wire {
    fn on_event(&mut self, _: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        self.check()?;
        let data = self.mended(&event.data);
        if data == event.data {
            return Ok(EventVerdict::Keep);
        }
        Ok(EventVerdict::Replace(vec![Event { data, ..event }]))
    }

    fn on_body(&mut self, _: &mut Response, body: String) -> Result<Option<String>, Error> {
        self.check()?;
        let mended = self.mended(&body);
        Ok((mended != body).then_some(mended))
    }
}

impl Wire {
    fn check(&self) -> Result<(), Error> {
        match self.settings.fails {
            true => Err(Error::new("failed on purpose on the wire")),
            false => Ok(()),
        }
    }

    fn mended(&self, text: &str) -> String {
        let mend = self.settings.mend.iter();
        mend.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

export!(Wire: AttemptHook, FailureHook, ResponseHook);

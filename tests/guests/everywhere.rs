// Shared by the guests that misbehave: a plugin with every hook, which calls `crate::misbehave`
// where the settings say.
//
// | setting | meaning |
// | --- | --- |
// | `in` | `describe`, `request` (default), `attempt`, `failure`, `event`, `end` or `body` |
// | `call` | at which call of that hook in one exchange; 1 by default |
// | `edits` | whether to add the member `spoiled` to the body first, to show that the edit is undone |

use serde::Deserialize;
use witgate_plugin::{
    AttemptHook, Error, Event, EventVerdict, Failure, FailureHook, Guard, Manifest, Operation,
    Plugin, Request, RequestHook, Response, ResponseHook, Target, Verdict,
};

/// Where and how, from the settings.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plan {
    r#in: String,
    call: u32,
    edits: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            r#in: "request".to_owned(),
            call: 1,
            edits: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Everywhere {
    plan: Plan,
    calls: u32,
}

impl Everywhere {
    fn at(&mut self, hook: &str, request: Option<&mut Request>) -> Result<(), Error> {
        if self.plan.r#in != hook {
            return Ok(());
        }
        self.calls += 1;
        if self.calls != self.plan.call {
            return Ok(());
        }
        if let (Some(request), true) = (request, self.plan.edits) {
            request.patch([Operation::add("/spoiled", true)])?;
        }
        crate::misbehave(hook)
    }
}

impl Plugin for Everywhere {
    type Settings = Plan;

    fn new(plan: Plan) -> Result<Self, Error> {
        let mut made = Self { plan, calls: 0 };
        made.at("describe", None)?;
        Ok(made)
    }

    fn describe(&self) -> Manifest {
        let every = || Guard::new().kinds(["messages", "count_tokens"]);
        Manifest::new("misbehaves where the settings say")
            .request(every())
            .attempt(every())
            .failure(every())
            .response(every())
    }
}

impl RequestHook for Everywhere {
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        self.at("request", Some(request))?;
        Ok(Verdict::Proceed)
    }
}

impl AttemptHook for Everywhere {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        self.at("attempt", Some(request))?;
        Ok(Verdict::Proceed)
    }
}

impl FailureHook for Everywhere {
    fn on_failure(&mut self, _: &Request, _: &Target, _: &mut Failure) -> Result<(), Error> {
        self.at("failure", None)
    }
}

impl ResponseHook for Everywhere {
    fn on_event(&mut self, _: &mut Response, _: Event) -> Result<EventVerdict, Error> {
        self.at("event", None)?;
        Ok(EventVerdict::Keep)
    }

    fn on_end(&mut self, _: &mut Response) -> Result<Vec<Event>, Error> {
        self.at("end", None)?;
        Ok(Vec::new())
    }

    fn on_body(&mut self, _: &mut Response, _: String) -> Result<Option<String>, Error> {
        self.at("body", None)?;
        Ok(None)
    }
}

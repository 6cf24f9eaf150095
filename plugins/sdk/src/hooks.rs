//! The points of an exchange at which the gateway calls a plugin, one trait each.

use crate::{
    error::Error,
    failure::Failure,
    manifest::Manifest,
    request::{Request, Target},
    response::{Event, EventVerdict, Response},
    verdict::Verdict,
};

/// What every plugin is: something made by `Default`, once per exchange, that can describe itself.
pub trait Plugin: Default {
    /// Called when the plugin is loaded and each time its settings change, in an instance that sees no exchange.
    ///
    /// Check the settings here, by [`settings`](crate::settings()): an error refuses the plugin, or the changed
    /// configuration, with its text, and whatever ran before goes on.
    fn describe() -> Result<Manifest, Error>;
}

/// Called once per exchange, before a route or an upstream is chosen, in the order of the plugins.
pub trait RequestHook: Plugin {
    /// May edit the request for all attempts, answer it at once, or refuse it.
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let _ = request;
        Ok(Verdict::proceed())
    }
}

/// Called once per attempt, after upstream, account and model are chosen and before the request is sent, in the order
/// of the plugins.
pub trait AttemptHook: Plugin {
    /// May edit the request for this target. An exchange that is tried again passes here again, with the request as
    /// the request hook left it, so do not count requests here.
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let _ = (request, target);
        Ok(Verdict::proceed())
    }
}

/// Called after an attempt failed, in reverse order of the plugins: no connection, an error status, an answer that is
/// none, or an error as first event. Never after the first event has gone to the client.
pub trait FailureHook: Plugin {
    /// May correct what the failure means and ask for another attempt. The request is there to be read: ask for the
    /// retry here and make the edits in the next [`AttemptHook::on_attempt`].
    fn on_failure(
        &mut self,
        request: &Request,
        target: &Target,
        failure: &mut Failure,
    ) -> Result<(), Error> {
        let _ = (request, target, failure);
        Ok(())
    }
}

/// Called while the answer goes to the client, in reverse order of the plugins. Answers that were made locally do not
/// pass here.
///
/// The client's stream and the client's JSON look the same: a JSON message arrives as the events that would have made
/// it.
pub trait ResponseHook: Plugin {
    /// Called for each event of a message, in order.
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let _ = (response, event);
        Ok(EventVerdict::Keep)
    }

    /// Called once after the last event, if the plugin was shown any, also when the answer was cut short
    /// ([`Response::complete`] tells). Events handed back are sent to the client; after a cut only text that was held back, never a `message_stop`.
    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let _ = response;
        Ok(Vec::new())
    }

    /// Called with the JSON text of an answer that is no message, such as that of `count_tokens`. `None` keeps it,
    /// a JSON text replaces it.
    fn on_body(&mut self, response: &mut Response, body: String) -> Result<Option<String>, Error> {
        let _ = (response, body);
        Ok(None)
    }
}

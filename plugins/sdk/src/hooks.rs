//! The points of an exchange at which the gateway calls a plugin, one trait each.

use serde::de::DeserializeOwned;

use crate::{
    error::Error,
    failure::Failure,
    manifest::Manifest,
    request::{Request, Target},
    response::{Event, EventVerdict, Response},
    verdict::Verdict,
};

/// A plugin, which is made from its settings once per exchange and describes itself.
pub trait Plugin: Sized {
    /// The object from `[plugin.NAME] settings` of the gateway's configuration. Without settings it
    /// is the default; [`NoSettings`](crate::NoSettings) is for a plugin that has none.
    ///
    /// With `#[serde(deny_unknown_fields)]` a misspelt key is an error when the plugin is loaded.
    /// `derive` needs `serde` with its feature `derive` among the plugin's own dependencies.
    ///
    /// ```
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Settings {
    ///     most: u64,
    /// }
    ///
    /// let settings: Settings = serde_json::from_str(r#"{"most": 5}"#)?;
    /// assert_eq!(settings.most, 5);
    /// assert!(serde_json::from_str::<Settings>(r#"{"mots": 5}"#).is_err());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    type Settings: DeserializeOwned + Default;

    /// Makes the plugin for one exchange, before its first hook is called.
    ///
    /// Also called when the plugin is loaded, and each time its settings change: an error then
    /// rejects the plugin, or the changed configuration, with this text, and the previous version
    /// keeps running. So check the settings here.
    fn new(settings: Self::Settings) -> Result<Self, Error>;

    /// Describes the plugin: what it does, and when its hooks are called.
    ///
    /// Called when the plugin is loaded and each time its settings change, right after
    /// [`new`](Self::new), on a plugin that sees no exchange.
    fn describe(&self) -> Manifest;
}

/// Called once per exchange, before a route or an upstream is chosen, in the order of the plugins.
pub trait RequestHook: Plugin {
    /// Edits the request for all attempts, answers it, or refuses it.
    fn on_request(&mut self, request: &mut Request) -> Result<Verdict, Error> {
        let _ = request;
        Ok(Verdict::Proceed)
    }
}

/// Called once per attempt, after upstream, account and model are chosen and before the request is
/// sent, in the order of the plugins.
pub trait AttemptHook: Plugin {
    /// Edits the request for this target, answers it, or refuses it.
    ///
    /// A retried exchange is shown here again, with the request as the request hooks left it, so do
    /// not count requests here.
    fn on_attempt(&mut self, request: &mut Request, target: &Target) -> Result<Verdict, Error> {
        let _ = (request, target);
        Ok(Verdict::Proceed)
    }
}

/// Called after a failed attempt, in reverse order of the plugins: no connection, an error status,
/// an unusable response, or a stream whose first event is an error. Never after the first event has
/// been sent to the client.
pub trait FailureHook: Plugin {
    /// Corrects what the failure means, and may ask for another attempt.
    ///
    /// The request can be read but not edited: ask for the retry here, and edit in the next
    /// [`AttemptHook::on_attempt`].
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

/// Called while the response goes to the client, in reverse order of the plugins. Answers of
/// plugins are not shown.
///
/// A response looks the same whether the client wants a stream or JSON: a JSON message is shown as
/// the events that make it up.
pub trait ResponseHook: Plugin {
    /// Called for each event of a message, in order. [`Event::typed`] reads it.
    fn on_event(&mut self, response: &mut Response, event: Event) -> Result<EventVerdict, Error> {
        let _ = (response, event);
        Ok(EventVerdict::Keep)
    }

    /// Called once after the last event, if the plugin was shown any, also after the response was
    /// cut short ([`Response::complete`] says which). The returned events are sent to the client.
    ///
    /// After a cut return only text that was held back, and never a `message_stop`.
    fn on_end(&mut self, response: &mut Response) -> Result<Vec<Event>, Error> {
        let _ = response;
        Ok(Vec::new())
    }

    /// Called with the JSON text of a response that is not a message, such as a token count. `None`
    /// keeps it, a JSON text replaces it.
    fn on_body(&mut self, response: &mut Response, body: String) -> Result<Option<String>, Error> {
        let _ = (response, body);
        Ok(None)
    }
}

//! One attempt of an exchange: a copy of the request, the attempt hooks, the request to the
//! upstream and the beginning of its response.

mod response; // the beginning of a response: usable, or a failed attempt
mod opening; // the beginning of a stream (pure)
mod content; // whether JSON and events are a message with content (pure)
mod foreign_error; // errors in other shapes with a success status (pure)
mod json_lines; // lines of JSON as events
mod translate; // a response in another dialect, translated as it arrives
mod collected; // a stream read to its end
mod extra_body; // the operator's additions to a body (pure)
mod error; // why an attempt failed
mod refusal; // which 403 is about the account (pure)
mod limit; // faults for responses over a limit
mod envelope; // Anthropic's error envelope
mod status; // how an attempt ended, in a word

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use witgate_document::{Operation, string};

use crate::{
    accounts::AccountOutcome,
    fault::{Blame, Fault, Kind, Retry},
    ids::{AccountId, PluginId},
    message::{Request, RequestKind, Response, Target},
    off_worker::{is_large, off_worker},
    pipeline::{Decision, LocalAnswer, Receipt, ResponseHead, Run},
    secret::Secret,
    upstream::Credential,
};

use super::{Progress, Snapshot, causes::Cause};

pub(super) use content::{has_stop_reason, is_last};
pub(super) use envelope::error_words;
pub(crate) use error::AttemptError;
pub(super) use foreign_error::{foreign_error, foreign_error_fault};
pub(super) use limit::{only_pings, too_long};
pub(super) use response::{Deadline, JsonResponse, Received, StreamResponse, read_response};
pub(super) use status::AttemptStatus;

/// How an attempt ended.
pub(super) enum AttemptEnd {
    /// A usable response.
    Received(Received),
    /// A plugin answered instead of the upstream.
    Answered {
        plugin: PluginId,
        answer: LocalAnswer,
    },
    /// A plugin refused this target.
    Refused {
        plugin: PluginId,
        fault: Fault,
        try_next: bool,
    },
    /// An error, after the failure hooks.
    Error(Box<AttemptError>),
    /// A plugin or the gateway itself failed.
    Fault(Fault),
}

impl AttemptEnd {
    /// The end that a hook decided on; `None` if the exchange goes on.
    pub(super) fn of(decided: Result<Decision, Fault>) -> Option<Self> {
        match decided {
            Ok(Decision::Proceed) => None,
            Ok(Decision::Answer { plugin, answer }) => Some(Self::Answered { plugin, answer }),
            Ok(Decision::Refuse {
                plugin,
                fault,
                try_next,
            }) => Some(Self::Refused {
                plugin,
                fault,
                try_next,
            }),
            Err(fault) => Some(Self::Fault(fault)),
        }
    }

    /// What it says about the account.
    pub(super) fn account_outcome(&self, request: &Request) -> AccountOutcome {
        match self {
            Self::Received(received) if received.is_empty() => AccountOutcome::Neutral,
            Self::Received(_) if request.kind == RequestKind::Messages => AccountOutcome::Success,
            Self::Error(error) => error.account_outcome(request),
            _ => AccountOutcome::Neutral,
        }
    }

    /// Why its account goes on cooldown, if it does.
    pub(super) fn cooldown_cause(&self) -> Option<Cause> {
        match self {
            Self::Error(error) => Some(error.cooldown_cause()),
            _ => None,
        }
    }

    /// How it ended: a status code or a word.
    pub(super) fn status(&self) -> AttemptStatus {
        match self {
            Self::Received(received) => AttemptStatus::Code(received.status().as_u16()),
            Self::Error(error) => error.attempt_status(),
            Self::Answered { .. } => AttemptStatus::Word("answered"),
            Self::Refused { .. } => AttemptStatus::Word("refused"),
            Self::Fault(_) => AttemptStatus::Word("failed"),
        }
    }

    /// Why it is retried, as a metrics label.
    pub(super) fn retry_cause(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Error(error) => error.cause(),
            Self::Received(_) => "empty",
            Self::Answered { .. } | Self::Fault(_) => "other",
        }
    }
}

/// Runs one attempt. `request` is as the request hooks left it; all edits are made on a copy.
/// `may_renew` says whether a rejected credential may be renewed for another attempt.
pub(super) async fn run(
    progress: &mut Progress<'_>,
    snapshot: &Snapshot,
    request: &Request,
    target: &Target,
    may_renew: bool,
) -> AttemptEnd {
    let run = &mut *progress.run;
    let mut request = request.clone();
    let (host_edits, edited) = off_worker(is_large(&request.body), || {
        let edits = HostEdits::of(snapshot, &request, target);
        (edits, request.body.patch(&edits.edits(target)))
    });
    if let Err(error) = edited {
        let what = "the request body cannot be edited for its route";
        return AttemptEnd::Fault(Fault::client(Kind::BadRequest, what).from(error));
    }
    match AttemptEnd::of(run.on_attempt(&mut request, target).await) {
        None => {}
        // No plugin translates for this upstream. Another upstream may serve the request.
        Some(AttemptEnd::Fault(fault)) if fault.retry == Retry::Failover => {
            return AttemptEnd::Error(Box::new(AttemptError::no_response(target, fault)));
        }
        Some(end) => return end,
    }
    if let Err(fault) = add_extra_body(snapshot, &mut request, target) {
        return AttemptEnd::Fault(fault);
    }
    if let Some(prefix) = &mut progress.prefix {
        prefix.sends(run, &request, target, host_edits);
        progress.record.prefix = prefix.compare();
    }
    let mut used = None;
    let mut error = match send(run, snapshot, &request, target, host_edits, &mut used).await {
        Ok(received) => {
            if let Some(prefix) = &mut progress.prefix {
                prefix.keep();
            }
            return AttemptEnd::Received(received);
        }
        // Another attempt would fail in the same way.
        Err(error) if error.fault().is_some_and(would_recur) => {
            return AttemptEnd::Fault(error.into_fault());
        }
        Err(error) => error,
    };
    error.hide(keys_sent(used.as_ref(), &request.credentials));
    let shown = error.failure.clone();
    // Boxed: most attempts do not fail, but all would reserve space for this future.
    match Box::pin(run.on_failure(&request, target, shown)).await {
        Ok(failure) => error.failure = failure,
        Err(fault) => return AttemptEnd::Fault(fault),
    }
    if let (Some(account), Some(used)) = (&target.account, &used)
        && error.rejected_our_credential()
    {
        let accounts = &snapshot.accounts;
        let renewed = accounts.credential_rejected(target.index, account, used);
        error.renewed = renewed && may_renew;
    }
    AttemptEnd::Error(error)
}

/// The keys with which a request was sent: the account's, or else the client's own.
pub(crate) fn keys_sent<'a>(
    account: Option<&'a Secret>,
    own: &'a HeaderMap,
) -> impl Iterator<Item = &'a [u8]> {
    let own = own.values().filter(move |_| account.is_none());
    // Without the scheme, such as `Bearer`.
    let own = own.filter_map(|value| value.as_bytes().rsplit(|byte| *byte == b' ').next());
    let account = account.map(|key| key.expose().as_bytes());
    account.into_iter().chain(own)
}

/// Applies the upstream's `extra_body` to the body as the upstream gets it: after all plugins.
fn add_extra_body(
    snapshot: &Snapshot,
    request: &mut Request,
    target: &Target,
) -> Result<(), Fault> {
    let Some(patch) = HostEdits::extra_body(snapshot, request, target) else {
        return Ok(());
    };
    let edited = off_worker(is_large(&request.body), || {
        let edits = extra_body::edits(&request.body, patch)?;
        request.body.patch(&edits)
    });
    edited.map_err(|error| {
        let what = "the request body cannot be edited for `extra_body`";
        Fault::client(Kind::BadRequest, what).from(error)
    })
}

/// Whether every attempt would fail in this way: a plugin failed, or the gateway is out of
/// capacity.
fn would_recur(fault: &Fault) -> bool {
    matches!(fault.blame, Blame::Plugin(_)) || fault.kind == Kind::Overloaded
}

/// What the gateway itself changes in the body that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostEdits {
    /// The route maps the model to another one.
    pub(super) route: bool,
    /// A stream is requested from the upstream although the client wants JSON.
    pub(super) force_stream: bool,
    /// How many members the upstream's `extra_body` sets.
    pub(super) extra_body: u32,
}

impl HostEdits {
    /// The merge patch for the body; `None` if there is nothing to add to this request.
    fn extra_body<'a>(
        snapshot: &'a Snapshot,
        request: &Request,
        target: &Target,
    ) -> Option<&'a Map<String, Value>> {
        let patch = &snapshot.upstreams.at(target.index)?.config.extra.body;
        (request.kind == RequestKind::Messages && !patch.is_empty()).then_some(patch)
    }

    pub(super) fn of(snapshot: &Snapshot, request: &Request, target: &Target) -> Self {
        let upstream = snapshot.upstreams.at(target.index);
        // A dialect translates streams.
        let forces =
            target.is_foreign() || upstream.is_some_and(|upstream| upstream.config.force_stream);
        let members = Self::extra_body(snapshot, request, target).map_or(0, Map::len);
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        Self {
            route: target.model != request.effective_model(),
            force_stream: forces && request.kind == RequestKind::Messages && !request.stream,
            extra_body: members,
        }
    }

    fn edits(self, target: &Target) -> Vec<Operation> {
        let route = self.route.then(|| Operation::Replace {
            at: "/model".to_owned(),
            value: string::encode(&target.model).into(),
        });
        let force_stream = self.force_stream.then(|| Operation::Add {
            at: "/stream".to_owned(),
            value: Bytes::from_static(b"true"),
        });
        route.into_iter().chain(force_stream).collect()
    }
}

/// The edits by plugins and by the gateway, in one line: `strip-cache-control=4, route=1`.
pub(super) fn edits(receipt: &Receipt, host_edits: HostEdits) -> String {
    let mut edited: Vec<(&str, u32)> = Vec::new();
    for edits in &receipt.edits {
        let name = edits.plugin.as_str();
        match edited.iter_mut().find(|(plugin, _)| *plugin == name) {
            Some((_, count)) => *count += edits.count,
            None => edited.push((name, edits.count)),
        }
    }
    edited.extend(host_edits.route.then_some(("route", 1)));
    edited.extend(host_edits.force_stream.then_some(("force-stream", 1)));
    let extra_body = host_edits.extra_body;
    edited.extend((extra_body > 0).then_some(("extra-body", extra_body)));
    let edited = edited
        .into_iter()
        .map(|(name, count)| format!("{name}={count}"));
    let skipped = receipt
        .skipped
        .iter()
        .map(|(plugin, _)| format!("{plugin}=skipped"));
    edited.chain(skipped).collect::<Vec<_>>().join(", ")
}

/// Sends the request and reads the beginning of the response, translated to Anthropic's dialect.
/// Sets `used` to the account's credential that is sent.
async fn send(
    run: &mut Run,
    snapshot: &Snapshot,
    request: &Request,
    target: &Target,
    host_edits: HostEdits,
    used: &mut Option<Secret>,
) -> Result<Received, Box<AttemptError>> {
    let no_response = |fault| Box::new(AttemptError::no_response(target, fault));
    let Some(upstream) = snapshot.upstreams.at(target.index) else {
        let what = format!("upstream `{}` is no longer configured", target.upstream);
        return Err(no_response(Fault::gateway(what)));
    };
    if let Some(account) = &target.account {
        let key = snapshot.accounts.credential(target.index, account).await;
        *used = Some(key.map_err(no_response)?);
    }
    let credential = used.as_ref().map_or(
        Credential::Client(&request.credentials),
        Credential::Account,
    );
    let limits = &snapshot.config.retry;
    let streams = request.stream || host_edits.force_stream;
    let deadline = if request.kind == RequestKind::Messages && streams {
        let first_event = upstream.config.first_event.unwrap_or(limits.first_event);
        Deadline::of(target, "event", first_event)
    } else {
        Deadline::of(target, "response", limits.answer)
    };
    let edits = edits(run.receipt(), host_edits);
    let response = deadline
        .wait(upstream.send(request, credential, &edits))
        .await
        .and_then(|sent| sent)
        .map_err(no_response)?;
    // Error responses are translated by the failure hooks.
    let translator = match response.status.is_success() {
        true => run.translator(target, || head_of(request, target, &response)),
        false => None,
    };
    match read_response(response, request.kind, target, &deadline, translator).await? {
        Received::Stream(stream) if !request.stream => {
            let collected = stream.collect(target, limits.idle).await;
            collected.map(Received::Json)
        }
        received => Ok(received),
    }
}

/// The response head that a dialect's plugin sees, with the upstream's headers.
pub(super) fn head_of(request: &Request, target: &Target, response: &Response) -> ResponseHead {
    ResponseHead {
        id: request.id.clone(),
        session: request.session.clone(),
        conversation: request.conversation.clone(),
        status: response.status,
        headers: response.headers.clone(),
        streaming: request.stream,
        target: target.clone(),
    }
}

/// Headers that say where the client's response came from. The account is named only if
/// `expose_account` is set.
pub(super) fn origin(target: &Target, expose_account: bool, edits: &str) -> HeaderMap {
    let account = target.account.as_ref().filter(|_| expose_account);
    let headers = [
        ("x-account-email", account.map_or("", AccountId::as_str)),
        ("x-mapped-model", &*target.model),
        ("x-witgate-edits", edits),
    ];
    let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
    // A model that is not a valid header value is left out.
    let headers = headers.filter_map(|(name, value)| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_str(value).ok()?,
        ))
    });
    headers.collect()
}

/// A target for unit tests, without an account.
#[cfg(test)]
pub(super) fn test_target() -> Target {
    Target {
        upstream: "up".parse().unwrap(),
        index: 0,
        dialect: "anthropic".into(),
        account: None,
        model: "m".into(),
        requested_model: "m".into(),
        attempt: 1,
        lacks: std::sync::Arc::default(),
        version: 0,
    }
}

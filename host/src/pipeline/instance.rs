//! One store and instance per plugin and exchange, with its deadline, memory limit and errors.
//!
//! A trap or a dropped call poisons a store, so callers drop the instance after any
//! [`PluginError`].

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{error::Elapsed, timeout};
use wasmtime::{Store, Trap, UpdateDeadline, component::Resource};
use witgate_contract::limits;

use super::{
    bindings::{
        Event as GuestEvent, EventVerdict, HookError, Verdict, attempt, failure, plugin, request,
        response,
    },
    host_functions::{FailureView, Host, RequestView, ResponseView, TargetView, Tenant},
    plugin::Code,
    runtime::{Runtime, overloaded},
    ticker::{Allowance, Ticker},
    verdict::Returned,
};
use crate::{
    fault::Fault,
    ids::{ExchangeId, PluginId},
    message::{Event, Target},
};

pub(super) struct Instance {
    store: Store<Host>,
    instance: wasmtime::component::Instance,
    code: Arc<Code>,
    runtime: Arc<Runtime>,
    hooks: Hooks,
}

/// Hooks that were called, bound on first use.
#[derive(Default)]
struct Hooks {
    request: Option<request::RequestPlugin>,
    attempt: Option<attempt::AttemptPlugin>,
    failure: Option<failure::FailurePlugin>,
    response: Option<response::ResponsePlugin>,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum PluginError {
    /// The text of the panic.
    Panicked(String),
    Deadline(Duration),
    Memory(usize),
    /// Any other trap, in the engine's words.
    Trapped(String),
    /// The hook's own error.
    Failed(String),
    /// The client's body is not JSON where the hook had to read it.
    BadDocument(String),
    /// What the hook returned cannot be used.
    Unusable(String),
    /// All instance slots are in use.
    NoSlot,
    /// The store did not return what it was lent.
    Lost,
}

/// The time limit of a call with a body of this size.
pub(super) fn deadline(configured: Option<Duration>, size: usize) -> Duration {
    configured.unwrap_or_else(|| {
        let mib = u32::try_from(size >> 20).unwrap_or(u32::MAX);
        limits::DEADLINE + limits::DEADLINE_PER_MIB.saturating_mul(mib)
    })
}

impl Instance {
    pub(super) async fn new(
        runtime: &Arc<Runtime>,
        code: &Arc<Code>,
        tenant: &Arc<Tenant>,
        memory: usize,
        exchange: Option<ExchangeId>,
    ) -> Result<Self, PluginError> {
        let time = Allowance::new(runtime.ticker.ticks());
        let host = Host::new(Arc::clone(tenant), exchange, memory, time);
        let mut store = Store::new(&runtime.engine, host);
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(limits::HOST_CALL);
        store.set_max_component_handles(limits::OWN_HANDLES);
        store.epoch_deadline_callback(|mut store| {
            Ok(match store.data_mut().time.charge() {
                // Tokio's own yield lets sockets be polled in between. A plain wake would only let
                // other ready tasks run, and a thread with nothing but a spinning guest would poll
                // its sockets every 61st tick.
                Some(turn) => {
                    let others = async move {
                        tokio::task::yield_now().await;
                        turn.resume();
                    };
                    UpdateDeadline::YieldCustom(1, Box::pin(others))
                }
                None => UpdateDeadline::Interrupt,
            })
        });
        arm(&mut store, limits::DEADLINE);
        let making = code.pre.instantiate_async(&mut store);
        let made = watched(&runtime.ticker, limits::DEADLINE, making).await;
        match made {
            Ok(Ok(instance)) => Ok(Self {
                store,
                instance,
                code: Arc::clone(code),
                runtime: Arc::clone(runtime),
                hooks: Hooks::default(),
            }),
            Ok(Err(error)) => Err(plugin_error(store.data(), &error, limits::DEADLINE)),
            Err(_) => Err(PluginError::Deadline(limits::DEADLINE)),
        }
    }

    /// Binds every hook that the component exports, which checks their types.
    pub(super) fn bind_all(&mut self) -> wasmtime::Result<()> {
        let (code, store, instance) = (&self.code, &mut self.store, &self.instance);
        if let Some(hook) = &code.request {
            hook.load(&mut *store, instance)?;
        }
        if let Some(hook) = &code.attempt {
            hook.load(&mut *store, instance)?;
        }
        if let Some(hook) = &code.failure {
            hook.load(&mut *store, instance)?;
        }
        if let Some(hook) = &code.response {
            hook.load(&mut *store, instance)?;
        }
        Ok(())
    }

    pub(super) async fn describe(
        &mut self,
        settings: String,
        limit: Duration,
    ) -> Result<String, PluginError> {
        let bound = self.code.manifest.load(&mut self.store, &self.instance);
        let bound: plugin::Plugin = bound.map_err(|error| PluginError::Trapped(flat(&error)))?;
        arm(&mut self.store, limit);
        let call = bound
            .witgate_plugin_manifest()
            .call_describe(&mut self.store, &settings);
        let ended = watched(&self.runtime.ticker, limit, call).await;
        self.judge(ended, limit)
    }

    /// Calls `on-request`. The view is always returned, unless the store has lost it.
    pub(super) async fn on_request(
        &mut self,
        view: RequestView,
        limit: Duration,
    ) -> (Result<Returned, PluginError>, Option<RequestView>) {
        let view = match self.lend(view) {
            Ok(view) => view,
            Err(error) => return (Err(error), None),
        };
        let verdict = self.call_on_request(view.rep(), limit).await;
        let outcome = verdict.and_then(|verdict| self.returned(verdict));
        (outcome, self.take_back(view))
    }

    async fn call_on_request(
        &mut self,
        view: u32,
        limit: Duration,
    ) -> Result<Verdict, PluginError> {
        let bound = bind(&mut self.hooks.request, || {
            let hook = self.code.request.as_ref()?;
            Some(hook.load(&mut self.store, &self.instance))
        });
        let Some(hook) = bound? else {
            return Ok(Verdict::Proceed);
        };
        arm(&mut self.store, limit);
        let call = hook
            .witgate_plugin_request_hook()
            .call_on_request(&mut self.store, Resource::new_borrow(view));
        let ended = watched(&self.runtime.ticker, limit, call).await;
        self.judge(ended, limit)
    }

    /// Calls `on-attempt`, as [`Self::on_request`] does.
    pub(super) async fn on_attempt(
        &mut self,
        view: RequestView,
        target: Target,
        limit: Duration,
    ) -> (Result<Returned, PluginError>, Option<RequestView>) {
        let view = match self.lend(view) {
            Ok(view) => view,
            Err(error) => return (Err(error), None),
        };
        let outcome = match self.lend(TargetView(target)) {
            Ok(target) => {
                let verdict = self.call_on_attempt(view.rep(), target.rep(), limit).await;
                self.take_back(target);
                verdict.and_then(|verdict| self.returned(verdict))
            }
            Err(error) => Err(error),
        };
        (outcome, self.take_back(view))
    }

    async fn call_on_attempt(
        &mut self,
        view: u32,
        target: u32,
        limit: Duration,
    ) -> Result<Verdict, PluginError> {
        let bound = bind(&mut self.hooks.attempt, || {
            let hook = self.code.attempt.as_ref()?;
            Some(hook.load(&mut self.store, &self.instance))
        });
        let Some(hook) = bound? else {
            return Ok(Verdict::Proceed);
        };
        arm(&mut self.store, limit);
        let call = hook.witgate_plugin_attempt_hook().call_on_attempt(
            &mut self.store,
            Resource::new_borrow(view),
            Resource::new_borrow(target),
        );
        let ended = watched(&self.runtime.ticker, limit, call).await;
        self.judge(ended, limit)
    }

    pub(super) async fn on_failure(
        &mut self,
        request: RequestView,
        target: Target,
        failure: FailureView,
        limit: Duration,
    ) -> Result<FailureView, PluginError> {
        bind(&mut self.hooks.failure, || {
            let hook = self.code.failure.as_ref()?;
            Some(hook.load(&mut self.store, &self.instance))
        })?;
        let (request, target) = (self.lend(request)?, self.lend(TargetView(target))?);
        let failure = self.lend(failure)?;
        if let Some(hook) = &self.hooks.failure {
            arm(&mut self.store, limit);
            let call = hook.witgate_plugin_failure_hook().call_on_failure(
                &mut self.store,
                Resource::new_borrow(request.rep()),
                Resource::new_borrow(target.rep()),
                Resource::new_borrow(failure.rep()),
            );
            let ended = watched(&self.runtime.ticker, limit, call).await;
            self.judge(ended, limit)?;
        }
        self.take_back(request);
        self.take_back(target);
        self.take_back(failure).ok_or_else(lost)
    }

    /// Calls `on-event`. Returns the verdict and the view with the edits of the call; `event` is as
    /// before.
    pub(super) async fn on_event(
        &mut self,
        view: ResponseView,
        event: &mut Event,
        limit: Duration,
    ) -> Result<(EventVerdict, ResponseView), PluginError> {
        self.bind_response()?;
        let view = self.lend(view)?;
        let Some(hook) = &self.hooks.response else {
            return Err(lost());
        };
        let shown = GuestEvent {
            name: std::mem::take(&mut event.name),
            data: std::mem::take(&mut event.data),
        };
        arm(&mut self.store, limit);
        let call = hook.witgate_plugin_response_hook().call_on_event(
            &mut self.store,
            Resource::new_borrow(view.rep()),
            &shown,
        );
        let ended = watched(&self.runtime.ticker, limit, call).await;
        (event.name, event.data) = (shown.name, shown.data);
        let verdict = self.judge(ended, limit)?;
        Ok((verdict, self.take_back(view).ok_or_else(lost)?))
    }

    pub(super) async fn on_end(
        &mut self,
        view: ResponseView,
        limit: Duration,
    ) -> Result<(Vec<GuestEvent>, ResponseView), PluginError> {
        self.bind_response()?;
        let view = self.lend(view)?;
        let Some(hook) = &self.hooks.response else {
            return Err(lost());
        };
        arm(&mut self.store, limit);
        let call = hook
            .witgate_plugin_response_hook()
            .call_on_end(&mut self.store, Resource::new_borrow(view.rep()));
        let ended = watched(&self.runtime.ticker, limit, call).await;
        let events = self.judge(ended, limit)?;
        Ok((events, self.take_back(view).ok_or_else(lost)?))
    }

    pub(super) async fn on_body(
        &mut self,
        view: ResponseView,
        body: String,
        limit: Duration,
    ) -> Result<(Option<String>, ResponseView), PluginError> {
        self.bind_response()?;
        let view = self.lend(view)?;
        let Some(hook) = &self.hooks.response else {
            return Err(lost());
        };
        arm(&mut self.store, limit);
        let call = hook.witgate_plugin_response_hook().call_on_body(
            &mut self.store,
            Resource::new_borrow(view.rep()),
            &body,
        );
        let ended = watched(&self.runtime.ticker, limit, call).await;
        let body = self.judge(ended, limit)?;
        Ok((body, self.take_back(view).ok_or_else(lost)?))
    }

    fn bind_response(&mut self) -> Result<(), PluginError> {
        bind(&mut self.hooks.response, || {
            let hook = self.code.response.as_ref()?;
            Some(hook.load(&mut self.store, &self.instance))
        })?;
        Ok(())
    }

    fn lend<T: Send + 'static>(&mut self, value: T) -> Result<Resource<T>, PluginError> {
        self.store
            .data_mut()
            .lend(value)
            .map_err(|error| PluginError::Trapped(error.to_string()))
    }

    fn take_back<T: 'static>(&mut self, handle: Resource<T>) -> Option<T> {
        self.store.data_mut().table.delete(handle).ok()
    }

    /// The verdict, with the answer or refusal that the plugin made.
    fn returned(&mut self, verdict: Verdict) -> Result<Returned, PluginError> {
        let host = self.store.data_mut();
        let returned = match verdict {
            Verdict::Proceed => Ok(Returned::Proceed),
            Verdict::Answer(answer) => host.take_draft(answer).map(Returned::Answer),
            Verdict::Refuse(refusal) => host.take_draft(refusal).map(Returned::Refuse),
        };
        returned.map_err(|error| PluginError::Trapped(flat(&error)))
    }

    fn judge<T, E: Into<PluginError>>(
        &self,
        ended: Result<wasmtime::Result<Result<T, E>>, Elapsed>,
        limit: Duration,
    ) -> Result<T, PluginError> {
        match ended {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(error)) => Err(plugin_error(self.store.data(), &error, limit)),
            Err(_) => Err(PluginError::Deadline(limit)),
        }
    }
}

/// The hook, bound to the instance on its first use. `None` if the component does not export it.
fn bind<H>(
    bound: &mut Option<H>,
    load: impl FnOnce() -> Option<wasmtime::Result<H>>,
) -> Result<Option<&H>, PluginError> {
    if bound.is_none() {
        let loaded = load().transpose();
        *bound = loaded.map_err(|error| PluginError::Trapped(flat(&error)))?;
    }
    Ok(bound.as_ref())
}

/// Starts the time limit of the next call.
fn arm(store: &mut Store<Host>, limit: Duration) {
    store.data_mut().time.begin(limit);
    store.set_epoch_deadline(1);
}

/// Runs a call while the deadline clock ticks. The outer timeout is for a guest that waits and does
/// not return to its code, where its time is charged. It is longer because a busy machine may give
/// a guest little CPU time.
async fn watched<T>(
    ticker: &Ticker,
    limit: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<wasmtime::Result<T>, Elapsed> {
    let _running = ticker.running();
    timeout(limit.saturating_mul(4) + Duration::from_secs(1), call).await
}

fn plugin_error(host: &Host, error: &wasmtime::Error, limit: Duration) -> PluginError {
    if host.limits.exceeded {
        return PluginError::Memory(host.limits.memory);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return PluginError::NoSlot;
    }
    if let Some(Trap::Interrupt) = error.downcast_ref() {
        return PluginError::Deadline(limit);
    }
    match host.stderr.panic() {
        Some(text) => PluginError::Panicked(text),
        None => PluginError::Trapped(flat(error)),
    }
}

/// This cannot happen: a guest only borrows what it was lent, and only exported hooks are called.
fn lost() -> PluginError {
    PluginError::Lost
}

/// An error of the engine and its causes, in one line.
pub(super) fn flat(error: &wasmtime::Error) -> String {
    one_line(&format!("{error:#}"))
}

/// Makes a plugin's text fit for a log line and an error body.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(1_000)
        .collect()
}

impl PluginError {
    /// The fault that ends the exchange, with the plugin's name.
    pub(super) fn fault(&self, plugin: &PluginId, hook: &str) -> Fault {
        match self {
            Self::NoSlot => overloaded(),
            Self::Panicked(_) => {
                Fault::plugin(plugin, format!("plugin `{plugin}` {self} (in `{hook}`)"))
            }
            _ => Fault::plugin(
                plugin,
                format!("plugin `{plugin}` failed: {self} (in `{hook}`)"),
            ),
        }
    }
}

impl From<String> for PluginError {
    fn from(text: String) -> Self {
        Self::Failed(one_line(&text))
    }
}

impl From<HookError> for PluginError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Failed(text) => text.into(),
            HookError::BadDocument(text) => Self::BadDocument(one_line(&text)),
        }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Deadline(limit) => write!(f, "exceeded its deadline of {} ms", limit.as_millis()),
            Self::Memory(limit) if limit % (1 << 20) == 0 => {
                write!(f, "exceeded its memory limit of {} MiB", limit >> 20)
            }
            Self::Memory(limit) => write!(f, "exceeded its memory limit of {} KiB", limit >> 10),
            Self::Trapped(text)
            | Self::Failed(text)
            | Self::BadDocument(text)
            | Self::Unusable(text) => f.write_str(text),
            Self::NoSlot => f.write_str("all plugin instances are in use"),
            Self::Lost => f.write_str("the instance did not return what the gateway lent it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_body_gets_more_time_and_configuration_has_the_last_word() {
        assert_eq!(deadline(None, 1_000), Duration::from_millis(250));
        assert_eq!(deadline(None, 3 << 20), Duration::from_millis(550));
        let configured = Some(Duration::from_millis(40));
        assert_eq!(deadline(configured, 3 << 20), Duration::from_millis(40));
    }

    #[test]
    fn errors_name_the_limit() {
        let errors = [
            (
                PluginError::Deadline(Duration::from_millis(250)),
                "exceeded its deadline of 250 ms",
            ),
            (
                PluginError::Memory(64 << 20),
                "exceeded its memory limit of 64 MiB",
            ),
            (
                PluginError::Memory(1_536 << 10),
                "exceeded its memory limit of 1536 KiB",
            ),
        ];
        for (error, text) in errors {
            assert_eq!(error.to_string(), text);
        }
    }
}

//! One store and instance per plugin and exchange, with its deadline, memory limit and errors.
//!
//! A trap or a dropped call poisons a store, so callers drop the instance after any
//! [`PluginError`].

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use wasmtime::{Store, Trap, UpdateDeadline};
use witgate_contract::{limits, manifest::Hook};

use super::{
    bindings::{
        Event as GuestEvent, EventVerdict, HookError, Verdict, attempt_hook, failure_hook,
        request_hook, response_hook,
    },
    code::Code,
    host_functions::{Host, Tenant},
    lend::Lend,
    runtime::{Runtime, out_of_memory, overloaded},
    ticker::{Allowance, CallTime, Ticker},
    trace::LogLine,
    trap,
    verdict::Returned,
    views::{FailureView, RequestView, ResponseView, TargetView},
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
    time: Arc<CallTime>,
    /// A call has begun and not ended.
    calling: bool,
    /// The time limit of the latest call.
    deadline: Duration,
}

/// Hooks that were called, bound on first use.
#[derive(Default)]
struct Hooks {
    request: Option<request_hook::Guest>,
    attempt: Option<attempt_hook::Guest>,
    failure: Option<failure_hook::Guest>,
    response: Option<response_hook::Guest>,
}

/// A method that returns the hook of its name, bound to the instance on its first use.
macro_rules! bind {
    ($hook:ident: $interface:ident, $guest:ident) => {
        fn $hook(&mut self) -> Result<$interface::Guest, PluginError> {
            if self.hooks.$hook.is_none() {
                let exported = self.code.$hook.as_ref().ok_or(PluginError::Lost)?;
                let bound = exported.load(&mut self.store, &self.instance);
                let bound = bound.map_err(|error| PluginError::Trapped(flat(&error)))?;
                self.hooks.$hook = Some(bound.$guest().clone());
            }
            self.hooks.$hook.clone().ok_or(PluginError::Lost)
        }
    };
}

/// How a call ended, and what was lent for it.
type Called<T, L> = (Result<T, PluginError>, Option<L>);

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
    /// The system has no memory for an instance.
    NoMemory,
    /// The store did not return what it was lent, or has no such hook. This cannot happen: a guest
    /// only borrows what it was lent, and only exported hooks are called.
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
        let time = store.data().time.time();
        let making = code.pre.instantiate_async(&mut store);
        let made = watched(&runtime.ticker, &time, making).await;
        match made {
            Some(Ok(instance)) => Ok(Self {
                store,
                time,
                instance,
                code: Arc::clone(code),
                runtime: Arc::clone(runtime),
                hooks: Hooks::default(),
                calling: false,
                deadline: limits::DEADLINE,
            }),
            Some(Err(error)) => Err(plugin_error(store.data(), &error, limits::DEADLINE)),
            None => Err(PluginError::Deadline(limits::DEADLINE)),
        }
    }

    /// Binds every hook that the component exports, which checks their types.
    pub(super) fn bind_all(&mut self) -> Result<(), PluginError> {
        for hook in self.code.hooks() {
            match hook {
                Hook::Request => {
                    self.request()?;
                }
                Hook::Attempt => {
                    self.attempt()?;
                }
                Hook::Failure => {
                    self.failure()?;
                }
                Hook::Response => {
                    self.response()?;
                }
            }
        }
        Ok(())
    }

    /// Whether it can be called. A call that was dropped before its end has left the store in the
    /// middle of it.
    pub(super) fn is_usable(&self) -> bool {
        !self.calling
    }

    /// The time limit of the latest call.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The memory that it has, in bytes. It never shrinks.
    pub(super) fn memory(&self) -> usize {
        self.store.data().limits.used()
    }

    /// Keeps the lines that the plugin logs, for [`Self::take_log`].
    pub(super) fn keep_log(&mut self) {
        self.store.data_mut().kept_log.get_or_insert_default();
    }

    /// The lines since the last time.
    pub(super) fn take_log(&mut self) -> Vec<LogLine> {
        let kept = self.store.data_mut().kept_log.as_mut();
        kept.map(std::mem::take).unwrap_or_default()
    }

    pub(super) async fn describe(
        &mut self,
        settings: String,
        limit: Duration,
    ) -> Result<String, PluginError> {
        let bound = self.code.manifest.load(&mut self.store, &self.instance);
        let bound = bound.map_err(|error| PluginError::Trapped(flat(&error)))?;
        let manifest = bound.witgate_plugin_manifest();
        self.run(limit, async |store| {
            manifest.call_describe(store, &settings).await
        })
        .await
    }

    /// Calls `on-request`. The view is always returned, unless the store has lost it.
    pub(super) async fn on_request(
        &mut self,
        view: RequestView,
        limit: Duration,
    ) -> Called<Returned, RequestView> {
        let call = async |hook: request_hook::Guest, store: &mut Store<Host>, (view,)| {
            hook.call_on_request(store, view).await
        };
        let (verdict, lent) = self.call(Self::request, (view,), limit, call).await;
        let outcome = verdict.and_then(|verdict| self.returned(verdict));
        (outcome, lent.map(|(view,)| view))
    }

    /// Calls `on-attempt`, as [`Self::on_request`] does.
    pub(super) async fn on_attempt(
        &mut self,
        view: RequestView,
        target: Target,
        limit: Duration,
    ) -> Called<Returned, RequestView> {
        let lent = (view, TargetView(target));
        let call = async |hook: attempt_hook::Guest, store: &mut Store<Host>, (view, target)| {
            hook.call_on_attempt(store, view, target).await
        };
        let (verdict, lent) = self.call(Self::attempt, lent, limit, call).await;
        let outcome = verdict.and_then(|verdict| self.returned(verdict));
        (outcome, lent.map(|(view, _)| view))
    }

    /// Calls `on-failure`. Returns the failure with the plugin's corrections.
    pub(super) async fn on_failure(
        &mut self,
        request: RequestView,
        target: Target,
        failure: FailureView,
        limit: Duration,
    ) -> Result<FailureView, PluginError> {
        let lent = (request, TargetView(target), failure);
        let call = async |hook: failure_hook::Guest,
                          store: &mut Store<Host>,
                          (request, target, failure)| {
            hook.call_on_failure(store, request, target, failure).await
        };
        let (outcome, lent) = self.call(Self::failure, lent, limit, call).await;
        outcome?;
        let (_, _, failure) = lent.ok_or(PluginError::Lost)?;
        Ok(failure)
    }

    /// Calls `on-event`. Returns the verdict and the view with the edits of the call; `event` is as
    /// before.
    pub(super) async fn on_event(
        &mut self,
        view: ResponseView,
        event: &mut Event,
        limit: Duration,
    ) -> Result<(EventVerdict, ResponseView), PluginError> {
        let shown = GuestEvent {
            name: std::mem::take(&mut event.name),
            data: std::mem::take(&mut event.data),
        };
        let call = async |hook: response_hook::Guest, store: &mut Store<Host>, (view,)| {
            hook.call_on_event(store, view, &shown).await
        };
        let called = self.call(Self::response, (view,), limit, call).await;
        (event.name, event.data) = (shown.name, shown.data);
        with_view(called)
    }

    pub(super) async fn on_end(
        &mut self,
        view: ResponseView,
        limit: Duration,
    ) -> Result<(Vec<GuestEvent>, ResponseView), PluginError> {
        let call = async |hook: response_hook::Guest, store: &mut Store<Host>, (view,)| {
            hook.call_on_end(store, view).await
        };
        with_view(self.call(Self::response, (view,), limit, call).await)
    }

    pub(super) async fn on_body(
        &mut self,
        view: ResponseView,
        body: &str,
        limit: Duration,
    ) -> Result<(Option<String>, ResponseView), PluginError> {
        let body = body.to_owned();
        let call = async |hook: response_hook::Guest, store: &mut Store<Host>, (view,)| {
            hook.call_on_body(store, view, &body).await
        };
        with_view(self.call(Self::response, (view,), limit, call).await)
    }

    /// Calls a hook, which borrows `lent` for the call. It is returned however the call ends,
    /// unless the store has lost it.
    async fn call<H, L: Lend, T, E: Into<PluginError>>(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Result<H, PluginError>,
        lent: L,
        limit: Duration,
        hook: impl AsyncFnOnce(H, &mut Store<Host>, L::Handles) -> wasmtime::Result<Result<T, E>>,
    ) -> Called<T, L> {
        let bound = match bind(self) {
            Ok(bound) => bound,
            Err(error) => return (Err(error), Some(lent)),
        };
        let handles = match lent.lend(self.store.data_mut()) {
            Ok(handles) => handles,
            Err(error) => return (Err(PluginError::Trapped(error.to_string())), None),
        };
        let borrowed = L::borrowed(&handles);
        let outcome = self
            .run(limit, async |store| hook(bound, store, borrowed).await)
            .await;
        (outcome, L::take_back(handles, self.store.data_mut()))
    }

    /// Runs a call of the component within a time limit.
    async fn run<T, E: Into<PluginError>>(
        &mut self,
        limit: Duration,
        call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<Result<T, E>>,
    ) -> Result<T, PluginError> {
        arm(&mut self.store, limit);
        self.deadline = limit;
        self.calling = true;
        let ended = watched(&self.runtime.ticker, &self.time, call(&mut self.store)).await;
        self.calling = false;
        match ended {
            Some(Ok(Ok(value))) => Ok(value),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(error)) => Err(plugin_error(self.store.data(), &error, limit)),
            None => Err(PluginError::Deadline(limit)),
        }
    }

    bind!(request: request_hook, witgate_plugin_request_hook);
    bind!(attempt: attempt_hook, witgate_plugin_attempt_hook);
    bind!(failure: failure_hook, witgate_plugin_failure_hook);
    bind!(response: response_hook, witgate_plugin_response_hook);

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
}

/// The result of a response hook, with the view that holds its edits.
fn with_view<T, V>((outcome, lent): Called<T, (V,)>) -> Result<(T, V), PluginError> {
    let value = outcome?;
    let (view,) = lent.ok_or(PluginError::Lost)?;
    Ok((value, view))
}

/// Starts the time limit of the next call.
fn arm(store: &mut Store<Host>, limit: Duration) {
    store.data_mut().time.begin(limit);
    store.set_epoch_deadline(1);
}

/// Runs a call while the deadline clock ticks. `None` if it has waited until its time was over: it
/// does not return to its code, where its time is charged.
async fn watched<T>(ticker: &Ticker, time: &CallTime, call: impl Future<Output = T>) -> Option<T> {
    let _running = ticker.running();
    let mut call = pin!(call);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Pending if time.is_over() => Poll::Ready(None),
        polled => polled.map(Some),
    })
    .await
}

fn plugin_error(host: &Host, error: &wasmtime::Error, limit: Duration) -> PluginError {
    if host.limits.exceeded {
        return PluginError::Memory(host.limits.memory);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return PluginError::NoSlot;
    }
    if is_out_of_memory(error) {
        return PluginError::NoMemory;
    }
    if let Some(Trap::Interrupt) = error.downcast_ref() {
        return PluginError::Deadline(limit);
    }
    if let Some(text) = host.written.panic() {
        return PluginError::Panicked(text);
    }
    // The text itself may be a prompt's, and this goes to the log at every level.
    let hint = match error.is::<Trap>() && host.written.has_stderr() {
        true => "; the log has its standard error at level `debug`",
        false => "",
    };
    PluginError::Trapped(format!("{}{hint}", one_line(&trap::text(error))))
}

/// Whether the system refused memory, for which the engine has no error type of its own.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let system = cause.downcast_ref::<std::io::Error>();
        system.is_some_and(|error| error.kind() == std::io::ErrorKind::OutOfMemory)
            || cause.to_string().starts_with("mmap failed to ")
    })
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
            Self::NoMemory => out_of_memory(),
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
            Self::NoMemory => f.write_str("the system has no memory for it"),
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

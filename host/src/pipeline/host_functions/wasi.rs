//! The part of WASI that plugins are granted: nothing to read, two streams to write, clocks and
//! random numbers. `inert` has the file system, which is empty. Sockets do not exist.
//!
//! wasmtime-wasi is not used, because files and sockets are most of what it compiles.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi_io::{
    async_trait,
    poll::{DynPollable, Pollable, subscribe},
    streams::{DynInputStream, DynOutputStream, InputStream, StreamError},
};

use super::{Host, output::Stream};
use crate::pipeline::ticker::CallTime;

use self::bindings::wasi::{
    cli::{
        environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
        terminal_stdin, terminal_stdout,
    },
    clocks::{monotonic_clock, wall_clock},
    random::{insecure, insecure_seed, random},
};

/// More random bytes at once than any seed needs, and few enough to cost nothing.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wasi",
        world: "granted",
        imports: { default: trappable },
        require_store_data_send: true,
        with: { "wasi:io": wasmtime_wasi_io::bindings::wasi::io },
    });
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io;

    io::error::add_to_linker::<Host, HasTable>(linker, |host| &mut host.table)?;
    io::poll::add_to_linker::<Host, HasTable>(linker, |host| &mut host.table)?;
    io::streams::add_to_linker::<Host, HasTable>(linker, |host| &mut host.table)?;

    environment::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    exit::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    stdin::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    stdout::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    stderr::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    terminal_input::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    terminal_output::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    terminal_stdin::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    terminal_stdout::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    terminal_stderr::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;

    wall_clock::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    monotonic_clock::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;

    random::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    insecure::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    insecure_seed::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

/// `wasi:io` needs only the table.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl environment::Host for Host {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for Host {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        // A trap: a plugin has no process of its own that could end.
        Err(wasmtime::Error::msg(format!("exited with status {code}")))
    }
}

impl stdin::Host for Host {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(Empty);
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for Host {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.output(Stream::Stdout));
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for Host {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.output(Stream::Stderr));
        Ok(self.table.push(stream)?)
    }
}

/// The generated types of terminals have no values, because no plugin ever gets one.
impl terminal_input::HostTerminalInput for Host {
    fn drop(&mut self, held: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        match self.table.delete(held) {
            Ok(terminal) => match terminal {},
            Err(error) => Err(error.into()),
        }
    }
}

impl terminal_output::HostTerminalOutput for Host {
    fn drop(&mut self, held: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        match self.table.delete(held) {
            Ok(terminal) => match terminal {},
            Err(error) => Err(error.into()),
        }
    }
}

impl terminal_input::Host for Host {}

impl terminal_output::Host for Host {}

impl terminal_stdin::Host for Host {
    fn get_terminal_stdin(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for Host {
    fn get_terminal_stdout(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for Host {
    fn get_terminal_stderr(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(wall_clock::Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1,
        })
    }
}

impl monotonic_clock::Host for Host {
    /// Counts from the plugin's first reading.
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        let zero = *self.clock_zero.get_or_insert_with(Instant::now);
        Ok(u64::try_from(zero.elapsed().as_nanos())?)
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(1)
    }

    fn subscribe_instant(
        &mut self,
        when: monotonic_clock::Instant,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(
        &mut self,
        duration: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = Timer::after(Duration::from_nanos(duration), self.time.time());
        let timer = self.table.push(timer)?;
        subscribe(&mut self.table, timer)
    }
}

impl random::Host for Host {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = zeroes(length)?;
        rand::fill(&mut bytes);
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(rand::random())
    }
}

impl insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = zeroes(length)?;
        fastrand::fill(&mut bytes);
        Ok(bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(fastrand::u64(..))
    }
}

impl insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(rand::random())
    }
}

fn zeroes(length: u64) -> wasmtime::Result<Vec<u8>> {
    if length > MAX_RANDOM_BYTES {
        let what = format!("at most {MAX_RANDOM_BYTES} random bytes at once, got {length}");
        return Err(wasmtime::Error::msg(what));
    }
    Ok(vec![0; usize::try_from(length)?])
}

/// An empty input.
struct Empty;

#[async_trait]
impl Pollable for Empty {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Empty {
    fn read(&mut self, _size: usize) -> Result<Bytes, StreamError> {
        Err(StreamError::Closed)
    }
}

/// A point in time that a plugin can wait for, within the time that its call has.
enum Timer {
    /// Ready after other tasks have run once, since a plugin may poll this in a loop.
    Elapsed { yielded: bool },
    Later {
        /// `None` if it is later than the clock can express.
        when: Option<tokio::time::Instant>,
        call: Arc<CallTime>,
    },
}

impl Timer {
    fn after(duration: Duration, call: Arc<CallTime>) -> Self {
        if duration.is_zero() {
            return Self::Elapsed { yielded: false };
        }
        let when = tokio::time::Instant::now().checked_add(duration);
        Self::Later { when, call }
    }
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        match self {
            Self::Elapsed { yielded: true } => {}
            Self::Elapsed { yielded } => {
                *yielded = true;
                tokio::task::yield_now().await;
            }
            Self::Later { when, call } => {
                let deadline = tokio::time::Instant::now() + call.left();
                match when.filter(|when| *when <= deadline) {
                    Some(when) => tokio::time::sleep_until(when).await,
                    None => {
                        tokio::time::sleep_until(deadline).await;
                        call.end();
                        std::future::pending().await
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use futures_util::FutureExt as _;
    use wasmtime_wasi_io::bindings::wasi::io::poll::HostPollable as _;

    use super::{insecure::Host as _, monotonic_clock::Host as _, random::Host as _, *};
    use crate::{
        ids::PluginId,
        pipeline::{
            host_functions::Tenant,
            tests::run,
            ticker::{Allowance, Ticks},
        },
        store::Store,
    };

    fn host() -> Host {
        let id: PluginId = "tested".parse().unwrap();
        let tenant = Tenant {
            id: id.clone(),
            settings: "{}".into(),
            space: Store::default().space(&id),
        };
        let mut time = Allowance::new(Ticks::default());
        time.begin(Duration::from_secs(60));
        Host::new(Arc::new(tenant), None, 0, time)
    }

    #[test]
    fn the_monotonic_clock_begins_at_the_first_look_and_never_goes_back() {
        let mut host = host();
        let first = host.now().unwrap();
        assert!(first <= host.now().unwrap());
    }

    #[tokio::test]
    async fn a_plugin_can_wait_for_a_point_in_time() {
        let mut host = host();
        let soon = host.subscribe_duration(1_000).unwrap();
        host.table.block(soon).await.unwrap();
        let past = host.subscribe_instant(0).unwrap();
        host.table.block(past).await.unwrap();

        for far in [3_600_000_000_000, u64::MAX] {
            let later = host.subscribe_duration(far).unwrap();
            assert!(host.table.block(later).now_or_never().is_none());
        }
    }

    #[test]
    fn what_comes_after_the_deadline_ends_the_call_at_the_deadline() {
        run(async {
            for far in [3_600_000_000_000, u64::MAX] {
                let mut host = host();
                let later = host.subscribe_duration(far).unwrap();
                assert!(host.table.block(later).now_or_never().is_none());
                assert!(!host.time.time().is_over(), "there is time left");

                let later = host.subscribe_duration(far).unwrap();
                host.time.begin(Duration::ZERO);
                let time = host.time.time();
                let mut waiting = pin!(host.table.block(later));
                poll_fn(|context| match waiting.as_mut().poll(context) {
                    Poll::Pending if time.is_over() => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(_) => panic!("it is not later yet"),
                })
                .await;
            }
        });
    }

    #[test]
    fn a_time_that_has_passed_is_ready_at_the_second_look() {
        let mut timer = Timer::after(Duration::ZERO, host().time.time());
        assert!(timer.ready().now_or_never().is_none());
        assert!(timer.ready().now_or_never().is_some());
    }

    #[test]
    fn too_many_random_bytes_are_refused() {
        let mut host = host();
        assert_eq!(host.get_random_bytes(32).unwrap().len(), 32);
        assert_ne!(
            host.get_random_bytes(32).unwrap(),
            host.get_random_bytes(32).unwrap()
        );
        assert!(host.get_random_bytes(MAX_RANDOM_BYTES + 1).is_err());
        assert!(host.get_insecure_random_bytes(u64::MAX).is_err());
    }

    #[test]
    fn exit_is_a_trap_with_the_status() {
        let refused = exit::Host::exit(&mut host(), Err(())).unwrap_err();
        assert_eq!(refused.to_string(), "exited with status 1");
    }
}

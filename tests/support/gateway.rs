//! The built gateway as a process of its own, with its own port and configuration.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::{LIMIT, Reply, Request, TempDir, Upstream};

/// A gateway to start.
pub struct Builder {
    top: String,
    auth: String,
    tables: String,
    files: Vec<(String, Vec<u8>)>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    cache: Option<PathBuf>,
    log: String,
    config: bool,
    mkdir: bool,
    /// The arguments of a `ulimit`.
    limit: Option<String>,
}

/// A running gateway. It is stopped by its own process id when it is dropped.
pub struct Gateway {
    pub addr: SocketAddr,
    pub dir: TempDir,
    builder: Builder,
    process: Process,
}

/// A started `witgate`, whatever its command.
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

/// The lines a process has written so far, to standard output and standard error together.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, u32)>,
    more: Condvar,
    /// While this is set, neither stream is read.
    paused: Mutex<bool>,
    goes_on: Condvar,
}

/// The exit code and output of a finished command.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Gateway {
    /// A gateway without a configured upstream: the echo upstream answers.
    pub fn echo() -> Builder {
        Builder {
            top: String::new(),
            auth: String::new(),
            tables: String::new(),
            files: Vec::new(),
            env: Vec::new(),
            args: Vec::new(),
            cache: None,
            log: "info".to_owned(),
            config: true,
            mkdir: true,
            limit: None,
        }
    }

    /// A gateway with one upstream `up` of preset `anthropic`, with the account `ada`.
    pub fn to(upstream: &Upstream) -> Builder {
        Self::preset("anthropic", upstream)
    }

    /// A gateway with one upstream `up` of this preset, with the account `ada`.
    pub fn preset(preset: &str, upstream: &Upstream) -> Builder {
        Self::echo().upstream(
            "up",
            upstream,
            &format!(
                "preset = \"{preset}\"\naccounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]"
            ),
        )
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path)
            .header("content-type", "application/json")
            .header("x-api-key", "sk-witgate")
            .body(body)
            .send()
    }

    /// Sends `POST /v1/messages`.
    #[track_caller]
    pub fn message(&self, body: impl AsRef<[u8]>) -> Reply {
        self.post("/v1/messages", body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send()
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.addr, method, path)
    }

    pub fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    /// Copies a plugin into the folder, like `cp`.
    #[track_caller]
    pub fn drop_in(&self, name: &str, component: &Path) {
        fs::create_dir_all(self.plugins()).unwrap();
        fs::copy(component, self.plugins().join(name)).unwrap();
    }

    /// Changes the configuration and writes it again.
    #[track_caller]
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Builder)) {
        change(&mut self.builder);
        self.dir
            .write("witgate.toml", self.builder.toml(self.dir.path()));
    }

    /// The first line from `from` on that contains all of these words, and its place.
    #[track_caller]
    pub fn line_from(&self, from: usize, words: &[&str]) -> (usize, String) {
        self.process.line_from(from, words)
    }

    #[track_caller]
    pub fn line(&self, words: &[&str]) -> String {
        self.process.line_from(0, words).1
    }

    /// Waits until this generation of plugins is loaded.
    #[track_caller]
    pub fn generation(&self, number: u32) -> String {
        self.line(&["plugins loaded", &format!("generation={number} ")])
    }

    /// The number of lines so far, to look only at later ones.
    pub fn mark(&self) -> usize {
        self.process.mark()
    }

    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    #[track_caller]
    pub fn has_no_line(&self, words: &[&str]) {
        let found = self
            .log()
            .into_iter()
            .find(|line| words.iter().all(|word| line.contains(word)));
        assert_eq!(found, None);
    }

    /// The log line of the next exchange, without quotation marks around its values.
    #[track_caller]
    pub fn record(&self, from: usize) -> String {
        self.line_from(from, &["exchange", "status="])
            .1
            .replace('"', "")
    }

    /// The highest memory use of the process so far, in bytes.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = fs::read_to_string(path).unwrap();
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix("kB"));
        let kilobytes: Option<u64> = kilobytes.and_then(|number| number.trim().parse().ok());
        kilobytes.expect("VmHWM in kB") << 10
    }

    /// The process id.
    #[cfg(target_os = "linux")]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Leaves the log unread in its pipe.
    pub fn stop_reading(&self) {
        *self.process.log.paused.lock().unwrap() = true;
    }

    pub fn read_on(&self) {
        *self.process.log.paused.lock().unwrap() = false;
        self.process.log.goes_on.notify_all();
    }

    /// Waits until the process exits by itself.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        self.process.ended()
    }

    /// Stops the gateway and starts it again with the same configuration.
    #[track_caller]
    pub fn restart(mut self) -> Self {
        self.terminate();
        self.process.ended();
        let Self {
            dir,
            builder,
            process,
            ..
        } = self;
        drop(process);
        builder.start_in(dir)
    }
}

impl Builder {
    /// Adds lines before the first table: `body_limit = "1MiB"`.
    pub fn top(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    /// Adds tables: `[auth]`, `[[route]]`, `[plugin.NAME]`.
    pub fn tables(mut self, lines: &str) -> Self {
        self.add_tables(lines);
        self
    }

    pub fn add_tables(&mut self, lines: &str) {
        self.tables.push_str(lines);
        self.tables.push('\n');
    }

    pub fn replace_tables(&mut self, from: &str, to: &str) {
        assert!(self.tables.contains(from), "no `{from}` in {}", self.tables);
        self.tables = self.tables.replace(from, to);
    }

    pub fn change_log(&mut self, filter: &str) {
        self.log = filter.to_owned();
    }

    pub fn replace_top(&mut self, lines: &str) {
        self.top = format!("{lines}\n");
    }

    /// Sets the auth mode and the keys that clients may present.
    pub fn auth(mut self, mode: &str, keys: &[&str]) -> Self {
        self.auth = format!("[auth]\nmode = \"{mode}\"\nkeys = {keys:?}\n");
        self
    }

    /// Adds lines to `[retry]`.
    pub fn retry(self, lines: &str) -> Self {
        self.tables(&format!("[retry]\n{lines}"))
    }

    /// Adds an upstream of preset `anthropic` with these accounts; the key of `ada` is `sk-ada`.
    pub fn pool(self, name: &str, upstream: &Upstream, accounts: &[&str]) -> Self {
        let accounts: Vec<String> = accounts
            .iter()
            .map(|account| format!("{{ name = \"{account}\", key = \"sk-{account}\" }}"))
            .collect();
        let lines = format!(
            "preset = \"anthropic\"\naccounts = [{}]",
            accounts.join(", ")
        );
        self.upstream(name, upstream, &lines)
    }

    /// Adds an upstream by its name, its server and the other lines of its table.
    pub fn upstream(self, name: &str, upstream: &Upstream, lines: &str) -> Self {
        let url = upstream.url();
        self.tables(&format!(
            "[[upstream]]\nname = \"{name}\"\nbase_url = \"{url}\"\n{lines}"
        ))
    }

    pub fn route(self, model: &str, to: &[&str]) -> Self {
        self.tables(&format!("[[route]]\nmodel = \"{model}\"\nto = {to:?}"))
    }

    /// Puts a file into the plugin folder.
    pub fn plugin(mut self, file: &str, component: impl AsRef<Path>) -> Self {
        let bytes = fs::read(component).expect("a component file");
        self.files.push((format!("plugins/{file}"), bytes));
        self
    }

    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets a cache folder for compiled plugins that is this test's own.
    pub fn cache(mut self, dir: &Path) -> Self {
        self.cache = Some(dir.to_owned());
        self
    }

    pub fn log(mut self, filter: &str) -> Self {
        self.log = filter.to_owned();
        self
    }

    /// Sets the soft limit of open files.
    pub fn soft_files(mut self, limit: u32) -> Self {
        self.limit = Some(format!("-S -n {limit}"));
        self
    }

    /// Sets the limit of open files, which the gateway cannot raise.
    pub fn files(mut self, limit: u32) -> Self {
        self.limit = Some(format!("-n {limit}"));
        self
    }

    /// Sets the limit of address space, in KiB.
    pub fn address_space(mut self, limit: u32) -> Self {
        self.limit = Some(format!("-v {limit}"));
        self
    }

    /// Starts without a plugin folder.
    pub fn without_folder(mut self) -> Self {
        self.mkdir = false;
        self
    }

    /// Starts without a configuration file.
    pub fn without_config(mut self) -> Self {
        self.config = false;
        self
    }

    /// The text of the configuration file.
    pub fn toml(&self, dir: &Path) -> String {
        let cache = self.cache.clone().unwrap_or_else(code_cache);
        let plugins = format!(
            "[plugins]\ndir = {:?}\ncache = {cache:?}\n",
            dir.join("plugins")
        );
        format!(
            "listen = \"127.0.0.1:0\"\nlog = \"{}\"\n{}\n{}\n{}\n{}",
            self.log,
            self.top,
            self.auth,
            self.tables,
            if self.tables.contains("[plugins]") {
                ""
            } else {
                &plugins
            }
        )
    }

    #[track_caller]
    pub fn start(self) -> Gateway {
        let dir = TempDir::new("gateway");
        self.start_in(dir)
    }

    #[track_caller]
    fn start_in(self, dir: TempDir) -> Gateway {
        self.lay_out(&dir);
        let mut process = Process::spawn(self.command(&dir, &["serve"]));
        let addr = process.listening();
        Gateway {
            addr,
            dir,
            builder: self,
            process,
        }
    }

    /// Starts a gateway that is expected to fail, and waits until it exits.
    #[track_caller]
    pub fn fails(self) -> Outcome {
        self.run(&["serve"])
    }

    /// Runs a subcommand with this configuration until it exits.
    #[track_caller]
    pub fn run(self, words: &[&str]) -> Outcome {
        let dir = TempDir::new("command");
        self.lay_out(&dir);
        let mut command = self.command(&dir, words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command)
    }

    #[track_caller]
    fn lay_out(&self, dir: &TempDir) {
        if self.mkdir {
            fs::create_dir_all(dir.path().join("plugins")).unwrap();
        }
        if self.config {
            dir.write("witgate.toml", self.toml(dir.path()));
        }
        for (name, content) in &self.files {
            dir.write(name, content);
        }
    }

    fn command(&self, dir: &TempDir, words: &[&str]) -> Command {
        let mut command = witgate(dir.path());
        command.args(words);
        if self.config && words.first().is_some_and(|word| *word != "wit") {
            command.args(["--config", "witgate.toml"]);
        }
        command.args(&self.args);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        match &self.limit {
            Some(limit) => under_limit(&command, limit),
            None => command,
        }
    }
}

impl Process {
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the built gateway starts");
        let log = Arc::new(Log::default());
        read_lines(child.stdout.take().unwrap(), &log);
        read_lines(child.stderr.take().unwrap(), &log);
        Self { child, log }
    }

    /// The address in the log line that names it.
    #[track_caller]
    pub fn listening(&mut self) -> SocketAddr {
        let line = self.line_from(0, &["listening"]).1;
        address(&line).unwrap_or_else(|| panic!("no address in `{line}`"))
    }

    #[track_caller]
    pub fn line_from(&self, from: usize, words: &[&str]) -> (usize, String) {
        let begun = Instant::now();
        let mut guard = self.log.lines.lock().unwrap();
        let mut next = from;
        loop {
            let (lines, closed) = &*guard;
            for (at, line) in lines.iter().enumerate().skip(next) {
                if words.iter().all(|word| line.contains(word)) {
                    return (at, line.clone());
                }
            }
            next = lines.len().max(from);
            let left = LIMIT.saturating_sub(begun.elapsed());
            if left.is_zero() || *closed == 2 {
                let log = lines.join("\n");
                drop(guard);
                panic!("no log line with {words:?} from line {from} on; the log:\n{log}");
            }
            guard = self.log.more.wait_timeout(guard, left).unwrap().0;
        }
    }

    pub fn mark(&self) -> usize {
        self.log.lines.lock().unwrap().0.len()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// Sends a signal to this process and no other.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// The content of this file below `/proc` for the process.
    #[track_caller]
    pub fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the process did not end");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed by its handle, so no other process can be hit.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the gateway\n{}\n---", self.log().join("\n"));
        }
    }
}

impl Outcome {
    #[track_caller]
    pub fn has_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "out: {}\nerr: {}",
            self.out,
            self.err
        );
        self
    }

    /// Expects these words in the output, on either stream.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            let said = self.out.contains(word) || self.err.contains(word);
            assert!(said, "no `{word}`\nout: {}\nerr: {}", self.out, self.err);
        }
        self
    }
}

/// The built binary in an environment that only the test fills.
pub fn witgate(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    command.current_dir(dir).stdin(Stdio::null()).env_clear();
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"));
    command
}

/// The same command, started by a shell that sets a limit.
fn under_limit(command: &Command, limit: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit {limit} && exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .env_clear();
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}

/// Runs a command until it exits. One that does not exit in time is killed and fails the test.
#[track_caller]
pub fn finish(command: Command) -> Outcome {
    finish_within(command, LIMIT)
}

#[track_caller]
pub fn finish_within(mut command: Command, limit: Duration) -> Outcome {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if begun.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            let (out, err) = (out.join().unwrap(), err.join().unwrap());
            panic!("{command:?} did not end within {limit:?}\nout: {out}\nerr: {err}");
        }
        thread::park_timeout(Duration::from_millis(5));
    };
    Outcome {
        code,
        out: out.join().unwrap(),
        err: err.join().unwrap(),
    }
}

/// The folder for compiled plugins that all tests share, so that each plugin is compiled once.
pub fn code_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("code-cache")
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // Whatever was read before an error is worth showing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn read_lines(from: impl std::io::Read + Send + 'static, log: &Arc<Log>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            let paused = log.paused.lock().unwrap();
            drop(log.goes_on.wait_while(paused, |paused| *paused).unwrap());
            log.lines.lock().unwrap().0.push(plain(&line));
            log.more.notify_all();
        }
        log.lines.lock().unwrap().1 += 1;
        log.more.notify_all();
    });
}

/// The line without colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        text.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        rest = after
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or("", |end| &after[end + 1..]);
    }
    text.push_str(rest);
    text
}

fn address(line: &str) -> Option<SocketAddr> {
    let at = line.find("127.0.0.1:").or_else(|| line.find("0.0.0.0:"))?;
    let end = line[at..]
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .map_or(line.len(), |end| at + end);
    let addr: SocketAddr = line[at..end].parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], addr.port())))
}

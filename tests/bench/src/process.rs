//! Measured processes: started on one core, asked for their CPU time and memory, stopped.

use std::{
    cell::RefCell, collections::HashMap, ffi::OsString, fs, io, net::TcpListener, path::Path,
    process::Stdio, time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::Instant,
};

/// The time limit of a start and of a shutdown.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// The process whose time counts, not a master that only waits.
    pub(crate) worker: u32,
    threads: RefCell<HashMap<OsString, Spent>>,
}

/// The CPU time of the threads with one id, in nanoseconds.
#[derive(Default)]
struct Spent {
    /// Of the thread that has the id now.
    spent: u64,
    /// Of those that had it before.
    ended: u64,
}

impl Spent {
    fn see(&mut self, spent: u64) {
        if spent < self.spent {
            self.ended += self.spent;
        }
        self.spent = spent;
    }
}

/// The core that the measured process has for itself; everything else runs on the other.
const CORE: &str = "0";

impl Server {
    /// Starts the gateway with this configuration, which names no port.
    pub(crate) async fn gateway(program: &Path, folder: &Path, config: &str) -> io::Result<Self> {
        fs::create_dir_all(folder.join("plugins"))?;
        let file = folder.join("witgate.toml");
        fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{config}"))?;
        let mut command = pinned(program);
        command
            .args(["serve", "--config"])
            .arg(&file)
            .current_dir(folder);
        Self::telling(command, "the gateway").await
    }

    /// Starts this program as a relay to the upstream.
    pub(crate) async fn relay(program: &Path, upstream: u16) -> io::Result<Self> {
        let mut command = pinned(program);
        command.args(["relay", &upstream.to_string()]);
        Self::telling(command, "the relay").await
    }

    /// Starts a server that chooses its port and prints it to standard error.
    async fn telling(mut command: Command, what: &str) -> io::Result<Self> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().ok_or_else(|| lost("its log"))?;
        let mut lines = BufReader::new(errors).lines();
        let mut said = String::new();
        let port = loop {
            let line = tokio::time::timeout(LIMIT, lines.next_line()).await??;
            let Some(line) = line else {
                return Err(lost(&format!("{what}: {said}")));
            };
            if let Some(port) = port_in(&line) {
                break port;
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Keeps reading the log, so that the server never blocks on it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let worker = child.id().ok_or_else(|| lost(what))?;
        Ok(Self {
            child,
            port,
            worker,
            threads: RefCell::default(),
        })
    }

    /// Starts nginx as a reverse proxy with one worker.
    pub(crate) async fn nginx(folder: &Path, upstream: u16, buffering: bool) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // nginx cannot choose a free port itself.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let request_buffering = if buffering { "on" } else { "off" };
        let config = format!(
            "daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 4m; client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 10000000; keepalive_timeout 600s;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 2048; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_buffering off; proxy_request_buffering {request_buffering};
    }}
  }}
}}
"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = pinned(Path::new("nginx"));
        command
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.join("error.log"));
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let id = child.id().ok_or_else(|| lost("nginx"))?;
        listening(port).await?;
        let worker = children(id)?
            .first()
            .copied()
            .ok_or_else(|| lost("nginx's worker"))?;
        Ok(Self {
            child,
            port,
            worker,
            threads: RefCell::default(),
        })
    }

    /// The CPU time used so far, user and system. Of a thread that has ended it is what was last
    /// seen; threads of the runtime end after some seconds without work.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut threads = self.threads.borrow_mut();
        for task in fs::read_dir(format!("/proc/{}/task", self.worker))?.flatten() {
            // A thread may have ended meanwhile.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let spent = text.split(' ').next().and_then(|n| n.parse().ok());
            let thread = threads.entry(task.file_name()).or_default();
            thread.see(spent.unwrap_or_default());
        }
        let nanos = threads.values().map(|thread| thread.ended + thread.spent);
        Ok(Duration::from_nanos(nanos.sum()))
    }

    /// The CPU time including threads that have ended, to a hundredth of a second.
    pub(crate) fn cpu_of_all(&self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.worker))?;
        let (_, fields) = text.rsplit_once(')').ok_or_else(|| lost("its account"))?;
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The resident memory, in bytes.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.worker))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| lost("its memory"))
    }

    /// Stops the server and waits until it has exited.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            kill.arg(id.to_string()).status().await?;
        }
        tokio::time::timeout(LIMIT, self.child.wait()).await??;
        Ok(())
    }
}

/// The soft limit of open files, for this process and those that it starts.
pub(crate) fn open_files() -> io::Result<usize> {
    files_allowed(1)
}

/// The hard limit of open files.
pub(crate) fn most_open_files() -> io::Result<usize> {
    files_allowed(2)
}

fn files_allowed(column: usize) -> io::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut columns = line.unwrap_or_default().split_whitespace();
    let figure = columns
        .nth(column - 1)
        .ok_or_else(|| lost("its limit of open files"))?;
    Ok(figure.parse().unwrap_or(usize::MAX))
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", CORE])
        .arg(program)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

/// The port in `... listening ... address=127.0.0.1:41234`, a line of the gateway's log.
fn port_in(line: &str) -> Option<u16> {
    if !line.contains("listening") {
        return None;
    }
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

async fn listening(port: u16) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn children(id: u32) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    Ok(text
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect())
}

fn lost(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not there"))
}

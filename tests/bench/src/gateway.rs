//! The built gateway as a process of its own, held to one core where `taskset` is there, and the processor time it took.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::shapes::DIALECTS;

pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Gateway {
    /// With an upstream for each dialect; which of them is asked says the model's name.
    pub(crate) fn start(upstream: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let program = env::current_exe()?.with_file_name("witgate");
        if !program.exists() {
            return Err(format!(
                "no {}: build it first, with `cargo build --release`",
                program.display()
            )
            .into());
        }
        let folder = env::temp_dir().join(format!("witgate-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("plugins"))?;
        fs::write(folder.join("witgate.toml"), configuration(upstream))?;
        let mut command = on_one_core(program);
        command
            .current_dir(&folder)
            .args(["serve", "--config", "witgate.toml"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let err = child.stderr.take().ok_or("no standard error")?;
        let heard = thread::spawn(move || listening(BufReader::new(out)));
        // What is said there must be read, or the gateway would wait.
        thread::spawn(move || BufReader::new(err).lines().count());
        let addr = heard
            .join()
            .map_err(|_| "no line was read")?
            .ok_or("the gateway ended")?;
        Ok(Self {
            addr,
            child,
            folder,
        })
    }

    /// Of all its threads, since it was started.
    pub(crate) fn processor_time(&self) -> Result<Duration, Box<dyn Error>> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanos = 0;
        for task in fs::read_dir(tasks)? {
            let times = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // By handle, so it can meet no other process; what is left behind is in the system's own folder for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(upstream: SocketAddr) -> String {
    let mut text =
        "listen = \"127.0.0.1:0\"\nlog = \"info\"\n[plugins]\ndir = \"plugins\"\n".to_owned();
    for dialect in DIALECTS {
        let name = dialect.name();
        text.push_str(&format!(
            "[[upstream]]\nname = \"{name}\"\npreset = \"{name}\"\nbase_url = \"http://{upstream}/{name}\"\naccounts = [{{ name = \"ada\", key = \"any\" }}]\n[[route]]\nmodel = \"{name}-*\"\nto = \"{name}\"\n"
        ));
    }
    text
}

fn on_one_core(program: PathBuf) -> Command {
    let there = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

/// The address that the log names; the rest of the log is read away.
fn listening(mut log: impl BufRead + Send + 'static) -> Option<SocketAddr> {
    let mut line = String::new();
    loop {
        line.clear();
        if log.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some(at) = line
            .find("127.0.0.1:")
            .filter(|_| line.contains("listening"))
        else {
            continue;
        };
        let ends = |sign: char| !(sign.is_ascii_digit() || sign == '.' || sign == ':');
        let addr = line[at..].split(ends).next()?.parse().ok()?;
        thread::spawn(move || log.lines().count());
        return Some(addr);
    }
}

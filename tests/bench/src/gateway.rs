//! The built gateway as a process of its own, held to one core where `taskset` is there, and the processor time it took.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
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
        let (say, heard) = mpsc::channel();
        let out = child.stdout.take().ok_or("no standard output")?;
        let err = child.stderr.take().ok_or("no standard error")?;
        for pipe in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let say = say.clone();
            // It reads to the end, or the gateway would wait for somebody who does.
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if let Some(addr) = listening(&line) {
                        // Nobody listens to a second one.
                        let _ = say.send(addr);
                    }
                }
            });
        }
        drop(say);
        let addr = heard
            .recv()
            .map_err(|_| "the gateway ended before it listened")?;
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
            // A thread may end meanwhile; those that work last as long as the process.
            let Ok(times) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
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

/// The address, if this line of the log names it.
fn listening(line: &str) -> Option<SocketAddr> {
    let at = line
        .find("127.0.0.1:")
        .filter(|_| line.contains("listening"))?;
    let ends = |sign: char| !(sign.is_ascii_digit() || sign == '.' || sign == ':');
    line[at..].split(ends).next()?.parse().ok()
}

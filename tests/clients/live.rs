//! The strict upstream (strict/upstream.py): it speaks a provider's protocol, rejects what the
//! provider's own types do not accept, and reports the flaws of each request.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{
    install,
    support::{Gateway, gateway::Builder},
};

pub(crate) struct Live {
    child: Child,
    dialect: &'static str,
    base: String,
    received: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<String>>,
}

impl Live {
    /// For the SDKs: answers by what the user's text asks for.
    #[track_caller]
    pub(crate) fn sdk(dialect: &'static str) -> Self {
        Self::start(dialect, &["sdk"])
    }

    /// Gives the same answer to every request.
    #[track_caller]
    pub(crate) fn always(dialect: &'static str) -> Self {
        Self::start(dialect, &["always"])
    }

    /// Answers at random, and sometimes not to the end.
    #[track_caller]
    pub(crate) fn random(dialect: &'static str) -> Self {
        Self::start(dialect, &["random"])
    }

    /// For Claude Code: a conversation of ten turns, with a picture to look at.
    #[track_caller]
    pub(crate) fn session(dialect: &'static str, picture: &Path) -> Self {
        Self::start(dialect, &["session", picture.to_str().unwrap()])
    }

    #[track_caller]
    fn start(dialect: &'static str, play: &[&str]) -> Self {
        let mut child = Command::new(install::python("requirements-strict.txt"))
            .arg(install::sources().join("strict/upstream.py"))
            .arg(dialect)
            .args(play)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the strict upstream starts");
        let complaints = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().unwrap();
        let heard = Arc::clone(&complaints);
        thread::spawn(move || {
            let mut text = Vec::new();
            // Whatever was read before an error is worth showing.
            let _ = stderr.read_to_end(&mut text);
            heard
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&text));
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let first = next(&mut lines).unwrap_or_else(|| {
            // The process has ended, so its output is complete once it is waited for.
            let _ = child.wait();
            panic!("the strict upstream ended: {}", complaints.lock().unwrap())
        });
        let received = Arc::new(Mutex::new(Vec::new()));
        let pushed = Arc::clone(&received);
        thread::spawn(move || {
            while let Some(request) = next(&mut lines) {
                pushed.lock().unwrap().push(request);
            }
        });
        Self {
            child,
            dialect,
            base: format!(
                "http://127.0.0.1:{}{}",
                first["port"],
                first["base"].as_str().unwrap()
            ),
            received,
            complaints,
        }
    }

    /// A gateway with only this upstream, called `up`, with the account `ada`, and without retries.
    pub(crate) fn gateway(&self, key: &str) -> Builder {
        Gateway::echo()
            .auth("strict", &[key])
            .retry("max_attempts = 1")
            .tables(&format!(
                "[[upstream]]\nname = \"up\"\npreset = \"{}\"\nbase_url = \"{}\"\naccounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]",
                self.dialect, self.base
            ))
    }

    /// The requests so far; fails if one has a flaw.
    #[track_caller]
    pub(crate) fn received(&self) -> Vec<Value> {
        let received = self.received.lock().unwrap().clone();
        let complaints = self.complaints.lock().unwrap().clone();
        let flawed: Vec<String> = received
            .iter()
            .filter(|request| request["flaws"] != Value::Array(Vec::new()))
            .map(|request| format!("{}: {:#}", request["path"], request["flaws"]))
            .collect();
        assert!(flawed.is_empty(), "{}\n{complaints}", flawed.join("\n"));
        received
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Killed by its handle, so no other process can be hit.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line of JSON; `None` at the end.
fn next(lines: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(count) if count > 0 => serde_json::from_str(&line).ok(),
        _ => None,
    }
}

//! The Claude Code CLI in print mode: a conversation of two turns with a tool call, while a plugin
//! is added, changed and removed.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    install,
    support::{Gateway, Outcome, TempDir, component, gateway::finish_within},
};

const LIMIT: Duration = Duration::from_secs(120);
const KEY: &str = "sk-witgate-test";

#[test]
fn claude_code_talks_and_uses_a_tool_during_plugin_reloads() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let gateway = Gateway::echo()
        .auth("strict", &[KEY])
        .tables("[plugin.tagger]\nsettings = { patch = [{ op = \"add\", path = \"/tagged\", value = true }] }")
        .start();
    gateway.generation(1);

    let marked = home.path().join("marked");
    let prompt = format!(
        "use the tool Bash with {{\"command\":\"echo made-by-the-tool > {}\",\"description\":\"mark\"}}",
        marked.display()
    );
    let first = print(&claude, home.path(), &gateway, KEY, &[&prompt]);
    first.has_code(0);
    let answer: serde_json::Value = serde_json::from_str(&first.out).expect("a JSON result");
    assert_eq!(answer["is_error"], false, "{answer}");
    assert!(
        answer["num_turns"].as_u64() >= Some(2),
        "a tool round makes two turns: {answer}"
    );
    let made = std::fs::read_to_string(&marked).expect("the tool ran");
    assert_eq!(made.trim(), "made-by-the-tool");
    let session = answer["session_id"].as_str().unwrap().to_owned();

    gateway.drop_in("tagger.wasm", &component("tagger"));
    gateway.generation(2);
    let from = gateway.mark();
    let second = print(
        &claude,
        home.path(),
        &gateway,
        KEY,
        &["--continue", "what did I say before?"],
    );
    second.has_code(0);
    let answer: serde_json::Value = serde_json::from_str(&second.out).expect("a JSON result");
    assert_eq!(answer["is_error"], false, "{answer}");
    assert_eq!(
        answer["session_id"],
        session.as_str(),
        "the same conversation"
    );
    // The echo says what it received: both prompts, and the plugin that edited.
    let said = answer["result"].as_str().unwrap();
    assert!(said.contains("tagger"), "{said}");
    assert!(gateway.record(from).contains("tagger"));

    std::fs::remove_file(gateway.plugins().join("tagger.wasm")).unwrap();
    gateway.generation(3);
    let third = print(
        &claude,
        home.path(),
        &gateway,
        KEY,
        &["--continue", "and now?"],
    );
    third.has_code(0);
    let answer: serde_json::Value = serde_json::from_str(&third.out).expect("a JSON result");
    assert!(
        !answer["result"].as_str().unwrap().contains("tagger"),
        "{answer}"
    );
}

#[test]
fn claude_code_gives_up_at_once_on_a_wrong_key() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let gateway = Gateway::echo().auth("strict", &[KEY]).start();
    let begun = std::time::Instant::now();
    let outcome = print(&claude, home.path(), &gateway, "sk-wrong", &["hello"]);
    assert_ne!(outcome.code, Some(0), "{}", outcome.out);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

/// Runs the CLI in print mode in an environment with only the variables set here.
#[track_caller]
pub(crate) fn print(
    claude: &Path,
    home: &Path,
    gateway: &Gateway,
    key: &str,
    words: &[&str],
) -> Outcome {
    let base = format!("http://{}", gateway.addr);
    finish_within(command(claude, home, &base, key, words), LIMIT)
}

/// The same command, not yet started.
pub(crate) fn command(
    claude: &Path,
    home: &Path,
    base: &str,
    key: &str,
    words: &[&str],
) -> Command {
    let mut command = Command::new(claude);
    command
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("SHELL", "/bin/bash")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("ANTHROPIC_BASE_URL", base)
        .env("ANTHROPIC_API_KEY", key)
        .stdin(Stdio::null())
        .args(["--print", "--output-format", "json", "--allowedTools=Bash"])
        .args(words);
    command
}

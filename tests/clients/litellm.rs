//! LiteLLM's proxy as an independent upstream that speaks OpenAI's protocol. Clients reach its mock
//! responses through the dialect, and tool calls that it translates from another protocol.

use std::process::Command;

use serde_json::Value;

use crate::{
    claude_code, install,
    support::{
        Gateway, TempDir,
        gateway::{Builder, Process},
    },
    survives::{KEY, sdks},
};

/// The running proxy, stopped by its own process id.
struct LiteLlm {
    url: String,
    _process: Process,
    _home: TempDir,
}

impl LiteLlm {
    /// Starts the proxy. Its model `behind` is this gateway's echo.
    #[track_caller]
    fn start(behind: &Gateway) -> Self {
        let home = TempDir::new("litellm-home");
        let program = install::python("requirements-litellm.txt").with_file_name("litellm");
        let mut command = Command::new(program);
        command
            .current_dir(home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("BEHIND", format!("http://{}", behind.addr))
            // Prevents a download.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_TELEMETRY", "False")
            .args(["--host", "127.0.0.1", "--port", "0", "--config"])
            .arg(install::sources().join("litellm.yaml"));
        let process = Process::spawn(command);
        // The last line before it accepts connections.
        let line = process.line_from(0, &["Uvicorn running on"]).1;
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("no address in `{line}`"));
        Self {
            url: url.to_owned(),
            _process: process,
            _home: home,
        }
    }

    /// A gateway with only this upstream, for one of its models.
    fn gateway(&self, model: &str) -> Builder {
        Gateway::echo()
            .auth("strict", &[KEY])
            .retry("max_attempts = 1")
            .tables(&format!(
                "[[upstream]]\nname = \"litellm\"\npreset = \"openai\"\nbase_url = \"{}/v1\"\naccounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]",
                self.url
            ))
            .tables(&format!("[[route]]\nmodel = \"*\"\nto = \"litellm/{model}\""))
    }
}

#[test]
fn the_sdks_get_what_litellm_answers() {
    if install::skipped() {
        return;
    }
    let behind = Gateway::echo().start();
    let litellm = LiteLlm::start(&behind);
    let text = litellm.gateway("mock-text").start();
    let limit = litellm.gateway("mock-limit").start();
    let echo = litellm.gateway("behind").start();
    let asked = [
        (&text, "create"),
        (&text, "stream"),
        (&limit, "create"),
        (&echo, "stream"),
    ];
    for (sdk, said) in sdks(&asked) {
        for answer in &said[..2] {
            let message = &answer["message"];
            assert_eq!(
                message["content"][0]["text"], "hello from the mock",
                "{sdk}: {answer}"
            );
            assert_eq!(message["stop_reason"], "end_turn", "{sdk}: {answer}");
            assert_eq!(message["model"], "claude-opus-5-5", "{sdk}: {answer}");
            assert!(
                message["usage"]["input_tokens"].as_u64() > Some(0),
                "{sdk}: {answer}"
            );
            assert!(
                message["usage"]["output_tokens"].as_u64() > Some(0),
                "{sdk}: {answer}"
            );
        }
        assert_eq!(said[2]["error"], "RateLimitError", "{sdk}: {}", said[2]);
        // The echo says what it received.
        assert!(
            said[3]["message"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("It received: model claude-opus-5-5"),
            "{sdk}: {}",
            said[3]
        );
    }
}

#[test]
fn claude_code_uses_a_tool_through_litellm() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let behind = Gateway::echo().start();
    let litellm = LiteLlm::start(&behind);
    let gateway = litellm.gateway("mock-text").start();
    let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &["hello"]);
    let answer: Value = serde_json::from_str(&outcome.out).expect("a JSON result");
    assert_eq!(answer["result"], "hello from the mock", "{answer}");

    let gateway = litellm.gateway("behind").start();
    let marked = home.path().join("marked");
    let prompt = format!(
        "use the tool Bash with {{\"command\":\"echo made-by-the-tool > {}\",\"description\":\"mark\"}}",
        marked.display()
    );
    let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &[&prompt]);
    outcome.has_code(0);
    let answer: Value = serde_json::from_str(&outcome.out).expect("a JSON result");
    assert_eq!(answer["is_error"], false, "{answer}");
    assert!(
        answer["num_turns"].as_u64() >= Some(2),
        "a tool round makes two turns: {answer}"
    );
    let made = std::fs::read_to_string(&marked).expect("the tool ran");
    assert_eq!(made.trim(), "made-by-the-tool");
}

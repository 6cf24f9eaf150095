//! Long conversations of the official SDKs, against an upstream that checks signed thinking.

use serde_json::{Value, json};

use crate::{
    claude_code, install,
    support::{
        Gateway, TempDir, component,
        strict::{Asked, Strict, Turn},
    },
    survives::{KEY, both},
};

const TURNS: usize = 50;

/// Before which turn the client clears an old tool result.
const CLEARS: usize = 10;

/// How many requests that costs: the decision of the first retry is repeated on later turns.
const RETRIES: usize = 1;

/// How many thinking blocks the model still reads in the last turn: what precedes the change, and
/// all that was made since.
const KEPT: usize = TURNS - CLEARS + 1;

/// Runs the conversation in each SDK, streamed and not, and shows what the upstream saw of it.
#[track_caller]
fn converse(clears: usize, check: impl Fn(&str, &Strict)) {
    for (sdk, run) in both("converse") {
        for how in ["create", "stream"] {
            let upstream = Strict::start();
            let gateway = Gateway::to(&upstream).auth("strict", &[KEY]).start();
            let base = format!("http://{}", gateway.addr);
            let (turns, clears) = (TURNS.to_string(), clears.to_string());
            let said = run(&[&base, how, &turns, &clears]);
            let name = format!("{sdk} {how}");
            assert_eq!(said.len(), TURNS, "{name}: {said:?}");
            for (turn, said) in (1..).zip(&said) {
                assert!(
                    said["stop_reason"].is_string(),
                    "{name} turn {turn}: {said}"
                );
            }
            check(&name, &upstream);
        }
    }
}

#[test]
fn fifty_turns_of_the_sdks_keep_their_thinking() {
    if install::skipped() {
        return;
    }
    converse(0, |name, upstream| {
        upstream.lost_nothing();
        let outcomes = upstream.outcomes();
        assert_eq!(outcomes.len(), TURNS, "{name}");
        assert_eq!(outcomes[TURNS - 1].read, TURNS - 1, "{name}");
    });
}

#[test]
fn a_break_in_a_conversation_of_the_sdks_reaches_no_user() {
    if install::skipped() {
        return;
    }
    converse(CLEARS, |name, upstream| {
        let outcomes = upstream.outcomes();
        assert_eq!(outcomes.len(), TURNS + RETRIES, "{name}");
        assert_eq!(upstream.refusals().len(), RETRIES, "{name}");
        assert_eq!(outcomes[CLEARS - 1].status, 400, "{name}");
        assert_eq!(outcomes[TURNS + RETRIES - 1].read, KEPT, "{name}");
    });
}

/// The model calls a tool in each turn but the last one.
fn works(asked: &Asked) -> Turn {
    if asked.number == TURNS {
        return Turn::text("All is done.");
    }
    let command = format!("echo {}", asked.number);
    Turn::tool("Bash", json!({"command": command, "description": "say it"}))
}

/// Lets Claude Code work for fifty turns. From the tenth on a plugin changes `system`. Returns the
/// client's result.
#[track_caller]
fn work_through_a_break(upstream: &Strict, tables: &str) -> Value {
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let from = 2 * (CLEARS - 1);
    let edit = r#"{ op = "replace", path = "/system/1/text", value = "now" }"#;
    let gateway = Gateway::to(upstream)
        .auth("strict", &[KEY])
        .plugin("55-tagger.wasm", component("tagger"))
        .tables(&format!(
            "[plugin.tagger]\nsettings = {{ path = \"$.messages[{from}]\", patch = [{edit}] }}\n{tables}"
        ))
        .start();
    let words = ["--model", "claude-opus-5-5", "work"];
    let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &words);
    serde_json::from_str(&outcome.out).expect("a JSON result")
}

#[test]
fn a_break_in_a_conversation_of_claude_code_costs_one_request() {
    if install::skipped() {
        return;
    }
    let upstream = Strict::rules().script(works).start();
    let result = work_through_a_break(&upstream, "");
    assert_eq!(result["result"], "All is done.", "{result}");
    let outcomes = upstream.outcomes();
    assert_eq!(outcomes.len(), TURNS + RETRIES, "{result}");
    assert_eq!(upstream.refusals().len(), RETRIES);
    // The plugin's change is at the start, so that what was made before it is lost, and only that.
    let read = outcomes.last().map(|outcome| outcome.read);
    assert!(read >= Some(TURNS - CLEARS - 1), "{read:?}");
}

#[test]
#[ignore = "prints what Claude Code does about a break with and without the gateway's recovery"]
fn print_what_claude_code_does_about_a_break() {
    let off = "[plugin.signature-fallback]\nenabled = false";
    for (name, tables) in [("with recovery", ""), ("without", off)] {
        let upstream = Strict::rules().script(works).start();
        let result = work_through_a_break(&upstream, tables);
        let outcomes = upstream.outcomes();
        let read: Vec<usize> = outcomes.iter().map(|outcome| outcome.read).collect();
        println!(
            "{name}: {} requests, refused {:?}, thinking read {read:?}, result {}",
            outcomes.len(),
            upstream.refusals(),
            result["result"],
        );
    }
}

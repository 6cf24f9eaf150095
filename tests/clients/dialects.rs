//! Real clients through the dialects, to upstreams that reject whatever the provider's own types do
//! not accept: the SDKs, a session of ten turns with Claude Code, and random requests and
//! responses.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    claude_code, install,
    live::Live,
    sdks::case_names,
    support::{TempDir, gateway::finish_within},
};

const LIMIT: Duration = Duration::from_secs(120);
const KEY: &str = "sk-witgate-test";

#[test]
fn the_python_sdk_talks_to_gemini() {
    the_python_sdk_talks("gemini");
}

#[test]
fn the_python_sdk_talks_to_openai() {
    the_python_sdk_talks("openai");
}

#[test]
fn the_typescript_sdk_talks_to_gemini() {
    the_typescript_sdk_talks("gemini");
}

#[test]
fn the_typescript_sdk_talks_to_openai() {
    the_typescript_sdk_talks("openai");
}

#[track_caller]
fn the_python_sdk_talks(dialect: &'static str) {
    if install::skipped() {
        return;
    }
    let script = install::sources().join("dialects.py");
    let python = install::python("requirements.txt");
    every_case_is_ok(&python, &script, "python", dialect);
}

#[track_caller]
fn the_typescript_sdk_talks(dialect: &'static str) {
    if install::skipped() {
        return;
    }
    // Node looks for packages beside the script. Each test has its own copy, so that none reads a
    // half-written one.
    let script = install::node().join(format!("dialects-{dialect}.mjs"));
    fs::copy(install::sources().join("dialects.mjs"), &script).unwrap();
    every_case_is_ok(Path::new("node"), &script, "typescript", dialect);
}

#[track_caller]
fn every_case_is_ok(interpreter: &Path, script: &Path, language: &str, dialect: &'static str) {
    let upstream = Live::sdk(dialect);
    let gateway = upstream.gateway(KEY).start();
    let mut command = Command::new(interpreter);
    command
        .arg(script)
        .arg(format!("http://{}", gateway.addr))
        .args([KEY, dialect])
        .env("NO_PROXY", "127.0.0.1");
    for name in [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
    ] {
        command.env_remove(name);
    }
    let outcome = finish_within(command, LIMIT);
    // First what the upstream found wrong, since that is why a client failed.
    upstream.received();
    let expected = case_names(&fs::read_to_string(script).unwrap(), language);
    assert!(expected.len() >= 8, "{expected:?}");
    let said: Vec<&str> = outcome.out.lines().collect();
    let wanted: Vec<String> = expected.iter().map(|name| format!("ok {name}")).collect();
    assert_eq!(said, wanted, "{}", outcome.err);
}

#[test]
fn gemini_accepts_every_request_that_is_not_rejected() {
    every_request_is_accepted_or_rejected("gemini", "gemini-2.5-pro", "");
    every_request_is_accepted_or_rejected("gemini", "gemini-3-pro-preview", "");
}

#[test]
fn openai_accepts_every_request_that_is_not_rejected() {
    every_request_is_accepted_or_rejected("openai", "gpt-5", "");
    let settings = "settings = { effort = true, files = true, mid_system = \"user\", prompt_cache_key = true }";
    every_request_is_accepted_or_rejected("openai", "gpt-5", settings);
}

#[track_caller]
fn every_request_is_accepted_or_rejected(dialect: &'static str, model: &str, settings: &str) {
    if install::skipped() {
        return;
    }
    let upstream = Live::always(dialect);
    let gateway = upstream
        .gateway(KEY)
        .tables(&format!("[plugin.dialect-{dialect}]\n{settings}"))
        .start();
    let mut command = Command::new(install::python("requirements-strict.txt"));
    command
        .arg(install::sources().join("strict/anything.py"))
        .arg(format!("http://{}", gateway.addr))
        .args([KEY, model, "300"]);
    at_random(&upstream, command, &[("answered", 150), ("refused", 10)]);
}

#[test]
fn every_gemini_response_arrives_in_order_or_truncated() {
    every_response_arrives_in_order_or_truncated("gemini");
}

#[test]
fn every_openai_response_arrives_in_order_or_truncated() {
    every_response_arrives_in_order_or_truncated("openai");
}

#[track_caller]
fn every_response_arrives_in_order_or_truncated(dialect: &'static str) {
    if install::skipped() {
        return;
    }
    let upstream = Live::random(dialect);
    let gateway = upstream.gateway(KEY).start();
    let mut command = Command::new(install::python("requirements.txt"));
    command
        .arg(install::sources().join("strict/listens.py"))
        .arg(format!("http://{}", gateway.addr))
        .args([KEY, dialect, "150"]);
    at_random(&upstream, command, &[("whole", 100), ("cut", 20)]);
}

/// Runs a script that prints failures, and then how often each kind of result occurred. Each of
/// `wanted` must occur at least that often.
#[track_caller]
fn at_random(upstream: &Live, mut command: Command, wanted: &[(&str, u64)]) {
    for name in ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"] {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "127.0.0.1");
    let outcome = finish_within(command, LIMIT);
    upstream.received();
    let said = outcome.out.trim_end();
    let (failed, counts) = said.rsplit_once('\n').unwrap_or(("", said));
    assert_eq!(failed, "", "{}", outcome.err);
    let counts: Value = serde_json::from_str(counts)
        .unwrap_or_else(|error| panic!("{error}: {counts}{}", outcome.err));
    for (what, least) in wanted {
        assert!(counts[what].as_u64() >= Some(*least), "{what}: {counts}");
    }
}

#[test]
fn claude_code_works_ten_turns_with_gemini() {
    claude_code_works_ten_turns("gemini", "gemini-3-pro-preview", "");
}

#[test]
fn claude_code_works_ten_turns_with_an_older_gemini() {
    // Thoughts are requested in another way than from newer models.
    claude_code_works_ten_turns("gemini", "gemini-2.5-pro", "");
}

#[test]
fn claude_code_works_ten_turns_with_openai() {
    // These settings are for OpenAI itself; the default sends nothing that other servers may not
    // know.
    let settings = "settings = { effort = true, max_tokens = \"max_completion_tokens\" }";
    claude_code_works_ten_turns("openai", "gpt-5", settings);
}

/// The upstream itself checks what the client sends back of each turn (strict/script.py,
/// `Session`).
#[track_caller]
fn claude_code_works_ten_turns(dialect: &'static str, model: &str, settings: &str) {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let picture = home.path().join("picture.png");
    fs::write(&picture, png()).unwrap();
    let upstream = Live::session(dialect, &picture);
    let gateway = upstream
        .gateway(KEY)
        .tables(&format!("[plugin.dialect-{dialect}]\n{settings}"))
        .start();
    // This output format shows thoughts.
    let words = [
        "--model",
        model,
        "--allowedTools=Read",
        "--output-format=stream-json",
        "--verbose",
        "do what you are asked to do, in ten turns",
    ];
    let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &words);
    let received = upstream.received();
    outcome.has_code(0);
    let result = outcome.out.lines().last().unwrap_or_default();
    let answer: Value = serde_json::from_str(result).expect("a JSON result");
    assert_eq!(answer["is_error"], false, "{answer}");
    assert_eq!(answer["result"], "All ten turns are done.", "{answer}");
    assert_eq!(received.len(), 10, "{answer}");
    for thought in ["Three at once.", "That is all."] {
        let block = format!(r#"{{"type":"thinking","thinking":"{thought}""#);
        assert!(outcome.out.contains(&block), "no thought `{thought}`");
    }
    for (name, least) in [
        ("input_tokens", 10 * 600),
        ("cache_read_input_tokens", 10 * 400),
        ("output_tokens", 10 * 50),
    ] {
        let used = answer["usage"][name].as_u64();
        assert!(used >= Some(least), "{name}: {answer}");
    }
}

/// A picture of 32 by 32 pixels, large enough to be a real one.
fn png() -> Vec<u8> {
    const SIDE: u32 = 32;
    let mut rows = Vec::new();
    for row in 0..SIDE {
        rows.push(0);
        for column in 0..SIDE {
            rows.extend([(row * 8) as u8, (column * 8) as u8, 128]);
        }
    }
    let mut header = [SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", header),
        (b"IDAT", stored(&rows)),
        (b"IEND", Vec::new()),
    ] {
        let named = [kind.as_slice(), &data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&named);
        file.extend(crc(&named).to_be_bytes());
    }
    file
}

/// The data in zlib format without compression: one block, shorter than 64 KiB.
fn stored(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let mut bytes = vec![0x78, 0x01, 0x01];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(data);
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in data {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    bytes.extend((high << 16 | low).to_be_bytes());
    bytes
}

fn crc(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

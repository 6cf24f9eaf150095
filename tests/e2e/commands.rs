//! The command line apart from serving: `check`, `plugin list`, `wit`, help and exit codes.

use std::net::TcpListener;

use crate::support::{
    Gateway, Request, TempDir, Upstream, component,
    component::root,
    gateway::{Process, finish, witgate},
    shapes::HELLO,
};

/// The documented exit codes.
const BAD_USE: i32 = 2;
const BAD_CONFIG: i32 = 3;
const BAD_PLUGIN: i32 = 4;
const PORT_IN_USE: i32 = 5;

#[test]
fn help_names_every_command_and_flag() {
    let dir = TempDir::new("help");
    let mut command = witgate(dir.path());
    command.arg("--help");
    let help = finish(command);
    help.has_code(0);
    for word in [
        "serve",
        "check",
        "plugins",
        "wit",
        "--config",
        "--listen",
        "--log",
        "--version",
        "witgate.toml",
    ] {
        assert!(help.out.contains(word), "no `{word}` in {}", help.out);
    }
    for line in help.out.lines() {
        assert!(line.len() <= 120, "a long line in the help: {line}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let dir = TempDir::new("version");
    let mut command = witgate(dir.path());
    command.arg("--version");
    let version = finish(command);
    version.has_code(0);
    assert!(
        version
            .out
            .starts_with(concat!("witgate ", env!("CARGO_PKG_VERSION"))),
        "{}",
        version.out
    );
}

#[test]
fn wit_prints_the_contract_verbatim() {
    let dir = TempDir::new("wit");
    let mut command = witgate(dir.path());
    command.arg("wit");
    let printed = finish(command);
    printed.has_code(0);
    let mut files = 0;
    for entry in std::fs::read_dir(root().join("wit/0.2.0"))
        .unwrap()
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let text = std::fs::read_to_string(&path).unwrap();
            let body = text.split_once('\n').unwrap().1.trim();
            assert!(
                printed.out.contains(body),
                "{} is not printed whole",
                path.display()
            );
            files += 1;
        }
    }
    assert!(files > 8);
}

#[test]
fn check_is_silent_about_what_is_right_and_needs_no_port() {
    let upstream = Upstream::ok();
    let checked = Gateway::to(&upstream).run(&["check"]);
    checked.has_code(0);
    assert!(
        checked.out.starts_with("ok: upstreams 1,"),
        "{}",
        checked.out
    );
    upstream.was_not_asked();
}

#[test]
fn check_tells_all_problems_at_once_with_file_line_and_key() {
    let bad = "lisden = \"127.0.0.1:1\"\nbody_limit = \"huge\"\n[auth]\nmode = \"of\"\n[[upstream]]\nname = \"a\"\npreset = \"anthrpic\"\n[[route]]\nmodel = \"*\"\nto = \"b\"\n";
    for words in [&["check"][..], &["serve"]] {
        let checked = Gateway::echo()
            .without_config()
            .file("bad.toml", bad)
            .arg("--config")
            .arg("bad.toml")
            .run(words);
        checked.has_code(BAD_CONFIG);
        checked.says(&[
            "bad.toml:1",
            "lisden",
            "`listen`",
            "bad.toml:2",
            "body_limit",
            "bad.toml:4",
            "auth.mode",
            "bad.toml:7",
            "anthrpic",
            "bad.toml:10",
            "`b`",
        ]);
    }
}

#[test]
fn a_reference_to_nothing_is_a_problem_and_its_value_is_never_shown() {
    let upstream = Upstream::ok();
    let lines = "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"env:KEY_OF_ADA\" }]";
    let builder = || Gateway::echo().upstream("up", &upstream, lines);
    builder()
        .run(&["check"])
        .has_code(BAD_CONFIG)
        .says(&["KEY_OF_ADA", "not set"]);
    let fine = builder()
        .env("KEY_OF_ADA", "sk-very-secret")
        .run(&["check"]);
    fine.has_code(0);
    assert!(!format!("{}{}", fine.out, fine.err).contains("sk-very-secret"));

    let from_file = Gateway::echo()
        .upstream(
            "up",
            &upstream,
            "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"file:key.txt\" }]",
        )
        .file("key.txt", "sk-from-file\n")
        .start();
    from_file.message(HELLO).has_status(200);
    upstream.last().has_header("x-api-key", "sk-from-file");
}

#[test]
fn a_table_for_a_plugin_that_is_not_there_is_a_warning() {
    let checked = Gateway::echo()
        .tables("[plugin.merge-rolls]\nenabled = false")
        .run(&["check"]);
    checked
        .has_code(0)
        .says(&["merge-rolls", "not loaded", "merge-roles"]);
}

#[test]
fn check_finds_what_cannot_work_or_is_not_meant() {
    const A: &str =
        "[[upstream]]\npreset = \"anthropic\"\naccounts = [{ name = \"a\", key = \"k\" }]\n";
    let errors = [
        "[[upstream]]\nname = \"a\"\nbase_url = \"https://x.test:99999\"\n",
        "[[upstream]]\npreset = \"anthropic\"\nca_file = \"witgate.toml\"\n",
        "[[upstream]]\nname = \"a\"\nbase_url = \"https://x.test/v1/messages\"\n",
        "[[upstream]]\npreset = \"openai\"\nbase_url = \"https://x.test/v1/chat/completions\"\n",
        "[plugin.dialect-openai]\nsettings = { upstreams = { y = { files = true } } }\n",
        "[plugin.dialect-openai]\nsettings = { file = true }\n",
    ];
    for text in errors {
        let checked = Gateway::echo().tables(text).run(&["check"]);
        checked.has_code(BAD_CONFIG);
        assert!(!checked.err.contains("rebuild"), "{text}\n{}", checked.err);
    }
    let warnings = [
        "[plugins]\ndir = \"rulez\"\n".to_owned(),
        format!(
            "{A}[[route]]\nmodel = \"*\"\nto = \"anthropic\"\n[[route]]\nmodel = \"claude-haiku-*\"\nto = \"anthropic/x\"\n"
        ),
        "[auth]\nmode = \"strict\"\n".to_owned(),
    ];
    for text in warnings {
        let checked = Gateway::echo().without_config().file("w.toml", &text);
        let checked = checked.arg("--config").arg("w.toml").run(&["check"]);
        checked.has_code(0).says(&["warning:"]);
    }
    let checked = Gateway::echo().without_config().file("w.toml", A);
    let checked = checked.arg("--config").arg("w.toml").run(&["check"]);
    checked.has_code(0);
    assert!(!checked.err.contains("warning"), "{}", checked.err);
}

#[test]
fn a_log_level_that_does_not_exist_is_an_error_wherever_it_is_given() {
    Gateway::echo()
        .log("warning")
        .run(&["check"])
        .has_code(BAD_CONFIG)
        .says(&["`warning` is not a level", "`warn`"]);
    Gateway::echo()
        .arg("--log")
        .arg("warning")
        .fails()
        .has_code(BAD_CONFIG)
        .says(&["`warning` is not a level", "`warn`"]);
}

#[test]
fn a_local_name_is_taken_as_an_address_to_listen_on() {
    let gateway = Gateway::echo().arg("--listen").arg("localhost:0").start();
    gateway.get("/healthz").has_status(200);
}

#[test]
fn the_list_of_plugins_shows_order_hooks_guards_source_and_hash() {
    let listed = Gateway::echo()
        .plugin("55-tagger.wasm", component("tagger"))
        .tables("[plugin.merge-roles]\nenabled = false")
        .run(&["plugins", "list"]);
    listed.has_code(0);
    let line = |name: &str| -> String {
        let found = listed.out.lines().find(|line| line.contains(name));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", listed.out))
            .to_owned()
    };
    let order: Vec<usize> = [
        "answer-warmup",
        "background-model",
        "message-threads",
        "strip-cache-control",
        "signature-fallback",
        "tagger",
        "merge-roles",
        "drop-unsupported",
        "estimate-tokens",
        "context-overflow",
    ]
    .iter()
    .map(|name| {
        listed
            .out
            .find(name)
            .unwrap_or_else(|| panic!("no {name} in {}", listed.out))
    })
    .collect();
    assert!(order.is_sorted(), "not in order: {}", listed.out);
    for word in ["40", "attempt", "built in"] {
        assert!(
            line("strip-cache-control").contains(word),
            "no `{word}`: {}",
            line("strip-cache-control")
        );
    }
    assert!(
        listed.out.contains("cache_control\"]") || listed.out.contains("cache_control"),
        "{}",
        listed.out
    );
    assert!(
        line("tagger").contains("55") && listed.out.contains("55-tagger.wasm"),
        "{}",
        listed.out
    );
    let off = line("merge-roles");
    assert!(off.contains("off") || off.contains("disabled"), "{off}");
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let outcome = Gateway::echo().arg("--listen").arg(&addr).fails();
    outcome.has_code(PORT_IN_USE).says(&[&addr, "in use"]);
    one_sentence(&outcome.err);

    let outcome = Gateway::echo()
        .without_config()
        .arg("--config")
        .arg("missing.toml")
        .fails();
    outcome.has_code(BAD_CONFIG).says(&["missing.toml"]);
    one_sentence(&outcome.err);

    let outcome = Gateway::echo()
        .file("plugins/50-noise.wasm", "not wasm")
        .fails();
    outcome.has_code(BAD_PLUGIN).says(&["50-noise.wasm"]);
    let outcome = Gateway::echo()
        .file("plugins/50-noise.wasm", "not wasm")
        .run(&["check"]);
    outcome.has_code(BAD_PLUGIN).says(&["50-noise.wasm"]);

    let outcome = Gateway::echo().arg("--listn").fails();
    outcome.has_code(BAD_USE).says(&["--listn", "--listen"]);
    let outcome = Gateway::echo().arg("--listen").arg("nonsense").fails();
    outcome.has_code(BAD_USE).says(&["nonsense"]);
}

/// Expects exactly one line, which is an error.
fn one_sentence(err: &str) {
    let errors = err.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(errors, 1, "{err}");
    assert!(
        !err.contains("panicked") && !err.contains("RUST_BACKTRACE"),
        "{err}"
    );
}

#[test]
fn bare_witgate_serves_what_the_file_in_the_present_folder_says() {
    let upstream = Upstream::ok();
    let dir = TempDir::new("bare");
    dir.write("witgate.toml", Gateway::to(&upstream).toml(dir.path()));
    let mut process = Process::spawn(witgate(dir.path()));
    let addr = process.listening();
    Request::new(addr, "POST", "/v1/messages")
        .body(HELLO)
        .send()
        .has_status(200);
    upstream.last().has_header("x-api-key", "sk-of-ada");
    process.signal("INT");
    assert!(process.ended().success());
}

#[test]
fn the_list_of_plugins_can_be_read_by_a_program() {
    let listed = Gateway::echo().run(&["plugins", "list", "--json"]);
    listed.has_code(0);
    let list: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let first = &list.as_array().unwrap()[0];
    assert_eq!(first["name"], "answer-warmup");
    assert_eq!(first["order"], 10);
    assert_eq!(first["hooks"][0], "request");
    assert_eq!(first["hash"].as_str().map(str::len), Some(64), "{first}");
}

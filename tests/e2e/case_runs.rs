//! `witgate plugin test`: cases, cut streams and hostile traffic.

use std::{fs, path::Path, time::Duration};

use crate::support::{
    Outcome, TempDir, component,
    component::root,
    each,
    gateway::{code_cache, finish_within, witgate},
};

/// Hostile traffic takes ten seconds; the machine may be busy.
const HOSTILE: Duration = Duration::from_secs(120);

const BAD_USE: i32 = 2;
const BAD_PLUGIN: i32 = 4;

fn test(folder: &Path, words: &[&str]) -> Outcome {
    let mut command = witgate(folder);
    command.args(["plugin", "test"]).args(words);
    command.env("XDG_CACHE_HOME", code_cache());
    finish_within(command, HOSTILE)
}

/// Cases for the guest with defects, with this defect.
fn cases(defect: &str) -> TempDir {
    let folder = TempDir::new("cases");
    let request = r#"{ "model": "m", "max_tokens": 9, "stream": true, "messages": [] }"#;
    let stream = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",",
        "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],",
        "\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,",
        "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,",
        "\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",",
        "\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    folder.write("_default/request.json", request);
    folder.write("_default/sent.json", request);
    folder.write("_default/upstream.sse", stream);
    folder.write("_default/reply.sse", stream);
    folder.write(
        "_default/settings.json",
        format!("{{ \"defect\": \"{defect}\" }}"),
    );
    fs::create_dir(folder.path().join("it-passes")).unwrap();
    folder
}

#[test]
fn the_cases_of_the_built_in_dialects_pass_offline() {
    for dialect in ["dialect-gemini", "dialect-openai"] {
        let folder = root().join("tests/cases").join(dialect);
        let tested = test(&folder, &["--no-cuts"]);
        tested.has_code(0);
        assert!(tested.out.lines().count() > 80, "{}", tested.out);
    }
}

#[test]
fn a_stream_of_a_dialect_is_cut_at_every_place() {
    let folder = root().join("tests/cases/dialect-openai");
    let tested = test(&folder, &["--case", "a-call-is-streamed-as-it-arrives"]);
    tested
        .has_code(0)
        .says(&["a-call-is-streamed-as-it-arrives (cut at "]);
}

#[test]
fn a_case_that_fails_is_shown_line_by_line_and_can_be_blessed() {
    let folder = cases("api-version");
    folder.write("it-fails/notes.txt", "never\n");
    let guest = component("defects");
    let plugin = ["--plugin", guest.to_str().unwrap()];
    let tested = test(folder.path(), &plugin);
    tested
        .has_code(1)
        .says(&["FAILED   it-passes", "- {", "\"temperature\": 1", "- never"]);

    test(folder.path(), &[&plugin[..], &["--bless"]].concat()).has_code(0);
    let sent = fs::read_to_string(folder.path().join("it-passes/sent.json")).unwrap();
    assert!(sent.contains("\"temperature\": 1"), "{sent}");
    assert!(!folder.path().join("it-fails/notes.txt").exists());
    let tested = test(folder.path(), &plugin);
    tested.has_code(0).says(&["ok       it-passes (cut at "]);
}

#[test]
fn a_plugin_that_invents_text_after_a_cut_fails_its_case() {
    let folder = cases("cuts");
    let guest = component("defects");
    let tested = test(folder.path(), &["--plugin", guest.to_str().unwrap()]);
    tested
        .has_code(1)
        .says(&["FAILED   it-passes", "cut after ", "(the end)"]);
}

#[test]
fn several_attempts_are_one_case() {
    let folder = cases("retry");
    let first = "HTTP/1.1 529 Overloaded\ncontent-type: application/json\n\n{\"type\":\"error\",\
                 \"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n";
    folder.write("it-passes/upstream.http", first);
    let stream = fs::read(folder.path().join("_default/upstream.sse")).unwrap();
    folder.write("it-passes/upstream.2.sse", stream);
    let guest = component("defects");
    let plugin = ["--plugin", guest.to_str().unwrap()];
    let tested = test(folder.path(), &plugin);
    tested.has_code(1).says(&["sent.json:", "x_marked"]);
    test(folder.path(), &[&plugin[..], &["--bless"]].concat()).has_code(0);
    let again = fs::read_to_string(folder.path().join("it-passes/sent.2.json")).unwrap();
    assert!(!again.contains("x_marked"), "{again}");
    test(folder.path(), &plugin).has_code(0);
}

#[test]
fn what_cannot_be_tested_is_said() {
    let empty = TempDir::new("empty");
    test(empty.path(), &[])
        .has_code(BAD_USE)
        .says(&["not a project", "--plugin"]);
    let guest = component("defects");
    let plugin = ["--plugin", guest.to_str().unwrap()];
    test(empty.path(), &plugin)
        .has_code(BAD_USE)
        .says(&["no cases", "docs/cases.md"]);
    test(empty.path(), &["--plugin", "gone.wasm"])
        .has_code(BAD_USE)
        .says(&["gone.wasm"]);
    empty.write("bad.wasm", "no component");
    empty.write("a-case/request.json", "{}");
    test(empty.path(), &[]).has_code(BAD_PLUGIN);
    empty.write("a-case/request.jsn", "{}");
    test(empty.path(), &plugin)
        .has_code(1)
        .says(&["request.jsn: unknown file"]);
}

#[test]
fn hostile_traffic_finds_each_planted_defect_by_name() {
    let defects = [
        "spelling",
        "content-forms",
        "empty",
        "block-kinds",
        "unknown-members",
        "exact-numbers",
        "betas",
        "api-version",
        "large",
        "count-tokens",
        "neighbours",
        "pieces",
        "odd-events",
        "cuts",
        "upstream-errors",
        "retry",
        "growing-conversation",
        "forgotten-kv",
        "lost-end",
    ];
    each(defects.map(|defect| (defect, defect)), |defect| {
        let folder = cases(defect);
        // After the built-in plugins that other checks need before it.
        let file = folder.path().join("55-defects.wasm");
        fs::copy(component("defects"), &file).unwrap();
        let tested = test(folder.path(), &["--hostile"]);
        tested
            .has_code(1)
            .says(&[&format!("FOUND    {defect}: "), "sent: ", "came: "]);
    });
}

#[test]
fn hostile_traffic_finds_nothing_in_a_plugin_without_defects() {
    let folder = TempDir::new("hostile");
    fs::copy(component("defects"), folder.path().join("defects.wasm")).unwrap();
    let tested = test(folder.path(), &["--hostile"]);
    tested.has_code(0);
    assert!(!tested.out.contains("skipped"), "{}", tested.out);
}

#[test]
fn hostile_traffic_finds_nothing_in_the_built_in_plugins() {
    let plugins = fs::read_dir(root().join("plugins")).unwrap().flatten();
    let plugins = plugins.filter(|plugin| plugin.path().join("Cargo.toml").exists());
    let names = plugins.map(|plugin| plugin.file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name != "sdk").collect();
    assert!(names.len() > 10, "{names:?}");
    let empty = TempDir::new("hostile");
    each(names.iter().map(|name| (name, name)), |name| {
        let cases = root().join("tests/cases").join(name);
        let folder = if cases.exists() {
            cases
        } else {
            empty.path().to_owned()
        };
        test(&folder, &["--plugin", name, "--hostile"]).has_code(0);
    });
}

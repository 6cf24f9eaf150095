//! Plugins are added, changed and removed under traffic; a bad file is rejected and harms nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    Gateway, TempDir, Upstream, component,
    shapes::{EVENTS, HELLO, HELLO_STREAM, message},
};

/// Settings that make the plugin `tagger` add a tag.
const TAG: &str =
    "[plugin.tagger]\nsettings = { patch = [{ op = \"add\", path = \"/tagged\", value = true }] }";

/// Checks whether the next request is tagged by the plugin `tagger`.
#[track_caller]
fn is_tagged(gateway: &Gateway, tagged: bool) {
    let seen = gateway.message(HELLO);
    seen.has_status(200);
    let receipt = seen.header("x-witgate-edits").unwrap_or_default();
    assert_eq!(receipt.contains("tagger"), tagged, "receipt: `{receipt}`");
}

/// The same plugin with other bytes: a custom section does not change what a component does.
pub(crate) fn another_build(component: &Path) -> Vec<u8> {
    let mut bytes = fs::read(component).unwrap();
    bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', b'1']);
    bytes
}

#[test]
fn a_file_is_copied_in_replaced_and_removed() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).tables(TAG).start();
    gateway.generation(1);
    is_tagged(&gateway, false);

    gateway.drop_in("tagger.wasm", &component("tagger"));
    let line = gateway.generation(2);
    assert!(line.ends_with("added=tagger"), "{line}");
    is_tagged(&gateway, true);

    // The same bytes do not cause a reload; the next change shows that the watcher has looked.
    fs::copy(component("tagger"), gateway.plugins().join("tagger.wasm")).unwrap();
    fs::write(
        gateway.plugins().join("tagger.wasm"),
        another_build(&component("tagger")),
    )
    .unwrap();
    let line = gateway.generation(3);
    assert!(line.ends_with("replaced=tagger"), "{line}");
    is_tagged(&gateway, true);

    fs::remove_file(gateway.plugins().join("tagger.wasm")).unwrap();
    let line = gateway.generation(4);
    assert!(line.ends_with("removed=tagger"), "{line}");
    is_tagged(&gateway, false);
    gateway.has_no_line(&["rejected"]);
}

#[test]
fn a_file_is_renamed_over_another() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("declines"))
        .start();
    is_tagged(&gateway, false);
    let beside = gateway.dir.path().join("next");
    fs::copy(component("tagger"), &beside).unwrap();
    fs::rename(&beside, gateway.plugins().join("55-tagger.wasm")).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
}

#[test]
fn a_folder_behind_a_symbolic_link_is_swapped() {
    let upstream = Upstream::ok();
    let releases = TempDir::new("releases");
    let old = releases.path().join("1");
    let new = releases.path().join("2");
    fs::create_dir_all(&old).unwrap();
    fs::create_dir_all(&new).unwrap();
    fs::copy(component("tagger"), new.join("tagger.wasm")).unwrap();
    let link = releases.path().join("plugins");
    symlink(&old, &link).unwrap();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .tables(&plugins_at(&link, ""))
        .start();
    is_tagged(&gateway, false);
    let swapped = releases.path().join("swapped");
    symlink(&new, &swapped).unwrap();
    fs::rename(&swapped, &link).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
}

#[test]
fn a_file_that_is_a_symbolic_link_is_swapped() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).tables(TAG).start();
    symlink(component("tagger"), gateway.plugins().join("tagger.wasm")).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
    let other = gateway.dir.path().join("other");
    symlink(component("declines"), &other).unwrap();
    fs::rename(&other, gateway.plugins().join("tagger.wasm")).unwrap();
    gateway.generation(3);
    is_tagged(&gateway, false);
}

#[test]
fn a_folder_may_be_made_later() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).tables(TAG).without_folder().start();
    assert!(!gateway.plugins().exists());
    gateway.drop_in("tagger.wasm", &component("tagger"));
    gateway.generation(2);
    is_tagged(&gateway, true);
}

#[test]
fn a_folder_that_goes_away_takes_no_plugin_with_it() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let away = gateway.dir.path().join("away");
    let from = gateway.mark();
    fs::rename(gateway.plugins(), &away).unwrap();
    let words = [
        "the plugin folder is missing",
        "keep running until it can be read",
    ];
    let (at, line) = gateway.line_from(from, &words);
    assert!(line.contains(gateway.plugins().to_str().unwrap()), "{line}");
    is_tagged(&gateway, true);

    // The folder returns with one more file: that one is added, the other runs on.
    fs::copy(component("declines"), away.join("60-declines.wasm")).unwrap();
    fs::rename(&away, gateway.plugins()).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
    let again = gateway.log().into_iter().skip(at + 1);
    assert_eq!(again.filter(|line| line.contains(words[0])).count(), 0);

    // An empty folder removes its plugins.
    fs::rename(gateway.plugins(), &away).unwrap();
    gateway.line_from(at + 1, &words);
    fs::create_dir(gateway.plugins()).unwrap();
    gateway.generation(3);
    is_tagged(&gateway, false);
}

#[test]
fn a_folder_that_cannot_be_read_changes_nothing_until_it_can() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let away = gateway.dir.path().join("away");
    fs::rename(gateway.plugins(), &away).unwrap();
    let from = gateway.mark();
    // Tests may run as root, which permissions do not stop. Listing a file fails for every user.
    fs::write(gateway.plugins(), "a file").unwrap();
    let words = [
        "the plugin folder cannot be read",
        "keep running until it can be read",
    ];
    let (at, line) = gateway.line_from(from, &words);
    assert!(line.contains(gateway.plugins().to_str().unwrap()), "{line}");
    is_tagged(&gateway, true);

    // New settings cannot be applied to a plugin that cannot be read, so the configuration waits.
    let changed = TAG.replace("true", "\"changed\"");
    gateway.reconfigure(|config| config.replace_tables(TAG, &changed));
    let words_of_config = ["configuration rejected", "the plugin folder cannot be read"];
    gateway.line_from(at, &words_of_config);
    is_tagged(&gateway, true);
    assert_eq!(upstream.last().json()["tagged"], true);

    fs::remove_file(gateway.plugins()).unwrap();
    fs::rename(&away, gateway.plugins()).unwrap();
    gateway.line_from(at, &["configuration loaded"]);
    is_tagged(&gateway, true);
    assert_eq!(upstream.last().json()["tagged"], "changed");
    let log = gateway.log();
    for words in [words, words_of_config] {
        let said = |line: &&String| words.iter().all(|word| line.contains(word));
        assert_eq!(log.iter().filter(said).count(), 1, "{words:?} in {log:#?}");
    }
}

#[test]
fn a_folder_that_cannot_be_read_at_the_start_stops_the_gateway() {
    for command in ["serve", "check"] {
        let outcome = Gateway::echo()
            .without_folder()
            .file("plugins", "a file")
            .run(&[command]);
        outcome
            .has_code(4)
            .says(&["/plugins: the plugin folder cannot be read", "[plugins]"]);
    }
}

/// Makes a FIFO without a writer.
#[track_caller]
fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
}

/// Makes a file of this length that takes no disk space.
fn make_sparse(path: &Path, length: u64) {
    fs::File::create(path).unwrap().set_len(length).unwrap();
}

#[test]
fn special_and_oversized_files_are_rejected_unread() {
    const HUGE: u64 = 2 << 30;
    type Case<'a> = (&'a str, fn(&Path), &'a [&'a str]);
    let cases: [Case<'_>; 3] = [
        ("a FIFO", make_fifo, &["is a FIFO", "regular file"]),
        (
            "a link to an endless device",
            |path| symlink("/dev/zero", path).unwrap(),
            &["is a device", "regular file"],
        ),
        (
            "a huge file",
            |path| make_sparse(path, HUGE),
            &["2147483648 bytes", "the limit is 67108864"],
        ),
    ];
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let mut generation = 1;
    for (name, make, words) in cases {
        let odd = gateway.plugins().join("60-odd.wasm");
        let from = gateway.mark();
        make(&odd);
        let line = gateway
            .line_from(from, &["plugin rejected: ", "60-odd.wasm"])
            .1;
        for word in words {
            assert!(line.contains(word), "{name}: no `{word}` in {line}");
        }
        // Later changes are seen, and the rejection is not logged again.
        gateway.drop_in("70-declines.wasm", &component("declines"));
        generation += 1;
        gateway.generation(generation);
        fs::remove_file(gateway.plugins().join("70-declines.wasm")).unwrap();
        generation += 1;
        gateway.generation(generation);
        is_tagged(&gateway, true);
        let log = gateway.log().into_iter().skip(from);
        assert_eq!(
            log.filter(|line| line.contains("60-odd")).count(),
            1,
            "{name}"
        );
        fs::remove_file(&odd).unwrap();

        let dir = TempDir::new("odd");
        make(&dir.path().join("60-odd.wasm"));
        let outcome = Gateway::echo().tables(&plugins_at(dir.path(), "")).fails();
        outcome.has_code(4).says(words).says(&["60-odd.wasm"]);
    }
    #[cfg(target_os = "linux")]
    assert!(
        gateway.peak_memory() < HUGE / 2,
        "{}",
        gateway.peak_memory()
    );
}

#[test]
fn a_file_that_was_too_large_is_looked_at_when_it_changes() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).tables(TAG).start();
    let file = gateway.plugins().join("55-tagger.wasm");
    make_sparse(&file, (64 << 20) + 1);
    gateway.line(&[
        "plugin rejected: ",
        "67108865 bytes",
        "the limit is 67108864",
    ]);
    fs::write(&file, fs::read(component("tagger")).unwrap()).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
}

#[test]
fn polling_finds_what_events_would() {
    let upstream = Upstream::ok();
    let dir = TempDir::new("polled");
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .tables(&plugins_at(dir.path(), "poll = \"50ms\""))
        .start();
    fs::copy(component("tagger"), dir.path().join("tagger.wasm")).unwrap();
    gateway.generation(2);
    is_tagged(&gateway, true);
    fs::remove_file(dir.path().join("tagger.wasm")).unwrap();
    gateway.generation(3);
    is_tagged(&gateway, false);
}

#[test]
fn a_bad_file_is_rejected_with_one_line_and_the_running_set_is_untouched() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let whole = fs::read(component("tagger")).unwrap();
    let mut cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        (
            "garbage",
            b"these bytes are something else".to_vec(),
            vec!["WebAssembly component"],
        ),
        ("empty", Vec::new(), vec!["empty"]),
        (
            "half written",
            whole[..whole.len() / 2].to_vec(),
            vec!["valid component"],
        ),
        (
            "an import that nothing offers",
            // A component with one import, an instance, which nothing could compile.
            b"\0asm\x0d\0\x01\0\x0a\x15\x01\0\x10other:secret/key\x05\0".to_vec(),
            vec!["imports `other:secret/key`", "witgate wit"],
        ),
        (
            "a core module",
            b"\0asm\x01\0\0\0".to_vec(),
            vec!["component"],
        ),
    ];
    for (guest, words) in [
        ("wrong-world", vec!["witgate:plugin"]),
        ("wrong-version", vec!["0.1.0", "0.2.0", "rebuild it"]),
    ] {
        cases.push((guest, fs::read(component(guest)).unwrap(), words));
    }
    for (name, bytes, words) in cases {
        let from = gateway.mark();
        let file = gateway.plugins().join("60-bad.wasm");
        fs::write(&file, &bytes).unwrap();
        let line = gateway
            .line_from(from, &["plugin rejected: ", "60-bad.wasm"])
            .1;
        for word in words {
            assert!(line.contains(word), "{name}: no `{word}` in {line}");
        }
        is_tagged(&gateway, true);
        let refusals = gateway.log().into_iter().skip(from);
        let refusals = refusals.filter(|line| line.contains("60-bad.wasm")).count();
        assert_eq!(refusals, 1, "{name}: {:?}", gateway.log());
        fs::remove_file(&file).unwrap();
    }
    gateway.has_no_line(&["generation=2"]);
}

#[test]
fn the_last_good_version_of_a_plugin_goes_on() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let from = gateway.mark();
    fs::write(gateway.plugins().join("55-tagger.wasm"), "garbage").unwrap();
    gateway.line_from(
        from,
        &[
            "plugin rejected; keeping the previous version: ",
            "55-tagger.wasm",
        ],
    );
    is_tagged(&gateway, true);
    // Other plugins are still added and removed.
    gateway.drop_in("60-declines.wasm", &component("declines"));
    gateway.generation(2);
    is_tagged(&gateway, true);
    fs::write(
        gateway.plugins().join("55-tagger.wasm"),
        another_build(&component("tagger")),
    )
    .unwrap();
    gateway.generation(3);
    is_tagged(&gateway, true);
}

#[test]
fn of_two_files_with_one_name_the_second_is_rejected() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    let from = gateway.mark();
    gateway.drop_in("60-tagger.wasm", &component("declines"));
    gateway.line_from(from, &["plugin rejected: ", "60-tagger.wasm", "tagger"]);
    is_tagged(&gateway, true);
}

#[test]
fn a_bad_file_at_the_start_stops_the_gateway() {
    let outcome = Gateway::echo()
        .file("plugins/55-redact.wasm", "garbage")
        .fails();
    outcome.has_code(4).says(&["55-redact.wasm"]);
    let outcome = Gateway::echo()
        .plugin("55-redact.wasm", component("wrong-version"))
        .fails();
    outcome
        .has_code(4)
        .says(&["55-redact.wasm", "`0.1.0`", "rebuild it"]);
}

#[test]
fn a_rebuilt_default_plugin_replaces_the_built_in_one() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    let body = message(r#"[{"role":"user","content":"a"},{"role":"user","content":"b"}]"#);
    let merged = || {
        gateway.message(&body).has_status(200);
        upstream.last().json()["messages"][0]["content"].clone()
    };
    assert_eq!(merged(), "a\n\nb");
    gateway.drop_in("merge_roles.wasm", &component("other-merge-roles"));
    gateway.generation(2);
    assert_eq!(merged(), "a", "the built-in rule is replaced");
    assert_eq!(upstream.last().json()["merged_by"], "another rule");
    fs::remove_file(gateway.plugins().join("merge_roles.wasm")).unwrap();
    gateway.generation(3);
    assert_eq!(merged(), "a\n\nb");
}

#[test]
fn a_running_stream_keeps_its_generation() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream)
        .plugin("50-events.wasm", component("events"))
        .tables("[plugin.events]\nsettings = { shout = true }")
        .start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    writer.write(EVENTS[1]);
    writer.write(EVENTS[2]);
    assert!(stream.until("text_delta").contains("HEL"));
    fs::remove_file(gateway.plugins().join("50-events.wasm")).unwrap();
    gateway.generation(2);
    gateway.message(HELLO).has_status(200).has("hello");
    writer.write(EVENTS[3]);
    assert!(stream.until("text_delta").contains("LO"));
    for event in &EVENTS[4..] {
        writer.write(event);
    }
    writer.end();
    stream.until("message_stop");
}

#[test]
fn settings_are_checked_and_changed_while_running() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { headers = { x-tag = [\"one\"] } }")
        .start();
    let text = |upstream: &Upstream| upstream.last().header("x-tag").map(str::to_owned);
    gateway.message(HELLO).has_status(200);
    assert_eq!(text(&upstream).as_deref(), Some("one"));

    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("[\"one\"]", "7"));
    gateway.line_from(from, &["configuration rejected", "tagger"]);
    gateway.message(HELLO).has_status(200);
    assert_eq!(text(&upstream).as_deref(), Some("one"));

    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("x-tag = 7", "x-tag = [\"two\"]"));
    gateway.line_from(from, &["plugins loaded", "generation="]);
    gateway.message(HELLO).has_status(200);
    assert_eq!(text(&upstream).as_deref(), Some("two"));
}

#[test]
fn compiling_does_not_stop_the_one_worker_that_serves_a_stream() {
    let (upstream, writer) = Upstream::streamed();
    let cache = TempDir::new("cold");
    let gateway = Gateway::to(&upstream)
        .env("TOKIO_WORKER_THREADS", "1")
        .cache(cache.path())
        .start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    writer.write(EVENTS[1]);
    stream.next_event();

    let from = gateway.mark();
    // Many components at once, none of them cached, so that compiling takes long enough.
    let heavy = fs::read(component("events")).unwrap();
    for number in 0..4 {
        let mut bytes = heavy.clone();
        bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', number]);
        fs::write(
            gateway
                .plugins()
                .join(format!("6{number}-heavy-{number}.wasm")),
            bytes,
        )
        .unwrap();
    }
    let began = gateway.line_from(from, &["compiling plugins"]).0;
    let is_loaded = |log: &[String], number| {
        let name = format!("heavy-{number}");
        let mut loaded = log.iter().filter(|line| line.contains("plugins loaded"));
        loaded.any(|line| line.contains(&name))
    };
    // Each event makes its round trip while the compiler works.
    let mut rounds = 0;
    loop {
        writer.write(EVENTS[2]);
        assert_eq!(stream.next_event().as_deref(), Some(EVENTS[2]));
        let log = gateway.log();
        if (0..4).all(|number| is_loaded(&log[began..], number)) {
            break;
        }
        rounds += 1;
    }
    assert!(
        rounds > 3,
        "only {rounds} events passed while the plugins were compiled"
    );
    for event in &EVENTS[4..] {
        writer.write(event);
    }
    writer.end();
    stream.until("message_stop");
}

#[test]
fn a_rule_is_removed_and_a_setting_changed_while_others_are_compiled() {
    let upstream = Upstream::ok();
    let cache = TempDir::new("cold");
    let mut gateway = Gateway::to(&upstream)
        .cache(cache.path())
        .tables(TAG)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    is_tagged(&gateway, true);
    let heavy = |number: u8| {
        let mut bytes = fs::read(component("events")).unwrap();
        bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', number]);
        bytes
    };
    let from = gateway.mark();
    fs::remove_file(gateway.plugins().join("55-tagger.wasm")).unwrap();
    gateway.reconfigure(|config| config.replace_tables("value = true", "value = 7"));
    // Far more than are compiled before the reload has looked at all files.
    for number in 0..24 {
        let name = format!("60-heavy-{number}.wasm");
        fs::write(gateway.plugins().join(name), heavy(number)).unwrap();
    }
    let (removed, _) = gateway.line_from(from, &["plugins loaded", "removed=tagger"]);
    let (configured, _) = gateway.line_from(from, &["configuration loaded"]);
    let last = |number: u8| {
        let name = format!("heavy-{number}");
        gateway.line_from(from, &["plugins loaded", &name]).0
    };
    let last = (0..24).map(last).max().unwrap();
    assert!(removed < last && configured < last, "{:#?}", gateway.log());
    is_tagged(&gateway, false);
}

/// The table that sets the plugin folder.
fn plugins_at(dir: &Path, more: &str) -> String {
    let cache: PathBuf = crate::support::gateway::code_cache();
    format!("[plugins]\ndir = {dir:?}\ncache = {cache:?}\n{more}")
}

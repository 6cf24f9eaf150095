//! Real components on the real engine: the built-in plugins and the guests that misbehave.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use witgate_document::{Document, Operation};

use super::{
    Catalog, Compile, Decision, EventOutcome, Evidence, LastEvent, Loaded, ResponseHead, Run,
    Runtime,
};
use crate::{
    config::{Auth, AuthMode, Config, OnError, PluginConfig, Plugins},
    fault::{Blame, Kind},
    ids::{ConversationId, ExchangeId},
    message::{Conversation, Event, Failure, Request, RequestKind, RetryRequest, Target},
    telemetry::Metrics,
};

/// A plugin folder and what is loaded from it; removed when dropped.
pub(crate) struct Fixture {
    dir: PathBuf,
    config: Config,
    runtime: Arc<Runtime>,
    catalog: Option<Arc<Catalog>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = std::env::temp_dir().join(format!("witgate-pipeline-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&dir).unwrap();
        let mut config = config(&dir);
        change(&mut config);
        let runtime =
            Runtime::new(&config.plugins, Arc::default(), Arc::new(Metrics::new())).unwrap();
        Self {
            dir,
            config,
            runtime,
            catalog: None,
        }
    }

    /// Puts a guest into the folder.
    pub(crate) fn drop_in(self, guest: &str, file: &str) -> Self {
        fs::copy(guests().join(guest), self.dir.join(file)).unwrap();
        self
    }

    fn write(self, file: &str, bytes: &[u8]) -> Self {
        fs::write(self.dir.join(file), bytes).unwrap();
        self
    }

    pub(crate) fn settings(mut self, plugin: &str, settings: Value) -> Self {
        let Value::Object(settings) = settings else {
            panic!("settings are an object")
        };
        self.plugin(plugin).settings = settings;
        self
    }

    fn on_error(mut self, plugin: &str, on_error: OnError) -> Self {
        self.plugin(plugin).on_error = Some(on_error);
        self
    }

    fn plugin(&mut self, plugin: &str) -> &mut PluginConfig {
        self.config
            .plugin
            .entry(plugin.parse().unwrap())
            .or_default()
    }

    pub(crate) fn load(&mut self) -> Loaded {
        let loaded = Catalog::load(
            &self.runtime,
            &self.config,
            self.catalog.as_ref(),
            Compile::Wait,
        );
        if let Some(catalog) = &loaded.catalog {
            self.catalog = Some(Arc::clone(catalog));
        }
        loaded
    }

    /// Loads plugins of which none may be rejected.
    #[track_caller]
    fn loaded(mut self) -> Self {
        let refused = self.load().refused;
        assert!(refused.is_empty(), "{}", refused[0].fault.chain());
        self
    }

    pub(crate) fn begin(&self) -> Run {
        self.catalog.as_ref().unwrap().begin(&self.runtime)
    }

    fn names(&self) -> Vec<String> {
        let list = self.catalog.as_ref().unwrap().list();
        list.iter()
            .map(|plugin| format!("{}-{}", plugin.order, plugin.name))
            .collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn config(dir: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        log: "info".to_owned(),
        body_limit: 32 << 20,
        max_body_memory: 1 << 30,
        drain: Duration::from_secs(1),
        hosts: Vec::new(),
        cors_origins: Vec::new(),
        expose_accounts: true,
        prefix_ledger: true,
        auth: Auth {
            mode: AuthMode::Off,
            keys: Vec::new(),
        },
        connections: Default::default(),
        retry: Default::default(),
        upstreams: Vec::new(),
        routes: Vec::new(),
        passthrough: Default::default(),
        plugins: Plugins {
            dir: dir.to_owned(),
            poll: None,
            cache: None,
            instances: 20,
            keep_versions: Duration::from_secs(3600),
            traces: crate::config::Traces::default(),
        },
        plugin: Default::default(),
        sources: Vec::new(),
    }
}

/// Builds the guests once, where the end-to-end tests do, and hands out their folder.
fn guests() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // target/release/deps/witgate-0123456789
        let binary = std::env::current_exe().unwrap();
        let target = binary.ancestors().nth(3).unwrap().join("tmp/components");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&workspace)
            .args(["build", "--profile", "plugin"]);
        cargo
            .args(["--target", "wasm32-wasip2", "--target-dir"])
            .arg(&target);
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            cargo.env_remove(name);
        }
        for guest in fs::read_dir(workspace.join("tests/guests"))
            .unwrap()
            .flatten()
        {
            if guest.path().is_dir() {
                cargo.arg("-p").arg(guest.file_name());
            }
        }
        let output = cargo.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        target.join("wasm32-wasip2/plugin")
    })
}

pub(crate) fn request(body: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
    Request {
        id: ExchangeId::new(),
        kind: RequestKind::Messages,
        method: Method::POST,
        path: "/v1/messages".to_owned(),
        query: "beta=true".to_owned(),
        headers: Arc::new(headers),
        credentials: HeaderMap::new(),
        session: Some("s-1".into()),
        conversation: Conversation::found_by(|| ConversationId::of_session("s-1", None)),
        stream: false,
        requested_model: "m".into(),
        body: Document::new(body.to_owned()),
    }
}

pub(crate) fn target(lacks: &[&str]) -> Target {
    Target {
        upstream: "up".parse().unwrap(),
        index: 0,
        dialect: "anthropic".into(),
        account: Some("ada".parse().unwrap()),
        model: "m".into(),
        requested_model: "m".into(),
        attempt: 1,
        lacks: Arc::new(
            lacks
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<BTreeSet<_>>(),
        ),
        version: 0,
    }
}

fn head() -> ResponseHead {
    ResponseHead {
        id: ExchangeId::new(),
        session: None,
        conversation: Conversation::found_by(|| ConversationId::of_session("s-1", None)),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        streaming: true,
        target: target(&[]),
    }
}

fn failure(status: u16) -> Failure {
    Failure {
        status,
        kind: "api_error".to_owned(),
        headers: HeaderMap::new(),
        body: "{}".into(),
        retry: None,
        cooldown: None,
        corrected: false,
    }
}

fn text_delta(text: &str) -> Event {
    let delta = json!({ "type": "text_delta", "text": text });
    let data = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
    Event {
        name: "content_block_delta".to_owned(),
        data: data.to_string(),
    }
}

fn event(name: &str) -> Event {
    Event {
        name: name.to_owned(),
        data: json!({ "type": name }).to_string(),
    }
}

fn body(request: &Request) -> String {
    String::from_utf8(request.body.bytes().to_vec()).unwrap()
}

/// Runs async code of a test. Loading needs a thread without a runtime, so tests are not async
/// themselves.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

const MARKED: &str = r#"{ "model":"m", "messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}] }"#;
const PLAIN: &str = r#"{ "model":"m", "messages":[] }"#;

#[test]
fn the_built_in_set_is_loaded_in_order_and_a_second_load_changes_nothing() {
    let mut fixture = Fixture::new().loaded();
    let names = fixture.names();
    assert!(
        names.contains(&"40-strip-cache-control".to_owned()),
        "{names:?}"
    );
    let list = fixture.catalog.as_ref().unwrap().list();
    assert!(list.is_sorted_by_key(|plugin| plugin.order));
    assert!(
        list.iter()
            .all(|plugin| plugin.source == "built in" && plugin.hash.len() == 64)
    );
    assert!(fixture.load().catalog.is_none(), "nothing has changed");
}

#[test]
fn a_rule_that_does_not_apply_costs_no_instance_and_one_that_does_is_in_the_receipt() {
    let fixture = Fixture::new().loaded();
    run(async {
        let mut not_lacking = fixture.begin();
        let mut request = request(MARKED);
        not_lacking.on_request(&mut request).await.unwrap();
        not_lacking.reserve(&request, &[target(&[])]).unwrap();
        not_lacking
            .on_attempt(&mut request, &target(&[]))
            .await
            .unwrap();
        assert_eq!(body(&request), MARKED);
        assert_eq!(not_lacking.receipt().instances, 0);
        assert_eq!(not_lacking.receipt().calls, 0);

        let mut lacking = fixture.begin();
        let target = target(&["cache_control"]);
        lacking.on_request(&mut request).await.unwrap();
        lacking
            .reserve(&request, std::slice::from_ref(&target))
            .unwrap();
        let mut attempt = request.clone();
        lacking.on_attempt(&mut attempt, &target).await.unwrap();
        assert_eq!(
            body(&attempt),
            MARKED.replace(r#","cache_control":{"type":"ephemeral"}"#, "")
        );
        assert_eq!(body(&request), MARKED, "the edit is the attempt's");
        let edits = &lacking.receipt().edits;
        assert_eq!(edits.len(), 1);
        assert_eq!(
            (edits[0].plugin.as_str(), edits[0].count),
            ("strip-cache-control", 1)
        );
        let patch: Value = serde_json::from_str(&Operation::write_list(&edits[0].patch)).unwrap();
        assert_eq!(
            patch,
            json!([{ "op": "remove", "path": "/messages/0/content/0/cache_control" }])
        );
        assert_eq!(lacking.receipt().instances, 1);

        let mut again = request.clone();
        lacking.on_attempt(&mut again, &target).await.unwrap();
        assert_eq!(
            lacking.receipt().edits.len(),
            1,
            "an attempt's edits go with the attempt"
        );
        assert_eq!(lacking.receipt().instances, 1, "one instance per exchange");
    });
}

#[test]
fn a_panic_is_reported_with_its_text_and_undone_and_the_next_exchange_is_fine() {
    let fixture = Fixture::new()
        .drop_in("traps.wasm", "traps.wasm")
        .settings("traps", json!({ "edits": true }));
    let fixture = fixture.loaded();
    run(async {
        for _ in 0..2 {
            let mut run = fixture.begin();
            let mut request = request(PLAIN);
            let fault = run.on_request(&mut request).await.err().unwrap();
            assert_eq!(fault.blame, Blame::Plugin("traps".parse().unwrap()));
            let text = fault.to_string();
            assert!(text.starts_with("plugin `traps` panicked: "), "{text}");
            assert!(text.contains("trapped on purpose in request"), "{text}");
            assert_eq!(body(&request), PLAIN, "its edits are undone");
            assert_eq!(request.headers.len(), 1, "what was lent is back");
            assert_eq!(request.path, "/v1/messages");
        }
    });
    assert_eq!(fixture.runtime.free_slots(), 20);
}

#[test]
fn a_plugin_that_fails_and_may_be_skipped_is_not_called_again_in_the_exchange() {
    let fixture = Fixture::new()
        .drop_in("errs.wasm", "errs.wasm")
        .settings("errs", json!({ "in": "attempt", "edits": true }))
        .on_error("errs", OnError::Skip)
        .loaded();
    run(async {
        let mut run = fixture.begin();
        let mut request = request(PLAIN);
        run.on_request(&mut request).await.unwrap();
        let decision = run.on_attempt(&mut request, &target(&[])).await.unwrap();
        assert!(matches!(decision, Decision::Proceed));
        assert_eq!(body(&request), PLAIN);
        let calls = run.receipt().calls;
        run.on_attempt(&mut request, &target(&[])).await.unwrap();
        assert_eq!(run.receipt().calls, calls, "it is not called again");
        let (plugin, reason) = &run.receipt().skipped[0];
        assert_eq!(plugin.as_str(), "errs");
        assert!(reason.contains("erred on purpose in attempt"), "{reason}");
        assert!(
            !run.begin_response(head()).listens(),
            "nor for the response"
        );
    });
}

#[test]
fn a_plugin_that_never_returns_is_ended_at_its_deadline_and_others_run_meanwhile() {
    let mut fixture = Fixture::new().drop_in("spins.wasm", "spins.wasm");
    fixture.plugin("spins").deadline = Some(Duration::from_millis(60));
    let fixture = fixture.loaded();
    run(async {
        let mut run = fixture.begin();
        let mut request = request(PLAIN);
        let mut turns = 0;
        let others = async {
            loop {
                tokio::task::yield_now().await;
                turns += 1;
            }
        };
        let fault = tokio::select! {
            ended = run.on_request(&mut request) => ended.err().unwrap(),
            () = others => unreachable!(),
        };
        assert_eq!(
            fault.to_string(),
            "plugin `spins` failed: exceeded its deadline of 60 ms (in `on-request`)"
        );
        assert!(turns > 2, "a spinning plugin shares its thread");
    });
}

#[test]
fn a_plugin_that_spends_its_time_in_host_functions_is_ended_at_its_deadline() {
    // Fewer queries than the deadline has ticks, so it passes only if a query costs several ticks.
    let (ticks, queries) = (12, 10);
    let settings = json!({ "in": "request", "remove_all": vec!["$.list[?@ == 1]"; queries] });
    let mut fixture = Fixture::new()
        .drop_in("tagger.wasm", "tagger.wasm")
        .settings("tagger", settings);
    fixture.plugin("tagger").deadline = Some(Duration::from_millis(5 * ticks));
    let fixture = fixture.loaded();
    // Each query compares all of these, which takes far longer than a tick on any machine.
    let list = vec!["0"; 300_000].join(",");
    let body = format!(r#"{{"model":"m","messages":[],"list":[{list}]}}"#);
    run(async {
        let mut run = fixture.begin();
        let mut request = request(&body);
        let fault = run.on_request(&mut request).await.err().unwrap();
        assert_eq!(
            fault.to_string(),
            "plugin `tagger` failed: exceeded its deadline of 60 ms (in `on-request`)"
        );
    });
}

#[test]
fn a_plugin_that_takes_all_memory_is_ended_at_its_limit() {
    let mut fixture = Fixture::new().drop_in("hoards.wasm", "hoards.wasm");
    fixture.plugin("hoards").memory = Some(16 << 20);
    let fixture = fixture.loaded();
    run(async {
        let mut run = fixture.begin();
        let fault = run.on_request(&mut request(PLAIN)).await.err().unwrap();
        assert_eq!(
            fault.to_string(),
            "plugin `hoards` failed: exceeded its memory limit of 16 MiB (in `on-request`)"
        );
    });
}

#[test]
fn each_bad_file_is_rejected_in_one_line_and_the_others_are_loaded() {
    let mut fixture = Fixture::new()
        .drop_in("wrong_world.wasm", "a-world.wasm")
        .drop_in("wrong_version.wasm", "b-version.wasm")
        .write("d-core.wasm", b"\0asm\x01\0\0\0")
        .write(
            "e-half.wasm",
            &fs::read(guests().join("declines.wasm")).unwrap()[..20_000],
        )
        .write("F.wasm", b"")
        .drop_in("traps.wasm", "g-traps.wasm")
        .settings("g-traps", json!({ "in": "describe" }))
        .drop_in("tagger.wasm", "h-tagger.wasm")
        .settings("h-tagger", json!({ "unknown": 1 }))
        .drop_in("declines.wasm", "good.wasm");
    let refused = fixture.load().refused;
    let of = |file: &str| {
        let refused = refused.iter().find(|refused| refused.file.ends_with(file));
        refused
            .unwrap_or_else(|| panic!("{file} was not refused"))
            .fault
            .chain()
    };
    let table = [
        ("a-world.wasm", "exports no hook of `witgate:plugin`"),
        (
            "b-version.wasm",
            "was built for `witgate:plugin` `0.1.0`, but this gateway offers `0.2.0`: rebuild it",
        ),
        ("d-core.wasm", "--target wasm32-wasip2"),
        ("e-half.wasm", "is not a valid component"),
        ("F.wasm", "`F` is not a valid plugin name"),
        ("g-traps.wasm", "trapped on purpose in describe"),
        ("h-tagger.wasm", "rejected its settings: "),
    ];
    for (file, wanted) in table {
        let text = of(file);
        assert!(
            text.contains(wanted) && !text.contains('\n'),
            "{file}: {text}"
        );
    }
    assert_eq!(refused.len(), table.len());
    assert!(fixture.names().contains(&"50-good".to_owned()));
}

#[test]
fn a_file_replaces_a_built_in_plugin_at_its_place_and_a_bad_one_leaves_the_last_good_one() {
    let mut fixture = Fixture::new()
        .drop_in("other_merge_roles.wasm", "merge_roles.wasm")
        .loaded();
    let merge = |fixture: &Fixture| {
        let list = fixture.catalog.as_ref().unwrap().list();
        let found = list
            .into_iter()
            .find(|plugin| plugin.name.as_str() == "merge-roles");
        found.map(|plugin| (plugin.order, plugin.source, plugin.version))
    };
    let file = fixture.dir.join("merge_roles.wasm");
    let good = Some((60, file.display().to_string(), "other".to_owned()));
    assert_eq!(merge(&fixture), good);

    fs::write(&file, b"half a fi").unwrap();
    let loaded = fixture.load();
    assert_eq!(loaded.refused.len(), 1);
    assert!(loaded.catalog.is_none(), "the running set stays");

    fs::remove_file(&file).unwrap();
    assert!(fixture.load().refused.is_empty());
    assert_eq!(merge(&fixture).unwrap().1, "built in");
    assert_eq!(fixture.catalog.as_ref().unwrap().generation, 2);
}

#[test]
fn a_bad_replacement_does_not_fall_back_to_the_built_in_plugin_at_start() {
    let mut fixture = Fixture::new().write("merge-roles.wasm", b"junk");
    let loaded = fixture.load();
    assert_eq!(loaded.refused.len(), 1);
    assert!(!fixture.names().contains(&"60-merge-roles".to_owned()));
}

#[test]
fn rejected_settings_leave_the_plugin_running_with_the_old_ones() {
    let mut fixture = Fixture::new()
        .drop_in("tagger.wasm", "tagger.wasm")
        .settings("tagger", json!({ "headers": { "x-tag": ["old"] } }))
        .loaded();
    fixture = fixture.settings("tagger", json!({ "misspelt": true }));
    let loaded = fixture.load();
    assert!(loaded.catalog.is_none());
    assert!(
        loaded.refused[0]
            .fault
            .to_string()
            .starts_with("plugin `tagger` rejected its settings")
    );

    fixture = fixture
        .settings("tagger", json!({ "headers": { "x-tag": ["new"] } }))
        .loaded();
    run(async {
        let mut request = request(PLAIN);
        fixture
            .begin()
            .on_attempt(&mut request, &target(&[]))
            .await
            .unwrap();
        assert_eq!(request.headers["x-tag"], "new");
    });
}

#[test]
fn a_disabled_plugin_is_listed_and_not_called() {
    let mut fixture = Fixture::new().drop_in("traps.wasm", "traps.wasm");
    fixture.plugin("traps").enabled = false;
    let fixture = fixture.loaded();
    let list = fixture.catalog.as_ref().unwrap().list();
    let traps = list
        .iter()
        .find(|plugin| plugin.name.as_str() == "traps")
        .unwrap();
    assert!(!traps.enabled);
    run(async {
        fixture
            .begin()
            .on_request(&mut request(PLAIN))
            .await
            .unwrap();
    });
}

#[test]
fn a_set_without_a_required_plugin_serves_nothing_and_says_which() {
    let mut fixture = Fixture::new();
    fixture.plugin("redact").required = true;
    let loaded = fixture.load();
    assert_eq!(loaded.refused[0].evidence, Evidence::Missing);
    let fault = loaded.catalog.unwrap().has_required(&fixture.config);
    let fault = fault.unwrap_err();
    assert_eq!(fault.kind, Kind::Unavailable);
    assert!(
        fault
            .to_string()
            .starts_with("plugin `redact` is required and not loaded")
    );
}

#[test]
fn no_free_slot_is_an_overload_and_slots_come_back() {
    let fixture = Fixture::with(|config| config.plugins.instances = 1)
        .drop_in("events.wasm", "events.wasm")
        .loaded();
    run(async {
        let request = request(PLAIN);
        let mut first = fixture.begin();
        first.reserve(&request, &[target(&[])]).unwrap();
        assert_eq!(fixture.runtime.free_slots(), 0);

        let mut second = fixture.begin();
        let fault = second.reserve(&request, &[target(&[])]).err().unwrap();
        assert_eq!(
            (fault.blame, fault.kind),
            (Blame::Gateway, Kind::Overloaded)
        );
        let mut attempt = request.clone();
        let fault = second
            .on_attempt(&mut attempt, &target(&[]))
            .await
            .err()
            .unwrap();
        assert_eq!(
            fault.kind,
            Kind::Overloaded,
            "it cannot exceed its reservation"
        );

        let mut answering = first.begin_response(head());
        answering.on_event(event("message_start")).await.unwrap();
        answering.on_last(Vec::new(), true).await.unwrap();
        assert_eq!(
            fixture.runtime.free_slots(),
            1,
            "after the end nothing is needed"
        );
        second.reserve(&request, &[target(&[])]).unwrap();
    });
}

#[test]
fn events_are_kept_discarded_and_replaced() {
    let fixture = Fixture::new()
        .drop_in("events.wasm", "events.wasm")
        .settings(
            "events",
            json!({ "discard": ["gone"], "shout": true, "headers": { "x-seen": ["1"] },
                    "at_end": [{ "name": "extra", "data": 1 }] }),
        )
        .loaded();
    run(async {
        let mut answering = fixture.begin().begin_response(head());
        assert!(answering.wants("message_start", None));
        assert!(
            !answering.wants("ping", None),
            "pings are only for plugins that name them"
        );

        assert_eq!(
            answering.on_event(event("gone")).await.unwrap(),
            EventOutcome::Replaced(Vec::new())
        );
        assert_eq!(answering.head().headers["x-seen"], "1");
        assert_eq!(
            answering.on_event(event("message_start")).await.unwrap(),
            EventOutcome::Kept
        );
        let shouted = answering.on_event(text_delta("hi")).await.unwrap();
        let EventOutcome::Replaced(events) = shouted else {
            panic!("kept")
        };
        assert!(events[0].data.contains("HI"), "{}", events[0].data);

        let end = answering.on_last(Vec::new(), true).await.unwrap();
        assert_eq!(
            end,
            [LastEvent::Made(Event {
                name: "extra".to_owned(),
                data: "1".to_owned()
            })]
        );
        let receipt = answering.receipt();
        assert_eq!((receipt.instances, receipt.calls), (1, 4));
    });
}

#[test]
fn what_an_inner_plugin_makes_passes_through_the_outer_ones() {
    let fixture = Fixture::new()
        .drop_in("events.wasm", "90-inner.wasm")
        .settings(
            "inner",
            json!({ "replace": { "a": [{ "name": "b", "data": 1 }] } }),
        )
        .drop_in("events.wasm", "20-outer.wasm")
        .settings(
            "outer",
            json!({ "replace": { "b": [{ "name": "c", "data": 2 }] } }),
        )
        .loaded();
    run(async {
        let mut answering = fixture.begin().begin_response(head());
        let passed = answering.on_event(event("a")).await.unwrap();
        let c = Event {
            name: "c".to_owned(),
            data: "2".to_owned(),
        };
        assert_eq!(passed, EventOutcome::Replaced(vec![c]));
    });
}

#[test]
fn a_truncated_stream_gets_what_was_held_back_but_no_stop() {
    let settings = json!({ "hold": true, "at_end": [{ "name": "message_stop", "data": {} }] });
    let fixture = Fixture::new()
        .drop_in("events.wasm", "events.wasm")
        .settings("events", settings)
        .loaded();
    run(async {
        let mut answering = fixture.begin().begin_response(head());
        answering.on_event(text_delta("held ")).await.unwrap();
        answering.on_event(text_delta("back")).await.unwrap();
        let end = answering.on_last(Vec::new(), false).await.unwrap();
        let [LastEvent::Made(held)] = &*end else {
            panic!("expected one event, got {end:?}");
        };
        assert!(held.data.contains("held back"), "{}", held.data);
    });
}

#[test]
fn a_response_plugin_that_has_changed_the_stream_cannot_be_skipped() {
    let fixture = Fixture::new()
        .drop_in("errs.wasm", "errs.wasm")
        .settings("errs", json!({ "in": "event", "call": 2 }))
        .on_error("errs", OnError::Skip)
        .loaded();
    run(async {
        let mut answering = fixture.begin().begin_response(head());
        for _ in 0..3 {
            assert_eq!(
                answering.on_event(event("x")).await.unwrap(),
                EventOutcome::Kept
            );
        }
        assert_eq!(answering.receipt().skipped.len(), 1);
        assert!(!answering.wants("x", None));

        let mut answering = fixture.begin().begin_response(head());
        answering.mark_all_altered();
        answering.on_event(event("x")).await.unwrap();
        assert!(answering.on_event(event("x")).await.is_err());
    });
}

#[test]
fn a_body_that_is_not_a_message_is_shown_whole() {
    let fixture = Fixture::new()
        .drop_in("events.wasm", "events.wasm")
        .settings("events", json!({ "body": { "input_tokens": 7 } }))
        .loaded();
    run(async {
        let mut run = fixture.begin();
        let mut request = request(PLAIN);
        request.kind = RequestKind::CountTokens;
        run.on_request(&mut request).await.unwrap();
        let mut answering = run.begin_response(head());
        let body = answering
            .on_body(&"{\"input_tokens\":1}".into())
            .await
            .unwrap();
        assert_eq!(body.unwrap(), r#"{"input_tokens":7}"#);
    });
}

#[test]
fn a_failure_hook_corrects_the_failure_and_asks_for_a_retry() {
    let settings = json!({ "when": [500], "retry": "other-account", "after_ms": 20, "cooldown_ms": 1000,
                           "status": 429, "error_type": "rate_limit_error" });
    let fixture = Fixture::new()
        .drop_in("retries.wasm", "retries.wasm")
        .settings("retries", settings)
        .loaded();
    run(async {
        let mut run = fixture.begin();
        let request = request(PLAIN);
        let corrected = run
            .on_failure(&request, &target(&[]), failure(500))
            .await
            .unwrap();
        assert_eq!(
            (
                corrected.status,
                corrected.kind.as_str(),
                corrected.corrected
            ),
            (429, "rate_limit_error", true)
        );
        assert_eq!(
            corrected.retry,
            Some(RetryRequest::OtherAccount(Duration::from_millis(20)))
        );
        assert_eq!(corrected.cooldown, Some(Duration::from_secs(1)));

        let untouched = run
            .on_failure(&request, &target(&[]), failure(400))
            .await
            .unwrap();
        assert_eq!((untouched.status, untouched.corrected), (400, false));
        // One of `retries` and one of `context-overflow`, each for both failures.
        assert_eq!(run.receipt().instances, 2);
    });
}

#[test]
fn state_outlives_an_exchange_and_a_reload() {
    let mut fixture = Fixture::new()
        .drop_in("tagger.wasm", "tagger.wasm")
        .settings("tagger", json!({ "count": "n" }))
        .loaded();
    let count = |fixture: &Fixture| {
        run(async {
            let mut request = request(PLAIN);
            fixture
                .begin()
                .on_attempt(&mut request, &target(&[]))
                .await
                .unwrap();
            request.headers["x-tagger-count"]
                .to_str()
                .unwrap()
                .to_owned()
        })
    };
    assert_eq!(count(&fixture), "1");
    assert_eq!(count(&fixture), "2");
    fixture = fixture
        .settings("tagger", json!({ "count": "n", "show": true }))
        .loaded();
    assert_eq!(count(&fixture), "3");
}

#[test]
fn a_path_may_be_set_for_an_attempt_and_credentials_may_not() {
    let fixture = Fixture::new()
        .drop_in("tagger.wasm", "tagger.wasm")
        .settings("tagger", json!({ "send_to": "/v1/other?x=1" }))
        .drop_in("tagger.wasm", "thief.wasm")
        .settings("thief", json!({ "headers": { "authorization": ["mine"] } }))
        .on_error("thief", OnError::Skip)
        .loaded();
    run(async {
        let mut request = request(PLAIN);
        let mut run = fixture.begin();
        run.on_attempt(&mut request, &target(&[])).await.unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/v1/other", "x=1")
        );
        assert!(request.headers.get("authorization").is_none());
        assert!(
            run.receipt().skipped[0].1.contains("authorization"),
            "{:?}",
            run.receipt().skipped
        );
    });
}

#[test]
fn a_body_that_is_not_json_is_the_clients_fault_only_where_a_rule_has_to_read_it() {
    let fixture = Fixture::new().loaded();
    run(async {
        let broken = r#"{"cache_control": [[["#;
        let mut request = request(broken);
        let mut run = fixture.begin();
        run.on_attempt(&mut request, &target(&[])).await.unwrap();
        assert_eq!(body(&request), broken);
        let fault = run
            .on_attempt(&mut request, &target(&["cache_control"]))
            .await
            .err()
            .unwrap();
        assert_eq!((fault.blame, fault.kind), (Blame::Client, Kind::BadRequest));
    });
}

#[test]
fn a_second_start_takes_compiled_code_from_the_cache_and_a_bad_cache_does_no_harm() {
    let cache = std::env::temp_dir().join(format!("witgate-cache-{}", uuid::Uuid::new_v4()));
    let start = |cache: &Path| {
        let mut fixture = Fixture::with(|config| config.plugins.cache = Some(cache.to_owned()));
        assert!(fixture.load().refused.is_empty());
        let plugins = fixture.names().len();
        (plugins, fixture.runtime.cache_hits())
    };
    let (plugins, hits) = start(&cache);
    assert_eq!(hits, 0);
    assert_eq!(start(&cache), (plugins, plugins));

    let mut entries = Vec::new();
    let mut folders = vec![cache.join("modules")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                entries.push(entry.path());
            }
        }
    }
    for entry in entries {
        fs::write(entry, b"junk").unwrap();
    }
    assert_eq!(start(&cache), (plugins, 0), "junk is compiled again");

    let file = cache.join("a-file");
    fs::write(&file, b"").unwrap();
    assert_eq!(
        start(&file),
        (plugins, 0),
        "a folder that cannot be created"
    );
    fs::remove_dir_all(&cache).unwrap();
}

/// How many events the toy dialect's instance was shown so far, which it writes into the request.
async fn seen(run: &mut Run, target: &Target) -> Value {
    let mut request = request(r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    let decided = run.on_attempt(&mut request, target).await.unwrap();
    assert!(matches!(decided, Decision::Proceed));
    let sent: Value = serde_json::from_str(&body(&request)).unwrap();
    sent["SEEN"].clone()
}

#[test]
fn a_dialects_instance_is_returned_by_a_response_unless_it_was_dropped_in_the_middle_of_a_call() {
    let fixture = Fixture::new()
        .drop_in("toy_dialect.wasm", "toy.wasm")
        .loaded();
    let target = Target {
        dialect: "toy".into(),
        ..target(&[])
    };
    let head = || ResponseHead {
        target: target.clone(),
        ..head()
    };
    let said = |data: &str| Event {
        name: String::new(),
        data: data.to_owned(),
    };
    run(async {
        let mut run = fixture.begin();
        assert_eq!(seen(&mut run, &target).await, 0);
        let mut translator = run.translator(&target, head).unwrap();
        let outcome = translator.on_event(said(r#"{"WORD":"a"}"#)).await.unwrap();
        let EventOutcome::Replaced(events) = outcome else {
            panic!("not translated");
        };
        assert_eq!(events.len(), 2, "{events:?}");
        drop(translator);
        assert_eq!(seen(&mut run, &target).await, 1, "it is the same instance");
        assert_eq!(run.receipt().instances, 1);
        assert_eq!(run.receipt().calls, 3, "calls made on loan are counted");

        let mut translator = run.translator(&target, head).unwrap();
        let spinning = translator.on_event(said(r#"{"DO":"SPIN"}"#));
        let left = tokio::time::timeout(Duration::from_millis(20), spinning).await;
        assert!(left.is_err(), "it was still running");
        drop(translator);
        assert_eq!(seen(&mut run, &target).await, 0, "it is another instance");
        assert_eq!(run.receipt().instances, 2);
        assert_eq!(fixture.runtime.free_slots(), 19, "in the same slot");

        // A response that goes to the client does not wait for it.
        let translator = run.translator(&target, head).unwrap();
        let answering = run.begin_response(head());
        assert!(
            !answering.listens(),
            "what is translated is not shown again"
        );
        assert_eq!(fixture.runtime.free_slots(), 19);
        drop(translator);
        assert_eq!(fixture.runtime.free_slots(), 20);
    });
}

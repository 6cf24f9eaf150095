//! The gateway from outside, against an upstream that the test itself plays, byte by byte.

use std::{collections::BTreeSet, sync::OnceLock, time::Duration};

use globset::Glob;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    config::{
        Access, Account, Auth, AuthStyle, Config, Destination, Route as ConfiguredRoute, Upstream,
    },
    pipeline::Catalog,
    secret::Secret,
    shutdown::{Stop, channel},
    telemetry::Metrics,
};

use super::*;

/// Nothing here takes so long, so whatever does hangs.
const LIMIT: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

struct Running {
    address: SocketAddr,
    stop: Stop,
    served: JoinHandle<()>,
}

/// A gateway with the echo upstream and nothing else.
fn plain() -> Config {
    Config {
        body_limit: 1024 * 1024,
        drain: Duration::from_secs(5),
        cors_origins: vec!["https://page.test".to_owned()],
        ..Config::without_file()
    }
}

fn to(played: &[&Played]) -> Config {
    let upstreams = played.iter().map(|played| played.config()).collect();
    Config {
        upstreams,
        ..plain()
    }
}

fn route(model: &str, to: &[(usize, Option<&str>)]) -> ConfiguredRoute {
    let to = to.iter().map(|(upstream, model)| Destination {
        upstream: *upstream,
        model: model.map(str::to_owned),
    });
    ConfiguredRoute {
        model: Glob::new(model).unwrap().compile_matcher(),
        to: to.collect(),
    }
}

/// The default set, loaded once for all tests, on a thread of its own as loading wants it.
async fn default_plugins() -> (Arc<Runtime>, Arc<Catalog>) {
    static LOADED: OnceLock<(Arc<Runtime>, Arc<Catalog>)> = OnceLock::new();
    let load = || {
        let config = Config::without_file();
        let runtime =
            Runtime::new(&config.plugins, Arc::default(), Arc::new(Metrics::new())).unwrap();
        let catalog = Catalog::load(&runtime, &config, None).catalog.unwrap();
        (runtime, catalog)
    };
    tokio::task::spawn_blocking(move || LOADED.get_or_init(load).clone())
        .await
        .unwrap()
}

async fn start(config: Config) -> Running {
    let (runtime, catalog) = default_plugins().await;
    let snapshot = Snapshot::new(Arc::new(config), catalog, None).unwrap();
    let shared = Arc::new(Shared {
        runtime,
        metrics: Arc::new(Metrics::new()),
        snapshot: ArcSwap::from_pointee(snapshot),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = channel();
    let served = tokio::spawn(serve(listener, shared, stopping));
    Running {
        address,
        stop,
        served,
    }
}

impl Running {
    /// Sends a request and reads no further than its answer's head.
    async fn ask(&self, head: &str, body: &[u8]) -> Wire {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if head.to_ascii_lowercase().contains("\r\nhost:") {
            ""
        } else {
            "\r\nhost: localhost"
        };
        let head = format!("{head}{host}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        Wire::read(stream).await
    }

    async fn post(&self, body: &Value) -> Wire {
        self.ask(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-client",
            body.to_string().as_bytes(),
        )
        .await
    }

    async fn get(&self, path: &str) -> Wire {
        self.ask(&format!("GET {path} HTTP/1.1"), b"").await
    }
}

/// One message as it stands on the wire: its head, and the stream behind it.
struct Wire {
    head: String,
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    async fn read(stream: TcpStream) -> Self {
        let mut wire = Self {
            head: String::new(),
            stream,
            read: Vec::new(),
        };
        let head = wire.until(b"\r\n\r\n").await;
        wire.head = String::from_utf8(head).unwrap();
        wire
    }

    /// What comes up to and with `mark`.
    async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.read, mark) {
                return self.read.drain(..at + mark.len()).collect();
            }
            let mut buffer = [0; 4096];
            let what = format!(
                "{:?}, having {:?}",
                mark.escape_ascii(),
                self.read.escape_ascii()
            );
            let count = soon(&what, self.stream.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "the end came before {what}");
            self.read.extend_from_slice(&buffer[..count]);
        }
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        Some(lines.find(|(field, _)| field.eq_ignore_ascii_case(name))?.1)
    }

    /// The whole body, the chunks of a chunked one joined.
    async fn body(&mut self) -> Vec<u8> {
        if let Some(length) = self.header("content-length") {
            let length = length.parse().unwrap();
            while self.read.len() < length {
                let mut buffer = [0; 4096];
                let count = soon("the body", self.stream.read(&mut buffer))
                    .await
                    .unwrap();
                assert!(count > 0, "the body was cut short");
                self.read.extend_from_slice(&buffer[..count]);
            }
            return self.read.drain(..length).collect();
        }
        let mut body = Vec::new();
        loop {
            let size = self.until(b"\r\n").await;
            let size =
                usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
            while self.read.len() < size + 2 {
                let mut buffer = [0; 4096];
                let count = soon("a chunk", self.stream.read(&mut buffer))
                    .await
                    .unwrap();
                assert!(count > 0, "a chunk was cut short");
                self.read.extend_from_slice(&buffer[..count]);
            }
            body.extend(self.read.drain(..size + 2).take(size));
            if size == 0 {
                return body;
            }
        }
    }

    async fn text(&mut self) -> String {
        String::from_utf8(self.body().await).unwrap()
    }

    async fn json(&mut self) -> Value {
        serde_json::from_slice(&self.body().await).unwrap()
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn reply(&mut self, status: u16, head: &str, body: &str) {
        let length = body.len();
        self.write(format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{head}\r\n{body}"
        ))
        .await;
    }

    /// Begins a stream whose end is that of the connection.
    async fn begin(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
        )
        .await;
    }
}

/// An upstream that the test plays.
struct Played {
    name: &'static str,
    listener: TcpListener,
}

impl Played {
    async fn new(name: &'static str) -> Self {
        Self {
            name,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn config(&self) -> Upstream {
        Upstream {
            name: self.name.parse().unwrap(),
            base_url: format!("http://{}", self.listener.local_addr().unwrap()),
            dialect: "anthropic".into(),
            lacks: BTreeSet::new(),
            lacks_beside_others: BTreeSet::new(),
            models: Vec::new(),
            force_stream: false,
            proxy: None,
            ca_file: None,
            auth: AuthStyle::XApiKey,
            accounts: vec![Account {
                name: format!("{}@test", self.name).parse().unwrap(),
                access: Access::Key(Secret::new(format!("sk-{}", self.name))),
            }],
        }
    }

    /// The next request, on a connection of its own.
    async fn asked(&self) -> Wire {
        let (stream, _) = soon("a request upstream", self.listener.accept())
            .await
            .unwrap();
        soon("a request's head", Wire::read(stream)).await
    }
}

fn hello(stream: bool) -> Value {
    json!({ "model": "m-1", "max_tokens": 9, "stream": stream,
            "messages": [{ "role": "user", "content": "hello" }] })
}

const MESSAGE: &str = r#"{ "type":"message", "content" : [], "usage":{"output_tokens": 1.0e0}}"#;
const START: &str = "event: message_start\r\nid: 1\r\ndata: {\"type\":\"message_start\"}\r\n\r\n";
const DELTA: &str =
    ": note\nodd: field\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const BUSY: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;

#[tokio::test]
async fn a_body_that_nobody_edits_arrives_as_it_was_sent() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = br#"{"model" : "m\u002d1", "x":1.0e0,"metadata":{"user_id":"a_session_b"} }"#;
    let head = "POST /v1/messages?beta=true HTTP/1.1\r\nauthorization: Bearer sk-client\r\n\
                anthropic-beta: a,b\r\nconnection: x-hop\r\nx-hop: 1\r\naccept-encoding: gzip";
    let client = gateway.ask(head, body);
    let play = async {
        let mut asked = upstream.asked().await;
        assert!(
            asked
                .head
                .starts_with("POST /v1/messages?beta=true HTTP/1.1"),
            "{}",
            asked.head
        );
        assert_eq!(asked.header("x-api-key"), Some("sk-one"));
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.header("anthropic-beta"), Some("a,b"));
        assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        assert_eq!(asked.header("x-hop"), None);
        assert_eq!(asked.body().await, body);
        let head =
            "content-type: application/json\r\nrequest-id: req_up\r\nanthropic-ratelimit-x: 7\r\n";
        asked.reply(200, head, MESSAGE).await;
    };
    let (mut answer, ()) = tokio::join!(client, play);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-account-email"), Some("one@test"));
    assert_eq!(answer.header("x-mapped-model"), Some("m-1"));
    assert_eq!(answer.header("request-id"), Some("req_up"));
    assert_eq!(answer.header("anthropic-ratelimit-x"), Some("7"));
    assert_eq!(answer.header("x-witgate-edits"), None);
    assert_eq!(answer.text().await, MESSAGE);
}

#[tokio::test]
async fn each_event_is_out_before_the_next_is_in() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let (client_goes_on, mut gone_on) = tokio::sync::mpsc::channel::<()>(1);
    let client = async {
        let mut answer = gateway.post(&hello(true)).await;
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        for event in [START, DELTA, STOP] {
            answer.until(event.as_bytes()).await;
            client_goes_on.send(()).await.unwrap();
        }
        answer.until(b"0\r\n\r\n").await;
    };
    let play = async {
        let mut asked = upstream.asked().await;
        asked.begin().await;
        for event in [START, DELTA, STOP] {
            asked.write(event).await;
            soon("the event at the client", gone_on.recv()).await;
        }
    };
    tokio::join!(client, play);
}

#[tokio::test]
async fn a_stream_that_dies_ends_in_an_error_and_never_in_a_made_up_stop() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(true);
    let play = async {
        let mut asked = upstream.asked().await;
        asked.begin().await;
        asked.write(START).await;
        asked.write("event: content_block_delta\ndata: {\"ty").await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    let text = answer.text().await;
    let rest = text.strip_prefix(START).unwrap();
    let error = rest.strip_prefix("event: error\ndata: ").unwrap();
    let error: Value = serde_json::from_str(error.trim_end()).unwrap();
    assert_eq!(error["error"]["type"], "api_error");
}

#[tokio::test]
async fn an_overloaded_upstream_is_left_for_the_next_of_the_route() {
    let (one, two) = (Played::new("one").await, Played::new("two").await);
    let gateway = start(to(&[&one, &two])).await;
    let body = hello(true);
    let play = async {
        one.asked()
            .await
            .reply(529, "content-type: application/json\r\n", BUSY)
            .await;
        let mut asked = two.asked().await;
        assert_eq!(asked.header("x-api-key"), Some("sk-two"));
        asked.begin().await;
        asked.write(format!("{START}{STOP}")).await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.header("x-account-email"), Some("two@test"));
    assert_eq!(answer.text().await, format!("{START}{STOP}"));
}

#[tokio::test]
async fn an_error_as_first_event_and_an_answer_that_is_none_are_failed_attempts() {
    let (one, two) = (Played::new("one").await, Played::new("two").await);
    let mut config = to(&[&one, &two]);
    config.retry.max_attempts = 2;
    let gateway = start(config).await;
    let body = hello(true);
    let play = async {
        let mut asked = one.asked().await;
        asked.begin().await;
        asked
            .write(format!(
                "event: ping\ndata: {{}}\n\nevent: error\ndata: {BUSY}\n\n"
            ))
            .await;
        two.asked()
            .await
            .reply(200, "content-type: text/html\r\n", "<p>hello</p>")
            .await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.status(), 502);
    let error = answer.json().await;
    assert_eq!(error["error"]["type"], "api_error");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("text/html"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_in_the_envelope_reaches_the_client_unmodified() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(false);
    let play = async {
        let head = "content-type: application/json\r\nretry-after: 7\r\nx-should-retry: true\r\n";
        upstream.asked().await.reply(429, head, BUSY).await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert_eq!(answer.text().await, BUSY);
}

#[tokio::test]
async fn the_gateways_own_refused_credential_is_a_502() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(false);
    let refusal = BUSY.replace("overloaded_error", "authentication_error");
    let play = async {
        upstream
            .asked()
            .await
            .reply(401, "content-type: application/json\r\n", &refusal)
            .await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.json().await["error"]["type"], "api_error");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_a_502_or_the_next_ones_turn() {
    let (gone, two) = (Played::new("gone").await, Played::new("two").await);
    let config = to(&[&gone, &two]);
    let alone = Config {
        upstreams: config.upstreams[..1].to_vec(),
        ..plain()
    };
    drop(gone);
    let mut answer = start(alone).await.post(&hello(false)).await;
    assert_eq!(answer.status(), 502);
    assert!(
        answer
            .text()
            .await
            .contains("no connection to upstream `gone`")
    );

    let gateway = start(config).await;
    let body = hello(false);
    let play = async {
        two.asked()
            .await
            .reply(200, "content-type: application/json\r\n", MESSAGE)
            .await
    };
    let (answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.status(), 200);
}

/// The two pings come from an exchange of which no event is there.
async fn hear_two_pings(answer: &mut Wire) {
    for _ in 0..2 {
        answer
            .until(b"event: ping\ndata: {\"type\":\"ping\"}\n\n")
            .await;
    }
}

fn impatient(mut config: Config) -> Config {
    config.retry.ping_after = Duration::from_millis(20);
    config.retry.ping_every = Duration::from_millis(10);
    config
}

#[tokio::test]
async fn attempts_go_on_behind_the_pings_of_a_stream_that_does_not_begin() {
    let (one, two) = (Played::new("one").await, Played::new("two").await);
    let gateway = start(impatient(to(&[&one, &two]))).await;
    let mut answer = gateway.post(&hello(true)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let mut asked = one.asked().await;
    hear_two_pings(&mut answer).await;
    asked
        .reply(529, "content-type: application/json\r\n", BUSY)
        .await;
    let mut asked = two.asked().await;
    hear_two_pings(&mut answer).await;
    asked.begin().await;
    asked.write(START).await;
    answer.until(START.as_bytes()).await;
    hear_two_pings(&mut answer).await;
    asked.write(STOP).await;
    drop(asked);
    answer.until(STOP.as_bytes()).await;
    assert_eq!(answer.until(b"0\r\n\r\n").await, b"\r\n0\r\n\r\n");
}

#[tokio::test]
async fn behind_pings_the_last_failure_is_one_error_event() {
    let upstream = Played::new("one").await;
    let mut config = impatient(to(&[&upstream]));
    config.retry.max_attempts = 1;
    let gateway = start(config).await;
    let mut answer = gateway.post(&hello(true)).await;
    let mut asked = upstream.asked().await;
    hear_two_pings(&mut answer).await;
    asked
        .reply(529, "content-type: application/json\r\n", BUSY)
        .await;
    answer
        .until(format!("event: error\ndata: {BUSY}\n\n").as_bytes())
        .await;
    assert_eq!(answer.until(b"0\r\n\r\n").await, b"\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_account_alone_is_asked_again_after_its_rest_and_the_client_is_told_of_it() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(false);
    let play = async {
        let json = "content-type: application/json\r\n";
        upstream.asked().await.reply(529, json, BUSY).await;
        upstream.asked().await.reply(200, json, MESSAGE).await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.status(), 200);
    let tried = "one/one@test 529, one/one@test 200";
    assert_eq!(answer.header("x-witgate-attempts"), Some(tried));
    assert_eq!(answer.text().await, MESSAGE);
}

#[tokio::test]
async fn whoever_comes_while_all_rest_is_told_when_to_come_again() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(false);
    let play = async {
        let head = "content-type: application/json\r\nretry-after: 70\r\n";
        upstream.asked().await.reply(429, head, BUSY).await;
    };
    let (first, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(first.status(), 429);
    let mut second = gateway.post(&body).await;
    assert_eq!(second.status(), 429);
    assert_eq!(second.header("retry-after"), Some("70"));
    assert_eq!(second.json().await["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn a_thread_goes_on_where_its_last_message_was_made_or_is_sent_whole() {
    let (one, two) = (Played::new("one").await, Played::new("two").await);
    let gateway = start(to(&[&one, &two])).await;
    let json = "content-type: application/json\r\n";
    let made = r#"{"type":"message","id":"msg_1","content":[]}"#;
    let mut body = hello(false);
    body["thread"] = json!({ "type": "create" });
    let play = async {
        one.asked().await.reply(503, json, BUSY).await;
        two.asked().await.reply(200, json, made).await;
    };
    let (answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.header("x-account-email"), Some("two@test"));

    body["thread"] = json!({ "type": "continue", "previous_message_id": "msg_1" });
    let play = async { two.asked().await.reply(200, json, made).await };
    let (answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.header("x-account-email"), Some("two@test"));

    body["thread"]["previous_message_id"] = json!("msg_unknown");
    let mut lost = gateway.post(&body).await;
    assert_eq!(lost.status(), 404);
    let error = lost.json().await;
    assert_eq!(error["error"]["details"]["error_code"], "thread_not_found");
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_ends_it_with_an_error() {
    let upstream = Played::new("one").await;
    let mut config = to(&[&upstream]);
    config.retry.idle = Duration::from_millis(50);
    let gateway = start(config).await;
    let body = hello(true);
    let play = async {
        let mut asked = upstream.asked().await;
        asked.begin().await;
        asked.write(START).await;
        asked
    };
    let (mut answer, _asked) = tokio::join!(gateway.post(&body), play);
    let text = answer.text().await;
    let error = text.strip_prefix(START).unwrap();
    assert!(error.starts_with("event: error\n"), "{text}");
    assert!(error.contains("sent no byte for 0.05 s"), "{text}");
}

#[tokio::test]
async fn when_the_client_goes_the_upstream_request_goes() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(true);
    let play = async {
        let mut asked = upstream.asked().await;
        asked.body().await;
        asked.begin().await;
        asked.write(START).await;
        asked
    };
    let (answer, mut asked) = tokio::join!(gateway.post(&body), play);
    drop(answer);
    let mut buffer = [0; 16];
    let end = soon(
        "the end of the upstream request",
        asked.stream.read(&mut buffer),
    )
    .await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_mapped_model_is_the_only_change_and_stands_in_the_receipt() {
    let upstream = Played::new("one").await;
    let routes = vec![route("m-*", &[(0, Some("glm-5"))])];
    let gateway = start(Config {
        routes,
        ..to(&[&upstream])
    })
    .await;
    let body = br#"{ "messages":[],"model" :"m-1" ,"z":0}"#;
    let client = gateway.ask("POST /v1/messages HTTP/1.1", body);
    let play = async {
        let mut asked = upstream.asked().await;
        assert_eq!(
            asked.body().await,
            br#"{ "messages":[],"model" :"glm-5" ,"z":0}"#
        );
        asked
            .reply(200, "content-type: application/json\r\n", MESSAGE)
            .await;
    };
    let (answer, ()) = tokio::join!(client, play);
    assert_eq!(answer.header("x-mapped-model"), Some("glm-5"));
    assert_eq!(answer.header("x-witgate-edits"), Some("route=1"));

    let mut lost = gateway.post(&json!({ "model": "other" })).await;
    assert_eq!(lost.status(), 404);
    assert_eq!(lost.json().await["error"]["message"], "model: other");
    let mut unnamed = gateway.post(&json!({})).await;
    assert_eq!(unnamed.status(), 400);
    assert_eq!(
        unnamed.json().await["error"]["message"],
        "model: Field required"
    );
}

#[tokio::test]
async fn a_forced_stream_is_collected_for_a_client_that_wants_json() {
    let upstream = Played::new("one").await;
    let mut config = to(&[&upstream]);
    config.upstreams[0].force_stream = true;
    let gateway = start(config).await;
    let body = br#"{"model":"m-1","stream":false}"#;
    let client = gateway.ask("POST /v1/messages HTTP/1.1", body);
    let play = async {
        let mut asked = upstream.asked().await;
        assert_eq!(asked.body().await, br#"{"model":"m-1","stream":true}"#);
        asked.begin().await;
        let start = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n";
        asked.write(format!("{start}{STOP}")).await;
    };
    let (mut answer, ()) = tokio::join!(client, play);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-witgate-edits"), Some("force-stream=1"));
    assert_eq!(answer.json().await, json!({ "id": "msg_1", "content": [] }));
}

#[tokio::test]
async fn a_compressed_answer_is_decoded() {
    const GZIP: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 169, 44, 72, 85, 178, 82, 202, 77, 45, 46,
        78, 76, 79, 85, 170, 5, 0, 201, 73, 62, 254, 18, 0, 0, 0,
    ];
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let body = hello(false);
    let play = async {
        let mut asked = upstream.asked().await;
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
        asked
            .write(format!("{head}content-length: {}\r\n\r\n", GZIP.len()))
            .await;
        asked.write(GZIP).await;
    };
    let (mut answer, ()) = tokio::join!(gateway.post(&body), play);
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.text().await, r#"{"type":"message"}"#);
}

#[tokio::test]
async fn other_routes_are_streamed_through_as_they_are() {
    let upstream = Played::new("one").await;
    let gateway = start(to(&[&upstream])).await;
    let client = gateway.ask(
        "POST /v1/files?a=b HTTP/1.1\r\naccept-encoding: br",
        b"not json",
    );
    let play = async {
        let mut asked = upstream.asked().await;
        assert!(asked.head.starts_with("POST /v1/files?a=b HTTP/1.1"));
        assert_eq!(asked.header("accept-encoding"), Some("br"));
        assert_eq!(asked.header("x-api-key"), Some("sk-one"));
        assert_eq!(asked.body().await, b"not json");
        asked
            .reply(201, "content-encoding: br\r\n", "\x01\x02")
            .await;
    };
    let (mut answer, ()) = tokio::join!(client, play);
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.header("content-encoding"), Some("br"));
    assert_eq!(answer.header("x-account-email"), Some("one@test"));
    assert_eq!(answer.body().await, b"\x01\x02");
}

#[tokio::test]
async fn without_accounts_the_clients_own_credential_goes_on_but_never_the_gateways_key() {
    let upstream = Played::new("one").await;
    let mut config = to(&[&upstream]);
    config.upstreams[0].accounts.clear();
    config.auth = Auth {
        mode: AuthMode::Strict,
        keys: vec![Secret::new("sk-gate")],
    };
    let gateway = start(config).await;
    let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-gate\r\nauthorization: Bearer sk-mine";
    let body = hello(false).to_string();
    let play = async {
        let mut asked = upstream.asked().await;
        assert_eq!(asked.header("x-api-key"), None);
        assert_eq!(asked.header("authorization"), Some("Bearer sk-mine"));
        asked
            .reply(200, "content-type: application/json\r\n", MESSAGE)
            .await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(head, body.as_bytes()), play);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-account-email"), None);
    let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-gate";
    assert_eq!(gateway.ask(head, body.as_bytes()).await.status(), 401);
}

#[tokio::test]
async fn a_wrong_key_is_refused_so_that_nobody_repeats_it() {
    let auth = Auth {
        mode: AuthMode::AllExceptHealth,
        keys: vec![Secret::new("sk-gate")],
    };
    let gateway = start(Config { auth, ..plain() }).await;
    let mut answer = gateway.post(&hello(false)).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(answer.header("request-id").is_some());
    let error = answer.text().await;
    assert!(
        error.contains("authentication_error") && !error.contains("sk-"),
        "{error}"
    );
    let mut health = gateway.get("/healthz").await;
    assert_eq!(health.text().await, r#"{"status":"ok"}"#);
    assert_eq!(
        gateway.ask("HEAD /api/hello HTTP/1.1", b"").await.status(),
        200
    );
    assert_eq!(gateway.get("/v1/models").await.status(), 401);
}

#[tokio::test]
async fn a_foreign_page_cannot_use_a_gateway_on_this_machine() {
    let gateway = start(plain()).await;
    let status = async |head: &str| gateway.ask(head, b"").await.status();
    assert_eq!(
        status("GET /healthz HTTP/1.1\r\nhost: evil.test").await,
        403
    );
    assert_eq!(
        status("GET /healthz HTTP/1.1\r\norigin: https://evil.test").await,
        403
    );
    assert_eq!(status("GET /healthz HTTP/1.1\r\norigin: null").await, 403);
    assert_eq!(
        status("GET /healthz HTTP/1.1\r\norigin: http://localhost:3000").await,
        200
    );
    let preflight = "OPTIONS /v1/messages HTTP/1.1\r\norigin: https://page.test\r\n\
                     access-control-request-method: POST\r\naccess-control-request-headers: x-api-key";
    let allowed = gateway.ask(preflight, b"").await;
    assert_eq!(allowed.status(), 204);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://page.test")
    );
    assert_eq!(
        allowed.header("access-control-allow-headers"),
        Some("x-api-key")
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_the_envelope() {
    let gateway = start(Config {
        body_limit: 100,
        ..plain()
    })
    .await;
    let mut told = gateway
        .ask("POST /v1/messages HTTP/1.1", &[b'x'; 101])
        .await;
    assert_eq!(told.status(), 413);
    assert_eq!(told.json().await["error"]["type"], "request_too_large");

    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    stream
        .write_all(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(Wire::read(stream).await.status(), 413);
}

#[tokio::test]
async fn the_echo_answers_offline_in_both_forms() {
    let gateway = start(plain()).await;
    let mut answer = gateway.post(&hello(false)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-mapped-model"), Some("m-1"));
    let message = answer.json().await;
    let text = message["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("model m-1, 1 message, 0 tools"), "{text}");
    let mut answer = gateway.post(&hello(true)).await;
    let events = answer.text().await;
    assert!(
        events.starts_with("event: message_start\n")
            && events.ends_with("{\"type\":\"message_stop\"}\n\n")
    );
    let count = "POST /v1/messages/count_tokens HTTP/1.1";
    let count = gateway
        .ask(count, hello(false).to_string().as_bytes())
        .await
        .json()
        .await;
    assert!(count["input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(count.as_object().unwrap().len(), 1);
    let broken = gateway
        .ask("POST /v1/messages HTTP/1.1", b"{\"model\":\"m\"")
        .await;
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
async fn models_are_listed_in_time_whatever_an_upstream_does() {
    let (hangs, lists) = (Played::new("hangs").await, Played::new("lists").await);
    let mut config = to(&[&hangs, &lists]);
    config.upstreams[0].models = vec!["static-1".to_owned()];
    config.routes = vec![route("*-1", &[(0, None)])];
    let gateway = start(config).await;
    let play = async {
        let mut asked = lists.asked().await;
        assert!(
            asked.head.starts_with("GET /v1/models?limit=1000"),
            "{}",
            asked.head
        );
        let list = r#"{"data":[{"id":"own-1"},{"id":"static-1"},{"id":"nowhere"}]}"#;
        asked
            .reply(200, "content-type: application/json\r\n", list)
            .await;
    };
    let begun = std::time::Instant::now();
    let (mut answer, ()) = tokio::join!(gateway.get("/v1/models"), play);
    assert!(begun.elapsed() < Duration::from_secs(3));
    let list = answer.json().await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["static-1", "own-1"]);
    assert_eq!(list["last_id"], "own-1");
}

#[tokio::test]
async fn a_wrong_way_is_answered_in_the_envelope() {
    let gateway = start(plain()).await;
    let mut stacked = gateway.get("/v1/v1/messages").await;
    assert_eq!(stacked.status(), 404);
    let error = stacked.json().await;
    assert_eq!(error["error"]["type"], "not_found_error");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("http://localhost, without /v1")
    );
    let method = gateway.get("/v1/messages").await;
    assert_eq!(method.status(), 405);
    assert_eq!(method.header("allow"), Some("POST"));
}

#[tokio::test]
async fn what_runs_may_end_after_the_signal_to_stop() {
    let upstream = Played::new("one").await;
    let mut gateway = start(to(&[&upstream])).await;
    let body = hello(true);
    let play = async {
        let mut asked = upstream.asked().await;
        asked.begin().await;
        asked.write(START).await;
        asked
    };
    let (mut answer, mut asked) = tokio::join!(gateway.post(&body), play);
    gateway.stop.advance();
    let refused = async { while TcpStream::connect(gateway.address).await.is_ok() {} };
    soon("the listener to close", refused).await;
    asked.write(STOP).await;
    drop(asked);
    assert_eq!(answer.text().await, format!("{START}{STOP}"));
    soon("the gateway to end", gateway.served).await.unwrap();
}

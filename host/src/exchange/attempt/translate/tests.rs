//! The client gets the same events however the upstream's bytes are cut into chunks. Tested with
//! real components, on the toy protocol and on every stream in `tests/cases/dialect-*`.

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use witgate_document::Document;

#[path = "../../../cli/plugin/test/case.rs"]
#[allow(dead_code, reason = "only what reads a case is used here")]
#[allow(
    clippy::duplicate_mod,
    reason = "the module of the command is on a layer above"
)]
mod folder;

use super::stream_of;
use crate::{
    ids::ExchangeId,
    message::{Request, Target},
    pipeline::{
        Decision, ResponseHead, Run,
        tests::{Fixture, request, run, target},
    },
};

/// A request and the upstream's response to it.
struct Case {
    name: String,
    dialect: String,
    settings: Value,
    request: Document,
    upstream: Bytes,
    /// What a streaming client gets, if the response is complete.
    reply: Option<String>,
}

#[test]
fn a_stream_is_translated_to_the_same_events_wherever_it_is_cut() {
    let mut cases = vec![toy()];
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    for dialect in folder::folders(&folders).unwrap() {
        let folders = folder::all(&dialect).unwrap();
        let name = dialect.file_name().unwrap().to_str().unwrap();
        let dialect = name.strip_prefix("dialect-").unwrap();
        cases.extend(folders.iter().filter_map(|case| Case::read(case, dialect)));
    }
    assert!(cases.len() > 80, "where are the cases?");
    let mut fixture = Fixture::new().drop_in("toy_dialect.wasm", "dialect-toy.wasm");
    for case in cases {
        fixture = fixture.settings(&format!("dialect-{}", case.dialect), case.settings.clone());
        let rejected = fixture.load().refused;
        assert!(rejected.is_empty(), "{}", rejected[0].fault.chain());
        run(case.is_the_same_however_it_is_cut(&fixture));
    }
}

impl Case {
    /// `None` if the upstream's response is not the stream of a message.
    fn read(case: &folder::Case, dialect: &str) -> Option<Self> {
        let upstream = case.text("upstream.sse").unwrap()?;
        let request = case.json("request.json").unwrap()?;
        let streams = request["stream"] == true;
        // The gateway adds an error to a stream without its end.
        let whole = |reply: &String| streams && reply.ends_with("\"message_stop\"}\n\n");
        Some(Self {
            name: case.name().to_owned(),
            dialect: dialect.to_owned(),
            settings: case
                .json("settings.json")
                .unwrap()
                .unwrap_or_else(|| json!({})),
            request: Document::new(request.to_string()),
            upstream: upstream.into(),
            reply: case.text("reply.sse").unwrap().filter(whole),
        })
    }

    async fn is_the_same_however_it_is_cut(&self, fixture: &Fixture) {
        let all = &self.upstream;
        let id = ExchangeId::new();
        let mut run = fixture.begin();
        let whole = self.translated(&mut run, &id, vec![all.clone()]).await;
        assert!(!whole.contains("\nfault: plugin"), "{}: {whole}", self.name);
        if let Some(reply) = &self.reply {
            assert_eq!(whole, *reply, "{}", self.name);
        }
        for at in 1..all.len() {
            let cut = vec![all.slice(..at), all.slice(at..)];
            let translated = self.translated(&mut run, &id, cut).await;
            assert_eq!(translated, whole, "{} cut at {at}", self.name);
        }
        let bytes = (0..all.len()).map(|at| all.slice(at..=at)).collect();
        let translated = self.translated(&mut run, &id, bytes).await;
        assert_eq!(translated, whole, "{} in single bytes", self.name);
    }

    /// Makes one attempt. All attempts use the same instance.
    async fn translated(&self, run: &mut Run, id: &ExchangeId, chunks: Vec<Bytes>) -> String {
        let model = self.request.top_str("model").unwrap_or_default();
        let target = Target {
            dialect: self.dialect.as_str().into(),
            model: model.as_str().into(),
            requested_model: model.as_str().into(),
            ..target(&[])
        };
        let mut request = Request {
            id: id.clone(),
            body: self.request.clone(),
            ..request("{}")
        };
        let decided = run.on_attempt(&mut request, &target).await.unwrap();
        assert!(matches!(decided, Decision::Proceed), "{}", self.name);
        let head = ResponseHead {
            id: request.id,
            session: None,
            conversation: request.conversation,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            streaming: true,
            target,
        };
        let upstream = head.target.upstream.clone();
        let translator = run.translator(&head.target.clone(), || head).unwrap();
        let chunks = stream::iter(chunks.into_iter().map(Ok)).boxed();
        let pieces = stream_of(chunks, translator, &upstream).map(|piece| match piece {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(fault) => format!("\nfault: {}", fault.chain()),
        });
        pieces.collect().await
    }
}

fn toy() -> Case {
    let upstream = concat!(
        ": hello\n\ndata: {\"HELLO\":\"1\",\"IN\":3}\r\n\r\n",
        "data:{\"WORD\":\"h\u{e9}llo\"}\n\nevent: x\ndata: {\"WORD\":\ndata: \"two lines\"}\r\r",
        "data: {\"HOLD\":\"held\"}\n\ndata: {\"BYE\":\"FULL\",\"OUT\":2}\n\ndata: [DONE]\n\ndata: left",
    );
    Case {
        name: "toy".to_owned(),
        dialect: "toy".to_owned(),
        settings: json!({}),
        request: Document::new(r#"{"messages":[{"role":"user","content":"hi"}]}"#),
        upstream: upstream.into(),
        reply: None,
    }
}

//! Checks of what the client gets.

use serde_json::{Value, json};

use super::{
    super::{Outcome, message::Message},
    Finding,
    response::{self, ODD, Pieces},
    scene::Scene,
};
use crate::{cli::Failure, kit::Answer};

type Found = Result<Vec<Finding>, Failure>;

pub(super) fn pieces(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    if !scene.is_plain() {
        return Ok(found);
    }
    let message = response::message();
    let stream = |pieces| response::stream(&message, pieces);
    let whole = answered(scene, true, &stream(Pieces::Whole))?;
    let expected = whole.message();
    for (what, streams, answer) in [
        ("in one piece", true, stream(Pieces::Whole)),
        ("word by word", true, stream(Pieces::Words)),
        ("character by character", true, stream(Pieces::Characters)),
        ("as JSON", false, message.to_string()),
    ] {
        let outcome = answered(scene, streams, &answer)?;
        let failed = Finding::of_failure(&format!("an answer {what}"), &answer, &outcome);
        let why = failed
            .is_none()
            .then(|| flaw(&outcome.message(), &expected))
            .flatten();
        let differs = why.map(|why| {
            Finding::of_response(
                format!("an answer that comes {what}: {why}"),
                &answer,
                &outcome,
            )
        });
        found.extend(failed.or(differs));
    }
    Ok(found)
}

/// Why a message is not the expected one.
fn flaw(message: &Message, expected: &Message) -> Option<String> {
    if let Some(problem) = message.problems.first() {
        return Some(format!("the stream is malformed: {problem}"));
    }
    if message.blocks.len() != expected.blocks.len() {
        let (got, wanted) = (message.blocks.len(), expected.blocks.len());
        return Some(format!("it has {got} blocks, in one piece {wanted}"));
    }
    let mut pairs = message.blocks.iter().zip(&expected.blocks);
    if let Some((one, other)) = pairs.find(|(one, other)| !one.same(other)) {
        return Some(format!(
            "it says {:?}, in one piece {:?}",
            one.text, other.text
        ));
    }
    (message.complete != expected.complete || message.stop_reason != expected.stop_reason)
        .then(|| "it ends in another way than in one piece".to_owned())
}

pub(super) fn odd_events(scene: &mut Scene<'_, '_>) -> Found {
    if !scene.is_plain() {
        return Ok(Vec::new());
    }
    let message = response::message();
    let answer = response::odd(&response::stream(&message, Pieces::Words));
    let outcome = answered(scene, true, &answer)?;
    if let Some(failed) = Finding::of_failure("unknown events", &answer, &outcome) {
        return Ok(vec![failed]);
    }
    let (text, read) = (outcome.text(), outcome.message());
    let mut why: Vec<String> = Vec::new();
    why.extend(
        read.problems
            .first()
            .map(|what| format!("the stream is malformed: {what}")),
    );
    let lost = ODD.into_iter().filter(|odd| !text.contains(odd));
    why.extend(lost.map(|odd| format!("`{odd}` does not reach the client")));
    for block in Message::of_json(&message).blocks {
        let is_sealed = matches!(block.kind.as_str(), "thinking" | "redacted_thinking");
        if is_sealed && !read.blocks.iter().any(|read| read.same(&block)) {
            why.push(format!(
                "a block of `{}` is changed, which its signature forbids",
                block.kind
            ));
        }
    }
    let tool = read.blocks.iter().find(|block| block.kind == "tool_use");
    let parses = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    if tool.is_none_or(|tool| !parses(&tool.text)) {
        why.push("the input of a tool is no longer JSON".to_owned());
    }
    let finding = |why| Finding::of_response(why, &answer, &outcome);
    Ok(why.into_iter().map(finding).collect())
}

pub(super) fn cuts(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let Some(good) = scene.answer() else {
        return Ok(found);
    };
    for streams in [true, false] {
        let mut body = scene.bases().remove(0);
        body["stream"] = json!(streams);
        let mut exchange = scene.exchange(body.to_string());
        exchange.answers = vec![good.clone()];
        let whole = scene.run(&exchange)?;
        let failed = Finding::of_failure("an answer", &body.to_string(), &whole);
        if failed.is_none()
            && let Some(flaw) = scene.cut(&exchange, &whole)?
        {
            let (why, came) = flaw.split_once('\n').unwrap_or((&flaw, ""));
            found.push(Finding {
                why: why.to_owned(),
                sent: String::from_utf8_lossy(&good.body()).into_owned(),
                came: came.to_owned(),
            });
        }
        found.extend(failed);
    }
    Ok(found)
}

pub(super) fn upstream_errors(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let body = scene.bases().remove(0).to_string();
    for (status, kind, text) in response::errors() {
        let mut answer = Answer::of(text.clone());
        answer.status = http::StatusCode::from_u16(status).unwrap_or_default();
        let kind = http::HeaderValue::from_static(kind);
        answer.headers.insert(http::header::CONTENT_TYPE, kind);
        let mut exchange = scene.exchange(body.clone());
        exchange.answers = vec![answer];
        let outcome = scene.run(&exchange)?;
        let what = format!("an error with status {status}");
        let failed = Finding::of_failure(&what, &text, &outcome);
        // An error cannot be a good answer.
        let wrong = outcome.status < 400 && outcome.message().error.is_none();
        let why = || {
            format!(
                "{what} is shown as an answer with status {}",
                outcome.status
            )
        };
        let hidden = wrong.then(|| Finding::of_response(why(), &text, &outcome));
        found.extend(failed.or(hidden));
    }
    Ok(found)
}

/// Runs an exchange with this answer.
fn answered(scene: &mut Scene<'_, '_>, streams: bool, answer: &str) -> Result<Outcome, Failure> {
    let mut body = scene.bases().remove(0);
    body["stream"] = json!(streams);
    let mut exchange = scene.exchange(body.to_string());
    exchange.answers = vec![Answer::of(answer.to_owned())];
    scene.run(&exchange)
}

//! Responses that are complete: an upstream's JSON after the response hooks, and a plugin's answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use witgate_contract::{event::delta_type, message_order::is_end};

use crate::{
    exchange::{
        Answer,
        collect::collect,
        expand::expand,
        record::{Ending, Record},
    },
    fault::{Fault, Kind},
    message::{Body, RequestKind, Response},
    pipeline::{EventOutcome, LastEvent, ResponseRun},
};

use super::relay::{ClientHead, ResponseMode, note, streamed, written};

/// Passes a JSON response through the hooks. If they change nothing, the upstream's bytes are sent.
pub(super) async fn respond_json(
    status: StatusCode,
    body: Bytes,
    mut answering: ResponseRun,
    mut record: Box<Record>,
    mode: ResponseMode,
) -> Answer {
    if mode.head == ClientHead::Sent {
        answering.head_is_sent();
    }
    let body = run_hooks(&body, &mut answering, mode).await;
    note(&mut answering, &mut record, mode.host_edits);
    let mut headers = answering.take_headers();
    let body = match body {
        Ok(body) => body,
        Err(fault) => return Answer::fault(fault, record),
    };
    if mode.sends_events() {
        record.first_event();
        headers = streamed(headers);
    }
    record.end(Ending::Complete);
    Answer::whole(
        Response {
            status,
            headers,
            body: Body::Whole(body),
        },
        record,
    )
}

/// The body after the response hooks: events for a client that wants a stream, else JSON.
async fn run_hooks(
    body: &Bytes,
    answering: &mut ResponseRun,
    mode: ResponseMode,
) -> Result<Bytes, Fault> {
    if mode.kind != RequestKind::Messages {
        let changed = Box::pin(answering.on_body(body)).await?;
        return Ok(changed.unwrap_or_else(|| body.clone()));
    }
    if !mode.stream && !answering.listens() {
        return Ok(body.clone());
    }
    // Boxed: most JSON responses pass no hook, but all would reserve space for this future.
    Box::pin(run_event_hooks(body, answering, mode)).await
}

/// The body of a message after the hooks, which see it as events.
async fn run_event_hooks(
    body: &Bytes,
    answering: &mut ResponseRun,
    mode: ResponseMode,
) -> Result<Bytes, Fault> {
    let Some(mut events) = expand(body) else {
        let what = "the upstream sent an invalid response: got other JSON, expected a message";
        return Err(Fault::upstream(Kind::InvalidResponse, what));
    };
    let begin = events.iter().position(|event| is_end(&event.name));
    let last = events.split_off(begin.unwrap_or(events.len()));
    let mut out = Vec::with_capacity(events.len() + last.len());
    let mut changed = false;
    let reads_deltas = answering.asks_for_deltas();
    for event in events {
        let data = reads_deltas.then_some(event.data.as_bytes());
        let delta = data.and_then(delta_type);
        if !answering.wants(&event.name, delta.as_deref()) {
            if answering.follows(event.name.as_bytes()) {
                answering.passes(&event)?;
            }
            out.push(event);
            continue;
        }
        match answering.on_event(event.clone()).await? {
            EventOutcome::Kept => out.push(event),
            EventOutcome::Replaced(events) => {
                changed = true;
                out.extend(events);
            }
        }
    }
    let received = last.len();
    let mut kept = 0;
    for event in answering.on_last(last.clone(), true).await? {
        match event {
            LastEvent::Received(nth) => {
                kept += 1;
                out.extend(last.get(nth).cloned());
            }
            LastEvent::Made(event) => {
                changed = true;
                out.push(event);
            }
        }
    }
    changed |= kept != received;
    match (mode.stream, changed) {
        (true, _) => Ok(written(&out)),
        (false, true) => collect(&out),
        (false, false) => Ok(body.clone()),
    }
}

/// A plugin's answer, as JSON or as a stream, as the client wants it.
pub(super) fn local(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    mode: ResponseMode,
) -> Response {
    let as_stream = mode.sends_events() && status.is_success();
    let (headers, body) = match expand(&body).filter(|_| as_stream) {
        Some(events) => (streamed(headers), written(&events)),
        None => {
            let json = HeaderValue::from_static("application/json");
            headers.entry(CONTENT_TYPE).or_insert(json);
            (headers, body)
        }
    };
    Response {
        status,
        headers,
        body: Body::Whole(body),
    }
}

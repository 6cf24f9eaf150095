//! `witgate plugin try`: runs a plugin on a request in the real pipeline, offline, and shows what
//! it did.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    exchange::{ExchangeArgs, start},
    paint::{Color, Paint},
    report::{self, line, minus_plus},
    saved_case,
};
use crate::{
    cli::{Code, Failure, print},
    kit::{self, Changes, Exchange, Kit, Outcome, Sent},
    pipeline::Trace,
};

#[derive(Args)]
pub(in crate::cli) struct TryArgs {
    #[command(flatten)]
    exchange: ExchangeArgs,
    /// Save plugin settings, target, request and answers as a case of `witgate plugin test`, in a
    /// new folder
    #[arg(long, value_name = "DIR", requires = "answers", conflicts_with = "cut")]
    save_case: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// Fails if a plugin failed.
pub(super) fn run(args: &TryArgs) -> Result<(), Failure> {
    let exchange = args.exchange.exchange()?;
    let setup = args.exchange.setup()?;
    let mut kit = start(&setup, &args.exchange.file)?;
    let outcome = kit.run(&exchange)?;
    if let Some(folder) = &args.save_case {
        saved_case::save(folder, &setup, &exchange)?;
    }
    print(&match args.json {
        true => in_json(&kit, &exchange, &outcome)?,
        false => in_words(&kit, &exchange, &outcome, args.color.paint()),
    })?;
    let errors: Vec<String> = outcome
        .failures()
        .into_iter()
        .map(|(plugin, why)| format!("plugin `{plugin}` failed: {why}"))
        .collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure {
            code: Code::Other,
            errors,
            hint: None,
        }),
    }
}

fn in_words(kit: &Kit, exchange: &Exchange, outcome: &Outcome, paint: Paint) -> String {
    let mut text = String::new();
    let loaded = format!(
        "loaded {} in {}",
        kit.plugins().join(", "),
        report::time(report::nanos(kit.load_time()))
    );
    line(&mut text, &loaded);
    text.push_str(&report::steps(&outcome.trace, paint));
    for (index, sent) in outcome.sent.iter().enumerate() {
        text.push_str(&sent_in_words(index + 1, exchange, sent, paint));
    }
    text.push_str(&reply_in_words(outcome, paint));
    text
}

fn sent_in_words(attempt: usize, exchange: &Exchange, sent: &Sent, paint: Paint) -> String {
    let mut text = String::new();
    let Sent {
        method, path, body, ..
    } = sent;
    let size = body.len();
    let heading = format!("sent in attempt {attempt}: {method} {path}, {size} bytes");
    line(&mut text, &paint.bold(&heading));
    if *body == exchange.body {
        line(
            &mut text,
            "    the body as the client sent it, byte for byte",
        );
        return text;
    }
    let Changes { list, left_out } = kit::changes(&exchange.body, body);
    for change in &list {
        let at = match change.at.as_str() {
            "" => "(the whole body)",
            at => at,
        };
        line(&mut text, &format!("    {at}"));
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        text.push_str(&minus_plus(before, after, paint));
    }
    if left_out > 0 {
        line(&mut text, &format!("    and {left_out} more changes"));
    }
    text
}

fn reply_in_words(outcome: &Outcome, paint: Paint) -> String {
    let mut text = String::new();
    let reply = &outcome.reply;
    let ending = outcome.trace.end.as_ref().map_or("", |end| &end.ending);
    let size = reply.body.len();
    let heading = format!(
        "received: status {}, {ending}, {size} bytes",
        reply.status.as_u16()
    );
    line(&mut text, &paint.bold(&heading));
    if !reply.is_stream() {
        let body = String::from_utf8_lossy(&reply.body);
        line(&mut text, &format!("    {}", kit::clipped(&body)));
        return text;
    }
    for event in reply.events() {
        let shown = format!("    {} {}", event.name, event.data);
        line(&mut text, &kit::clipped(&shown));
    }
    text
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    plugins: Vec<String>,
    load_ns: u64,
    sent: Vec<SentReport<'a>>,
    reply: ReplyReport<'a>,
    trace: &'a Trace,
    failures: Vec<Value>,
}

#[derive(Serialize)]
struct SentReport<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    /// JSON as it was sent, or else a string.
    body: Box<RawValue>,
    /// What differs from the client's body.
    changes: Changes,
}

#[derive(Serialize)]
struct ReplyReport<'a> {
    status: u16,
    headers: Vec<(&'a str, String)>,
    complete: bool,
    /// `null` for a stream.
    body: Option<Box<RawValue>>,
    /// `null` for any other response.
    events: Option<Vec<Value>>,
}

fn in_json(kit: &Kit, exchange: &Exchange, outcome: &Outcome) -> Result<String, Failure> {
    let sent = outcome.sent.iter().map(|sent| {
        Ok::<_, serde_json::Error>(SentReport {
            method: sent.method.as_str(),
            path: &sent.path,
            headers: headers(&sent.headers),
            body: as_json(&sent.body)?,
            changes: kit::changes(&exchange.body, &sent.body),
        })
    });
    let reply = &outcome.reply;
    let events = reply.events().into_iter();
    let events = events.map(|event| json!({ "event": event.name, "data": event.data }));
    let is_stream = reply.is_stream();
    let failures = outcome.failures().into_iter();
    let report = Report {
        plugins: kit.plugins(),
        load_ns: report::nanos(kit.load_time()),
        sent: sent.collect::<Result<_, _>>().map_err(unwritten)?,
        reply: ReplyReport {
            status: reply.status.as_u16(),
            headers: headers(&reply.headers),
            complete: reply.complete,
            body: match is_stream {
                true => None,
                false => Some(as_json(&reply.body).map_err(unwritten)?),
            },
            events: is_stream.then(|| events.collect()),
        },
        trace: &outcome.trace,
        failures: failures
            .map(|(plugin, why)| json!({ "plugin": plugin, "why": why }))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&report).map_err(unwritten)?;
    Ok(format!("{text}\n"))
}

fn unwritten(error: serde_json::Error) -> Failure {
    Failure::new(
        Code::Other,
        format!("the report cannot be written: {error}"),
    )
}

/// A body as JSON: verbatim if it is JSON, else as a string.
fn as_json(body: &[u8]) -> Result<Box<RawValue>, serde_json::Error> {
    let text = String::from_utf8_lossy(body).into_owned();
    match RawValue::from_string(text) {
        Ok(json) => Ok(json),
        Err(_) => RawValue::from_string(Value::from(String::from_utf8_lossy(body)).to_string()),
    }
}

fn headers(headers: &http::HeaderMap) -> Vec<(&str, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

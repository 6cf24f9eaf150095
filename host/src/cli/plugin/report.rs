//! What plugins did in an exchange, for a person.

use std::{fmt::Write, time::Duration};

use serde_json::value::RawValue;

use super::paint::Paint;
use crate::{
    kit::clipped,
    pipeline::{HeaderChange, ShownEvent, Step, Trace, TraceEnd, TracedCall, TracedEvents},
};

/// The most events of one plugin that are shown.
const MOST_EVENTS: usize = 40;

/// Formats the steps in order, below a line for each attempt.
pub(super) fn steps(trace: &Trace, paint: Paint) -> String {
    let mut text = String::new();
    let mut attempt = None;
    for step in &trace.steps {
        if attempt != Some(step.attempt) {
            attempt = Some(step.attempt);
            line(&mut text, &paint.bold(&heading(trace, step.attempt)));
        }
        text.push_str(&one_step(step, paint));
    }
    if trace.left_out > 0 {
        let what = format!(
            "{} more steps and details: the trace has reached its limit",
            trace.left_out
        );
        line(&mut text, &paint.yellow(&what));
    }
    text
}

/// Formats the end of the exchange.
pub(super) fn end(end: &TraceEnd) -> String {
    let mut text = format!(
        "{} of model `{}`: status {}, {}, {}\n",
        end.kind,
        end.model,
        end.status,
        end.ending,
        time(end.time_ns)
    );
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            line(&mut text, &format!("  {name:<9} {value}"));
        }
    };
    field("attempts", &end.attempts);
    field("edits", &end.edits);
    field("prefix", end.prefix.as_deref().unwrap_or_default());
    field("note", end.note.as_deref().unwrap_or_default());
    text
}

/// A time in nanoseconds, as traces have it.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Formats a time with three digits or so.
pub(super) fn time(nanos: u64) -> String {
    let time = Duration::from_nanos(nanos);
    match nanos {
        0..1_000_000 => format!("{:.1} us", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// Formats a change as lines with `-` and `+`.
pub(super) fn minus_plus(before: Option<&str>, after: Option<&str>, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(before) = before {
        line(&mut text, &paint.red(&format!("      - {before}")));
    }
    if let Some(after) = after {
        line(&mut text, &paint.green(&format!("      + {after}")));
    }
    text
}

/// Adds a line.
pub(super) fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn heading(trace: &Trace, attempt: u32) -> String {
    let mut attempts = trace.attempts.iter();
    let Some(target) = attempts.find(|one| one.attempt == attempt) else {
        return "before the first attempt".to_owned();
    };
    let mut text = format!("attempt {attempt}: upstream `{}`", target.upstream);
    let mut add = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(text, ", {name} `{value}`");
    };
    if let Some(account) = &target.account {
        add("account", account);
    }
    add("model", &target.model);
    add("dialect", &target.dialect);
    if !target.lacks.is_empty() {
        add("lacks", &target.lacks.join("`, `"));
    }
    text
}

fn one_step(step: &Step, paint: Paint) -> String {
    let called = match (&step.call, step.held) {
        (Some(_), _) => paint.green("called"),
        (None, true) => paint.dim("not called, though its guard holds"),
        (None, false) => paint.dim("not called"),
    };
    let mut text = String::new();
    let name = paint.bold(&step.plugin);
    line(&mut text, &format!("  {name} {} hook: {called}", step.hook));
    for why in &step.why {
        let holds = if step.held { "holds" } else { "fails" };
        field(&mut text, "guard", &format!("{holds}: {why}"));
    }
    if let Some(call) = &step.call {
        add_call(&mut text, call, paint);
    }
    text
}

fn field(text: &mut String, name: &str, value: &str) {
    line(text, &format!("    {name:<8} {value}"));
}

fn add_call(text: &mut String, call: &TracedCall, paint: Paint) {
    if let Some(failure) = &call.failure {
        field(text, "failed", &paint.red(failure));
    }
    if call.calls > 0 {
        field(text, "time", &cost(call));
    }
    if let Some(verdict) = &call.verdict {
        field(text, "verdict", verdict);
    }
    for edit in call.patch.as_deref().into_iter().flat_map(operations) {
        field(text, "edit", &edit);
    }
    if call.patch_left_out > 0 {
        let what = format!("{} more, which were not recorded", call.patch_left_out);
        field(text, "edit", &paint.yellow(&what));
    }
    for change in &call.headers {
        field(text, "header", &header(change, paint));
    }
    if let Some(path) = &call.path {
        field(text, "path", path);
    }
    for correction in &call.corrections {
        field(text, "set", &clipped(correction));
    }
    for note in &call.notes {
        field(text, "note", note);
    }
    for logged in &call.log {
        field(text, "log", &format!("{} {}", logged.level, logged.line));
    }
    if let Some(events) = &call.events {
        add_events(text, events, paint);
    }
}

fn cost(call: &TracedCall) -> String {
    let mut text = match call.calls {
        1 => format!("{} of {}", time(call.time_ns), time(call.deadline_ns)),
        calls => format!(
            "{} for {calls} calls, the slowest {} of {}",
            time(call.time_ns),
            time(call.slowest_ns),
            time(call.deadline_ns)
        ),
    };
    // Writing to a string cannot fail.
    if let Some(instance) = call.instantiate_ns {
        let _ = write!(text, "; instance in {}", time(instance));
    }
    let (memory, limit) = (mib(call.memory), mib(call.memory_limit));
    let _ = write!(text, "; memory {memory} of {limit} MiB");
    text
}

fn mib(bytes: usize) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    let text = format!("{mib:.1}");
    text.trim_end_matches(".0").to_owned()
}

/// The operations of a JSON Patch, as they are written.
fn operations(patch: &RawValue) -> Vec<String> {
    match serde_json::from_str::<Vec<&RawValue>>(patch.get()) {
        Ok(operations) => operations
            .into_iter()
            .map(|operation| clipped(operation.get()))
            .collect(),
        Err(_) => vec![clipped(patch.get())],
    }
}

fn header(change: &HeaderChange, paint: Paint) -> String {
    let values = |values: &[String]| match values {
        [] => "(none)".to_owned(),
        values => values.join(", "),
    };
    let before = paint.red(&values(&change.before));
    let after = paint.green(&values(&change.after));
    format!("{}: {before} -> {after}", change.name)
}

fn add_events(text: &mut String, events: &TracedEvents, paint: Paint) {
    let TracedEvents {
        shown,
        kept,
        returned,
        list,
    } = events;
    field(
        text,
        "events",
        &format!("{shown} in, {kept} of them kept, {returned} returned"),
    );
    let changed = list.iter().filter(|event| {
        let is_empty_end = event.before.is_none() && event.after.as_ref().is_none_or(Vec::is_empty);
        event.after.is_some() && !is_empty_end
    });
    for (index, event) in changed.enumerate() {
        if index == MOST_EVENTS {
            field(text, "", "and more; `--json` has all of them");
            return;
        }
        let before = event.before.as_ref().map(shown_event);
        text.push_str(&minus_plus(before.as_deref(), None, paint));
        for after in event.after.iter().flatten() {
            text.push_str(&minus_plus(None, Some(&shown_event(after)), paint));
        }
    }
}

fn shown_event(event: &ShownEvent) -> String {
    clipped(format!("{} {}", event.event, event.data).trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plugin::paint::Color;

    #[test]
    fn times_have_their_unit() {
        let table = [
            (1_500, "1.5 us"),
            (250_000_000, "250.00 ms"),
            (2_000_000_000, "2.00 s"),
        ];
        for (nanos, wanted) in table {
            assert_eq!(time(nanos), wanted);
        }
    }

    #[test]
    fn a_step_says_why_it_was_called_and_what_it_did() {
        let call = TracedCall {
            calls: 1,
            time_ns: 12_300,
            deadline_ns: 250_000_000,
            instantiate_ns: Some(45_600),
            memory: 3 << 19,
            memory_limit: 64 << 20,
            verdict: Some("proceed".to_owned()),
            patch: RawValue::from_string(r#"[{"op":"remove","path":"/a"}]"#.to_owned()).ok(),
            headers: vec![HeaderChange {
                name: "x-a".to_owned(),
                before: Vec::new(),
                after: vec!["b".to_owned()],
            }],
            ..TracedCall::default()
        };
        let step = |held, why: &str, call| Step {
            plugin: "rule".to_owned(),
            hook: "request".into(),
            attempt: 0,
            held,
            why: vec![why.to_owned()],
            call,
        };
        let trace = Trace {
            steps: vec![
                step(true, "the kind is `messages`", Some(call)),
                step(false, "the body has no `$.a`", None),
            ],
            ..Trace::default()
        };
        let wanted = "\
before the first attempt
  rule request hook: called
    guard    holds: the kind is `messages`
    time     12.3 us of 250.00 ms; instance in 45.6 us; memory 1.5 of 64 MiB
    verdict  proceed
    edit     {\"op\":\"remove\",\"path\":\"/a\"}
    header   x-a: (none) -> b
  rule request hook: not called
    guard    fails: the body has no `$.a`
";
        assert_eq!(steps(&trace, Color::Never.paint()), wanted);
        let coloured = steps(&trace, Color::Always.paint());
        assert!(coloured.contains("\x1b[32mcalled\x1b[0m"), "{coloured}");
    }
}

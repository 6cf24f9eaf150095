//! Compares the result of a case with what the case expects, and writes it into the case.

use serde_json::Value;

use super::{
    case::{self, Case, NOTHING},
    diff::diff,
    outcome::{Outcome, Sent},
};

/// A part of the result that is not as expected.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// The file that says what was expected.
    pub(super) file: String,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Difference {
    /// The difference in lines.
    pub(super) fn show(&self) -> String {
        format!("{}:\n{}", self.file, diff(&self.expected, &self.got))
    }

    fn of(file: &str, expected: impl Into<String>, got: impl Into<String>) -> Option<Self> {
        let (expected, got) = (expected.into(), got.into());
        let file = file.to_owned();
        (expected != got).then_some(Self {
            file,
            expected,
            got,
        })
    }

    fn of_json(file: &str, expected: Option<&Value>, got: &Value) -> Option<Self> {
        let text = |value: &Value| case::pretty(value);
        // Equal values are equal, however they are formatted.
        match expected {
            Some(expected) if expected == got => None,
            expected => Self::of(file, expected.map(text).unwrap_or_default(), text(got)),
        }
    }
}

/// Everything that is not as the case expects. Fails if the case cannot be read.
pub(super) fn differences(case: &Case, outcome: &Outcome) -> Result<Vec<Difference>, String> {
    let mut all = sent(case, &outcome.sent)?;
    let status = case.text("status.txt")?;
    let status = status.as_deref().map_or("200", str::trim);
    all.extend(Difference::of(
        "status.txt",
        status,
        outcome.status.to_string(),
    ));
    let named = case.text("headers.txt")?.unwrap_or_default();
    all.extend(Difference::of(
        "headers.txt",
        &*named,
        headers(&named, outcome),
    ));
    all.extend(reply(case, outcome)?);
    let notes = case.text("notes.txt")?.unwrap_or_default();
    all.extend(Difference::of("notes.txt", notes, lines(&outcome.notes)));
    for failure in &outcome.failures {
        all.extend(Difference::of("the plugin failed", "", &**failure));
    }
    Ok(all)
}

fn sent(case: &Case, sent: &[Sent]) -> Result<Vec<Difference>, String> {
    let expected = match case.asks() {
        true => case.answers()?.len().max(1),
        false => 0,
    };
    if sent.len() != expected {
        let requests = |count| format!("{count} requests to the upstream");
        let difference = Difference::of("sent.txt", requests(expected), requests(sent.len()));
        return Ok(difference.into_iter().collect());
    }
    let mut all = Vec::new();
    for (at, sent) in sent.iter().enumerate() {
        let attempt = at + 1;
        let (path, body) = match attempt {
            1 => (case.text("sent.txt")?, case.json("sent.json")?),
            _ => case.sent_again(attempt)?,
        };
        let number = match attempt {
            1 => String::new(),
            _ => format!(".{attempt}"),
        };
        if let Some(path) = path {
            all.extend(Difference::of(
                &format!("sent{number}.txt"),
                path.trim(),
                &*sent.path,
            ));
        }
        let file = format!("sent{number}.json");
        all.extend(Difference::of_json(&file, body.as_ref(), &sent.json()));
    }
    Ok(all)
}

fn reply(case: &Case, outcome: &Outcome) -> Result<Option<Difference>, String> {
    if let Some(events) = case.text("reply.sse")? {
        return Ok(Difference::of("reply.sse", events, outcome.text()));
    }
    let expected = case.json("reply.json")?;
    Ok(match outcome.json() {
        Some(got) => Difference::of_json("reply.json", expected.as_ref(), &got),
        None => {
            let expected = expected.as_ref().map(case::pretty).unwrap_or_default();
            Difference::of("reply.json", expected, outcome.text())
        }
    })
}

/// The headers that are named in these lines, with the values that the client got.
fn headers(named: &str, outcome: &Outcome) -> String {
    let names = named.lines().filter_map(case::header);
    let line = |(name, _): (String, String)| format!("{name}: {}", outcome.header(&name));
    lines(&names.map(line).collect::<Vec<_>>())
}

/// Writes the result into the case. Fails if it cannot be written.
pub(super) fn bless(case: &Case, outcome: &Outcome) -> Result<(), String> {
    bless_sent(case, &outcome.sent)?;
    match outcome.json() {
        Some(body) if !outcome.is_stream() => {
            case.write("reply.sse", None)?;
            case.write("reply.json", Some(&case::pretty(&body)))?;
        }
        _ => {
            case.write("reply.json", None)?;
            case.write("reply.sse", Some(&outcome.text()))?;
        }
    }
    let status = (outcome.status != 200).then(|| format!("{}\n", outcome.status));
    case.write("status.txt", status.as_deref())?;
    let named = case.text("headers.txt")?.unwrap_or_default();
    write_lines(case, "headers.txt", &headers(&named, outcome))?;
    write_lines(case, "notes.txt", &lines(&outcome.notes))
}

fn bless_sent(case: &Case, sent: &[Sent]) -> Result<(), String> {
    let Some((first, others)) = sent.split_first() else {
        case.write("sent.txt", Some(&format!("{NOTHING}\n")))?;
        case.write("sent.json", None)?;
        return case.write("sent.merge.json", None);
    };
    case.write("sent.txt", Some(&format!("{}\n", first.path)))?;
    case.write_sent(&first.json())?;
    for (at, sent) in others.iter().enumerate() {
        let attempt = at + 2;
        let path = (sent.path != first.path).then(|| format!("{}\n", sent.path));
        case.write(&format!("sent.{attempt}.txt"), path.as_deref())?;
        let body = (sent.json() != first.json()).then(|| case::pretty(&sent.json()));
        case.write(&format!("sent.{attempt}.json"), body.as_deref())?;
    }
    Ok(())
}

fn write_lines(case: &Case, file: &str, text: &str) -> Result<(), String> {
    case.write(file, Some(text).filter(|text| !text.is_empty()))
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

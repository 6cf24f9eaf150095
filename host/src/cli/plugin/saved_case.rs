//! Saves what `try` was given as a case folder of `witgate plugin test`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use http::{HeaderMap, StatusCode};

use crate::{
    cli::{Code, Failure},
    kit::{Answer, Exchange, Setup},
};

/// The most attempts of a case.
const ATTEMPTS: usize = 5;

/// Writes the files of a case into a new or empty folder.
pub(super) fn save(folder: &Path, setup: &Setup, exchange: &Exchange) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let what = format!("{}: the case cannot be saved: {error}", folder.display());
        Failure::new(Code::Other, what)
    };
    let files = files(setup, exchange).map_err(|why| Failure::new(Code::Arguments, why))?;
    fs::create_dir_all(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        let what = format!("{}: the folder of a case must be empty", folder.display());
        return Err(Failure::new(Code::Arguments, what));
    }
    for (name, content) in files {
        fs::write(folder.join(name), content).map_err(failed)?;
    }
    Ok(())
}

/// The files of a case, by their names.
fn files(setup: &Setup, exchange: &Exchange) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, content: &[u8]| files.push((name.into(), content.to_vec()));
    add("request.json", &exchange.body);
    match exchange.path.as_str() {
        "/v1/messages" => {}
        "/v1/messages/count_tokens" => add("kind.txt", b"count_tokens\n"),
        path => return Err(format!("a case cannot have the path `{path}`")),
    }
    if !exchange.headers.is_empty() {
        add("request.headers.txt", &lines(&exchange.headers));
    }
    let target = setup.target.to_string();
    if !target.is_empty() {
        add("target.txt", format!("{target}\n").as_bytes());
    }
    if let Some(settings) = setup.settings.values().next() {
        let settings = serde_json::to_string_pretty(settings).map_err(|error| error.to_string())?;
        add("settings.json", format!("{settings}\n").as_bytes());
    }
    if exchange.answers.len() > ATTEMPTS {
        return Err(format!("a case has at most {ATTEMPTS} answers"));
    }
    for (index, answer) in exchange.answers.iter().enumerate() {
        let (extension, content) = upstream(answer);
        let name = match index {
            0 => format!("upstream.{extension}"),
            index => format!("upstream.{}.{extension}", index + 1),
        };
        add(&name, &content);
    }
    Ok(files)
}

/// An answer as a file of a case, with the extension that says its kind.
fn upstream(answer: &Answer) -> (&'static str, Vec<u8>) {
    let body = answer.body();
    match (answer.status, answer.is_stream()) {
        (StatusCode::OK, true) => ("sse", body.to_vec()),
        (StatusCode::OK, false) => ("json", body.to_vec()),
        (status, _) => {
            let mut text = format!("{}\n", status.as_u16()).into_bytes();
            text.extend(lines(&answer.headers));
            text.push(b'\n');
            text.extend_from_slice(&body);
            ("http", text)
        }
    }
}

/// Headers, one on each line.
fn lines(headers: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text
}

//! What `try` and `bench` are given: a plugin, a request, the answers of the upstream.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::{
    cli::{Code, Failure},
    kit::{Answer, Exchange, Kit, Settings, Setup, SetupError, Target},
    pipeline::plugin_name,
};

#[derive(Args)]
pub(super) struct ExchangeArgs {
    /// The plugin, a component
    #[arg(value_name = "FILE.wasm")]
    pub(super) file: PathBuf,
    /// The body of the client's request, a JSON file
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// The path of the client's request
    #[arg(long, default_value = "/v1/messages", value_parser = path)]
    path: String,
    /// A header of the client's request; can be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What the upstream answers, events or JSON; can be repeated, one for each attempt [default:
    /// the echo model]
    #[arg(long = "answer", value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// The status of the answer at the same place [default: that of the error in it, or 200]
    #[arg(long = "status", value_name = "STATUS", value_parser = status)]
    statuses: Vec<StatusCode>,
    /// Break off the last answer after this many bytes
    #[arg(long, value_name = "BYTES", requires = "answers")]
    cut: Option<usize>,
    /// The upstream: `dialect=...,lacks=images,model=...`, also `preset` and `upstream`; `lacks`
    /// can be repeated [default: like Anthropic's]
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = Target::parse)]
    target: Option<Target>,
    /// The plugin's settings: a JSON object, or `@` and a file with one
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// Load the built-in plugins as well
    #[arg(long)]
    pub(super) with_builtins: bool,
}

fn path(text: &str) -> Result<String, String> {
    let uri = text.parse::<Uri>().map_err(|error| error.to_string())?;
    match uri.scheme().is_none() && text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("expected a path such as `/v1/messages`".to_owned()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected a name, a colon and a value")?;
    let name = name.trim().parse();
    let value = value.trim().parse();
    Ok((
        name.map_err(|_| "the name is not a valid header name".to_owned())?,
        value.map_err(|_| "the value has a character that a header cannot contain".to_owned())?,
    ))
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    let status = text.parse().ok().filter(|status| *status >= 200);
    let status = status.and_then(|status: u16| StatusCode::from_u16(status).ok());
    status
        .filter(|status| status.as_u16() < 600)
        .ok_or("expected a status from 200 to 599")
}

impl ExchangeArgs {
    pub(super) fn target(&self) -> Target {
        self.target.clone().unwrap_or_default()
    }

    /// What the kit is made of.
    pub(super) fn setup(&self) -> Result<Setup, Failure> {
        let name = plugin_name(&self.file).map_err(|why| wrong(&self.file, &why))?;
        // The kit would report its copy of the file.
        fs::File::open(&self.file).map_err(|error| unreadable(&self.file, &error))?;
        let mut settings = Settings::new();
        if let Some(text) = &self.settings {
            settings.insert(name.to_string(), read_settings(text)?);
        }
        Ok(Setup {
            plugins: vec![self.file.clone()],
            with_builtins: self.with_builtins,
            settings,
            target: self.target(),
            cached: true,
        })
    }

    /// The request and the answers.
    pub(super) fn exchange(&self) -> Result<Exchange, Failure> {
        let body = read(&self.request)?;
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&body) {
            return Err(wrong(&self.request, &format!("is not JSON: {error}")));
        }
        if self.statuses.len() > self.answers.len() {
            let what = "each `--status` needs the `--answer` whose status it is";
            return Err(Failure::new(Code::Arguments, what));
        }
        let mut answers = Vec::with_capacity(self.answers.len());
        for (index, file) in self.answers.iter().enumerate() {
            let answer = Answer::of(read(file)?);
            answers.push(match self.statuses.get(index) {
                Some(status) => answer.with_status(*status),
                None => answer,
            });
        }
        if let (Some(at), Some(last)) = (self.cut, answers.last_mut()) {
            *last = last.cut_at(at);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        Ok(Exchange {
            path: self.path.clone(),
            headers,
            answers,
            ..Exchange::of(body)
        })
    }
}

/// Starts a kit; a failure names the plugin's file.
pub(super) fn start(setup: &Setup, file: &Path) -> Result<Kit, Failure> {
    Kit::new(setup).map_err(|error| match error {
        SetupError::Target(why) => Failure::new(Code::Arguments, format!("--target: {why}")),
        SetupError::Plugins(why) => {
            let each = why.iter().map(|why| format!("{}: {why}", file.display()));
            Failure {
                code: Code::Plugin,
                errors: each.collect(),
                hint: None,
            }
        }
        SetupError::Failed(fault) => fault.into(),
    })
}

fn read_settings(text: &str) -> Result<Map<String, Value>, Failure> {
    let read = match text.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None => Bytes::copy_from_slice(text.as_bytes()),
    };
    serde_json::from_slice(&read).map_err(|error| {
        Failure::new(
            Code::Arguments,
            format!("--settings: expected a JSON object: {error}"),
        )
    })
}

fn read(file: &Path) -> Result<Bytes, Failure> {
    let read = fs::read(file).map_err(|error| unreadable(file, &error))?;
    Ok(read.into())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    wrong(file, &format!("cannot be read: {error}"))
}

fn wrong(file: &Path, why: &str) -> Failure {
    Failure::new(Code::Arguments, format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_name_and_a_value() {
        let (name, value) = header("X-App: a:b").unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("x-app", &b"a:b"[..]));
        assert!(
            header("x-app").is_err() && header("a b: c").is_err() && header("a: \u{7}").is_err()
        );
    }

    #[test]
    fn a_status_is_that_of_a_response() {
        assert_eq!(status("429").unwrap().as_u16(), 429);
        assert!(
            ["99", "199", "600", "x"]
                .iter()
                .all(|text| status(text).is_err())
        );
    }

    #[test]
    fn a_path_is_not_a_url() {
        assert!(path("/v1/messages?beta=true").is_ok());
        assert!(
            ["http://x/v1", "v1", ""]
                .iter()
                .all(|text| path(text).is_err())
        );
    }
}

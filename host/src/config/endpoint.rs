//! Reads where an upstream is, and what is added to every request to it.

use std::{fs, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use witgate_contract::header::reserved_in_requests;

use super::{
    Endpoint, Extra,
    preset::Preset,
    table::{Source, Table, Text},
    value::{is_web_address, reference_of_others},
};

/// The ends of request paths, which the gateway or a dialect adds to a base URL.
const REQUEST_PATHS: &[&str] = &[
    "/v1/messages/count_tokens",
    "/v1/messages",
    "/messages",
    "/chat/completions",
    "/completions",
    "/responses",
    ":generateContent",
    ":streamGenerateContent",
];

/// The characters of a query parameter that are not escaped (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Reads `base_url`, or takes the preset's. A query in it is returned as parameters.
pub(super) fn base_url(
    source: &Source<'_>,
    table: &Table<'_>,
    preset: &Preset,
) -> (Endpoint, Vec<(String, String)>) {
    let provider = preset.base_url.unwrap_or_default();
    if !table.has("base_url") {
        if preset.base_url.is_none() {
            let what = "missing, expected an http or https URL, or a preset that has one";
            table.problem("base_url", what);
        }
        return (Endpoint::of_preset(provider), Vec::new());
    }
    let Some(text) = table.text("base_url") else {
        return (Endpoint::of_preset(""), Vec::new());
    };
    let (url, query) = text.value.split_once('?').unwrap_or((&text.value, ""));
    let url = url.trim_end_matches('/');
    let is_plain = !text.value.contains(['#', '@']);
    if !is_plain || !is_web_address(url) || text.value.parse::<Uri>().is_err() {
        let what = format!("got {}, expected an http or https URL", text.shown());
        table.problem("base_url", what);
    } else if let Some(path) = REQUEST_PATHS.iter().find(|path| url.ends_with(*path)) {
        source.problem(text.at, &text.key, with_request_path(&text, url, path));
    }
    let endpoint = Endpoint {
        url: url.to_owned(),
        shown: text.reference().unwrap_or(url).to_owned(),
        is_providers: url == provider,
    };
    let parameters = query.split('&').filter(|part| !part.is_empty());
    let parameters = parameters.map(|part| part.split_once('=').unwrap_or((part, "")));
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (endpoint, parameters.collect())
}

/// The problem of a base URL that already has the path of a request.
fn with_request_path(text: &Text, url: &str, path: &str) -> String {
    let base = url.strip_suffix(path).unwrap_or(url);
    // Some protocols' paths have the model before the method.
    let base = base.rsplit_once("/models/").map_or(base, |(base, _)| base);
    let added = format!("the URL ends with `{path}`, which is added to each request");
    match text.reference() {
        Some(_) => added,
        None => format!("{added}, expected `{base}`"),
    }
}

/// Reads `headers`, `query` and `extra_body`. `query` has the parameters of the base URL.
pub(super) fn extra(
    source: &Source<'_>,
    table: &Table<'_>,
    mut query: Vec<(String, String)>,
) -> Extra {
    for (name, text) in table.named_texts("query").unwrap_or_default() {
        let name = utf8_percent_encode(&name, UNRESERVED).to_string();
        let value = utf8_percent_encode(&text.value, UNRESERVED).to_string();
        query.retain(|(known, _)| *known != name);
        query.push((name, value));
    }
    let mut headers = HeaderMap::new();
    for (name, text) in table.named_texts("headers").unwrap_or_default() {
        match header(&name, &text) {
            Ok((name, value)) => drop(headers.insert(name, value)),
            Err(what) => source.problem(text.at, &text.key, what),
        }
    }
    Extra {
        headers,
        query,
        body: table.json_object("extra_body").unwrap_or_default(),
    }
}

fn header(name: &str, text: &Text) -> Result<(HeaderName, HeaderValue), String> {
    let name = header_name(name)?;
    if let Some(what) = reference_of_others(text) {
        return Err(what);
    }
    let is_credential = ["authorization", "x-api-key", "x-goog-api-key"].contains(&name.as_str());
    if is_credential {
        return Err("is set by the gateway, expected `auth` and `accounts` instead".to_owned());
    }
    let value = HeaderValue::from_str(&text.value);
    let mut value = value
        .map_err(|_| "got a value with characters that are not allowed in a header".to_owned())?;
    // It may be a credential of a proxy, so it is never printed.
    value.set_sensitive(true);
    Ok((name, value))
}

/// Parses the name of a header that an operator may set: not one that says how a message travels.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let credentials = ["authorization", "x-api-key", "x-goog-api-key", "cookie"];
    match name.parse::<HeaderName>() {
        Err(_) => Err(format!("`{name}` is not a valid header name")),
        Ok(name) if credentials.contains(&name.as_str()) => Ok(name),
        Ok(name) if reserved_in_requests().any(|reserved| reserved == name.as_str()) => {
            Err("is set by the gateway for each connection".to_owned())
        }
        Ok(name) => Ok(name),
    }
}

pub(super) fn proxy(table: &Table<'_>) -> Option<String> {
    table.parsed("proxy", "an http or https URL", |text| {
        is_web_address(text).then(|| text.to_owned())
    })
}

pub(super) fn ca_file(source: &Source<'_>, table: &Table<'_>) -> Option<PathBuf> {
    let path = source.path(&table.text("ca_file")?.value);
    source.depends_on(path.clone());
    match fs::read(&path) {
        Err(error) => {
            let what = format!("cannot read `{}`: {error}", path.display());
            table.problem("ca_file", what);
        }
        Ok(pem) if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") => {
            let what = format!(
                "`{}` has no certificate, expected a PEM file with `-----BEGIN CERTIFICATE-----`",
                path.display()
            );
            table.problem("ca_file", what);
        }
        Ok(_) => {}
    }
    Some(path)
}

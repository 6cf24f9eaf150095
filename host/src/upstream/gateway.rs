//! Requests of the command line to a running gateway.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use reqwest::{Client, redirect};
use serde::Deserialize;

use crate::{
    fault::{Fault, Kind},
    secret::Secret,
};

use super::client::{failure_text, install_crypto};

/// The limit of the whole request. The response is made from memory.
const LIMIT: Duration = Duration::from_secs(10);

/// Gets a route for operators of the gateway at this URL.
pub(crate) async fn get_from_gateway(
    url: &str,
    path: &str,
    key: Option<&Secret>,
) -> Result<Bytes, Fault> {
    let failed = |error: reqwest::Error| {
        let what = format!("no response from `{url}`: {}", failure_text(&error));
        Fault::upstream(Kind::Unreachable, what)
    };
    install_crypto();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(LIMIT);
    // Loading the platform's certificates takes a while, and plain HTTP does not need them.
    let builder = match url.starts_with("https:") {
        true => builder.tls_certs_merge([]),
        false => builder.tls_certs_only([]),
    };
    let client = builder.build().map_err(failed)?;
    let mut request = client.get(format!("{}{path}", url.trim_end_matches('/')));
    if let Some(key) = key {
        request = request.header("x-api-key", key.expose());
    }
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    match status {
        StatusCode::OK => Ok(body),
        _ => Err(refused(url, status, &body)),
    }
}

fn refused(url: &str, status: StatusCode, body: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Envelope {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let envelope = serde_json::from_slice::<Envelope>(body);
    let message = envelope.map_or_else(
        |_| "it is no gateway, or an older one".to_owned(),
        |envelope| envelope.error.message,
    );
    let what = format!(
        "`{url}` answered with status {}: {message}",
        status.as_u16()
    );
    Fault::upstream(Kind::InvalidResponse, what)
}

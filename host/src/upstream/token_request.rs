//! Requests to token servers, sent through the upstream's proxy and TLS settings.

use futures_util::StreamExt;
use http::{HeaderValue, Request, Response, header::ACCEPT_ENCODING};

use crate::fault::{Fault, Kind};

use super::{Upstream, client::failure_text};

/// The longest response that is read, in bytes.
const LIMIT: usize = 1024 * 1024;

impl Upstream {
    /// Sends a complete request to any address, through this upstream's proxy and with its
    /// certificate authorities. The fault contains no account and no secret.
    pub(crate) async fn fetch(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Fault> {
        let Some(http) = self.http() else {
            return Err(Fault::gateway("the echo upstream makes no requests"));
        };
        let host = request.uri().host().unwrap_or_default().to_owned();
        let failed = |error: reqwest::Error| {
            let what = format!("no response from `{host}`: {}", failure_text(&error));
            Fault::upstream(Kind::Unreachable, what)
        };
        let client = http
            .client_for(request.uri().scheme_str() == Some("https"))
            .map_err(failed)?;
        let mut request = reqwest::Request::try_from(request).map_err(failed)?;
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        let mut received = client.execute(request).await.map_err(failed)?;
        let mut response = Response::new(Vec::new());
        *response.status_mut() = received.status();
        *response.headers_mut() = std::mem::take(received.headers_mut());
        let mut chunks = received.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let body = response.body_mut();
            body.extend_from_slice(&chunk.map_err(failed)?);
            if body.len() > LIMIT {
                let what = format!("`{host}` sent an invalid response: more than {LIMIT} bytes");
                return Err(Fault::upstream(Kind::InvalidResponse, what));
            }
        }
        Ok(response)
    }
}

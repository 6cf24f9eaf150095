//! A request that is none of a client's: to a token server, by the way that leads to the upstream.

use futures_util::StreamExt;
use http::{HeaderValue, Request, Response, header::ACCEPT_ENCODING};

use crate::fault::{Fault, Kind};

use super::{Upstream, client::failure_text};

/// More than any token is long.
const LIMIT: usize = 1024 * 1024;

impl Upstream {
    /// Sends a whole request to any address, through this upstream's proxy and with its authorities. The fault names no
    /// account and no secret.
    pub(crate) async fn fetch(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Fault> {
        let Some(http) = self.http() else {
            return Err(Fault::gateway("the echo upstream asks nobody"));
        };
        let host = request.uri().host().unwrap_or_default().to_owned();
        let failed = |error: reqwest::Error| {
            let what = format!("no answer from `{host}`: {}", failure_text(&error));
            Fault::upstream(Kind::Unreachable, what)
        };
        let client = http
            .client_for(request.uri().scheme_str() == Some("https"))
            .map_err(failed)?;
        let mut request = reqwest::Request::try_from(request).map_err(failed)?;
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        let mut answer = client.execute(request).await.map_err(failed)?;
        let mut response = Response::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let body = response.body_mut();
            body.extend_from_slice(&chunk.map_err(failed)?);
            if body.len() > LIMIT {
                let what = format!("the answer from `{host}` is over {LIMIT} bytes");
                return Err(Fault::upstream(Kind::InvalidResponse, what));
            }
        }
        Ok(response)
    }
}

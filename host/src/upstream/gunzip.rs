//! Decodes responses that the client library leaves compressed: their headers do not say so in the
//! way that it understands, or it was asked not to decode.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header::CONTENT_ENCODING};

/// The first bytes of gzip with its only method (RFC 1952, section 2.3.1).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Finds out by its first bytes whether a body is compressed. Neither JSON nor events begin so.
pub(super) enum Gunzip {
    /// Too few bytes have arrived to know.
    Undecided(BytesMut),
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
}

/// Decodes a whole body, of which at most about `limit` bytes are kept, and removes its label.
/// `None` if it is not valid, not complete or in another coding.
pub(crate) fn decoded(headers: &mut HeaderMap, body: &Bytes, limit: usize) -> Option<Bytes> {
    /// A byte becomes at most some 1,000.
    const CHUNK: usize = 1 << 10;

    let mut gunzip = Gunzip::of(headers);
    if headers.remove(CONTENT_ENCODING).is_some() {
        return None;
    }
    let mut text = BytesMut::new();
    for chunk in body.chunks(CHUNK) {
        text.extend_from_slice(&gunzip.push(body.slice_ref(chunk)).ok()?);
        if text.len() >= limit {
            text.truncate(limit);
            return Some(text.freeze());
        }
    }
    text.extend_from_slice(&gunzip.finish().ok()?);
    Some(text.freeze())
}

impl Gunzip {
    /// Decides by the headers whether to look at the body, and then removes the label: codings do
    /// not differ by case, and `x-gzip` is gzip (RFC 9110, section 8.4.1).
    pub(super) fn of(headers: &mut HeaderMap) -> Self {
        let label = headers.get(CONTENT_ENCODING);
        let label = label.map(|label| label.to_str().unwrap_or_default().trim());
        if label.is_some_and(|label| label.eq_ignore_ascii_case("deflate")) {
            headers.remove(CONTENT_ENCODING);
            return Self::Deflate(Box::new(ZlibDecoder::new(Vec::new())));
        }
        let known = ["", "identity", "gzip", "x-gzip"];
        let is_known = |label: &str| known.iter().any(|known| known.eq_ignore_ascii_case(label));
        if !label.is_none_or(is_known) {
            return Self::Plain;
        }
        headers.remove(CONTENT_ENCODING);
        Self::Undecided(BytesMut::new())
    }

    /// Decodes a chunk. May return nothing although there is more to come.
    pub(super) fn push(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip(decoder) => {
                decoder.write_all(&chunk)?;
                // What is complete goes on at once: it may be an event.
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate(decoder) => {
                decoder.write_all(&chunk)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Undecided(begun) => {
                let known = begun.len().min(MAGIC.len());
                let next = chunk.len().min(MAGIC.len() - known);
                if MAGIC[known..known + next] != chunk[..next] {
                    let begun = std::mem::take(begun);
                    *self = Self::Plain;
                    return Ok(joined(begun, chunk));
                }
                begun.extend_from_slice(&chunk);
                if begun.len() < MAGIC.len() {
                    return Ok(Bytes::new());
                }
                let begun = std::mem::take(begun).freeze();
                *self = Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())));
                self.push(begun)
            }
        }
    }

    /// Returns what is left at the end of the body, or an error if the compressed data is cut.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Undecided(begun) => Ok(std::mem::take(begun).freeze()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}

/// Without a copy in the usual case, in which the first chunk decides.
fn joined(mut begun: BytesMut, chunk: Bytes) -> Bytes {
    if begun.is_empty() {
        return chunk;
    }
    begun.extend_from_slice(&chunk);
    begun.freeze()
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use http::HeaderValue;

    use super::*;

    fn compressed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(label: Option<&'static str>, body: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.extend(label.map(|label| (CONTENT_ENCODING, HeaderValue::from_static(label))));
        let mut gunzip = Gunzip::of(&mut headers);
        let mut all = Vec::new();
        for chunk in body.chunks(size) {
            all.extend_from_slice(&gunzip.push(Bytes::copy_from_slice(chunk))?);
        }
        all.extend_from_slice(&gunzip.finish()?);
        Ok(all)
    }

    #[test]
    fn gzip_is_decoded_whatever_its_label_and_its_pieces() {
        let text = "{\"type\":\"message\"}".repeat(100);
        for size in [1, 2, 7, 100_000] {
            for label in [
                None,
                Some("x-gzip"),
                Some("GZIP"),
                Some("identity"),
                Some(""),
            ] {
                let all = decoded(label, &compressed(&text), size).unwrap();
                assert_eq!(String::from_utf8(all).unwrap(), text, "{label:?} {size}");
            }
        }
    }

    #[test]
    fn a_whole_body_is_decoded_up_to_a_limit() {
        let text = "{\"type\":\"error\"}".repeat(5_000);
        let gzip = compressed(&text);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let deflate = encoder.finish().unwrap();
        let whole = |label, body: &[u8], limit| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(label));
            let decoded = super::decoded(&mut headers, &Bytes::copy_from_slice(body), limit);
            assert!(headers.is_empty(), "{label}");
            decoded
        };
        let plain = text.as_bytes();
        for (label, body) in [
            ("gzip", &gzip[..]),
            ("X-Gzip", &gzip),
            ("identity", plain),
            ("deflate", &deflate),
        ] {
            let all = whole(label, body, text.len());
            assert_eq!(all.as_deref(), Some(plain), "{label}");
            let begun = whole(label, body, 100);
            assert_eq!(begun.as_deref(), Some(&plain[..100]), "{label}");
        }
        assert_eq!(whole("br", &gzip, 100), None);
        assert_eq!(whole("gzip", &gzip[..gzip.len() - 9], 1 << 20), None);
        assert_eq!(whole("deflate", plain, 100), None);
    }

    #[test]
    fn plain_bodies_stay_as_they_are() {
        for text in ["", "{", "{}", "\u{1f}", "data: x\n\n"] {
            for size in [1, 100] {
                assert_eq!(
                    decoded(None, text.as_bytes(), size).unwrap(),
                    text.as_bytes()
                );
            }
        }
        // The client library has not decoded it, and neither is it gzip.
        assert_eq!(decoded(Some("br"), &MAGIC, 1).unwrap(), MAGIC);
    }

    #[test]
    fn cut_data_is_an_error() {
        let body = compressed("some text that is long enough to be cut");
        assert!(decoded(None, &body[..body.len() - 12], 5).is_err());
    }

    #[test]
    fn an_event_is_decoded_before_the_next_arrives() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let first = std::mem::take(encoder.get_mut());
        let mut gunzip = Gunzip::of(&mut HeaderMap::new());
        assert_eq!(gunzip.push(first.into()).unwrap(), "data: 1\n\n");
    }
}

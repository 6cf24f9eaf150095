//! Message batches: where their results are.
//!
//! A client reads `results_url` with its key. The upstream's own URL would make it send the
//! gateway's key to the provider, which rejects it.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use witgate_document::{Document, Error, Operation, Path, string};

const BATCHES: &str = "/v1/messages/batches";

/// What an id may contain in a path.
const ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// Whether a path answers with batch objects: it creates, retrieves, lists or cancels.
pub(super) fn are_at(path: &str) -> bool {
    path.strip_prefix(BATCHES)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
        && !path.ends_with("/results")
}

/// Replaces the `results_url` of each batch by the one at this gateway. `gateway` is the URL by
/// which the client reached it. A body of another shape is returned as it is.
pub(super) fn with_results_here(body: Bytes, gateway: &str) -> Bytes {
    let mut document = Document::new(body.clone());
    match edits(&document, gateway).and_then(|edits| document.patch(&edits)) {
        Ok(()) => document.bytes(),
        Err(_) => body,
    }
}

fn edits(document: &Document, gateway: &str) -> Result<Vec<Operation>, Error> {
    let mut edits = Vec::new();
    for batches in ["$.results_url", "$.data[*].results_url"] {
        for at in document.select(&Path::parse(batches)?)? {
            let batch = at.strip_suffix("/results_url").unwrap_or_default();
            let id = document.get(&format!("{batch}/id"))?.and_then(decoded);
            let url = document.get(&at)?.and_then(decoded);
            if let (Some(id), Some(_)) = (id, url) {
                let id = utf8_percent_encode(&id, ID);
                let url = format!("{gateway}{BATCHES}/{id}/results");
                let value = string::encode(&url).into();
                edits.push(Operation::Replace { at, value });
            }
        }
    }
    Ok(edits)
}

/// The text of a JSON string; `None` for any other value, such as the `null` of a batch that has no
/// results yet.
fn decoded(json: Bytes) -> Option<String> {
    string::decode(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_through_the_gateway() {
        let table = [
            (
                r#"{"id":"b_1", "results_url": "https://api.test/v1/messages/batches/b_1/results"}"#,
                r#"{"id":"b_1", "results_url": "http://g:1/v1/messages/batches/b_1/results"}"#,
            ),
            (
                r#"{"data":[{"id":"b-1","results_url":"https://x?signature=s"},{"id":"b-2","results_url":null}]}"#,
                r#"{"data":[{"id":"b-1","results_url":"http://g:1/v1/messages/batches/b-1/results"},{"id":"b-2","results_url":null}]}"#,
            ),
            (
                r#"{"results_url":"https://x","id":"../a b"}"#,
                r#"{"results_url":"http://g:1/v1/messages/batches/..%2Fa%20b/results","id":"../a b"}"#,
            ),
            (
                r#"{"id":1,"results_url":"x"}"#,
                r#"{"id":1,"results_url":"x"}"#,
            ),
            (r#"{"data":[]}"#, r#"{"data":[]}"#),
            ("[1", "[1"),
        ];
        for (body, expected) in table {
            assert_eq!(with_results_here(body.into(), "http://g:1"), expected);
        }
    }

    #[test]
    fn results_themselves_are_not_batch_objects() {
        for (path, expected) in [
            ("/v1/messages/batches", true),
            ("/v1/messages/batches/b_1", true),
            ("/v1/messages/batches/b_1/cancel", true),
            ("/v1/messages/batches/b_1/results", false),
            ("/v1/messages/batches2", false),
            ("/v1/files", false),
        ] {
            assert_eq!(are_at(path), expected, "{path}");
        }
    }
}

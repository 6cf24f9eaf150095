//! The ids of files, so that requests with a file go to the account that holds it.

use http::Method;
use serde::Deserialize;

const FILES: &str = "/v1/files";

/// The largest response to an upload that is read for its id, in bytes: a file's name is in it.
pub(super) const LARGEST_UPLOADED: usize = 64 << 10;

/// The id of the file that a path leads to.
pub(super) fn id_in(path: &str) -> Option<&str> {
    let of_file = path.strip_prefix(FILES)?.strip_prefix('/')?;
    let id = of_file.split('/').next()?;
    (!id.is_empty()).then_some(id)
}

/// Whether a request uploads a file.
pub(super) fn is_upload(method: &Method, path: &str) -> bool {
    method == Method::POST && path == FILES
}

/// The id in the response to an upload.
pub(super) fn uploaded(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct File {
        id: String,
    }
    Some(serde_json::from_slice::<File>(body).ok()?.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_path_and_by_the_response_to_its_upload() {
        assert_eq!(id_in("/v1/files/file_1"), Some("file_1"));
        assert_eq!(id_in("/v1/files/file_1/content"), Some("file_1"));
        for other in ["/v1/files", "/v1/files/", "/v1/files_2/x", "/v1/models/m"] {
            assert_eq!(id_in(other), None, "{other}");
        }
        assert!(is_upload(&Method::POST, "/v1/files"));
        assert!(!is_upload(&Method::GET, "/v1/files"));
        assert!(!is_upload(&Method::POST, "/v1/files/file_1"));
        assert_eq!(
            uploaded(br#"{"type":"file","id":"file_1"}"#).unwrap(),
            "file_1"
        );
        assert_eq!(uploaded(b"<html>"), None);
    }
}

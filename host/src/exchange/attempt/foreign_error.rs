//! Errors in another shape than Anthropic's that come with a success status: `{"error": ...}` as a
//! body or as an event. Pure.

use bytes::Bytes;
use witgate_contract::error_type::status_of;

use crate::{
    exchange::members::Members,
    fault::{Fault, Kind},
    ids::UpstreamId,
};

use super::envelope::text;

/// The status of an error that does not name one.
const UNNAMED: u16 = 500;

/// The status of the error that a JSON text is; `None` if it is something else.
pub(in crate::exchange) fn foreign_error(json: &[u8]) -> Option<u16> {
    // Nearly all events are something else, and this check spares parsing them.
    memchr::memmem::find(json, b"\"error\"")?;
    let json = String::from_utf8_lossy(json);
    let outer = Members::read(&json)?;
    let error = outer.get("error")?;
    if matches!(error, "null" | "false" | "\"\"" | "{}" | "[]") {
        return None;
    }
    let inner = Members::read(error).unwrap_or_default();
    let status = named_status(&inner).or_else(|| named_status(&outer));
    Some(status.unwrap_or(UNNAMED))
}

/// The fault for such an error in the middle of a stream.
pub(in crate::exchange) fn foreign_error_fault(upstream: &UpstreamId, json: &Bytes) -> Fault {
    let words = text(json);
    let what =
        format!("upstream `{upstream}` sent an error in the middle of its response: {words}");
    Fault::upstream(Kind::InvalidResponse, what)
}

/// The error status in the usual members, as a number or by an Anthropic error type.
fn named_status(members: &Members<'_>) -> Option<u16> {
    let values = ["status", "status_code", "statusCode", "code"].into_iter();
    let mut statuses = values.filter_map(|key| {
        let value = members.get(key)?.trim_matches('"');
        value
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status))
    });
    statuses.next().or_else(|| {
        let kind = members.text("type")?;
        Some(status_of(&kind)).filter(|status| *status != UNNAMED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_any_of_the_usual_members() {
        let table = [
            (
                r#"{"error":{"message":"quota exceeded","type":"insufficient_quota"}}"#,
                500,
            ),
            (r#"{"error":"overloaded"}"#, 500),
            (r#"{"error":true}"#, 500),
            (r#"{"error":{"code":429,"message":"slow"}}"#, 429),
            (r#"{"error":{"code":"503"}}"#, 503),
            (r#"{"error":{"code":200,"status":529}}"#, 529),
            (r#"{"status":400,"error":"Bad Request"}"#, 400),
            (r#"{"error":{"type":"rate_limit_error"}}"#, 429),
        ];
        for (json, status) in table {
            assert_eq!(foreign_error(json.as_bytes()), Some(status), "{json}");
        }
    }

    #[test]
    fn other_json_is_no_error() {
        for json in [
            r#"{"error":null,"content":[]}"#,
            r#"{"error":{}}"#,
            r#"{"error":""}"#,
            r#"{"message":{"error":"x"}}"#,
            r#"["error"]"#,
            "error",
        ] {
            assert_eq!(foreign_error(json.as_bytes()), None, "{json}");
        }
    }
}

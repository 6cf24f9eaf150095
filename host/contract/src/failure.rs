//! What a failure hook reads and may change of a failed attempt.

use std::{borrow::Cow, time::Duration};

use serde_json::value::RawValue;

use crate::{EditError, limits, text::clip};

/// The part of an upstream's error body that a plugin sees: [`limits::FAILURE_BODY_SHOWN`] bytes,
/// with what is not UTF-8 replaced.
#[must_use]
pub fn shown(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&body[..body.len().min(limits::FAILURE_BODY_SHOWN)])
}

/// Checks an error type, of a failure or a refusal: 1 to [`limits::ERROR_TYPE`] lower case letters
/// and underscores. Types that Anthropic does not document are legal, since it may add some.
///
/// # Errors
///
/// [`EditError::BadValue`] otherwise.
pub fn check_error_type(name: &str) -> Result<(), EditError> {
    let simple = |c: char| c.is_ascii_lowercase() || c == '_';
    if name.is_empty() || name.len() > limits::ERROR_TYPE || !name.chars().all(simple) {
        let name = clip(name);
        return Err(EditError::BadValue(format!(
            "`{name}` is not an error type such as `rate_limit_error`"
        )));
    }
    Ok(())
}

/// Checks the body that the client is to receive: one JSON text of at most [`limits::FAILURE_BODY`]
/// bytes.
///
/// # Errors
///
/// [`EditError::TooMuch`] over the limit, [`EditError::BadValue`] if it is not JSON.
pub fn check_body(body: &str) -> Result<(), EditError> {
    if body.len() > limits::FAILURE_BODY {
        return Err(EditError::TooMuch(format!(
            "the body has {} bytes, the limit is {}",
            body.len(),
            limits::FAILURE_BODY
        )));
    }
    serde_json::from_str::<&RawValue>(body)
        .map_err(|error| EditError::BadValue(format!("the body is not JSON: {error}")))?;
    Ok(())
}

/// The delay before a retry that a plugin asks for: at most [`limits::RETRY_DELAY`].
#[must_use]
pub fn retry_delay(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(limits::RETRY_DELAY)
}

/// The cooldown that a plugin asks for: at most [`limits::COOLDOWN`].
#[must_use]
pub fn cooldown(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(limits::COOLDOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_type_is_a_simple_word() {
        check_error_type("teapot_error").unwrap();
        check_error_type(&"a".repeat(limits::ERROR_TYPE)).unwrap();
        let long = "a".repeat(limits::ERROR_TYPE + 1);
        for name in ["", "A b", "rate-limit", "x1", &long] {
            assert!(
                matches!(check_error_type(name), Err(EditError::BadValue(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_body_is_one_json_text_within_its_limit() {
        check_body(r#"{"type":"error"}"#).unwrap();
        for bad in ["", "no", "{} {}"] {
            assert!(
                matches!(check_body(bad), Err(EditError::BadValue(_))),
                "{bad}"
            );
        }
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        check_body(&text(limits::FAILURE_BODY)).unwrap();
        assert!(matches!(
            check_body(&text(limits::FAILURE_BODY + 1)),
            Err(EditError::TooMuch(_))
        ));
    }

    #[test]
    fn times_are_shortened_and_long_bodies_cut() {
        assert_eq!(retry_delay(5), Duration::from_millis(5));
        assert_eq!(retry_delay(u64::MAX), limits::RETRY_DELAY);
        assert_eq!(cooldown(u64::MAX), limits::COOLDOWN);
        assert_eq!(shown(&vec![b'x'; 1 << 20]).len(), 64 << 10);
    }
}

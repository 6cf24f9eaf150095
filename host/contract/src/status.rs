//! Statuses that a plugin can give.

use crate::EditError;

/// Checks the status of an answer that a plugin makes itself: 200 to 599.
///
/// # Errors
///
/// [`EditError::BadValue`] otherwise: a 1xx is not a response that ends a request.
pub fn check_answer(status: u16) -> Result<(), EditError> {
    if !(200..=599).contains(&status) {
        return Err(EditError::BadValue(format!(
            "`status` must be 200-599, got {status}"
        )));
    }
    Ok(())
}

/// Checks the status of a failure or a refusal: 400 to 599.
///
/// # Errors
///
/// [`EditError::BadValue`] otherwise.
pub fn check_error(status: u16) -> Result<(), EditError> {
    if !(400..=599).contains(&status) {
        return Err(EditError::BadValue(format!(
            "`status` of an error must be 400-599, got {status}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_inclusive() {
        for (status, answer, error) in [
            (99, false, false),
            (199, false, false),
            (200, true, false),
            (399, true, false),
            (400, true, true),
            (599, true, true),
            (600, false, false),
        ] {
            assert_eq!(check_answer(status).is_ok(), answer, "{status}");
            assert_eq!(check_error(status).is_ok(), error, "{status}");
        }
    }
}

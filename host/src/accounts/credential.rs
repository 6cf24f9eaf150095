//! A credential that a program or a token server issued, or why there is none.

use std::time::Instant;

use crate::secret::Secret;

/// A credential and how long it is valid; without a time, until it is rejected.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) secret: Secret,
    pub(super) expires: Option<Instant>,
    /// Before it expires, so that no request is sent with one that expires on the way.
    pub(super) renew: Option<Instant>,
}

/// Why there is no credential.
#[derive(Clone, Debug)]
pub(super) struct CredentialError {
    /// For clients.
    pub(super) what: &'static str,
    /// For the log only: it may name things that clients must not see.
    pub(super) detail: String,
    /// It will not go away by itself.
    pub(super) lasting: bool,
}

/// Whether a text can be a credential: it must be valid in a header.
pub(super) fn is_credential(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

//! A hash of long texts that are only compared.

/// FNV-1a. Collisions are no attack: they would only drop a thinking block of the client's own
/// session.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

//! Random numbers that cannot be predicted, from the operating system of the gateway.
//!
//! In tests they are the same in every exchange, so that a test can expect them.

use crate::host;

/// A random number.
///
/// ```
/// use witgate_plugin::random;
///
/// assert_ne!(random::u64(), random::u64());
/// ```
pub fn u64() -> u64 {
    u64::from_le_bytes(bytes())
}

/// Random bytes.
///
/// ```
/// use witgate_plugin::random;
///
/// let key: [u8; 16] = random::bytes();
/// assert_ne!(key, random::bytes());
/// ```
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    host::fill_random(&mut bytes);
    bytes
}

//! State that outlives an exchange.
//!
//! Each plugin name has a space of its own. It survives a reload of the plugin and ends with the
//! gateway's process. It holds 16 MiB; when it is full, the entries that were not used for the
//! longest time are dropped, so treat it as a memory that may forget. Keys have at most 1 KiB,
//! values 1 MiB, and a lifetime longer than 49 days counts as 49 days.

use std::{fmt, time::Duration};

use crate::{failure::milliseconds, host};

/// Why a call failed. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvError {
    /// The key is longer than 1 KiB.
    KeyTooLong,
    /// The value is longer than 1 MiB.
    ValueTooLong,
    /// The value is not a number: [`increment`] works only on keys that it made.
    NotANumber,
    /// The sum does not fit into a signed 64-bit number.
    Overflow,
    /// Any other reason, in words.
    Other(String),
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyTooLong => "the key is longer than 1 KiB",
            Self::ValueTooLong => "the value is longer than 1 MiB",
            Self::NotANumber => "the value is not a number",
            Self::Overflow => "the sum does not fit into a 64-bit number",
            Self::Other(reason) => reason,
        })
    }
}

impl std::error::Error for KvError {}

/// The value of a key; none if it was never set, has expired or was dropped.
///
/// ```
/// # use std::time::Duration;
/// use witgate_plugin::kv;
///
/// kv::set("origin", "upstream-a", Duration::from_secs(60))?;
/// assert_eq!(kv::get("origin")?.as_deref(), Some(&b"upstream-a"[..]));
/// kv::delete("origin")?;
/// assert_eq!(kv::get("origin")?, None);
/// # Ok::<(), kv::KvError>(())
/// ```
pub fn get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    host::kv_get(key)
}

/// Sets a key to a value for this time.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), KvError> {
    host::kv_set(key, value.as_ref(), milliseconds(ttl))
}

/// Sets a key to a value for this time if it has none, in one atomic step. Returns the value that
/// it has afterwards: the one that was there, or the new one.
///
/// ```
/// # use std::time::Duration;
/// # use witgate_plugin::{kv, random};
/// // Two exchanges that see the same name at the same time use the same number for it.
/// let day = Duration::from_secs(86_400);
/// let number = random::u64().to_string();
/// let first = kv::set_if_absent("ada", &number, day)?;
/// assert_eq!(kv::set_if_absent("ada", "another", day)?, first);
/// # Ok::<(), kv::KvError>(())
/// ```
pub fn set_if_absent(
    key: &str,
    value: impl AsRef<[u8]>,
    ttl: Duration,
) -> Result<Vec<u8>, KvError> {
    host::kv_set_if_absent(key, value.as_ref(), milliseconds(ttl))
}

/// Removes a key. A key that does not exist is not an error.
pub fn delete(key: &str) -> Result<(), KvError> {
    host::kv_delete(key)
}

/// Adds to a number in one atomic step and returns the sum. A key that does not exist counts as 0
/// and lives for `ttl` from now; later increments do not prolong it.
///
/// ```
/// # use std::time::Duration;
/// use witgate_plugin::kv;
///
/// let hour = Duration::from_secs(3_600);
/// assert_eq!(kv::increment("seen", 1, hour)?, 1);
/// assert_eq!(kv::increment("seen", 2, hour)?, 3);
/// # Ok::<(), kv::KvError>(())
/// ```
pub fn increment(key: &str, delta: i64, ttl: Duration) -> Result<i64, KvError> {
    host::kv_increment(key, delta, milliseconds(ttl))
}

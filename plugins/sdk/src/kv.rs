//! State that outlives an exchange.
//!
//! Each plugin name has a space of its own, which survives a reload of the plugin and ends with the gateway's process. It
//! is bounded (16 MiB per plugin, keys up to 1 KiB, values up to 1 MiB); when it is full, what was not used for the
//! longest time goes first. Treat it as a memory that may forget.

use std::time::Duration;

use crate::{error::Error, failure::milliseconds, host};

/// The value, or none if it was never set, has expired or was pushed out.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(host::kv_get(key)?)
}

/// Sets a value for so long. The error says which limit the key or the value is over.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
    Ok(host::kv_set(key, value.as_ref(), milliseconds(ttl))?)
}

/// Removes a value; a key that is not there is no error.
pub fn delete(key: &str) -> Result<(), Error> {
    Ok(host::kv_delete(key)?)
}

/// Adds to a number in one step and returns the sum. A key that is not there counts as 0 and lives for `ttl` from now; a
/// later increment does not prolong it. The error says that the value is no number or that the sum overflows.
pub fn increment(key: &str, delta: i64, ttl: Duration) -> Result<i64, Error> {
    Ok(host::kv_increment(key, delta, milliseconds(ttl))?)
}

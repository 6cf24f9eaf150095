//! Compares keys with the name that an edit gives.

use crate::{Error, budget::Budget, scan::string_end, string};

/// The most bytes of a key for each byte of the name that it spells: a `\u` escape of one letter.
const ESCAPED: usize = 6;

/// Whether the key that begins here spells `name`.
///
/// The caller pays for the common case, a key without escapes: see
/// [`Budget::spend_comparisons`].
pub(super) fn is_named(key: &[u8], name: &str, budget: &mut Budget) -> Result<bool, Error> {
    if string::differs(key, name) {
        return Ok(false);
    }
    let longest = ESCAPED * name.len() + "\"\"".len();
    budget.spend(0, longest)?;
    let key = &key[..key.len().min(longest)];
    Ok(string_end(key, 0).is_ok_and(|end| string::spells(&key[..end], name)))
}

//! Counts the pages of a PDF, as far as possible without parsing it.
//!
//! Each page is an object with `/Type /Page`, and the root of all pages has `/Type /Pages` and
//! their `/Count` (ISO 32000-1, 7.7.3). In files with compressed objects neither is visible.

/// The number of pages; `None` if it is not visible.
pub(crate) fn pages(data: &[u8]) -> Option<u64> {
    if !data.starts_with(b"%PDF-") {
        return None;
    }
    let mut rooted = None;
    let mut single = 0;
    for object in objects(data) {
        let is = |kind: &[u8]| values(object, b"/Type").any(|value| is_name(value, kind));
        if is(b"/Pages") {
            rooted = rooted.max(values(object, b"/Count").find_map(number));
        } else if is(b"/Page") {
            single += 1;
        }
    }
    // An updated file still contains the pages of its earlier versions, so the root's count is the
    // better one.
    rooted.or(Some(single)).filter(|pages| *pages > 0)
}

/// Splits a file at the ends of its objects.
fn objects(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    const END: &[u8] = b"endobj";
    let mut remaining = data;
    std::iter::from_fn(move || {
        let end = remaining
            .windows(END.len())
            .position(|window| window == END);
        let (object, after) = match end {
            Some(end) => (&remaining[..end], &remaining[end + END.len()..]),
            None => (remaining, &remaining[remaining.len()..]),
        };
        remaining = after;
        Some(object).filter(|object| !object.is_empty())
    })
}

/// What follows each key of this name.
fn values<'a>(data: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    data.windows(key.len())
        .enumerate()
        .filter(move |(_, window)| *window == key)
        .map(move |(at, _)| data[at + key.len()..].trim_ascii_start())
}

/// Whether a value begins with exactly this name, not with a longer one.
fn is_name(value: &[u8], name: &[u8]) -> bool {
    let after = value.strip_prefix(name);
    after.is_some_and(|after| !after.first().is_some_and(u8::is_ascii_alphanumeric))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_by_their_root_or_individually() {
        let rooted = b"%PDF-1.4\n1 0 obj <</Type /Pages /Kids [2 0 R 3 0 R] /Count 2>> endobj 2 0 obj <</Type/Page>> endobj <</Type /Outlines /Count 40>> endobj";
        assert_eq!(pages(rooted), Some(2));
        let loose = b"%PDF-1.4\n<</Type /Page /Parent 1 0 R>> endobj <</Type/Page>> endobj <</Type\n/Page>> endobj <</Type /PageLabel>> endobj";
        assert_eq!(pages(loose), Some(3));
    }

    #[test]
    fn a_file_without_visible_pages_has_no_count() {
        assert_eq!(pages(b"%PDF-1.7\n<</Type /ObjStm>> stream"), None);
        assert_eq!(pages(b"<</Type /Page>>"), None);
        assert_eq!(pages(b"%PDF-1.4 /Count 0 /Count -1 /Count x"), None);
        assert_eq!(pages(b""), None);
    }
}

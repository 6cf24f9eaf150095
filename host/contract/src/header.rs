//! Headers: which belong to the gateway, which names and values are legal, and edits of them.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{EditError, limits, text::clip};

/// Credentials. A plugin never sees or sets them in a request.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
    "cookie",
];

/// Headers that say how a message travels, and `host`.
const FRAMING: [&str; 12] = [
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "host",
];

/// Every header that a plugin neither sees nor sets in a request: credentials, `host` and framing.
pub fn reserved_in_requests() -> impl Iterator<Item = &'static str> {
    CREDENTIALS.into_iter().chain(FRAMING)
}

/// Every header that a plugin cannot set in a response: framing and `host`.
pub fn reserved_in_responses() -> impl Iterator<Item = &'static str> {
    FRAMING.into_iter()
}

/// Whether a header is hidden in requests: [`reserved_in_requests`].
#[must_use]
pub fn is_reserved_in_requests(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str()) || is_reserved_in_responses(name)
}

/// Whether a header cannot be set in responses: [`reserved_in_responses`]. It can be read there,
/// and in failures.
#[must_use]
pub fn is_reserved_in_responses(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str())
}

/// Checks that a plugin may set this header of a request.
///
/// # Errors
///
/// [`EditError::NotAllowed`] for [reserved headers](reserved_in_requests).
pub fn check_in_request(name: &HeaderName) -> Result<(), EditError> {
    if is_reserved_in_requests(name) {
        return Err(EditError::NotAllowed(format!(
            "`{name}` belongs to the gateway, as do credentials, `host` and all framing headers"
        )));
    }
    Ok(())
}

/// Checks that a plugin may set this header of a response.
///
/// # Errors
///
/// [`EditError::NotAllowed`] for [reserved headers](reserved_in_responses).
pub fn check_in_response(name: &HeaderName) -> Result<(), EditError> {
    if is_reserved_in_responses(name) {
        return Err(EditError::NotAllowed(format!(
            "`{name}` belongs to the gateway, as do `host` and all framing headers"
        )));
    }
    Ok(())
}

/// Reads a header name. The case does not matter.
///
/// # Errors
///
/// [`EditError::BadQuery`] unless it is a token (RFC 9110, section 5.6.2).
pub fn name(text: &str) -> Result<HeaderName, EditError> {
    text.parse().map_err(|_| {
        let text = clip(text);
        EditError::BadQuery(format!("`{text}` is not a valid header name"))
    })
}

/// Reads a header value.
///
/// # Errors
///
/// [`EditError::BadValue`] for a control character other than a tab; [`EditError::TooMuch`] over
/// [`limits::HEADER_VALUE`].
pub fn value(name: &HeaderName, text: &str) -> Result<HeaderValue, EditError> {
    if text.len() > limits::HEADER_VALUE {
        return Err(EditError::TooMuch(format!(
            "a value of `{name}` has {} bytes, the limit is {}",
            text.len(),
            limits::HEADER_VALUE
        )));
    }
    text.parse().map_err(|_| {
        EditError::BadValue(format!(
            "a value of `{name}` has a character that a header cannot contain"
        ))
    })
}

/// Checks that there is room for more values of a header. `headers` are those of the message, and
/// `edited` is the size of the edits so far.
///
/// # Errors
///
/// [`EditError::TooMuch`] over [`limits::HEADERS`] in all.
pub fn check_room<T: AsRef<[u8]>>(
    name: &HeaderName,
    values: &[T],
    headers: &HeaderMap,
    edited: usize,
) -> Result<usize, EditError> {
    let added: usize = values.iter().map(|value| size(name, value.as_ref())).sum();
    let present = headers
        .iter()
        .map(|(name, value)| size(name, value.as_bytes()));
    let all = present.sum::<usize>() + edited + added;
    if added > 0 && all > limits::HEADERS {
        return Err(EditError::TooMuch(format!(
            "with `{name}` all headers together exceed the limit of {} bytes",
            limits::HEADERS
        )));
    }
    Ok(added)
}

fn size(name: &HeaderName, value: &[u8]) -> usize {
    name.as_str().len() + value.len() + limits::HEADER_ENTRY
}

/// Header edits of one call of a plugin. The message's own headers change when the call has
/// succeeded.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    edits: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// The size of all values, as [`check_room`] counts.
    size: usize,
}

impl Edits {
    /// Whether it has no edits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Sets a header to exactly these values; an empty list removes it. The caller has checked that
    /// the header may be set. `headers` are those of the message.
    ///
    /// # Errors
    ///
    /// [`EditError::TooMuch`] over [`limits::HEADER_EDITS`] or [`limits::HEADER_VALUES`], and the
    /// errors of [`value`] and [`check_room`].
    pub fn set(
        &mut self,
        name: HeaderName,
        values: &[String],
        headers: &HeaderMap,
    ) -> Result<(), EditError> {
        if self.edits.len() >= limits::HEADER_EDITS {
            return Err(EditError::TooMuch(format!(
                "more than {} header edits in one call",
                limits::HEADER_EDITS
            )));
        }
        if values.len() > limits::HEADER_VALUES {
            return Err(EditError::TooMuch(format!(
                "{} values for `{name}`, the limit is {}",
                values.len(),
                limits::HEADER_VALUES
            )));
        }
        let checked = values.iter().map(|text| value(&name, text));
        let checked = checked.collect::<Result<_, _>>()?;
        self.size += check_room(&name, values, headers, self.size)?;
        self.edits.push((name, checked));
        Ok(())
    }

    /// The headers that were set or removed, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&HeaderName> {
        let mut names: Vec<&HeaderName> = Vec::new();
        for (name, _) in &self.edits {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// All values of a header with the edits applied, in order. Bytes that are not UTF-8 are
    /// replaced.
    #[must_use]
    pub fn values(&self, name: &HeaderName, headers: &HeaderMap) -> Vec<String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        match self.edits.iter().rev().find(|(edited, _)| edited == name) {
            Some((_, values)) => values.iter().map(text).collect(),
            None => headers.get_all(name).iter().map(text).collect(),
        }
    }

    /// Applies the edits, the first one first.
    pub fn apply(self, headers: &mut HeaderMap) {
        for (name, values) in self.edits {
            headers.remove(&name);
            for value in values {
                headers.append(&name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_host_and_framing_are_reserved_in_requests() {
        for reserved in [
            "Authorization",
            "x-api-key",
            "x-goog-api-key",
            "cookie",
            "host",
            "content-length",
            "Accept-Encoding",
            "te",
        ] {
            let name = name(reserved).unwrap();
            let refused = check_in_request(&name).unwrap_err();
            assert!(matches!(refused, EditError::NotAllowed(_)), "{reserved}");
        }
        check_in_request(&name("anthropic-beta").unwrap()).unwrap();
    }

    #[test]
    fn credentials_are_not_reserved_in_responses() {
        check_in_response(&name("cookie").unwrap()).unwrap();
        check_in_response(&name("content-encoding").unwrap()).unwrap_err();
    }

    #[test]
    fn every_reserved_name_is_spelt_as_a_header_map_spells_it() {
        for reserved in reserved_in_requests() {
            assert_eq!(name(reserved).unwrap().as_str(), reserved);
        }
    }

    #[test]
    fn names_and_values_with_line_breaks_are_refused() {
        assert!(matches!(name("x a"), Err(EditError::BadQuery(_))));
        assert!(matches!(name(""), Err(EditError::BadQuery(_))));
        let edit = set(&mut Edits::default(), "x-a", &["1\r\nx-b: 2".to_owned()]);
        assert!(matches!(edit, Err(EditError::BadValue(_))));
    }

    #[test]
    fn the_last_edit_of_a_header_counts() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("0"));
        headers.append("x-b", HeaderValue::from_static("0"));
        let mut edits = Edits::default();
        let (a, b) = (name("x-a").unwrap(), name("x-b").unwrap());
        for (name, values) in [("x-a", &["1"][..]), ("x-a", &["2", "3"]), ("x-b", &[])] {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            set(&mut edits, name, &values).unwrap();
        }
        assert_eq!(edits.values(&a, &headers), ["2", "3"]);
        assert!(edits.values(&b, &headers).is_empty());
        let seen = [&a, &b].map(|name| edits.values(name, &headers));
        edits.apply(&mut headers);
        let after = [&a, &b].map(|name| Edits::default().values(name, &headers));
        assert_eq!(seen, after);
    }

    fn set(edits: &mut Edits, text: &str, values: &[String]) -> Result<(), EditError> {
        edits.set(name(text).unwrap(), values, &HeaderMap::new())
    }

    #[test]
    fn each_limit_is_inclusive() {
        let mut edits = Edits::default();
        for _ in 0..limits::HEADER_EDITS {
            set(&mut edits, "x-a", &[]).unwrap();
        }
        let over = set(&mut edits, "x-a", &[]);
        assert!(matches!(over, Err(EditError::TooMuch(_))));
        let of = |count: usize, length: usize| {
            set(
                &mut Edits::default(),
                "x-a",
                &vec!["a".repeat(length); count],
            )
        };
        of(limits::HEADER_VALUES, 1).unwrap();
        of(1, limits::HEADER_VALUE).unwrap();
        for over in [
            of(limits::HEADER_VALUES + 1, 1),
            of(1, limits::HEADER_VALUE + 1),
        ] {
            assert!(matches!(over, Err(EditError::TooMuch(_))));
        }
    }

    #[test]
    fn all_headers_together_are_limited_no_matter_who_set_them() {
        let x = name("x-a").unwrap();
        let each = "x-a".len() + limits::HEADER_ENTRY;
        let text = |length: usize| "a".repeat(length - each);
        let mut headers = HeaderMap::new();
        for _ in 0..limits::HEADERS / (16 << 10) - 2 {
            headers.append(&x, text(16 << 10).parse().unwrap());
        }
        let mut edits = Edits::default();
        edits.set(x.clone(), &[text(16 << 10)], &headers).unwrap();
        let set = |length| edits.clone().set(x.clone(), &[text(length)], &headers);
        set(16 << 10).unwrap();
        assert!(matches!(set((16 << 10) + 1), Err(EditError::TooMuch(_))));
        // A header can still be removed.
        headers.append(&x, text(64 << 10).parse().unwrap());
        edits.set(x, &[], &headers).unwrap();
    }

    #[test]
    fn as_many_headers_as_fit_into_the_limit_fit_into_a_header_map() {
        let mut headers = HeaderMap::new();
        let (mut count, mut edited) = (0, 0);
        loop {
            let name = name(&format!("{count:x}")).unwrap();
            match check_room(&name, &[""], &HeaderMap::new(), edited) {
                Ok(added) => edited += added,
                Err(_) => break,
            }
            headers.append(name, HeaderValue::from_static(""));
            count += 1;
        }
        assert_eq!(headers.len(), count);
    }
}

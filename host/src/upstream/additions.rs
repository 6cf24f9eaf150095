//! What is added to every request to an upstream: the operator's headers and parameters, and the
//! mark by which a gateway recognises its own requests.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use crate::ids::{HOPS, gateway_id};

use super::Upstream;

impl Upstream {
    /// Adds the operator's headers and this gateway's mark.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.config.extra.headers {
            headers.insert(name, value.clone());
        }
        // A provider's own address does not lead back here.
        if !self.config.base_url.is_providers
            && let Ok(mark) = HeaderValue::from_str(gateway_id())
        {
            headers.append(HOPS, mark);
        }
    }

    /// Adds the operator's parameters to a query, in which they replace those of the same name.
    pub(super) fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        with_parameters(query, &self.config.extra.query)
    }
}

fn with_parameters<'a>(query: &'a str, added: &[(String, String)]) -> Cow<'a, str> {
    if added.is_empty() {
        return query.into();
    }
    let is_kept = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        !part.is_empty() && !added.iter().any(|(added, _)| added == name)
    };
    let kept = query.split('&').filter(is_kept).map(str::to_owned);
    let added = added.iter().map(|(name, value)| format!("{name}={value}"));
    kept.chain(added).collect::<Vec<_>>().join("&").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_and_replace_those_of_the_same_name() {
        let added = [("api-version".to_owned(), "2024-10-21".to_owned())];
        for (query, expected) in [
            ("", "api-version=2024-10-21"),
            ("beta=true", "beta=true&api-version=2024-10-21"),
            ("api-version=1&alt=sse", "alt=sse&api-version=2024-10-21"),
        ] {
            assert_eq!(with_parameters(query, &added), expected);
            assert_eq!(with_parameters(query, &[]), query);
        }
    }
}

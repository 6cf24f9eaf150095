//! Reads how long an upstream says to wait, from any of the headers for that. Pure.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use http::HeaderMap;
use witgate_contract::limits::COOLDOWN;

/// How long the response headers say to wait, from `now`: more than zero, and at most eight days.
///
/// `None` if they contain no valid time, or one that has passed: then the wait is unknown.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after = text("retry-after-ms")
        .and_then(|text| number(text, 1000.0))
        .or_else(|| text("retry-after").and_then(|text| seconds_or_date(text, now)))
        .or_else(|| reset(headers, now))?;
    Some(retry_after.min(COOLDOWN))
}

/// A number of seconds (`per_second` 1) or smaller units. Fractions are allowed, as clients allow
/// them.
fn number(text: &str, per_second: f64) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok()? / per_second;
    // Limited first: a duration cannot hold every number.
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(COOLDOWN.as_secs_f64())))
}

fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    number(text, 1.0).or_else(|| ahead(httpdate::parse_http_date(text).ok()?, now))
}

/// The wait by Anthropic's rate limit headers: until the last exhausted limit resets, or until the
/// first reset of those that say nothing about what is left. The reset of a limit with something
/// left is not a wait: then the request was limited for another reason.
fn reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut exhausted = None;
    let mut soonest = None;
    for (name, value) in headers {
        let limit = name
            .as_str()
            .strip_prefix("anthropic-ratelimit-")
            .and_then(|name| name.strip_suffix("-reset"));
        let (Some(limit), Ok(value)) = (limit, value.to_str()) else {
            continue;
        };
        let Some(wait) = moment(value).and_then(|at| ahead(at, now)) else {
            continue;
        };
        match is_exhausted(headers, limit) {
            Some(true) => exhausted = exhausted.max(Some(wait)),
            Some(false) => {}
            None => soonest = Some(soonest.map_or(wait, |soonest: Duration| soonest.min(wait))),
        }
    }
    exhausted.or(soonest)
}

/// Whether a limit is used up; `None` if its headers do not say.
fn is_exhausted(headers: &HeaderMap, limit: &str) -> Option<bool> {
    let text = |what: &str| {
        let value = headers.get(format!("anthropic-ratelimit-{limit}-{what}"));
        value.and_then(|value| value.to_str().ok()).map(str::trim)
    };
    let number = |what: &str| text(what)?.parse::<f64>().ok();
    if text("status") == Some("rejected") {
        return Some(true);
    }
    let by_status = text("status").map(|status| !status.starts_with("allowed"));
    let by_remaining = number("remaining").map(|remaining| remaining <= 0.0);
    let by_utilization = number("utilization").map(|used| used >= 1.0);
    // An unknown status says nothing.
    let by_status = by_status.filter(|exhausted| !exhausted);
    by_remaining.or(by_status).or(by_utilization)
}

/// A time in RFC 3339, or in seconds since 1970 as the limits of subscriptions have it.
fn moment(text: &str) -> Option<SystemTime> {
    match text.parse::<u64>() {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => DateTime::parse_from_rfc3339(text)
            .ok()
            .map(SystemTime::from),
    }
}

fn ahead(at: SystemTime, now: SystemTime) -> Option<Duration> {
    at.duration_since(now).ok().filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T12:00:00Z
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_366_400)
    }

    #[track_caller]
    fn assert_wait(headers: &[(&'static str, &str)], wait: Option<f64>) {
        let map = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        assert_eq!(
            retry_after(&map, now()),
            wait.map(Duration::from_secs_f64),
            "{headers:?}"
        );
    }

    #[test]
    fn a_wait_is_in_seconds_in_milliseconds_or_until_a_date() {
        const DAY: f64 = 86_400.0;
        let table = [
            ("retry-after", "7", Some(7.0)),
            ("retry-after", " 7 ", Some(7.0)),
            ("retry-after", "0.5", Some(0.5)),
            ("retry-after", "Sun, 01 Mar 2026 12:00:30 GMT", Some(30.0)),
            ("retry-after", "Sunday, 01-Mar-26 12:00:30 GMT", Some(30.0)),
            ("retry-after-ms", "1500", Some(1.5)),
            ("retry-after-ms", "0.5", Some(0.0005)),
            // Nothing, or nothing that helps.
            ("retry-after", "0", None),
            ("retry-after", "-3", None),
            ("retry-after", "Sun, 01 Mar 2026 12:00:00 GMT", None),
            ("retry-after", "Sun, 01 Mar 2026 11:59:00 GMT", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "", None),
            ("retry-after-ms", "-1", None),
            // More than the maximum.
            ("retry-after", "99999999999999999999999", Some(8.0 * DAY)),
            ("retry-after", "inf", Some(8.0 * DAY)),
            (
                "retry-after",
                "Mon, 01 Mar 2100 12:00:00 GMT",
                Some(8.0 * DAY),
            ),
        ];
        for (name, value, wait) in table {
            assert_wait(&[(name, value)], wait);
        }
    }

    #[test]
    fn the_most_exact_valid_header_counts() {
        assert_wait(
            &[("retry-after", "7"), ("retry-after-ms", "1500")],
            Some(1.5),
        );
        assert_wait(&[("retry-after", "7"), ("retry-after-ms", "x")], Some(7.0));
        let reset = ("anthropic-ratelimit-tokens-reset", "2026-03-01T12:01:00Z");
        assert_wait(&[("retry-after", "7"), reset], Some(7.0));
        assert_wait(&[("retry-after", "0"), reset], Some(60.0));
        assert_wait(&[], None);
    }

    #[test]
    fn the_last_exhausted_limit_counts_and_else_the_first_reset() {
        let requests = ("anthropic-ratelimit-requests-reset", "2026-03-01T12:00:10Z");
        let tokens = (
            "anthropic-ratelimit-tokens-reset",
            "2026-03-01T13:01:00+01:00",
        );
        let input = (
            "anthropic-ratelimit-input-tokens-reset",
            "2026-03-01T12:00:40.5Z",
        );
        let all = [requests, tokens, input];
        assert_wait(&all, Some(10.0));
        let mut one = all.to_vec();
        one.push(("anthropic-ratelimit-requests-remaining", "4"));
        one.push(("anthropic-ratelimit-input-tokens-remaining", "0"));
        assert_wait(&one, Some(40.5));
        one.push(("anthropic-ratelimit-tokens-remaining", "0"));
        assert_wait(&one, Some(60.0));
    }

    #[test]
    fn subscription_limits_are_in_seconds_since_1970() {
        let reset = ("anthropic-ratelimit-unified-5h-reset", "1772366500");
        let other = ("anthropic-ratelimit-unified-7d-reset", "1772370000");
        assert_wait(&[reset, other], Some(100.0));
        let rejected = ("anthropic-ratelimit-unified-7d-status", "rejected");
        assert_wait(&[reset, other, rejected], Some(3600.0));
    }

    #[test]
    fn the_reset_of_a_limit_that_is_not_exhausted_is_no_wait() {
        let reset = ("anthropic-ratelimit-unified-5h-reset", "1772375400");
        let overall = ("anthropic-ratelimit-unified-reset", "1772375400");
        for status in ["allowed", "allowed_warning"] {
            let all = [
                reset,
                overall,
                ("anthropic-ratelimit-unified-status", status),
                ("anthropic-ratelimit-unified-5h-status", status),
                ("anthropic-ratelimit-unified-5h-utilization", "0.12"),
            ];
            assert_wait(&all, None);
            let week = ("anthropic-ratelimit-unified-7d-reset", "1772370000");
            let rejected = ("anthropic-ratelimit-unified-7d-status", "rejected");
            assert_wait(&[&all[..], &[week, rejected]].concat(), Some(3600.0));
        }
        let used = |used| ("anthropic-ratelimit-unified-5h-utilization", used);
        assert_wait(&[reset, used("0.5")], None);
        assert_wait(&[reset, used("1.0")], Some(9000.0));
        let unknown = ("anthropic-ratelimit-unified-5h-status", "queued");
        assert_wait(&[reset, unknown], Some(9000.0));
        let remaining = ("anthropic-ratelimit-unified-5h-remaining", "7");
        assert_wait(&[reset, remaining], None);
    }

    #[test]
    fn a_reset_in_the_past_or_an_invalid_one_is_ignored() {
        for value in [
            "2026-03-01T11:00:00Z",
            "2026-03-01",
            "soon",
            "",
            "99999999999999999999",
        ] {
            assert_wait(&[("anthropic-ratelimit-tokens-reset", value)], None);
        }
        assert_wait(
            &[("anthropic-ratelimit-tokens-limit", "2026-03-01T13:00:00Z")],
            None,
        );
    }
}

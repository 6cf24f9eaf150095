//! Reads how long to wait from the places that the gateway itself does not read. Pure.

use std::time::Duration;

/// The limits whose state is reported in headers.
const LIMITS: [&str; 5] = [
    "requests",
    "tokens",
    "input-tokens",
    "project-tokens",
    "tokens_usage_based",
];

/// The lower-case words before a duration in a message.
const BEFORE_DURATION: [&str; 4] = [
    "try again in ",
    "retry in ",
    "retry after ",
    "retry-after: ",
];

/// How long to wait after an error of status 429; `since_1970` is now.
///
/// `None` if there is a `retry-after` header, which the gateway reads, or if nothing states it.
pub(crate) fn wait(
    header: impl Fn(&str) -> Option<String>,
    message: &str,
    since_1970: Duration,
) -> Option<Duration> {
    if header("retry-after")
        .or_else(|| header("retry-after-ms"))
        .is_some()
    {
        return None;
    }
    in_words(message)
        .or_else(|| by_limits(&header))
        .or_else(|| reset_time(&header("x-ratelimit-reset")?, since_1970))
        .filter(|wait| !wait.is_zero())
}

fn in_words(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    BEFORE_DURATION.iter().find_map(|words| {
        let (_, after) = message.split_once(words)?;
        time(after)
    })
}

/// The last reset of the exhausted limits. If no limit is reported as exhausted, the first reset.
fn by_limits(header: &impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let mut exhausted = None;
    let mut soonest = None;
    for limit in LIMITS {
        let reset = header(&format!("x-ratelimit-reset-{limit}"));
        let Some(wait) = reset.and_then(|reset| time(&reset)) else {
            continue;
        };
        let remaining = header(&format!("x-ratelimit-remaining-{limit}"));
        if remaining.is_some_and(|remaining| remaining.trim() == "0") {
            exhausted = exhausted.max(Some(wait));
        }
        soonest = Some(soonest.map_or(wait, |soonest: Duration| soonest.min(wait)));
    }
    exhausted.or(soonest)
}

/// Parses seconds, or a time in seconds or milliseconds since 1970.
fn reset_time(text: &str, since_1970: Duration) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    match number {
        _ if number >= 1e12 => seconds(number / 1e3)?.checked_sub(since_1970),
        _ if number >= 1e9 => seconds(number)?.checked_sub(since_1970),
        _ => seconds(number),
    }
}

/// Parses `1.2s`, `6m0s`, `20ms`, `1h2m`, `12`, `7 seconds`. Text after it is ignored.
fn time(text: &str) -> Option<Duration> {
    let mut left = text.trim_start();
    let mut total = 0.0;
    let mut any = false;
    loop {
        let digits = left
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(left.len());
        // A full stop at the end of a sentence is not part of the number.
        let Ok(number) = left[..digits].trim_end_matches('.').parse::<f64>() else {
            break;
        };
        let after = left[digits..].trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let unit = match &after[..letters] {
            "ms" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ if any => break,
            // A bare number counts seconds.
            _ => return seconds(number),
        };
        total += number * unit;
        any = true;
        left = &after[letters..];
    }
    any.then(|| seconds(total)).flatten()
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_772_366_400);

    #[track_caller]
    fn waits(headers: &[(&str, &str)], message: &str, wanted: Option<f64>) {
        let header = |name: &str| {
            let found = headers.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let wanted = wanted.map(Duration::from_secs_f64);
        assert_eq!(wait(header, message, NOW), wanted, "{headers:?} {message}");
    }

    #[test]
    fn durations_are_found_in_messages() {
        let table = [
            (
                "Rate limit reached. Please try again in 1.2s. Visit",
                Some(1.2),
            ),
            ("Please try again in 20ms.", Some(0.02)),
            ("Please try again in 6m0s.", Some(360.0)),
            ("try again in 1h2m3.5s", Some(3723.5)),
            ("Please retry after 7 seconds.", Some(7.0)),
            ("Please retry after 7.", Some(7.0)),
            ("Please retry in 12.5 s", Some(12.5)),
            ("try again in 2 days", Some(172_800.0)),
            ("try again in a moment", None),
            ("try again in 0s", None),
            ("limit 30000, used 29000", None),
        ];
        for (message, wanted) in table {
            waits(&[], message, wanted);
        }
    }

    #[test]
    fn the_last_exhausted_limit_counts_and_otherwise_the_first_reset() {
        let requests = ("x-ratelimit-reset-requests", "1s");
        let tokens = ("x-ratelimit-reset-tokens", "6m0s");
        let empty = ("x-ratelimit-remaining-tokens", "0");
        waits(&[requests, tokens], "", Some(1.0));
        waits(&[requests, tokens, empty], "", Some(360.0));
        waits(&[requests, tokens, empty], "try again in 2s", Some(2.0));
        waits(&[requests, ("retry-after", "3")], "try again in 2s", None);
    }

    #[test]
    fn a_reset_is_a_number_of_seconds_or_a_time() {
        waits(&[("x-ratelimit-reset", "17")], "", Some(17.0));
        waits(&[("x-ratelimit-reset", "1772366410")], "", Some(10.0));
        waits(&[("x-ratelimit-reset", "1772366405500")], "", Some(5.5));
        waits(&[("x-ratelimit-reset", "1772366300")], "", None);
        waits(&[("x-ratelimit-reset", "soon")], "", None);
    }
}

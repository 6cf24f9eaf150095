//! How long a rate-limited account has to wait, wherever the error says it.

use std::time::Duration;

use witgate_plugin::Value;

/// A daily quota is reset at midnight in California, and Google does not report when that is. Nor
/// does it report when somebody pays. One attempt per hour finds out soon enough.
pub(super) const LONG_COOLDOWN: Duration = Duration::from_secs(3_600);

/// The members of an error's details that say how long to wait.
const DELAYS: [&str; 5] = [
    "retryDelay",
    "retry_delay",
    "retryAfter",
    "quotaResetDelay",
    "quota_reset_delay",
];

/// The words before a wait in a message, in lower case.
const BEFORE_A_WAIT: [&str; 8] = [
    "retry in ",
    "retry after ",
    "try again in ",
    "try again after ",
    "reset in ",
    "resets in ",
    "reset after ",
    "wait ",
];

/// The cooldown of a rate limit or an overload: the longest wait that the error states. A daily
/// quota takes longer than that, because the wait is for the quota per minute.
pub(super) fn cooldown(message: &str, details: &[Value]) -> Option<Duration> {
    let message = message.to_lowercase();
    let stated = details.iter().filter_map(in_details).max();
    let of_day = is_of_day(&message, details).then_some(LONG_COOLDOWN);
    stated.max(in_words(&message)).max(of_day)
}

fn in_details(detail: &Value) -> Option<Duration> {
    match detail {
        Value::Object(members) => {
            let own = members
                .iter()
                .filter(|(name, _)| DELAYS.contains(&name.as_str()))
                .filter_map(|(_, value)| delay(value));
            own.chain(members.values().filter_map(in_details)).max()
        }
        Value::Array(list) => list.iter().filter_map(in_details).max(),
        _ => None,
    }
}

/// A duration as text, as a number of seconds, or as an object of seconds and nanoseconds.
fn delay(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => duration(text),
        Value::Number(seconds) => Duration::try_from_secs_f64(seconds.as_f64()?).ok(),
        Value::Object(members) => {
            let seconds = members.get("seconds")?;
            let seconds = seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok());
            seconds.map(Duration::from_secs)
        }
        _ => None,
    }
}

fn in_words(message: &str) -> Option<Duration> {
    let waits = BEFORE_A_WAIT.iter().flat_map(|words| {
        let after = message.split(words).skip(1);
        after.filter_map(duration)
    });
    waits.max()
}

/// Reads the duration that a text begins with: `34.07s`, `1h2m3s`, `500ms`, `12 minutes`. `None` if
/// it begins with anything else.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text.trim_start(), None);
    loop {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let Ok(number) = rest[..end].trim_end_matches('.').parse::<f64>() else {
            return total;
        };
        let after = rest[end..].trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let Some(wait) =
            seconds_of(unit).and_then(|unit| Duration::try_from_secs_f64(number * unit).ok())
        else {
            return total;
        };
        total = Some(total.unwrap_or(Duration::ZERO).saturating_add(wait));
        rest = after.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

fn is_of_day(message: &str, details: &[Value]) -> bool {
    let violations = details.iter().filter_map(|detail| detail.get("violations"));
    let mut quotas = violations
        .filter_map(Value::as_array)
        .flatten()
        .flat_map(|violation| ["quotaId", "quotaMetric"].map(|name| violation.get(name)))
        .flatten()
        .filter_map(Value::as_str);
    quotas.any(|id| id.contains("PerDay") || id.contains("per_day"))
        || ["per day", "perday", "per_day", "daily"]
            .iter()
            .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use witgate_plugin::json;

    use super::*;

    #[test]
    fn a_wait_is_read_from_the_words() {
        let table = [
            (
                "Quota exceeded, limit: 5.\nPlease retry in 28.135353458s.",
                Some(28.135_353_458),
            ),
            ("Your quota will reset after 1h2m3s.", Some(3_723.0)),
            ("Please try again in 500ms", Some(0.5)),
            (
                "Please wait 2 minutes and 5 seconds, then retry",
                Some(125.0),
            ),
            ("Retry after 30 seconds.", Some(30.0)),
            ("Resource exhausted. Please try again later.", None),
            ("Please retry in a while", None),
            ("limit: 20, model: gemini-2.5-flash", None),
            ("Please retry in 1e400s", None),
        ];
        for (message, seconds) in table {
            let wait = cooldown(message, &[]);
            let wanted = seconds.map(Duration::from_secs_f64);
            assert_eq!(wait, wanted, "{message}");
        }
        let day = "Quota exceeded for quota metric 'Requests' and limit 'Requests per day'. Please retry in 3s.";
        assert_eq!(cooldown(day, &[]), Some(LONG_COOLDOWN));
    }

    #[test]
    fn a_wait_is_read_from_any_detail() {
        for (detail, seconds) in [
            (json!({ "retryDelay": "34.5s" }), 34.5),
            (json!({ "retryDelay": { "seconds": "7", "nanos": 1 } }), 7.0),
            (
                json!({ "metadata": { "quotaResetDelay": "1h20m3s" } }),
                4_803.0,
            ),
            (
                json!({ "metadata": { "info": [{ "retry_delay": 9 }] } }),
                9.0,
            ),
        ] {
            let wanted = Some(Duration::from_secs_f64(seconds));
            assert_eq!(cooldown("", &[detail]), wanted);
        }
        for other in [
            json!({ "retryDelay": "-1s" }),
            json!({ "delay": "5s" }),
            json!("5s"),
        ] {
            assert_eq!(cooldown("", &[other]), None);
        }
    }
}

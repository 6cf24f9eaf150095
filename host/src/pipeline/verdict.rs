//! What a request or attempt hook decided, read strictly: what cannot be used is the plugin's failure.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Decision, LocalAnswer, bindings::Verdict};
use crate::{
    fault::{Blame, Fault, Kind, Retry},
    ids::PluginId,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
    status: Option<u16>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse<'a> {
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
    #[serde(default)]
    try_next: bool,
}

/// The error says what is wrong with what the plugin handed back.
pub(super) fn read(verdict: &Verdict, plugin: &PluginId) -> Result<Decision, String> {
    match verdict {
        Verdict::Proceed => Ok(Decision::Proceed),
        Verdict::Answer(text) => {
            let answer = answer(text).map_err(|why| format!("its answer cannot be used: {why}"))?;
            Ok(Decision::Answer { plugin: plugin.clone(), answer })
        }
        Verdict::Refuse(text) => {
            let (fault, try_next) = refuse(text, plugin)
                .map_err(|why| format!("its refusal cannot be used: {why}"))?;
            Ok(Decision::Refuse { plugin: plugin.clone(), fault, try_next })
        }
    }
}

fn answer(text: &str) -> Result<LocalAnswer, String> {
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or(200);
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| format!("`status` is {status}, 200 to 599 are possible"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header name"))?;
        if super::imports::is_framing(&name) {
            return Err(format!("the header `{name}` belongs to the gateway"));
        }
        let value: HeaderValue = value
            .parse()
            .map_err(|_| format!("the value of `{name}` has a character that may not stand in a header"))?;
        headers.append(name, value);
    }
    let body = Bytes::copy_from_slice(answer.body.get().as_bytes());
    Ok(LocalAnswer { status, headers, body, note: answer.note })
}

fn refuse(text: &str, plugin: &PluginId) -> Result<(Fault, bool), String> {
    let refuse: Refuse<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !(400..=599).contains(&refuse.status) {
        return Err(format!("`status` is {}, an error has 400 to 599", refuse.status));
    }
    let simple = |c: char| c.is_ascii_lowercase() || c == '_';
    if refuse.kind.is_empty() || refuse.kind.len() > 64 || !refuse.kind.chars().all(simple) {
        return Err("`type` is no error type such as `invalid_request_error`".to_owned());
    }
    let kind = Kind::Refused { status: refuse.status, kind: refuse.kind };
    let mut fault = Fault::new(Blame::Plugin(plugin.clone()), kind, refuse.message);
    if refuse.try_next {
        fault = fault.retry(Retry::Elsewhere);
    }
    if let Some(details) = refuse.details {
        fault = fault.with_details(details.get().to_owned());
    }
    Ok((fault, refuse.try_next))
}

/// Whether a text is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verdict: Verdict) -> Result<Decision, String> {
        read(&verdict, &"rule".parse().unwrap())
    }

    #[test]
    fn an_answer_keeps_the_text_of_its_body() {
        let text = r#"{"body": { "a":1.0e0 }, "headers": {"X-A": "b"}, "note": "why"}"#;
        let Ok(Decision::Answer { plugin, answer }) = of(Verdict::Answer(text.to_owned())) else {
            panic!("no answer");
        };
        assert_eq!(plugin.as_str(), "rule");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(answer.body, r#"{ "a":1.0e0 }"#);
        assert_eq!(answer.note.as_deref(), Some("why"));
    }

    #[test]
    fn a_refusal_says_status_type_details_and_where_to_go_on() {
        let text = r#"{"status": 422, "type": "invalid_request_error", "message": "no",
            "details": {"code": 1}, "try_next": true}"#;
        let Ok(Decision::Refuse { fault, try_next, .. }) = of(Verdict::Refuse(text.to_owned())) else {
            panic!("no refusal");
        };
        assert!(try_next);
        assert_eq!(fault.to_string(), "no");
        assert_eq!(fault.details.as_deref(), Some(r#"{"code": 1}"#));
        assert_eq!(
            fault.kind,
            Kind::Refused { status: 422, kind: "invalid_request_error".to_owned() }
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let answers = [
            ("{}", "body"),
            (r#"{"body": 1, "stauts": 200}"#, "stauts"),
            (r#"{"body": 1, "status": 99}"#, "`status` is 99"),
            (r#"{"body": 1, "headers": {"content-length": "3"}}"#, "content-length"),
            (r#"{"body": 1, "headers": {"x": "a\r\nb"}}"#, "`x`"),
        ];
        for (text, wanted) in answers {
            let why = of(Verdict::Answer(text.to_owned())).err().unwrap();
            assert!(why.contains(wanted), "{text}: {why}");
        }
        let refusals = [
            (r#"{"status": 200, "type": "a", "message": ""}"#, "`status` is 200"),
            (r#"{"status": 400, "type": "A b", "message": ""}"#, "`type`"),
            (r#"{"status": 400, "type": "a"}"#, "message"),
        ];
        for (text, wanted) in refusals {
            let why = of(Verdict::Refuse(text.to_owned())).err().unwrap();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }
}

//! Parses upstream errors from the many formats in which servers report them.

use serde_json::Value;

/// An error as the upstream reported it. Fields that it did not send are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UpstreamError {
    pub(crate) message: String,
    /// `type`: `invalid_request_error`, `BadRequestError`, `tokens`.
    pub(crate) kind: String,
    /// `code`, if it is a word: `context_length_exceeded`.
    pub(crate) code: String,
    /// `code`, if it is a status.
    pub(crate) status: Option<u16>,
    /// The member of the request that caused the error.
    pub(crate) param: String,
    /// OpenRouter: the headers of the actual provider, with lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    /// OpenRouter: the input was flagged.
    pub(crate) flagged: bool,
}

/// Where servers put the message, the most common name first.
const MESSAGES: [&str; 7] = [
    "message",
    "detail",
    "msg",
    "error_msg",
    "error_message",
    "errorMessage",
    "errors",
];

const CODES: [&str; 3] = ["code", "error_code", "errorCode"];

impl UpstreamError {
    /// Parses a body. `None` if it contains nothing that looks like an error.
    pub(crate) fn parse(body: &str) -> Option<Self> {
        match serde_json::from_str(body.trim()).ok()? {
            // Gemini's OpenAI-compatible endpoint.
            Value::Array(list) => Self::of(list.first()?),
            value => Self::of(&value),
        }
    }

    /// Reads `{"error": ...}`, its content alone, or what other servers send instead.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        if let Value::String(text) = value {
            return Self::plain(text);
        }
        match value.get("error").filter(|error| !error.is_null()) {
            // Ollama, LM Studio.
            Some(Value::String(text)) => Self::plain(text),
            Some(error) => Self::object(error),
            None => Self::object(value),
        }
    }

    pub(crate) fn plain(text: &str) -> Option<Self> {
        let message = text.trim().to_owned();
        (!message.is_empty()).then(|| Self {
            message,
            ..Self::default()
        })
    }

    /// The 404 page of a web server, or of a path that the API does not have.
    pub(crate) fn page(body: &str) -> Self {
        let text = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_short = text.len() < 100 && !text.starts_with('<');
        Self::plain(&text)
            .filter(|_| is_short)
            .unwrap_or_else(|| Self {
                message: "the upstream does not have this path".to_owned(),
                ..Self::default()
            })
    }

    fn object(error: &Value) -> Option<Self> {
        if let Some(base) = error.get("base_resp") {
            return Self::base_resp(base);
        }
        let message = MESSAGES
            .iter()
            .find_map(|name| error.get(name).and_then(text))?;
        let code = CODES
            .iter()
            .find_map(|name| error.get(name).filter(|code| !code.is_null()))
            .unwrap_or_default();
        let metadata = &error["metadata"];
        Some(Self {
            message: match provider_message(metadata) {
                Some(inner) if !message.contains(&inner) => format!("{message}: {inner}"),
                _ => message,
            },
            kind: word(&error["type"]),
            code: word(code),
            status: status(code)
                .or_else(|| status(&error["status"]))
                .or_else(|| status(&error["http_code"])),
            param: word(&error["param"]),
            headers: headers(&metadata["headers"]),
            flagged: metadata["reasons"].is_array(),
        })
    }

    /// MiniMax reports errors with status 200 and codes of its own. Code 0 is success.
    fn base_resp(base: &Value) -> Option<Self> {
        let code = base["status_code"].as_u64().filter(|code| *code != 0)?;
        let status = match code {
            1004 | 2049 => 401,
            1008 => 402,
            1002 | 1039 | 1041 | 2045 | 2056 => 429,
            1026 | 1027 | 1042 | 1043 | 2013 | 20132 => 400,
            1001 => 504,
            _ => 500,
        };
        let message = text(&base["status_msg"]).unwrap_or_else(|| "an error".to_owned());
        Some(Self {
            message: format!("{message} ({code})"),
            status: Some(status),
            ..Self::default()
        })
    }

    /// Whether its code or type contains one of these lower-case words.
    pub(crate) fn names(&self, words: &[&str]) -> bool {
        let own = [&self.code, &self.kind].map(|own| own.to_ascii_lowercase());
        words
            .iter()
            .any(|word| own.iter().any(|own| own.contains(word)))
    }
}

/// Reads a message: a text, FastAPI's list of invalid fields, or an object that holds one of them.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Array(list) => {
            let each = list.iter().filter_map(|entry| {
                let what = entry
                    .get("msg")
                    .or_else(|| entry.get("message"))?
                    .as_str()?;
                let place = entry["loc"].as_array().into_iter().flatten();
                let place: Vec<String> = place.map(as_text).collect();
                Some(match entry.get("loc") {
                    None => what.to_owned(),
                    Some(_) => format!("{}: {what}", place.join(".")),
                })
            });
            let all = each.collect::<Vec<_>>().join("; ");
            (!all.is_empty()).then_some(all)
        }
        Value::Object(_) => text(value.get("detail").or_else(|| value.get("message"))?),
        _ => None,
    }
}

/// The message of the actual provider, if OpenRouter passes it on.
fn provider_message(metadata: &Value) -> Option<String> {
    let raw = match &metadata["raw"] {
        Value::String(raw) => UpstreamError::parse(raw)
            .map_or_else(|| raw.trim().to_owned(), |reported| reported.message),
        Value::Null => return None,
        other => UpstreamError::of(other)?.message,
    };
    (!raw.is_empty()).then_some(raw)
}

fn headers(value: &Value) -> Vec<(String, String)> {
    let each = value.as_object().into_iter().flatten();
    each.map(|(name, value)| (name.to_ascii_lowercase(), as_text(value)))
        .collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn status(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number)
        .ok()
        .filter(|status| (400..600).contains(status))
}

fn as_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_the_formats_of_common_servers() {
        let table = [
            // OpenAI, DeepSeek, Ollama below /v1.
            (
                r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#,
                "no",
            ),
            // vLLM, before and after.
            (
                r#"{"object":"error","message":"no","type":"BadRequestError","param":null,"code":400}"#,
                "no",
            ),
            (
                r#"{"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}"#,
                "no",
            ),
            // llama.cpp.
            (
                r#"{"error":{"code":400,"message":"no","type":"invalid_request_error"}}"#,
                "no",
            ),
            // Ollama, LM Studio.
            (r#"{"error":"no"}"#, "no"),
            (r#"{"error":{"message":"no"},"message":"no"}"#, "no"),
            // FastAPI.
            (r#"{"detail":"no"}"#, "no"),
            (
                r#"{"detail":[{"type":"x","loc":["body","messages",0],"msg":"no"},{"loc":[],"msg":"never"}]}"#,
                "body.messages.0: no; : never",
            ),
            // Mistral.
            (
                r#"{"object":"error","message":{"detail":[{"loc":["body"],"msg":"no"}]}}"#,
                "body: no",
            ),
            // Gemini.
            (
                r#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#,
                "no",
            ),
            // Baidu, Cloudflare, and a gateway of Java.
            (r#"{"error_code":336007,"error_msg":"no"}"#, "no"),
            (
                r#"{"success":false,"errors":[{"code":7003,"message":"no"}]}"#,
                "no",
            ),
            (r#"{"code":"400","msg":"no","success":false}"#, "no"),
            // OpenRouter.
            (
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"error\":{\"message\":\"no\"}}"}}}"#,
                "Provider returned error: no",
            ),
            (
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"no"}}}"#,
                "Provider returned error: no",
            ),
        ];
        for (body, message) in table {
            assert_eq!(
                UpstreamError::parse(body).unwrap().message,
                message,
                "{body}"
            );
        }
    }

    #[test]
    fn a_body_without_an_error_is_none() {
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            "7",
            r#"{"error":null}"#,
            r#"{"error":{}}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":"success"}}"#,
        ] {
            assert_eq!(UpstreamError::parse(body), None, "{body}");
        }
    }

    #[test]
    fn an_error_of_minimax_has_the_status_that_its_code_means() {
        for (code, status) in [
            (1008, 402),
            (1004, 401),
            (1002, 429),
            (2013, 400),
            (1033, 500),
        ] {
            let body = format!(
                r#"{{"choices":null,"base_resp":{{"status_code":{code},"status_msg":"no"}}}}"#
            );
            let reported = UpstreamError::parse(&body).unwrap();
            assert_eq!(reported.status, Some(status), "{code}");
            assert_eq!(reported.message, format!("no ({code})"));
        }
    }

    #[test]
    fn a_code_is_a_word_or_a_status() {
        let reported =
            UpstreamError::parse(r#"{"error":{"message":"m","type":"T","code":"c","param":"p"}}"#)
                .unwrap();
        assert_eq!(
            (
                &*reported.code,
                reported.status,
                &*reported.param,
                &*reported.kind
            ),
            ("c", None, "p", "T")
        );
        let reported = UpstreamError::parse(r#"{"error":{"message":"m","code":503}}"#).unwrap();
        assert_eq!((&*reported.code, reported.status), ("", Some(503)));
        assert!(
            UpstreamError {
                kind: "RateLimitError".to_owned(),
                ..reported
            }
            .names(&["ratelimit"])
        );
    }
}

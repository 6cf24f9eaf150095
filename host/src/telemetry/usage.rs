//! What an upstream reports about a response: tokens, and what it did to the conversation. Does no
//! I/O.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The most characters of a remark.
const REMARK: usize = 200;

/// The tokens reported so far, and remarks.
///
/// In a stream the numbers are running totals, and an event may omit one or report 0 for it. So the
/// largest value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_creation: Option<u64>,
    /// Boxed, because few responses have any.
    pub(crate) remarks: Option<Box<Remarks>>,
}

/// What an upstream says about the conversation it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// `input_transformations`: `thinking_dropped prefix_binding_mismatch messages.1.content.0`,
    /// and how many more there are.
    pub(crate) transformations: Option<String>,
    /// `diagnostics.cache_miss_reason`.
    pub(crate) cache_miss: Option<String>,
}

impl Usage {
    /// Whether events with this name contain `usage`.
    pub(crate) fn is_in(name: &[u8]) -> bool {
        matches!(name, b"message_start" | b"message_delta")
    }

    /// Reads an event's data. Data of events without `usage` is ignored.
    pub(crate) fn of_event(&mut self, name: &[u8], data: &[u8]) {
        #[derive(Deserialize)]
        struct Start<'a> {
            #[serde(borrow)]
            message: Message<'a>,
        }
        match name {
            b"message_start" => {
                if let Ok(start) = serde_json::from_slice::<Start<'_>>(data) {
                    self.take(start.message);
                }
            }
            b"message_delta" => {
                self.of_message(data);
            }
            _ => {}
        }
    }

    /// Reads a message, or other JSON with `usage` at its top level. Returns false if the body is
    /// not JSON or its `usage` is something else.
    pub(crate) fn of_message(&mut self, body: &[u8]) -> bool {
        let message = serde_json::from_slice::<Message<'_>>(body);
        message.map(|message| self.take(message)).is_ok()
    }

    /// Returns the reported counts by type.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_creation", self.cache_creation),
        ]
        .into_iter()
        .filter_map(|(name, count)| Some((name, count?)))
    }

    fn take(&mut self, message: Message<'_>) {
        let transformations = message.input_transformations.and_then(transformations);
        let cache_miss = message.diagnostics.and_then(cache_miss);
        if transformations.is_some() || cache_miss.is_some() {
            let remarks = self.remarks.get_or_insert_default();
            // A later list replaces the one before.
            remarks.transformations = transformations.or(remarks.transformations.take());
            remarks.cache_miss = cache_miss.or(remarks.cache_miss.take());
        }
        let Some(reported) = message.usage else {
            return;
        };
        // `None` is less than any number.
        self.input = self.input.max(reported.input_tokens);
        self.output = self.output.max(reported.output_tokens);
        self.cache_read = self.cache_read.max(reported.cache_read_input_tokens);
        self.cache_creation = self
            .cache_creation
            .max(reported.cache_creation_input_tokens);
    }
}

/// Remarks of another shape than expected must not cost the counts, so they are read later.
#[derive(Deserialize)]
struct Message<'a> {
    usage: Option<Reported>,
    #[serde(borrow)]
    input_transformations: Option<&'a RawValue>,
    #[serde(borrow)]
    diagnostics: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Reported {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// The first entry in words, and the number of the others. `None` without entries.
fn transformations(list: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Entry {
        r#type: String,
        path: Option<String>,
        reason: Option<String>,
    }
    let list: Vec<Entry> = serde_json::from_str(list.get()).ok()?;
    let Entry {
        r#type,
        path,
        reason,
    } = list.first()?;
    let parts = [Some(r#type), reason.as_ref(), path.as_ref()];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    let more = match list.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(cut(&parts.join(" ")) + &more)
}

fn cache_miss(diagnostics: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Diagnostics {
        cache_miss_reason: Option<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        r#type: String,
    }
    let found = serde_json::from_str::<Option<Diagnostics>>(diagnostics.get());
    Some(cut(&found.ok()??.cache_miss_reason?.r#type))
}

fn cut(text: &str) -> String {
    text.chars().take(REMARK).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_totals_are_not_added_up() {
        let mut usage = Usage::default();
        usage.of_event(
            b"message_start",
            br#"{"type":"message_start","message":{"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
        );
        for data in [
            br#"{"usage":{"output_tokens":5,"input_tokens":0}}"#.as_slice(),
            br#"{"usage":{"output_tokens":8,"cache_creation_input_tokens":null}}"#,
            br#"{"delta":{}}"#,
        ] {
            usage.of_event(b"message_delta", data);
        }
        let counts: Vec<_> = usage.counts().collect();
        assert_eq!(counts, [("input", 9), ("output", 8), ("cache_read", 4)]);
    }

    #[test]
    fn what_a_model_says_about_usage_is_not_counted() {
        let mut usage = Usage::default();
        usage.of_message(
            br#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":99}}}]}"#,
        );
        usage.of_event(b"content_block_delta", br#"{"usage":{"input_tokens":99}}"#);
        usage.of_message(b"no JSON");
        assert_eq!(usage, Usage::default());
        usage.of_message(br#"{"usage":{"input_tokens":2,"output_tokens":3}}"#);
        assert_eq!((usage.input, usage.output), (Some(2), Some(3)));
    }

    #[test]
    fn what_an_upstream_says_about_the_conversation_is_kept_in_words() {
        let table = [
            (
                r#"{"input_transformations":[],"diagnostics":null}"#,
                None,
                None,
            ),
            (r#"{"diagnostics":{"cache_miss_reason":null}}"#, None, None),
            (
                r#"{"diagnostics":{"cache_miss_reason":{"type":"system_changed","n":1}}}"#,
                None,
                Some("system_changed"),
            ),
            (
                r#"{"input_transformations":[{"type":"thinking_dropped","path":"messages.1.content.0","reason":"prefix_binding_mismatch"}]}"#,
                Some("thinking_dropped prefix_binding_mismatch messages.1.content.0"),
                None,
            ),
            (
                r#"{"input_transformations":[{"type":"new"},{"type":"a"},{"type":"b"}]}"#,
                Some("new and 2 more"),
                None,
            ),
        ];
        for (body, transformations, cache_miss) in table {
            let mut usage = Usage::default();
            assert!(usage.of_message(body.as_bytes()), "{body}");
            let remarks = usage.remarks.unwrap_or_default();
            assert_eq!(
                remarks.transformations.as_deref(),
                transformations,
                "{body}"
            );
            assert_eq!(remarks.cache_miss.as_deref(), cache_miss, "{body}");
            let mut streamed = Usage::default();
            let start = format!(r#"{{"message":{body}}}"#);
            streamed.of_event(b"message_start", start.as_bytes());
            let remarks = streamed.remarks.unwrap_or_default();
            assert_eq!(
                remarks.transformations.as_deref(),
                transformations,
                "{body}"
            );
        }
    }

    #[test]
    fn remarks_of_another_shape_do_not_cost_the_counts() {
        let mut usage = Usage::default();
        usage.of_message(
            br#"{"usage":{"input_tokens":2},"input_transformations":{},"diagnostics":[7]}"#,
        );
        assert_eq!((usage.input, usage.remarks), (Some(2), None));
    }
}

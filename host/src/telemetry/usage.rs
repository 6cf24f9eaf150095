//! The tokens of a response, as the upstream reports them in `usage`. Does no I/O.

use serde::Deserialize;

/// The tokens reported so far.
///
/// In a stream the numbers are running totals, and an event may omit one or report 0 for it. So the
/// largest value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_creation: Option<u64>,
}

impl Usage {
    /// Whether events with this name contain `usage`.
    pub(crate) fn is_in(name: &[u8]) -> bool {
        matches!(name, b"message_start" | b"message_delta")
    }

    /// Reads an event's data. Data of events without `usage` is ignored.
    pub(crate) fn of_event(&mut self, name: &[u8], data: &[u8]) {
        #[derive(Deserialize)]
        struct Start {
            message: Message,
        }
        match name {
            b"message_start" => {
                if let Ok(start) = serde_json::from_slice::<Start>(data) {
                    self.take(start.message.usage);
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
        let message = serde_json::from_slice::<Message>(body);
        message.map(|message| self.take(message.usage)).is_ok()
    }

    /// Returns the reported counts by type.
    pub(super) fn counts(self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_creation", self.cache_creation),
        ]
        .into_iter()
        .filter_map(|(name, count)| Some((name, count?)))
    }

    fn take(&mut self, reported: Option<Reported>) {
        let Some(reported) = reported else { return };
        // `None` is less than any number.
        self.input = self.input.max(reported.input_tokens);
        self.output = self.output.max(reported.output_tokens);
        self.cache_read = self.cache_read.max(reported.cache_read_input_tokens);
        self.cache_creation = self
            .cache_creation
            .max(reported.cache_creation_input_tokens);
    }
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Reported {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
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
}

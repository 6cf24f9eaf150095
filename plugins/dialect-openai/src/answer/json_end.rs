//! Detects the end of a tool call's arguments, which arrive in pieces.

/// Scans JSON text as it arrives. It detects the end of an object and validates nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonEnd {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl JsonEnd {
    /// Scans a piece, up to the end of the object. Returns how much of the piece belongs to it.
    pub(crate) fn take(&mut self, text: &str) -> usize {
        for (at, byte) in text.bytes().enumerate() {
            if self.reached() {
                return at;
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        text.len()
    }

    /// Whether an object has begun and ended.
    pub(crate) fn reached(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_at_its_last_bracket_wherever_the_pieces_are_cut() {
        let text = r#"{"a": "}\"]\\", "b": [{}, "é"], "c": {"d": "["}}"#;
        for (at, _) in text.char_indices().skip(1) {
            let mut end = JsonEnd::default();
            end.take(&text[..at]);
            assert!(!end.reached(), "{}", &text[..at]);
            let more = format!("{} é}}", &text[at..]);
            assert_eq!(end.take(&more), text.len() - at);
            assert!(end.reached(), "{}", &text[..at]);
            assert_eq!(end.take("{}"), 0);
        }
        assert!(!JsonEnd::default().reached());
    }
}

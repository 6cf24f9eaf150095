//! Assembles the tool calls of a response from their pieces.
//!
//! Servers agree on little here. Pieces of several calls are interleaved, or each call arrives
//! whole. The index that distinguishes them is missing or always 0. Ids are missing, or new with
//! every piece. Names arrive in pieces or are repeated with every piece.

use super::{
    chunk::{Function, ToolCall},
    json_end::JsonEnd,
};

#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// The first call that has not ended yet.
    next: usize,
    /// Whether arguments arrived for a call that had ended.
    late: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Call {
    index: Option<u64>,
    pub(crate) id: String,
    pub(crate) name: String,
    /// Arguments received and not yet written.
    pub(crate) arguments: String,
    any: bool,
    end: JsonEnd,
    pub(crate) begun: bool,
}

/// What to do next with a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin its block if that has not happened, and write its arguments.
    Go(usize),
    /// The same, and then end the block.
    End(usize),
}

impl Calls {
    /// Takes the pieces of one chunk.
    pub(crate) fn take<'a>(&mut self, pieces: impl IntoIterator<Item = ToolCall<'a>>) {
        for (position, piece) in pieces.into_iter().enumerate() {
            // Calls in one chunk that nothing else distinguishes are separate calls.
            let beside = position > 0 && piece.index.0.is_none() && piece.id.is_empty();
            let at = match self.find(&piece) {
                Some(at)
                    if !(beside || self.calls[at].is_over(&piece))
                        || piece.function.name.is_empty() =>
                {
                    at
                }
                _ => {
                    self.calls.push(Call {
                        index: piece.index.0,
                        ..Call::default()
                    });
                    self.calls.len() - 1
                }
            };
            self.late |= at < self.next && !piece.function.arguments.trim().is_empty();
            if at >= self.next {
                self.calls[at].take(&piece);
            }
        }
    }

    /// The call that a piece most likely belongs to.
    fn find(&self, piece: &ToolCall<'_>) -> Option<usize> {
        match piece.index.0 {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == piece.index.0),
            None if piece.id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().rposition(|call| call.id == *piece.id),
        }
    }

    /// The next step that needs no further pieces. With `finish`, no more pieces will arrive.
    pub(crate) fn step(&mut self, finish: bool) -> Option<Step> {
        let at = self.next;
        let others = self.calls.len() > at + 1;
        let call = self.calls.get(at)?;
        if finish || (others && call.end.reached()) {
            self.next += 1;
            return Some(Step::End(at));
        }
        (!call.arguments.is_empty()).then_some(Step::Go(at))
    }

    /// Ends the call in progress if its arguments are complete.
    pub(crate) fn end_if_whole(&mut self) -> Option<Step> {
        let at = self.next;
        let whole = self.calls.get(at).is_some_and(|call| call.end.reached());
        whole.then(|| {
            self.next += 1;
            Step::End(at)
        })
    }

    /// Whether a call is in progress.
    pub(crate) fn in_progress(&self) -> bool {
        self.next < self.calls.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn late(&self) -> bool {
        self.late
    }

    pub(crate) fn get(&mut self, at: usize) -> Option<&mut Call> {
        self.calls.get_mut(at)
    }
}

impl Call {
    /// Whether a piece with a name begins another call although it has this call's index.
    fn is_over(&self, piece: &ToolCall<'_>) -> bool {
        let ids = !self.id.is_empty() && !piece.id.is_empty();
        let same = ids && self.id == *piece.id;
        let other = ids && self.id != *piece.id;
        !same && (self.end.reached() || (other && !self.any))
    }

    fn take(&mut self, piece: &ToolCall<'_>) {
        if self.id.is_empty() {
            self.id = piece.id.to_string();
        }
        let Function { name, arguments } = &piece.function;
        // Some servers repeat the name with every piece.
        if !self.any && self.name != **name {
            self.name.push_str(name);
        }
        self.any |= !arguments.is_empty();
        self.end.take(arguments);
        self.arguments.push_str(arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunk: &str) -> Vec<ToolCall<'_>> {
        serde_json::from_str(chunk).unwrap()
    }

    /// The id, name and arguments of each assembled call.
    fn calls(chunks: &[&str]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for chunk in chunks {
            calls.take(pieces(chunk));
        }
        let calls = calls.calls.into_iter();
        calls
            .map(|call| (call.id, call.name, call.arguments))
            .collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn pieces_are_joined_by_their_index() {
        let chunks = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]"#,
            r#"[{"index":0,"function":{"arguments":"{\"x\":"}},{"index":1,"function":{"arguments":":2}"}}]"#,
            r#"[{"index":0,"function":{"arguments":"1}"}}]"#,
        ];
        assert_eq!(
            calls(&chunks),
            [call("a", "f", r#"{"x":1}"#), call("b", "g", r#"{"y":2}"#)]
        );
    }

    #[test]
    fn whole_calls_under_one_index_are_separate_calls() {
        let chunks = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"function":{"name":"g","arguments":"{}"}}]"#,
        ];
        assert_eq!(
            calls(&chunks),
            [
                call("a", "f", "{}"),
                call("b", "f", "{}"),
                call("", "g", "{}")
            ]
        );
        let without_arguments = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"f","arguments":""}}]"#,
        ];
        assert_eq!(
            calls(&without_arguments),
            [call("a", "f", ""), call("b", "f", "")]
        );
    }

    #[test]
    fn calls_without_an_index_are_distinguished_by_id_name_or_position() {
        let by_id = [
            r#"[{"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"id":"b","function":{"name":"g","arguments":"{}"}}]"#,
            r#"[{"id":"a","function":{"arguments":"}"}}]"#,
        ];
        assert_eq!(calls(&by_id), [call("a", "f", "{}"), call("b", "g", "{}")]);
        let by_name = [
            r#"[{"function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"function":{"arguments":"}"}}]"#,
            r#"[{"function":{"name":"f","arguments":"{}"}}]"#,
        ];
        assert_eq!(calls(&by_name), [call("", "f", "{}"), call("", "f", "{}")]);
        let by_place = [r#"[{"function":{"name":"f"}},{"function":{"name":"g"}}]"#];
        assert_eq!(calls(&by_place), [call("", "f", ""), call("", "g", "")]);
    }

    #[test]
    fn a_name_in_pieces_or_repeated_with_every_piece_is_one_name() {
        let pieces = [
            r#"[{"index":0,"id":"a","function":{"name":"get_"}}]"#,
            r#"[{"index":0,"function":{"name":"weather","arguments":""}}]"#,
            r#"[{"index":0,"function":{"name":"","arguments":"{}"}}]"#,
        ];
        assert_eq!(calls(&pieces), [call("a", "get_weather", "{}")]);
        let again = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]"#,
        ];
        assert_eq!(calls(&again), [call("a", "f", "{}")]);
    }

    #[test]
    fn an_id_that_is_new_with_every_piece_does_not_begin_a_call() {
        let chunks = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":0,"id":"b","function":{"arguments":"{}"}}]"#,
        ];
        assert_eq!(calls(&chunks), [call("a", "f", "{}")]);
    }

    #[test]
    fn one_call_is_written_while_others_wait_for_its_end() {
        let mut calls = Calls::default();
        let mut take = |chunk: &str, steps: &[Step]| {
            calls.take(pieces(chunk));
            for step in steps {
                assert_eq!(calls.step(false).as_ref(), Some(step), "{chunk}");
                let (Step::Go(at) | Step::End(at)) = step;
                calls.calls[*at].arguments.clear();
            }
            assert_eq!(calls.step(false), None, "{chunk}");
        };
        take(
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            &[Step::Go(0)],
        );
        take(
            r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]"#,
            &[],
        );
        take(
            r#"[{"index":0,"function":{"arguments":"}"}}]"#,
            &[Step::End(0), Step::Go(1)],
        );
        take(
            r#"[{"index":1,"function":{"arguments":"}"}}]"#,
            &[Step::Go(1)],
        );
        assert_eq!(calls.step(true), Some(Step::End(1)));
        assert_eq!(calls.step(true), None);
        assert!(!calls.late());
        calls.take(pieces(r#"[{"index":0,"function":{"arguments":"x"}}]"#));
        assert!(calls.late());
    }
}

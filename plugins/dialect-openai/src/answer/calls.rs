//! Assembles the tool calls of a response from their pieces.
//!
//! Servers agree on little here. Pieces of several calls are interleaved, or each call arrives
//! whole. The index that distinguishes them is missing or always 0. Ids are missing, or new with
//! every piece. Names arrive in pieces or are repeated with every piece.

use serde_json::{Map, Value};

use super::{arguments::Arguments, chunk::CallPiece};
use crate::state;

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
    pub(crate) arguments: Arguments,
    /// What the upstream wants back with the call, and with its function.
    pub(crate) state: [Map<String, Value>; 2],
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
    pub(crate) fn take(&mut self, pieces: Vec<CallPiece>) {
        for (position, piece) in pieces.into_iter().enumerate() {
            // Calls in one chunk that nothing else distinguishes are separate calls.
            let beside = position > 0 && piece.index.is_none() && piece.id.is_empty();
            let at = match self.find(&piece) {
                Some(at)
                    if !(beside || self.calls[at].is_over(&piece)) || piece.name.is_empty() =>
                {
                    at
                }
                _ => {
                    self.calls.push(Call {
                        index: piece.index,
                        ..Call::default()
                    });
                    self.calls.len() - 1
                }
            };
            self.late |= !self.calls[at].take(piece);
        }
    }

    /// Takes the calls of a whole message: only what its pieces did not contain.
    pub(crate) fn take_whole(&mut self, calls: Vec<CallPiece>) {
        let mut more = calls.into_iter();
        for call in &mut self.calls {
            let Some(piece) = more.next() else { return };
            if call.arguments.is_nothing() && !call.begun {
                call.arguments.take(&piece.arguments);
            }
        }
        for piece in more {
            self.calls.push(Call {
                index: piece.index,
                ..Call::default()
            });
            if let Some(call) = self.calls.last_mut() {
                call.take(piece);
            }
        }
    }

    /// The call that a piece most likely belongs to.
    fn find(&self, piece: &CallPiece) -> Option<usize> {
        match piece.index {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == piece.index),
            None if piece.id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().rposition(|call| call.id == piece.id),
        }
    }

    /// The next step that needs no further pieces. With `finish`, no more pieces will arrive.
    /// `is_held` says whether the arguments of a tool are written only as a whole.
    pub(crate) fn step(&mut self, finish: bool, is_held: impl Fn(&str) -> bool) -> Option<Step> {
        let at = self.next;
        let others = self.calls.len() > at + 1;
        let call = self.calls.get(at)?;
        if finish || (others && call.has_ended()) {
            self.next += 1;
            return Some(Step::End(at));
        }
        let ready = call.arguments.is_ready() && !call.name.is_empty() && !is_held(&call.name);
        ready.then_some(Step::Go(at))
    }

    /// Ends the call in progress if its arguments are complete.
    pub(crate) fn end_if_whole(&mut self) -> Option<Step> {
        let at = self.next;
        let whole = self.calls.get(at).is_some_and(Call::has_ended);
        whole.then(|| {
            self.next += 1;
            Step::End(at)
        })
    }

    /// Whether a call is in progress.
    pub(crate) fn in_progress(&self) -> bool {
        self.next < self.calls.len()
    }

    /// Whether any call has been written.
    pub(crate) fn any_begun(&self) -> bool {
        self.calls.iter().any(|call| call.begun)
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
    fn is_over(&self, piece: &CallPiece) -> bool {
        let ids = !self.id.is_empty() && !piece.id.is_empty();
        if ids && self.id == piece.id {
            // An id that is used twice, unless the whole call is sent twice.
            let more = piece.arguments.trim();
            return self.arguments.has_ended()
                && !more.is_empty()
                && !self.arguments.is_repeated_by(more);
        }
        let other = ids && self.id != piece.id;
        self.arguments.may_be_whole() || (other && !self.arguments.any())
    }

    fn has_ended(&self) -> bool {
        self.arguments.has_ended() && !self.name.is_empty()
    }

    /// Takes a piece. Returns false if its arguments are lost because the call had ended.
    fn take(&mut self, piece: CallPiece) -> bool {
        if self.id.is_empty() {
            self.id = piece.id;
        }
        // Some servers repeat the name with every piece.
        if self.name.is_empty() || (!self.arguments.any() && self.name != piece.name) {
            self.name.push_str(&piece.name);
        }
        for (own, more) in self.state.iter_mut().zip(piece.state) {
            state::add(own, more);
        }
        self.arguments.take(&piece.arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::chunk::Chunk, *};

    fn pieces(calls: &str) -> Vec<CallPiece> {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"tool_calls":{calls}}}}}]}}"#);
        let mut choices = Chunk::read(&chunk).unwrap().choices.unwrap();
        choices.remove(0).delta.unwrap().calls
    }

    /// The id, name and arguments of each assembled call.
    fn calls(chunks: &[&str]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for chunk in chunks {
            calls.take(pieces(chunk));
        }
        let each = calls.calls.into_iter().map(|mut call| {
            let arguments = call.arguments.finish(None).unwrap();
            (call.id, call.name, arguments)
        });
        each.collect()
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
            [call("a", "f", ""), call("b", "f", ""), call("", "g", "")]
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
        assert_eq!(calls(&by_id), [call("a", "f", ""), call("b", "g", "")]);
        let by_name = [
            r#"[{"function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"function":{"arguments":"}"}}]"#,
            r#"[{"function":{"name":"f","arguments":"{}"}}]"#,
        ];
        assert_eq!(calls(&by_name), [call("", "f", ""), call("", "f", "")]);
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
        assert_eq!(calls(&pieces), [call("a", "get_weather", "")]);
        let again = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]"#,
        ];
        assert_eq!(calls(&again), [call("a", "f", "")]);
    }

    #[test]
    fn an_id_that_is_new_with_every_piece_does_not_begin_a_call() {
        let chunks = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":0,"id":"b","function":{"arguments":"{}"}}]"#,
        ];
        assert_eq!(calls(&chunks), [call("a", "f", "")]);
    }

    #[test]
    fn an_id_that_is_used_twice_is_two_calls_unless_the_call_is_repeated() {
        let call_a = r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#;
        let other = r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\":2}"}}]"#;
        assert_eq!(calls(&[call_a, call_a]), [call("a", "f", r#"{"x":1}"#)]);
        assert_eq!(
            calls(&[call_a, other]),
            [call("a", "f", r#"{"x":1}"#), call("a", "f", r#"{"x":2}"#)]
        );
    }

    #[test]
    fn a_whole_message_adds_only_what_its_pieces_did_not_contain() {
        let mut calls = Calls::default();
        calls.take(pieces(
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},
                {"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]"#,
        ));
        calls.take_whole(pieces(
            r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},
                {"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}},
                {"id":"c","function":{"name":"h","arguments":"{}"}}]"#,
        ));
        let mut read = calls.calls.into_iter();
        let mut read = || {
            read.next().map(|mut call| {
                let arguments = call.arguments.finish(None).unwrap();
                (call.id, call.name, arguments)
            })
        };
        assert_eq!(read(), Some(call("a", "f", r#"{"x":1}"#)));
        assert_eq!(read(), Some(call("b", "g", r#"{"y":2}"#)));
        assert_eq!(read(), Some(call("c", "h", "")));
        assert_eq!(read(), None);
    }

    #[test]
    fn one_call_is_written_while_others_wait_for_its_end() {
        let mut calls = Calls::default();
        let mut take = |chunk: &str, steps: &[Step]| {
            calls.take(pieces(chunk));
            for step in steps {
                assert_eq!(calls.step(false, |_| false).as_ref(), Some(step), "{chunk}");
                let (Step::Go(at) | Step::End(at)) = step;
                calls.calls[*at].arguments.ready();
            }
            assert_eq!(calls.step(false, |_| false), None, "{chunk}");
        };
        take(
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x"}}]"#,
            &[Step::Go(0)],
        );
        take(
            r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"x"}}]"#,
            &[],
        );
        take(
            r#"[{"index":0,"function":{"arguments":"\":1}"}}]"#,
            &[Step::End(0), Step::Go(1)],
        );
        take(
            r#"[{"index":1,"function":{"arguments":"\":1}"}}]"#,
            &[Step::Go(1)],
        );
        assert_eq!(calls.step(true, |_| false), Some(Step::End(1)));
        assert_eq!(calls.step(true, |_| false), None);
        assert!(!calls.late());
        calls.take(pieces(r#"[{"index":0,"function":{"arguments":"x"}}]"#));
        assert!(calls.late());
    }

    #[test]
    fn a_call_that_may_still_get_arguments_does_not_end_before_the_response() {
        let mut calls = Calls::default();
        calls.take(pieces(
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},
                {"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]"#,
        ));
        assert_eq!(calls.step(false, |_| false), None);
        assert_eq!(calls.end_if_whole(), None);
        calls.take(pieces(
            r#"[{"index":0,"function":{"arguments":"{\"x\":1}"}}]"#,
        ));
        assert_eq!(calls.step(false, |_| true), Some(Step::End(0)));
    }
}

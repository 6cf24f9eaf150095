//! Long conversations of the official SDKs, against an upstream that checks signed thinking.

use crate::{
    install,
    support::{Gateway, strict::Strict},
    survives::{KEY, both},
};

const TURNS: usize = 50;

/// Before which turn the client clears an old tool result.
const CLEARS: usize = 10;

/// How many requests that costs: the decision of the first retry is repeated on later turns.
const RETRIES: usize = 1;

/// How many thinking blocks the model still reads in the last turn: what precedes the change, and
/// all that was made since.
const KEPT: usize = TURNS - CLEARS + 1;

/// Runs the conversation in each SDK, streamed and not, and shows what the upstream saw of it.
#[track_caller]
fn converse(clears: usize, check: impl Fn(&str, &Strict)) {
    for (sdk, run) in both("converse") {
        for how in ["create", "stream"] {
            let upstream = Strict::start();
            let gateway = Gateway::to(&upstream).auth("strict", &[KEY]).start();
            let base = format!("http://{}", gateway.addr);
            let (turns, clears) = (TURNS.to_string(), clears.to_string());
            let said = run(&[&base, how, &turns, &clears]);
            let name = format!("{sdk} {how}");
            assert_eq!(said.len(), TURNS, "{name}: {said:?}");
            for (turn, said) in (1..).zip(&said) {
                assert!(
                    said["stop_reason"].is_string(),
                    "{name} turn {turn}: {said}"
                );
            }
            check(&name, &upstream);
        }
    }
}

#[test]
fn fifty_turns_of_the_sdks_keep_their_thinking() {
    if install::skipped() {
        return;
    }
    converse(0, |name, upstream| {
        upstream.lost_nothing();
        let outcomes = upstream.outcomes();
        assert_eq!(outcomes.len(), TURNS, "{name}");
        assert_eq!(outcomes[TURNS - 1].read, TURNS - 1, "{name}");
    });
}

#[test]
fn a_break_in_a_conversation_of_the_sdks_reaches_no_user() {
    if install::skipped() {
        return;
    }
    converse(CLEARS, |name, upstream| {
        let outcomes = upstream.outcomes();
        assert_eq!(outcomes.len(), TURNS + RETRIES, "{name}");
        assert_eq!(upstream.refusals().len(), RETRIES, "{name}");
        assert_eq!(outcomes[CLEARS - 1].status, 400, "{name}");
        assert_eq!(outcomes[TURNS + RETRIES - 1].read, KEPT, "{name}");
    });
}

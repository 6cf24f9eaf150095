//! Checks of exchanges that follow each other.

use serde_json::{Value, json};

use super::{
    super::{Outcome, message::Message},
    Finding,
    scene::{Scene, in_session},
};
use crate::{cli::Failure, kit::Answer};

type Found = Result<Vec<Finding>, Failure>;

/// The turns of a conversation.
const TURNS: usize = 8;

pub(super) fn retry(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let Some(good) = scene.answer() else {
        return Ok(found);
    };
    for base in scene.bases() {
        let body = base.to_string();
        let overloaded = json!({
            "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" },
        });
        let mut exchange = scene.exchange(body.clone());
        exchange.answers = vec![Answer::of(overloaded.to_string()), good.clone()];
        let outcome = scene.run(&exchange)?;
        found.extend(Finding::of_failure("on a retry", &body, &outcome));
        // A plugin that learned from the error may send something else.
        let [first, second] = &outcome.sent[..] else {
            continue;
        };
        if !outcome.corrected && first.json() != second.json() {
            let why = "the retry on another account sends another body";
            found.push(Finding {
                why: why.to_owned(),
                sent: String::from_utf8_lossy(&first.body).into_owned(),
                came: String::from_utf8_lossy(&second.body).into_owned(),
            });
        }
    }
    Ok(found)
}

pub(super) fn growing_conversation(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    if scene.answer().is_none() {
        return Ok(found);
    }
    for base in scene.bases() {
        let mut body = base;
        scene.fresh()?;
        for turn in 1..=TURNS {
            let text = body.to_string();
            let exchange = in_session(scene.exchange(text.clone()));
            let outcome = scene.run_next(&exchange)?;
            let failed = Finding::of_failure(&format!("in turn {turn}"), &text, &outcome);
            let broken = broken(&outcome).map(|at| {
                let why = format!(
                    "turn {turn} sends something else at `{at}` than turn {} did: the prompt cache \
                     and signed thinking after it are lost",
                    turn - 1
                );
                Finding::of_request(why, &text, &outcome)
            });
            if let Some(finding) = failed.or(broken) {
                found.push(finding);
                break;
            }
            next_turn(&mut body, &outcome);
        }
    }
    Ok(found)
}

/// Where the plugin broke the prefix of the conversation.
fn broken(outcome: &Outcome) -> Option<String> {
    let prefix = outcome.header("x-witgate-prefix");
    let at = prefix.strip_prefix("broken; at=")?;
    let (at, by) = at.split_once("; by=")?;
    (by == format!("plugin:{}", outcome.plugin)).then(|| at.to_owned())
}

/// The request of the next turn: with the answer, and the client's next message.
fn next_turn(body: &mut Value, outcome: &Outcome) {
    let message = outcome.message();
    let tool = tool_use(&message);
    let answer = content(&message);
    let next = match &tool {
        Some(id) => json!([{ "type": "tool_result", "tool_use_id": id, "content": "a.txt" }]),
        None => json!("Go on."),
    };
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.push(json!({ "role": "assistant", "content": answer }));
        messages.push(json!({ "role": "user", "content": next }));
    }
}

/// The id of the tool call, if there is one.
fn tool_use(message: &Message) -> Option<&'static str> {
    let calls = message.blocks.iter().any(|block| block.kind == "tool_use");
    calls.then_some("toolu_07")
}

/// The content of a message as a client sends it back.
fn content(message: &Message) -> Value {
    let block = |block: &super::super::message::Block| match block.kind.as_str() {
        "thinking" => {
            json!({ "type": "thinking", "thinking": block.text, "signature": block.signature })
        }
        "redacted_thinking" => json!({ "type": "redacted_thinking", "data": block.text }),
        "tool_use" => {
            let input: Value = serde_json::from_str(&block.text).unwrap_or_else(|_| json!({}));
            json!({ "type": "tool_use", "id": "toolu_07", "name": "ls", "input": input })
        }
        _ => json!({ "type": "text", "text": block.text }),
    };
    message.blocks.iter().map(block).collect()
}

pub(super) fn forgotten_kv(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let mut body = base;
        for turn in 1..=2 {
            let text = body.to_string();
            let exchange = in_session(scene.exchange(text.clone()));
            // A new gateway: nothing that the first turn stored is left.
            let outcome = scene.run(&exchange)?;
            let what = format!("in turn {turn}, without what turn 1 stored in `kv`");
            found.extend(Finding::of_failure(&what, &text, &outcome));
            next_turn(&mut body, &outcome);
        }
    }
    Ok(found)
}

pub(super) fn lost_end(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let Some(good) = scene.answer() else {
        return Ok(found);
    };
    for base in scene.bases() {
        let body = base.to_string();
        let exchange = in_session(scene.exchange(body.clone()));
        let expected = scene.run(&exchange)?;
        scene.fresh()?;
        // The client leaves before the end of the answer, and after its first event.
        let most = good.body().len() * 2 / 3;
        let mut left = in_session(scene.exchange(body.clone()));
        if good.is_stream() {
            left.answers = vec![good.stall_at(most)];
        }
        scene.leave(&left, 1)?;
        let outcome = scene.run_next(&exchange)?;
        let what = "after an exchange that the client left";
        let failed = Finding::of_failure(what, &body, &outcome);
        let bodies = |outcome: &Outcome| -> Vec<Value> {
            outcome.sent.iter().map(|sent| sent.json()).collect()
        };
        let same = outcome.status == expected.status
            && bodies(&outcome) == bodies(&expected)
            && outcome.message() == expected.message();
        let why = "the same exchange goes another way after one that the client left";
        let differs = (!same).then(|| Finding::of_request(why, &body, &outcome));
        found.extend(failed.or(differs));
    }
    Ok(found)
}

//! Conversations whose thinking is signed over everything before it: first the strict upstream by
//! itself, then long sessions through the gateway.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Received, Reply, Request, component, each,
    strict::{BINDING_BETA, NEW_VERSION, Part, Session, Strict, Turn},
};

/// Makes one change to a conversation.
type Edit = fn(&mut Session);

/// A session that talks to the upstream without a gateway, after this many requests.
fn direct(upstream: &Strict, steps: usize) -> Session {
    let mut session = Session::new(upstream.addr()).key("sk-ada");
    session.steps(steps);
    session
}

/// The message of the 400 that the next request gets.
#[track_caller]
fn refusal(session: &mut Session) -> String {
    refused(&session.step())
}

#[track_caller]
fn refused(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

/// Removes the thinking of these assistant turns, counted from 0.
fn without_thinking(session: &mut Session, turns: impl Fn(usize) -> bool) {
    let assistants = session
        .messages
        .iter_mut()
        .filter(|message| message["role"] == "assistant");
    for (at, message) in assistants.enumerate() {
        if turns(at) {
            let blocks = message["content"].as_array_mut().unwrap();
            blocks.retain(|block| block["type"] != "thinking");
        }
    }
}

/// Changes that the prefix check does not see.
const HARMLESS: [(&str, Edit); 9] = [
    ("nothing", |_| {}),
    ("moved cache_control", |session| {
        session.system[2]
            .as_object_mut()
            .unwrap()
            .remove("cache_control");
        session.tools[0]["cache_control"] = json!({"type": "ephemeral"});
        session.messages[0]["content"][0]["cache_control"] = json!({"type": "ephemeral"});
    }),
    ("another order of keys", |session| {
        let tool = session.tools[0].as_object().unwrap();
        session.tools[0] = tool.clone().into_iter().rev().collect();
    }),
    ("another order of tools", |session| session.tools.reverse()),
    ("a deferred tool", |session| {
        session
            .tools
            .push(json!({"name": "later", "defer_loading": true}));
    }),
    ("settings outside of the prefix", |session| {
        let choice = json!({"type": "none"});
        session.fields.push(("tool_choice".to_owned(), choice));
    }),
    ("thinking edited under its signature", |session| {
        session.messages[1]["content"][0]["thinking"] = json!("");
    }),
    ("no thinking at the start", |session| {
        without_thinking(session, |turn| turn < 2);
    }),
    ("no thinking at the end", |session| {
        without_thinking(session, |turn| turn >= 2);
    }),
];

/// Changes that the prefix check sees, with the place of the first failing block and the sentence
/// about the cause.
const CHANGES: [(&str, &str, &str, Edit); 11] = [
    (
        "system",
        "messages.1.content.0",
        "The `system` prompt differs from",
        |session| {
            session.system[1]["text"] = json!("You are another.");
        },
    ),
    (
        "a description",
        "messages.1.content.0",
        "The `tools` list differs from",
        |session| {
            session.tools[2]["description"] = json!("Reads.");
        },
    ),
    (
        "one tool less",
        "messages.1.content.0",
        "The `tools` list differs from",
        |session| {
            session.tools.pop();
        },
    ),
    (
        "a question",
        "messages.1.content.0",
        "first at `messages.0.content.0`.",
        |session| {
            session.messages[0]["content"][0]["text"] = json!("another");
        },
    ),
    (
        "an added reminder",
        "messages.5.content.0",
        "first at `messages.4.content.1`.",
        |session| {
            let reminder = json!({"type": "text", "text": "reminder"});
            session.messages[4]["content"]
                .as_array_mut()
                .unwrap()
                .push(reminder);
        },
    ),
    (
        "a text for a block",
        "messages.1.content.0",
        "first at `messages.0.content.0`.",
        |session| {
            session.messages[0]["content"] = session.messages[0]["content"][0]["text"].clone();
        },
    ),
    (
        "the input of a tool",
        "messages.3.content.0",
        "first at `messages.1.content.0`.",
        |session| {
            session.messages[1]["content"][1]["input"]["path"] = json!("/other");
        },
    ),
    ("a tool result", "messages.3.content.0", "", |session| {
        session.messages[2]["content"][0]["content"] = json!("[cleared]");
    }),
    (
        "no first messages",
        "messages.1.content.0",
        "A message older than",
        |session| {
            session.messages.drain(..4);
        },
    ),
    (
        "a gap",
        "messages.5.content.0",
        "The `thinking` block that preceded",
        |session| {
            without_thinking(session, |turn| turn == 1);
        },
    ),
    (
        "a field of a message",
        "messages.3.content.0",
        "first at `messages.2",
        |session| {
            session.messages[2]["output_config"] = json!({"effort": "low"});
        },
    ),
];

#[test]
fn the_strict_upstream_accepts_what_is_no_change() {
    each(HARMLESS, |edit| {
        let upstream = Strict::start();
        let mut session = direct(&upstream, 4);
        edit(&mut session);
        session.steps(2);
        upstream.lost_nothing();
    });
}

#[test]
fn the_strict_upstream_names_what_changed() {
    each(
        CHANGES.map(|(name, at, why, edit)| (name, (at, why, edit))),
        |(at, why, edit)| {
            let upstream = Strict::start();
            let mut session = direct(&upstream, 4);
            edit(&mut session);
            let message = refusal(&mut session);
            let begin = format!(
                "{at}: Invalid `signature` in `thinking` block. The block is bound to a different \
             conversation. Remove the block, or set \
             `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\". That setting \
             requires the `{BINDING_BETA}` value in the `anthropic-beta` header."
            );
            let rest = message.strip_prefix(&begin);
            let rest = rest.unwrap_or_else(|| panic!("{message}"));
            assert_eq!(rest.is_empty(), why.is_empty(), "{message}");
            assert!(rest.contains(why), "{message}");
            assert_eq!(refused(&session.count()), message);
            without_thinking(&mut session, |_| true);
            session.steps(3);
        },
    );
}

#[test]
fn the_strict_upstream_shortens_its_error() {
    let upstream = Strict::rules().unnamed().start();
    let mut session = direct(&upstream, 1).on_mismatch("error");
    session.system = json!("other");
    let message = refusal(&mut session);
    assert!(message.ends_with("to \"drop_block\"."), "{message}");
}

#[test]
fn the_strict_upstream_takes_a_system_string_for_one_block() {
    let upstream = Strict::start();
    let mut session = Session::new(upstream.addr());
    session.system = json!("be brief");
    session.steps(2);
    session.system = json!([{"type": "text", "text": "be brief"}]);
    session.steps(2);
    upstream.lost_nothing();
}

#[test]
fn the_strict_upstream_keeps_members_of_an_input_that_look_like_marks() {
    let upstream = Strict::rules()
        .script(|_| Turn::tool("tool_0", json!({"cache_control": 1})))
        .start();
    let mut session = direct(&upstream, 2);
    let input = &mut session.messages[1]["content"][1]["input"];
    input.as_object_mut().unwrap().remove("cache_control");
    assert!(refusal(&mut session).contains("bound to a different"));
}

#[test]
fn the_strict_upstream_refuses_altered_signatures_whatever_is_set() {
    let upstream = Strict::rules()
        .script(|_| Turn(vec![Part::Redacted, Part::Text("hi".to_owned())]))
        .start();
    let mut session = direct(&upstream, 2).on_mismatch("drop_block");
    session.messages[1]["content"][0]["data"] = json!("");
    let wrong = "messages.1.content.0: Invalid `data` in `redacted_thinking` block";
    assert_eq!(refusal(&mut session), wrong);

    let upstream = Strict::start();
    for signature in ["", "c2lnbmVk"] {
        let mut session = direct(&upstream, 2).on_mismatch("drop_block");
        session.messages[1]["content"][0]["signature"] = json!(signature);
        let wrong = "messages.1.content.0: Invalid `signature` in `thinking` block";
        assert_eq!(refusal(&mut session), wrong);
        session.switch("claude-opus-5");
        assert_eq!(
            refusal(&mut session),
            wrong,
            "a model without the prefix check"
        );
    }
}

#[test]
fn the_strict_upstream_refuses_another_order_in_the_latest_turn() {
    let thought = |text: &str| Part::Thinking(text.to_owned());
    let say = |text: &str| Part::Text(text.to_owned());
    let upstream = Strict::rules()
        .script(move |_| Turn(vec![thought("a"), say("b"), thought("c"), say("d")]))
        .start();
    let orders: [(&str, &[usize], bool); 5] = [
        ("as it was", &[0, 1, 2, 3], true),
        ("thinking first", &[0, 2, 1, 3], false),
        ("exchanged", &[2, 1, 0, 3], false),
        ("only the first", &[0, 1, 3], true),
        ("only the last", &[1, 2, 3], true),
    ];
    each(
        orders.map(|(name, order, accepted)| (name, (order, accepted))),
        |(order, accepted)| {
            let mut session = direct(&upstream, 1);
            let blocks = session.messages[1]["content"].clone();
            session.messages[1]["content"] = order.iter().map(|at| blocks[*at].clone()).collect();
            let reply = session.ask("and?");
            if accepted {
                reply.has_status(200);
            } else {
                let message = refused(&reply);
                assert!(
                    message.contains("blocks in the latest assistant message cannot be modified")
                );
            }
        },
    );
}

#[test]
fn the_strict_upstream_drops_on_request_and_keeps_what_is_made_later() {
    let upstream = Strict::start();
    let mut session = direct(&upstream, 4).on_mismatch("drop_block");
    session.messages[2]["content"][0]["content"] = json!("[cleared]");
    session.step().has_status(200);
    let dropped = |at: usize| {
        json!({
            "type": "thinking_dropped",
            "path": format!("messages.{at}.content.0"),
            "reason": "prefix_binding_mismatch",
        })
    };
    let expected = [3, 5, 7].map(dropped);
    assert_eq!(session.received["input_transformations"], json!(expected));
    session.steps(3);
    assert_eq!(session.received["input_transformations"], json!(expected));
    let last = upstream.outcomes().pop().unwrap();
    assert_eq!(last.read, 4, "the first, and the three after the change");
    session.betas.clear();
    session.thinking = json!({"type": "adaptive"});
    assert!(refusal(&mut session).starts_with("messages.3.content.0: "));
    // A block that comes back after it was left out breaks the chain.
    let whole = session.messages.clone();
    without_thinking(&mut session, |_| true);
    session.steps(1);
    session
        .messages
        .splice(..whole.len(), whole.into_iter().take(4));
    session.stream = true;
    session.thinking = json!({"type": "adaptive"});
    assert_eq!(session.step().status, 400);
}

#[test]
fn the_strict_upstream_knows_where_block_binding_is_allowed() {
    let upstream = Strict::start();
    let lacking = Strict::rules().without_block_binding().start();
    let set = |kind: &str| {
        let binding = json!({"prefix_mismatch_behavior": "drop_block"});
        json!({"type": kind, "block_binding": binding})
    };
    let check = |upstream: &Strict, beta: bool, thinking: Value| {
        let mut session = Session::new(upstream.addr());
        session.betas.extend(beta.then(|| BINDING_BETA.to_owned()));
        session.thinking = thinking;
        session.step()
    };
    check(&upstream, true, set("adaptive")).has_status(200);
    check(
        &upstream,
        true,
        json!({"type": "adaptive", "block_binding": {}}),
    )
    .has_status(200);
    let wrong = json!({"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "x"}});
    refused(&check(&upstream, true, wrong));
    for reply in [
        check(&upstream, false, set("adaptive")),
        check(&upstream, true, set("disabled")),
        check(&upstream, true, set("between_tools")),
        check(&lacking, true, set("adaptive")),
    ] {
        let message = refused(&reply);
        assert!(
            message.ends_with("block_binding: Extra inputs are not permitted"),
            "{message}"
        );
    }
}

#[test]
fn the_strict_upstream_lets_old_accounts_through_unless_the_request_opts_in() {
    let upstream = Strict::rules().old_account("sk-ada").start();
    let mut session = direct(&upstream, 3);
    session.system = json!("other");
    session
        .step()
        .has_status(200)
        .has_not("input_transformations");
    assert_eq!(upstream.outcomes()[3].transformations.len(), 3);
    let mut seen = session.fork().beta(BINDING_BETA);
    seen.step().has_status(200);
    let entries = seen.received["input_transformations"].as_array().unwrap();
    assert_eq!(entries[0]["type"], "thinking_mismatch_allowed");
    assert_eq!(entries.len(), 3, "what was made after the change is valid");
    refusal(&mut session.fork().on_mismatch("error"));
    refusal(&mut session.fork().key("sk-bob"));

    // A model that came later checks on every account.
    let mut session = direct(&upstream, 0).model("claude-fable-5-2");
    session.steps(1);
    session.system = json!("other");
    refusal(&mut session);
}

#[test]
fn the_strict_upstream_does_not_check_for_earlier_models() {
    let upstream = Strict::start();
    let mut session = Session::new(upstream.addr()).model("claude-sonnet-5");
    session.steps(2);
    session.system = json!("other");
    session.steps(2);
    session.on_mismatch("error").steps(1);
}

#[test]
fn the_strict_upstream_drops_silently_what_a_model_cannot_read() {
    let upstream = Strict::start();
    let mut session = direct(&upstream, 2).model("claude-sonnet-5-5");
    session
        .step()
        .has_status(200)
        .has_not("input_transformations");
    assert_eq!(upstream.outcomes()[2].read, 0);
    session.betas.push(BINDING_BETA.to_owned());
    session.step().has_status(200);
    let entries = session.received["input_transformations"].clone();
    assert_eq!(entries[1]["reason"], "model_binding_mismatch");
    assert_eq!(entries.as_array().unwrap().len(), 2);
    // Opus reads its own blocks again, and those of Sonnet.
    session.switch("claude-opus-5-5");
    session
        .step()
        .has_status(200)
        .has(r#""input_transformations":[]"#);
    assert_eq!(upstream.outcomes()[4].read, 4);
}

#[test]
fn the_strict_upstream_binds_some_models_to_organizations() {
    let upstream = Strict::rules()
        .organization("sk-ada", "one")
        .organization("sk-bob", "one")
        .start();
    let mut session = direct(&upstream, 0).model("claude-haiku-5-5");
    session.steps(2);
    session.key = "sk-bob".to_owned();
    session.steps(1);
    upstream.lost_nothing();
    session.key = "sk-cyd".to_owned();
    session
        .step()
        .has_status(200)
        .has_not("input_transformations");
    session.betas.push(BINDING_BETA.to_owned());
    session.stream = true;
    session.step().has_status(200);
    let entries = session.received["input_transformations"]
        .as_array()
        .unwrap();
    assert_eq!(entries.len(), 3, "the block of this organization is read");
    assert_eq!(entries[0]["reason"], "organization_binding_mismatch");
}

#[test]
fn the_strict_upstream_knows_the_versions() {
    let upstream = Strict::start();
    let lacking = Strict::rules().without_new_version().start();
    let ask = |upstream: &Strict, version: &str, field: Option<&str>| {
        let mut session = Session::new(upstream.addr());
        session.version = version.to_owned();
        let fields = field.map(|name| (name.to_owned(), json!(1)));
        session.fields.extend(fields);
        session.step()
    };
    ask(&upstream, NEW_VERSION, None).has_status(200);
    ask(&upstream, "2023-06-01", Some("temperature")).has_status(200);
    for field in ["temperature", "top_p", "top_k"] {
        let message = refused(&ask(&upstream, NEW_VERSION, Some(field)));
        assert_eq!(message, format!("{field}: Extra inputs are not permitted"));
    }
    assert!(refused(&ask(&upstream, "2026-10-22", None)).contains("invalid version"));
    assert!(refused(&ask(&lacking, NEW_VERSION, None)).contains("invalid version"));
    let bare = Request::new(upstream.addr(), "POST", "/v1/messages")
        .body("{}")
        .send();
    assert_eq!(refused(&bare), "anthropic-version: header is required");
}

#[test]
fn the_strict_upstream_counts_its_prompt_cache() {
    let upstream = Strict::start();
    let mut session = direct(&upstream, 3);
    let usage = |at: usize| upstream.outcomes()[at].usage;
    assert_eq!(usage(0).read, 0);
    assert_eq!(
        usage(1).read,
        usage(0).created,
        "all that the first request wrote"
    );
    assert_eq!(usage(2).read, usage(1).read + usage(1).created);
    assert!(usage(2).created > 0);
    let reported = &session.received["usage"];
    assert_eq!(reported["cache_read_input_tokens"], json!(usage(2).read));
    assert_eq!(
        reported["cache_creation_input_tokens"],
        json!(usage(2).created)
    );
    // The order of tools is no change to the thinking, but one to the cache.
    session.tools.reverse();
    session.steps(1);
    assert_eq!(usage(3).read, 0);
    session.switch("claude-opus-5");
    session.steps(1);
    assert_eq!(usage(4).read, 0, "each model has its own cache");
}

#[test]
fn the_strict_upstream_diagnoses_a_cache_miss() {
    let edits: [(&str, Value, Edit); 8] = [
        ("nothing", Value::Null, |_| {}),
        ("model", json!("model_changed"), |session| {
            session.switch("claude-opus-5")
        }),
        ("tools", json!("tools_changed"), |session| {
            session.tools.reverse()
        }),
        ("system", json!("system_changed"), |session| {
            session.system = json!("other")
        }),
        ("messages", json!("messages_changed"), |session| {
            session.messages[0]["content"][0]["text"] = json!("other");
        }),
        ("settings", json!("unavailable"), |session| {
            session
                .fields
                .push(("tool_choice".to_owned(), json!({"type": "none"})));
        }),
        ("account", json!("previous_message_not_found"), |session| {
            session.key = "sk-bob".to_owned();
        }),
        ("id", json!("previous_message_not_found"), |session| {
            session.last = Some("msg_unknown".to_owned());
        }),
    ];
    let upstream = Strict::rules().old_accounts().start();
    each(
        edits.map(|(name, kind, edit)| (name, (kind, edit))),
        |(kind, edit)| {
            let mut session = Session::new(upstream.addr()).key("sk-ada");
            session.diagnoses = true;
            session.steps(2);
            assert_eq!(session.received["diagnostics"], Value::Null);
            edit(&mut session);
            session.steps(1);
            let found = &session.received["diagnostics"];
            assert!(session.received.get("diagnostics").is_some());
            assert_eq!(found["cache_miss_reason"]["type"], kind, "{found}");
            let missed = &found["cache_miss_reason"]["cache_missed_input_tokens"];
            let counted = kind.as_str().is_some_and(|kind| kind.ends_with("_changed"));
            assert_eq!(missed.is_u64(), counted, "{found}");
        },
    );
}

#[test]
fn the_strict_upstream_takes_other_rules() {
    let upstream = Strict::rules()
        .reads(|reader, maker| reader == maker)
        .account_bound(|model| model == "bound")
        .first(|request| (request.key() == "sk-bob").then(|| Answer::status(529)))
        .start();
    let mut session = direct(&upstream, 0).model("bound");
    session.steps(1);
    session.fork().key("sk-bob").step().has_status(529);
    let reason = |mut session: Session| {
        session.betas.push(BINDING_BETA.to_owned());
        session.step().has_status(200);
        session.received["input_transformations"][0]["reason"].clone()
    };
    assert_eq!(reason(session.fork()), Value::Null);
    let elsewhere = reason(session.fork().key("sk-cyd"));
    assert_eq!(elsewhere, "organization_binding_mismatch");
    assert_eq!(reason(session.model("free")), "model_binding_mismatch");
    assert_eq!(upstream.outcomes().len(), 4, "the 529 is no outcome");
}

/// Fifty turns of a session with tools through the gateway, which change nothing on the way.
#[track_caller]
fn fifty_turns(mut session: Session, upstream: &Strict) {
    session.steps(50);
    let received = upstream.received();
    assert_eq!(received.len(), 50);
    for (request, sent) in received.iter().zip(&session.sent) {
        request.has_body(sent);
    }
    upstream.lost_nothing();
    assert_eq!(session.thoughts(), 50);
    let outcomes = upstream.outcomes();
    assert_eq!(outcomes[49].read, 49);
    for (before, after) in outcomes.iter().zip(&outcomes[1..]) {
        let cached = before.usage.read + before.usage.created;
        assert_eq!(
            after.usage.read, cached,
            "everything before is read from the cache"
        );
    }
}

#[test]
fn fifty_turns_survive_the_default_plugins() {
    for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-2"] {
        let upstream = Strict::start();
        let gateway = Gateway::to(&upstream).start();
        fifty_turns(Session::new(gateway.addr).model(model), &upstream);
    }
}

#[test]
fn fifty_streamed_turns_survive_the_default_plugins() {
    let upstream = Strict::rules()
        .script(|asked| {
            let tool = |name: &str| Part::Tool(name.to_owned(), json!({"path": "/ä"}));
            let thought = |text: &str| Part::Thinking(text.to_owned());
            Turn(match asked.number % 4 {
                0 => vec![Part::Redacted, Part::Text("done".to_owned())],
                1 => vec![thought("a"), tool("tool_0"), tool("tool_1")],
                2 => vec![thought(""), Part::Text("b".to_owned()), tool("tool_2")],
                _ => vec![thought("c"), tool("tool_0")],
            })
        })
        .start();
    let gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr).streamed().on_mismatch("error");
    session.version = NEW_VERSION.to_owned();
    fifty_turns(session, &upstream);
    upstream
        .request(50)
        .has_header("anthropic-version", NEW_VERSION);
    upstream
        .request(50)
        .has_header("anthropic-beta", BINDING_BETA);
}

#[test]
fn branches_rewinds_and_compactions_of_a_client_stay_valid() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr);
    session.steps(12);
    let mut branch = session.fork();
    branch.rewind(8);
    branch.ask("another way").has_status(200);
    branch.steps(4);
    session.steps(4);
    session.switch("claude-sonnet-5-5");
    session.steps(3);
    session.switch("claude-opus-5-5");
    session.steps(3);
    session.compact("what happened so far");
    session.steps(4);
    assert_eq!(upstream.refusals(), Vec::<String>::new());
}

#[test]
fn a_session_survives_the_reload_of_an_unrelated_plugin() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    gateway.generation(1);
    let mut session = Session::new(gateway.addr);
    session.steps(10);
    gateway.drop_in("declines.wasm", &component("declines"));
    gateway.generation(2);
    session.steps(10);
    fs::remove_file(gateway.plugins().join("declines.wasm")).unwrap();
    gateway.generation(3);
    session.steps(10);
    upstream.lost_nothing();
    assert_eq!(upstream.received().len(), 30);
}

#[test]
fn a_session_of_an_account_bound_model_stays_with_its_account() {
    let upstream = Strict::start();
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let mut sessions: Vec<Session> = (0..4)
        .map(|_| Session::new(gateway.addr).model("claude-sonnet-5-5"))
        .collect();
    for _ in 0..10 {
        sessions.iter_mut().for_each(|session| session.steps(1));
    }
    upstream.lost_nothing();
    let outcomes = upstream.outcomes();
    assert_eq!(outcomes.last().unwrap().read, 9);
    for key in ["sk-ada", "sk-bob"] {
        assert!(outcomes.iter().any(|outcome| outcome.key == key), "{key}");
    }
}

/// An upstream that refuses one request of this account, and accepts all others.
fn busy_once(key: &'static str, at: usize) -> Strict {
    let asked = AtomicUsize::new(0);
    let busy = move |request: &Received| {
        let of_account = request.key() == key && request.path.starts_with("/v1/messages");
        (of_account && asked.fetch_add(1, Ordering::Relaxed) + 1 == at)
            .then(|| Answer::error(429, "rate_limit_error", "slow").header("retry-after", "3600"))
    };
    Strict::rules().first(busy).start()
}

#[test]
fn an_account_that_is_left_costs_a_bound_model_its_thinking_once() {
    let upstream = busy_once("sk-ada", 5);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let new = || Session::new(gateway.addr).model("claude-sonnet-5-5");
    let mut session = Session::served_with(&upstream, "sk-ada", new);
    let begun = upstream.outcomes().len() - 1;
    session.steps(19);
    assert_eq!(upstream.refusals(), Vec::<String>::new());
    let outcomes = &upstream.outcomes()[begun..];
    let keys: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.key).collect();
    assert_eq!(keys[..4], ["sk-ada"; 4]);
    assert_eq!(keys[4..], ["sk-bob"; 16]);
    // What the first account made is lost; what the second makes is kept.
    let read: Vec<usize> = outcomes.iter().map(|outcome| outcome.read).collect();
    let expected: Vec<usize> = (0..4).chain(0..16).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_session_that_moves_to_another_upstream_goes_on_there() {
    let (a, b) = (busy_once("sk-ada", 5), Strict::start());
    let gateway = Gateway::echo()
        .pool("a", &a, &["ada"])
        .pool("b", &b, &["bob"])
        .route("*", &["a", "b"])
        .start();
    let mut session = Session::new(gateway.addr).model("claude-sonnet-5-5");
    session.steps(20);
    assert_eq!([a.outcomes().len(), b.outcomes().len()], [4, 16]);
    a.lost_nothing();
    // Blocks of the other upstream are left out as one run, so the model loses none of its own.
    b.lost_nothing();
    let read: Vec<usize> = b.outcomes().iter().map(|outcome| outcome.read).collect();
    assert_eq!(read, (0..16).collect::<Vec<_>>());
}

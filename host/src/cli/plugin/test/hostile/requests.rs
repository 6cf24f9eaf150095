//! Checks of what is sent to the upstream.

use serde_json::Value;

use super::{
    super::Outcome,
    Finding, request,
    scene::{Scene, with_header},
};
use crate::cli::Failure;

type Found = Result<Vec<Finding>, Failure>;

/// The length of a large request, in bytes.
const LARGE: usize = 2_000_000;

pub(super) fn spelling(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let other = request::other_spelling(&base);
        let why = "the same JSON in another spelling is sent as another request";
        found.extend(compare(scene, &base.to_string(), &other, why, |outcome| {
            outcome
                .sent
                .iter()
                .map(|sent| sent.json())
                .collect::<Vec<_>>()
        })?);
    }
    Ok(found)
}

pub(super) fn content_forms(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let other = request::other_form(&base).to_string();
        let why = "texts as strings and as blocks are sent as other texts";
        let is_plain = scene.is_plain();
        found.extend(compare(scene, &base.to_string(), &other, why, |outcome| {
            let sent = outcome.sent.iter().filter(|_| is_plain);
            sent.map(|sent| request::texts(&sent.json()))
                .collect::<Vec<_>>()
        })?);
    }
    Ok(found)
}

/// Runs two requests that mean the same. Finds a failure of the plugin, and a difference.
fn compare<T: PartialEq>(
    scene: &mut Scene<'_, '_>,
    one: &str,
    other: &str,
    why: &str,
    of: impl Fn(&Outcome) -> T,
) -> Result<Option<Finding>, Failure> {
    let (plain, odd) = (scene.ask(one)?, scene.ask(other)?);
    if let Some(failed) = fails(&plain, one).or_else(|| fails(&odd, other)) {
        return Ok(Some(failed));
    }
    let same = of(&plain) == of(&odd) && plain.status == odd.status;
    Ok((!same).then(|| Finding::of_request(why, other, &odd)))
}

pub(super) fn empty(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        for (what, body) in request::empty(&base) {
            let body = body.to_string();
            let outcome = scene.ask(&body)?;
            found.extend(Finding::of_failure(what, &body, &outcome));
        }
    }
    Ok(found)
}

pub(super) fn block_kinds(scene: &mut Scene<'_, '_>) -> Found {
    let body = request::block_kinds(&request::rich());
    let text = body.to_string();
    let outcome = scene.ask(&text)?;
    if let Some(failed) = fails(&outcome, &text) {
        return Ok(vec![failed]);
    }
    let sent = outcome.sent.last().filter(|_| scene.is_plain());
    let Some(sent) = sent.map(|sent| sent.json()) else {
        return Ok(Vec::new());
    };
    let kinds = kinds(&sent);
    // A rule may replace images by a text.
    let lost = self::kinds(&body)
        .into_iter()
        .find(|kind| kind != "image" && !kinds.contains(kind));
    let why = |kind| format!("a block of the kind `{kind}` is not sent");
    Ok(lost
        .map(|kind| Finding::of_request(why(kind), &text, &outcome))
        .into_iter()
        .collect())
}

/// The kinds of all blocks.
fn kinds(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let blocks = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    blocks
        .filter_map(|block| block["type"].as_str().map(str::to_owned))
        .collect()
}

pub(super) fn unknown_members(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let body = request::with_unknown(&base);
        let Some((outcome, lost)) = with_unknown(scene, &body)? else {
            continue;
        };
        if let Some(failed) = fails(&outcome, &body) {
            found.push(failed);
        } else if lost > 0 {
            let why = format!("{lost} unknown members are not sent");
            found.push(Finding::of_request(why, &body, &outcome));
        }
    }
    Ok(found)
}

pub(super) fn exact_numbers(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let body = request::with_unknown(&base);
        let Some((outcome, 0)) = with_unknown(scene, &body)? else {
            continue;
        };
        let Some(sent) = outcome.sent.last() else {
            continue;
        };
        let text = String::from_utf8_lossy(&sent.body);
        let members = request::unknown_members(&sent.json()).len();
        let changed = members.saturating_sub(request::exact_unknown(&text));
        if changed > 0 {
            let why = format!(
                "{changed} unknown members are written in another way: numbers beyond 64 bits lose \
                 digits, and the prompt cache is missed"
            );
            found.push(Finding::of_request(why, &body, &outcome));
        }
    }
    Ok(found)
}

/// Sends unknown members. Returns how many were lost; nothing if a dialect rewrites the body.
fn with_unknown(
    scene: &mut Scene<'_, '_>,
    body: &str,
) -> Result<Option<(Outcome, usize)>, Failure> {
    let outcome = scene.ask(body)?;
    if !scene.is_plain() {
        return Ok(Some((outcome, 0)).filter(|(outcome, _)| !outcome.failures.is_empty()));
    }
    let count = |body: &Value| request::unknown_members(body).len();
    let before = request::object(body).map_or(0, |members| count(&members.into()));
    let after = outcome
        .sent
        .last()
        .map_or(before, |sent| count(&sent.json()));
    Ok(Some((outcome, before.saturating_sub(after))))
}

pub(super) fn betas(scene: &mut Scene<'_, '_>) -> Found {
    const NAME: &str = "anthropic-beta";
    let mut found = Vec::new();
    if !scene.is_plain() {
        return Ok(found);
    }
    for base in scene.bases() {
        let body = base.to_string();
        let exchange = with_header(
            scene.exchange(body.clone()),
            NAME,
            "one-2025-01-01, two-2025-01-01",
        );
        let exchange = with_header(exchange, NAME, "three-2025-01-01");
        let outcome = scene.run(&exchange)?;
        if let Some(failed) = fails(&outcome, &body) {
            found.push(failed);
            continue;
        }
        let Some(sent) = outcome.sent.last() else {
            continue;
        };
        let values = sent.headers.get_all(NAME).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let values = values.join(",");
        let lost = ["one-2025-01-01", "two-2025-01-01", "three-2025-01-01"];
        if let Some(lost) = lost.into_iter().find(|value| !values.contains(value)) {
            let why = format!("the value `{lost}` of `{NAME}` is not sent");
            found.push(Finding {
                why,
                sent: format!("{NAME}: one-2025-01-01, two-2025-01-01 / {NAME}: three-2025-01-01"),
                came: format!("{NAME}: {values}"),
            });
        }
    }
    Ok(found)
}

pub(super) fn api_version(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    for base in scene.bases() {
        let body = request::for_2026_10_21(&base);
        let text = body.to_string();
        let mut exchange = scene.exchange(text.clone());
        let version = http::HeaderValue::from_static("2026-10-21");
        exchange.headers.insert("anthropic-version", version);
        let outcome = scene.run(&exchange)?;
        found.extend(fails(&outcome, &text));
        let Some(sent) = outcome.sent.last().filter(|_| scene.is_plain()) else {
            continue;
        };
        // A plugin may translate to the older version, which refuses nothing.
        let is_newer = sent
            .headers
            .get("anthropic-version")
            .is_some_and(|is| is == "2026-10-21");
        let before = request::refused_by_2026_10_21(&body);
        let added = request::refused_by_2026_10_21(&sent.json()).into_iter();
        let added = added.filter(|at| is_newer && !before.contains(at));
        for at in added.collect::<Vec<_>>() {
            let why = format!("`{at}` is added, which version 2026-10-21 of the API refuses");
            found.push(Finding::of_request(why, &text, &outcome));
        }
    }
    Ok(found)
}

/// A deadline is an amount of time, of which other programs may take a part. A plugin that needs
/// too much needs it each time.
const TRIES: usize = 3;

pub(super) fn large(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let base = request::rich();
    for (what, body) in [
        ("one text of 2 MB", request::with_long_text(&base, LARGE)),
        (
            "2 MB of short messages",
            request::with_many_messages(&base, LARGE),
        ),
    ] {
        let body = body.to_string();
        let mut failure = None;
        for _ in 0..TRIES {
            let outcome = scene.ask(&body)?;
            failure = Finding::of_failure(what, &body, &outcome);
            if failure.is_none() {
                break;
            }
        }
        found.extend(failure);
    }
    Ok(found)
}

pub(super) fn count_tokens(scene: &mut Scene<'_, '_>) -> Found {
    // What another protocol answers is not known.
    if !scene.is_plain() {
        return Ok(Vec::new());
    }
    let mut body = request::rich();
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !["max_tokens", "stream", "metadata"].contains(&name.as_str()));
    }
    let body = body.to_string();
    let mut exchange = scene.exchange(body.clone());
    exchange.path = "/v1/messages/count_tokens".to_owned();
    exchange.answers = vec![crate::kit::Answer::of(r#"{"input_tokens": 12}"#)];
    let outcome = scene.run(&exchange)?;
    Ok(fails(&outcome, &body).into_iter().collect())
}

pub(super) fn neighbours(scene: &mut Scene<'_, '_>) -> Found {
    let mut found = Vec::new();
    let mut bases = scene.bases();
    bases.push(request::block_kinds(&request::rich()));
    for base in bases {
        let body = base.to_string();
        let outcome = scene.ask_among_others(&body)?;
        let what = "among plugins that edit the same request";
        found.extend(Finding::of_failure(what, &body, &outcome));
    }
    Ok(found)
}

fn fails(outcome: &Outcome, request: &str) -> Option<Finding> {
    Finding::of_failure("on this request", request, outcome)
}

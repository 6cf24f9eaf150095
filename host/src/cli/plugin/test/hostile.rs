//! `--hostile`: traffic that is unusual but legal, and what must hold for every plugin.
//!
//! A check sends requests through the real pipeline and compares: with the same request in another
//! spelling, with the same answer in other pieces, with the same exchange after a failure. So it
//! needs to know nothing about the rule.

mod request; // unusual requests
mod response; // unusual responses
mod scene; // what a check works with
mod requests; // checks of what is sent
mod responses; // checks of what the client gets
mod history; // checks of several exchanges

use std::time::{Duration, Instant};

use super::{Outcome, message::shorten, stage::Stages};
use crate::cli::{Failure, print};

pub(super) use scene::Profile;

use scene::Scene;

/// What a check found wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    /// Why it is wrong.
    why: String,
    sent: String,
    came: String,
}

type Run = fn(&mut Scene<'_, '_>) -> Result<Vec<Finding>, Failure>;

/// A property of every plugin.
struct Check {
    name: &'static str,
    /// What must hold.
    holds: &'static str,
    run: Run,
}

const CHECKS: &[Check] = &[
    Check {
        name: "spelling",
        holds: "JSON with escapes, spaces and another order of members is the same request",
        run: requests::spelling,
    },
    Check {
        name: "content-forms",
        holds: "a text as a string and as a block is the same text",
        run: requests::content_forms,
    },
    Check {
        name: "empty",
        holds: "empty lists and texts, and missing members, are no failure",
        run: requests::empty,
    },
    Check {
        name: "block-kinds",
        holds: "blocks of every kind but images are kept, also of unknown ones",
        run: requests::block_kinds,
    },
    Check {
        name: "unknown-members",
        holds: "members that the plugin does not know are sent",
        run: requests::unknown_members,
    },
    Check {
        name: "exact-numbers",
        holds: "numbers and escapes of such members are sent as they were written",
        run: requests::exact_numbers,
    },
    Check {
        name: "betas",
        holds: "every value of a header that is a list is sent",
        run: requests::betas,
    },
    Check {
        name: "api-version",
        holds: "under anthropic-version 2026-10-21 nothing is added that this version refuses",
        run: requests::api_version,
    },
    Check {
        name: "large",
        holds: "requests of 2 MB keep the deadline and the memory limit",
        run: requests::large,
    },
    Check {
        name: "count-tokens",
        holds: "a request to count tokens is no failure",
        run: requests::count_tokens,
    },
    Check {
        name: "neighbours",
        holds: "plugins before and after that edit the same request are no failure",
        run: requests::neighbours,
    },
    Check {
        name: "pieces",
        holds: "an answer is the same whether it comes in large or small pieces, or as JSON",
        run: responses::pieces,
    },
    Check {
        name: "odd-events",
        holds: "unknown events, thinking and signatures reach the client, in order",
        run: responses::odd_events,
    },
    Check {
        name: "cuts",
        holds: "a truncated answer is never shown as complete, and nothing is invented",
        run: responses::cuts,
    },
    Check {
        name: "upstream-errors",
        holds: "whatever an upstream sends as an error is no failure",
        run: responses::upstream_errors,
    },
    Check {
        name: "retry",
        holds: "a retry on another account sends the same",
        run: history::retry,
    },
    Check {
        name: "growing-conversation",
        holds: "what a conversation sent before is sent again, turn by turn",
        run: history::growing_conversation,
    },
    Check {
        name: "forgotten-kv",
        holds: "a conversation goes on if `kv` has forgotten everything",
        run: history::forgotten_kv,
    },
    Check {
        name: "lost-end",
        holds: "an exchange that ends without `on-end` leaves nothing behind",
        run: history::lost_end,
    },
];

/// Runs every check. Prints a line for each, and returns the number of those that found something.
pub(super) fn run(stages: &mut Stages<'_>, profile: Profile) -> Result<usize, Failure> {
    let begun = Instant::now();
    let mut scene = Scene::new(stages, profile)?;
    let mut failed = 0;
    for check in CHECKS {
        let (began, before) = (Instant::now(), scene.exchanges());
        let findings = (check.run)(&mut scene)?;
        failed += usize::from(!findings.is_empty());
        let exchanges = scene.exchanges() - before;
        print(&line(check, &findings, exchanges, began.elapsed()))?;
    }
    let (exchanges, seconds) = (scene.exchanges(), begun.elapsed().as_secs_f32());
    print(&format!(
        "\n{} checks, {exchanges} exchanges, {seconds:.1} s\n",
        CHECKS.len()
    ))?;
    Ok(failed)
}

/// The number of checks.
pub(super) fn count() -> usize {
    CHECKS.len()
}

fn line(check: &Check, findings: &[Finding], exchanges: usize, time: Duration) -> String {
    let name = check.name;
    match findings {
        [] if exchanges == 0 => format!("skipped  {name}\n"),
        [] => format!(
            "ok       {name} ({exchanges} exchanges, {} ms)\n",
            time.as_millis()
        ),
        findings => {
            let shown: String = findings.iter().map(Finding::show).collect();
            format!("FOUND    {name}: {}\n{shown}", check.holds)
        }
    }
}

impl Finding {
    /// A finding about what the upstream got.
    fn of_request(why: impl Into<String>, request: &str, outcome: &Outcome) -> Self {
        let sent = outcome
            .sent
            .last()
            .map(|sent| String::from_utf8_lossy(&sent.body));
        Self {
            why: why.into(),
            sent: request.to_owned(),
            came: sent.map_or_else(|| outcome.text(), |sent| sent.into_owned()),
        }
    }

    /// A finding about what the client got.
    fn of_response(why: impl Into<String>, answer: &str, outcome: &Outcome) -> Self {
        Self {
            why: why.into(),
            sent: answer.to_owned(),
            came: outcome.text(),
        }
    }

    /// A failure of the plugin, if there was one.
    fn of_failure(what: &str, request: &str, outcome: &Outcome) -> Option<Self> {
        let failure = outcome.failures.first()?;
        Some(Self {
            why: format!("{what}: the plugin fails: {failure}"),
            sent: request.to_owned(),
            came: outcome.text(),
        })
    }

    fn show(&self) -> String {
        let part = |name: &str, text: &str| match text.is_empty() {
            true => String::new(),
            false => format!("      {name} {}\n", shorten(&text.replace('\n', "\\n"))),
        };
        let (sent, came) = (part("sent:", &self.sent), part("came:", &self.came));
        format!("    {}\n{sent}{came}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_its_own_name() {
        let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn a_finding_says_what_was_sent_what_came_and_why_it_is_wrong() {
        let finding = Finding {
            why: "a member is lost".to_owned(),
            sent: "{\n}".to_owned(),
            came: "x".repeat(200),
        };
        let shown = line(&CHECKS[0], &[finding], 1, Duration::ZERO);
        let wanted = "FOUND    spelling: JSON with escapes, spaces and another order of members is \
                      the same request\n    a member is lost\n      sent: {\\n}\n      came: xxx";
        assert!(shown.starts_with(wanted), "{shown}");
        assert!(shown.ends_with("x...\n"), "{shown}");
        assert!(line(&CHECKS[0], &[], 0, Duration::ZERO).starts_with("skipped"));
    }
}

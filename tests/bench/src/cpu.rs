//! CPU time per request, by kind of request and number of clients, and the ratios to compare with
//! their targets.

use std::{io, path::Path};

use crate::{
    body,
    load::{self, Shot},
    mock,
    subjects::{
        DECLINES, FIVE_DECLINE, KEY, NO_LEDGER, NONE_FIRES, STRIP_FIRES, STRIP_NO_LEDGER, Subject,
        TEN_MORE,
    },
    table,
};

/// One kind of request.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) answer: &'static str,
    pub(crate) bytes: usize,
    pub(crate) clients: usize,
    /// Requests per round, of all clients together.
    pub(crate) requests: usize,
}

pub(crate) const fn case(
    name: &'static str,
    answer: &'static str,
    bytes: usize,
    clients: usize,
    requests: usize,
) -> Case {
    Case {
        name,
        answer,
        bytes,
        clients,
        requests,
    }
}

const CASES: [Case; 10] = [
    case("1 KB", "json", 1_000, 1, 4_000),
    case("100 KB", "json", 100_000, 1, 2_000),
    case("600 KB", "json", 600_000, 1, 500),
    case("2.5 MB", "json", 2_500_000, 1, 150),
    case("SSE, 100 events, 100 KB", "sse-100", 100_000, 1, 1_000),
    case("1 KB, 32 clients", "json", 1_000, 32, 6_400),
    case("100 KB, 32 clients", "json", 100_000, 32, 3_200),
    case("600 KB, 32 clients", "json", 600_000, 32, 640),
    case("2.5 MB, 32 clients", "json", 2_500_000, 32, 160),
    case(
        "SSE, 100 events, 100 KB, 32 clients",
        "sse-100",
        100_000,
        32,
        1_600,
    ),
];

/// Microseconds per request: by subject, by round.
pub(crate) type Spent = Vec<Vec<f64>>;

pub(crate) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::nginx(folder, mock, true).await?,
        Subject::relay(mock).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, STRIP_FIRES).await?,
        Subject::gateway(folder, mock, TEN_MORE).await?,
        Subject::gateway(folder, mock, NO_LEDGER).await?,
        Subject::gateway(folder, mock, STRIP_NO_LEDGER).await?,
        Subject::gateway(folder, mock, DECLINES).await?,
        Subject::gateway(folder, mock, FIVE_DECLINE).await?,
    ];
    let all = measure(&subjects, &CASES, rounds).await?;
    let mut rows = vec![vec!["CPU per request, us (ratio)".to_owned()]];
    rows[0].extend(subjects.iter().map(|subject| subject.name.to_owned()));
    for (case, spent) in CASES.iter().zip(&all) {
        let mut row = vec![case.name.to_owned()];
        for own in spent {
            let middle = table::median(own.clone());
            row.push(format!("{middle:.0} ({:.2})", ratio(own, &spent[0])));
        }
        rows.push(row);
    }
    table::print("CPU time of the server, user and system", &rows);
    ratios(&all);
    Subject::stop(subjects).await
}

/// Prints the ratios, which do not depend on the machine. `Spent` is in the order of the subjects
/// of `run`.
fn ratios(all: &[Spent]) {
    let heading = [
        "times nginx (aim)",
        "a bare relay",
        "none fires",
        "strip fires",
        "10 more, added",
        "none fires, times the relay",
        "none fires, times no ledger (aim)",
        "strip fires, times no ledger (aim)",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (case, spent) in CASES.iter().zip(all) {
        let [
            nginx,
            _,
            relay,
            none,
            strip,
            more,
            no_ledger,
            strip_only,
            ..,
        ] = &spent[..]
        else {
            continue;
        };
        let (aim_none, aim_strip) = aims(case);
        let added = none.iter().zip(more).zip(nginx);
        let added = added.map(|((none, more), nginx)| (more - none) / nginx);
        rows.push(vec![
            case.name.to_owned(),
            format!("{:.2}", ratio(relay, nginx)),
            format!("{:.2} ({aim_none:.1})", ratio(none, nginx)),
            format!("{:.2} ({aim_strip:.1})", ratio(strip, nginx)),
            format!("{:.2} (0.2)", table::median(added.collect())),
            format!("{:.2}", ratio(none, relay)),
            format!("{:.2} (1.05)", ratio(none, no_ledger)),
            format!("{:.2} (1.05)", ratio(strip, strip_only)),
        ]);
    }
    table::print("Ratios within a round, and what is aimed at", &rows);
}

/// The target ratios to nginx's time: if no rule fires, and if one strips.
fn aims(case: &Case) -> (f64, f64) {
    if case.answer != "json" {
        (3.0, 3.0)
    } else if case.bytes <= 100_000 {
        (2.0, 3.0)
    } else {
        (2.5, 4.0)
    }
}

/// The ratio of one to the other in the same round: the median of the rounds.
pub(crate) fn ratio(own: &[f64], other: &[f64]) -> f64 {
    table::median(
        own.iter()
            .zip(other)
            .map(|(own, other)| own / other)
            .collect(),
    )
}

/// Loads each subject with each kind of request, round by round. The result is by case.
pub(crate) async fn measure(
    subjects: &[Subject],
    cases: &[Case],
    rounds: usize,
) -> io::Result<Vec<Spent>> {
    let mut all = Vec::new();
    for case in cases {
        let body = body::request(case.answer, case.bytes);
        let mut spent = vec![Vec::new(); subjects.len()];
        // Round 0 is a warm-up.
        for round in 0..=rounds {
            for (subject, spent) in subjects.iter().zip(&mut spent) {
                let shot = Shot::new(&subject.path(case.answer), KEY, &body);
                let before = subject.server.cpu()?;
                let each = case.requests / case.clients;
                let done = load::closed(subject.server.port, &shot, case.clients, each).await?;
                let cost = subject.server.cpu()? - before;
                if round > 0 {
                    spent.push(cost.as_secs_f64() * 1e6 / done.requests as f64);
                }
            }
        }
        eprintln!("{}: done", case.name);
        all.push(spent);
    }
    Ok(all)
}

//! The cost of a translation, compared with the dialect that needs none.

use std::{io, path::Path};

use crate::{
    cpu::{case, measure, ratio},
    mock,
    subjects::{GEMINI, NONE_FIRES, OPENAI, Subject},
    table,
};

pub(crate) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, GEMINI).await?,
        Subject::gateway(folder, mock, OPENAI).await?,
    ];
    let cases = [
        case("600 KB request, 10 events", "sse-10", 600_000, 1, 100),
        case("1 KB request, 1,000 events", "sse-1000", 1_000, 1, 100),
    ];
    let spent = measure(&subjects, &cases, rounds).await?;
    let mut rows = vec![vec![
        "CPU per request".to_owned(),
        "dialect".to_owned(),
        "us".to_owned(),
        "ratio".to_owned(),
        "more".to_owned(),
    ]];
    for (case, spent) in cases.iter().zip(&spent) {
        for (own, subject) in spent.iter().zip(&subjects) {
            let more = own.iter().zip(&spent[0]).map(|(own, first)| own - first);
            let more = table::median(more.collect());
            let more = if case.answer == "sse-1000" {
                format!("{:.1} us per event", more / 1000.0)
            } else {
                format!("{:.2} ms", more / 1000.0)
            };
            rows.push(vec![
                case.name.to_owned(),
                subject.name.to_owned(),
                format!("{:.0}", table::median(own.clone())),
                format!("{:.2}", ratio(own, &spent[0])),
                more,
            ]);
        }
    }
    table::print("Translations", &rows);
    Subject::stop(subjects).await
}

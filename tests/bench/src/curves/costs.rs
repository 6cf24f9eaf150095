//! CPU per request, by size of the body and by number of plugins that are loaded but not called.

use std::{io, path::Path};

use super::{bytes, draw, linear, lines, log, plain, rows};
use crate::{
    cpu::{case, measure, ratio},
    mock,
    subjects::{NONE_FIRES, STRIP_FIRES, Subject, more},
    svg::Chart,
    table,
};

const MOST_ROUNDS: usize = 5;

pub(super) async fn bodies(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::nginx(folder, mock, true).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, STRIP_FIRES).await?,
    ];
    let cases = [
        case("1 KB", "json", 1_000, 1, 1_000),
        case("10 KB", "json", 10_000, 1, 1_000),
        case("100 KB", "json", 100_000, 1, 500),
        case("1 MB", "json", 1_000_000, 1, 100),
        case("4 MB", "json", 4_000_000, 1, 20),
        case("10 MB", "json", 10_000_000, 1, 10),
        case("32 MB", "json", 32_000_000, 1, 4),
    ];
    let spent = measure(&subjects, &cases, rounds.clamp(1, MOST_ROUNDS)).await?;
    let names = || subjects.iter().map(|subject| subject.name);
    let mut table = rows("body: CPU per request, us (ratio to nginx)", names());
    let mut points = vec![Vec::new(); subjects.len()];
    for (case, spent) in cases.iter().zip(&spent) {
        let mut row = vec![case.name.to_owned()];
        for (own, points) in spent.iter().zip(&mut points) {
            let ratio = ratio(own, &spent[0]);
            let middle = table::median(own.clone());
            row.push(format!("{} ({ratio:.2})", plain(middle)));
            points.push((case.bytes as f64, middle));
        }
        table.push(row);
    }
    table::print("By size of the body, one client, JSON", &table);
    draw(
        "bodies",
        &Chart {
            title: "CPU per request by size of the body (one client, JSON)",
            x: log("body", bytes),
            y: log("CPU per request, us", plain),
            lines: lines(names(), points),
        },
    )?;
    Subject::stop(subjects).await
}

pub(super) async fn plugins(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let mut subjects = vec![Subject::nginx(folder, mock, false).await?];
    let mut counts = vec![0];
    subjects.push(Subject::gateway(folder, mock, NONE_FIRES).await?);
    for (name, count) in [
        ("witgate, 10 more", 10),
        ("witgate, 25 more", 25),
        ("witgate, 50 more", 50),
    ] {
        subjects.push(Subject::gateway(folder, mock, more(name, count)).await?);
        counts.push(count);
    }
    let cases = [case("100 KB", "json", 100_000, 1, 1_000)];
    let spent = measure(&subjects, &cases, rounds.clamp(1, MOST_ROUNDS)).await?;
    let Some((nginx, gateways)) = spent.first().and_then(|case| case.split_first()) else {
        return Ok(());
    };
    let mut table = rows(
        "plugins whose guards say no",
        [
            "CPU per request, us",
            "nginx, us",
            "ratio",
            "more than with none, in nginx",
        ]
        .into_iter(),
    );
    let mut points = vec![Vec::new(), Vec::new()];
    for (count, own) in counts.into_iter().zip(gateways) {
        let middle = table::median(own.clone());
        let yardstick = table::median(nginx.clone());
        let none = own.iter().zip(&gateways[0]).zip(nginx);
        let added = none.map(|((own, none), nginx)| (own - none) / nginx);
        table.push(vec![
            count.to_string(),
            format!("{middle:.0}"),
            format!("{yardstick:.0}"),
            format!("{:.2}", ratio(own, nginx)),
            format!("{:.2}", table::median(added.collect())),
        ]);
        points[0].push((count as f64, yardstick));
        points[1].push((count as f64, middle));
    }
    table::print(
        "By plugins that are loaded and not called, 100 KB, one client",
        &table,
    );
    draw(
        "plugins",
        &Chart {
            title: "CPU per request by plugins whose guards say no (100 KB, one client, JSON)",
            x: linear("plugins beside the default ones", plain),
            y: linear("CPU per request, us", plain),
            lines: lines(["nginx", "witgate"].into_iter(), points),
        },
    )?;
    Subject::stop(subjects).await
}

//! Growth curves: each measurement is a table on standard output and a picture in docs/performance.

mod concurrency; // number of clients
mod costs; // size of bodies, number of plugins
mod streams; // number of open streams

use std::{fs, io, path::Path};

use crate::svg::{Axis, Chart, Line, Scale};

/// Runs all curves for `curves`, or one of them for `curves:NAME`.
pub(crate) async fn run(folder: &Path, rounds: usize, what: &str) -> io::Result<()> {
    let all = ["concurrency", "streams", "bodies", "plugins"];
    let asked = match what.split_once(':') {
        None => all.to_vec(),
        Some((_, name)) => all.into_iter().filter(|curve| *curve == name).collect(),
    };
    if asked.is_empty() {
        let known = all.join(", ");
        return Err(io::Error::other(format!(
            "unknown curve `{what}`, expected one of {known}"
        )));
    }
    for curve in asked {
        match curve {
            "concurrency" => concurrency::run(folder, rounds).await?,
            "streams" => streams::run(folder).await?,
            "bodies" => costs::bodies(folder, rounds).await?,
            _ => costs::plugins(folder, rounds).await?,
        }
    }
    Ok(())
}

/// Writes a chart to the file that docs/performance.md shows.
fn draw(name: &str, chart: &Chart) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name).with_extension("svg"), chart.svg())
}

const fn log(label: &'static str, figure: fn(f64) -> String) -> Axis {
    Axis {
        label,
        scale: Scale::Log,
        figure,
    }
}

const fn linear(label: &'static str, figure: fn(f64) -> String) -> Axis {
    Axis {
        label,
        scale: Scale::Linear,
        figure,
    }
}

/// A line per server, in the order of the names.
fn lines<'a>(names: impl Iterator<Item = &'a str>, points: Vec<Vec<(f64, f64)>>) -> Vec<Line> {
    let line = |(name, points): (&str, _)| Line {
        name: name.to_owned(),
        look: match name {
            "nothing between" => 0,
            "nginx" => 1,
            "witgate" => 2,
            "nginx, buffering requests" => 4,
            _ => 3,
        },
        points,
    };
    names.zip(points).map(line).collect()
}

/// A heading, and a row per point of the axis with the figure of every server.
fn rows<'a>(first: &'a str, names: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    vec![
        std::iter::once(first)
            .chain(names)
            .map(str::to_owned)
            .collect(),
    ]
}

/// A figure as text: `10,000`, `12`, `0.25`.
fn plain(value: f64) -> String {
    if value < 10.0 {
        let text = format!("{value:.3}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        return text.to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size as text: `100 KB`, `2.5 MB`.
fn bytes(value: f64) -> String {
    if value < 1e6 {
        format!("{} KB", plain(value / 1e3))
    } else {
        format!("{} MB", plain(value / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, plain};

    #[test]
    fn figures_are_written_to_be_read() {
        assert_eq!(plain(1_234_567.0), "1,234,567");
        assert_eq!(plain(100.0), "100");
        assert_eq!(plain(0.05), "0.05");
        assert_eq!(plain(0.0), "0");
        assert_eq!(bytes(2_500_000.0), "2.5 MB");
        assert_eq!(bytes(1_000.0), "1 KB");
    }
}

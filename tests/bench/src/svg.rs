//! Charts as SVG files: axes with units, a line per server, a legend, readable in light and dark
//! mode.

use std::fmt::Write;

/// A chart.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Axis {
    /// What the axis shows, with the unit.
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    /// How figures on the axis are written.
    pub(crate) figure: fn(f64) -> String,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// Starts at zero.
    Linear,
    /// For figures above zero.
    Log,
}

pub(crate) struct Line {
    pub(crate) name: String,
    /// An index into five colours and four shapes: a server has the same in every chart.
    pub(crate) look: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 58.0;

/// Both modes paint their own background, since a page may be dark where the system is light.
const STYLE: &str = "
svg { --ground: #ffffff; --ink: #24292f; --faint: #57606a; --grid: #d8dee4;
  --c0: #57606a; --c1: #0a6ebd; --c2: #c2410c; --c3: #0f8a5f; --c4: #8250df; }
@media (prefers-color-scheme: dark) { svg { --ground: #0d1117; --ink: #e6edf3; --faint: #9198a1; --grid: #2f353d;
  --c0: #9198a1; --c1: #58a6ff; --c2: #ff9b5e; --c3: #3fcf8e; --c4: #c297ff; } }
text { font: 12px system-ui, sans-serif; fill: var(--faint); }
.title { font-size: 15px; font-weight: 600; fill: var(--ink); }
.name { fill: var(--ink); }
.grid { stroke: var(--grid); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
";

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let mut measured: Vec<f64> = points().map(|point| point.0).collect();
        measured.sort_by(f64::total_cmp);
        measured.dedup();
        let across = Span::over(self.x.scale, measured.iter().copied());
        let upward = Span::over(self.y.scale, points().map(|point| point.1)).up_to_ticks();
        let x = |value| LEFT + across.place(value) * (WIDTH - LEFT - RIGHT);
        let y = |value| HEIGHT - BOTTOM - upward.place(value) * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" style=\"fill:var(--ground)\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"26\">{title}</text>\n",
            title = escaped(self.title),
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in upward.ticks() {
            let (at, figure) = (y(value), escaped(&(self.y.figure)(value)));
            add(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{figure}</text>\n",
                    LEFT - 8.0,
                    at + 4.0,
                ),
            );
        }
        // Only for values that were measured.
        for value in measured {
            let (at, figure) = (x(value), escaped(&(self.x.figure)(value)));
            add(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\n\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{figure}</text>\n",
                    bottom + 5.0,
                    bottom + 20.0,
                ),
            );
        }
        add(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                (LEFT + right) / 2.0,
                HEIGHT - 14.0,
                escaped(self.x.label),
                (TOP + bottom) / 2.0,
                escaped(self.y.label),
            ),
        );
        let mut legend = LEFT;
        for line in &self.lines {
            let color = format!("var(--c{})", line.look % 5);
            let places: Vec<_> = line.points.iter().map(|&(a, b)| (x(a), y(b))).collect();
            let path: Vec<_> = places
                .iter()
                .map(|(a, b)| format!("{a:.1},{b:.1}"))
                .collect();
            add(
                &mut svg,
                format_args!(
                    "<polyline class=\"line\" style=\"stroke:{color}\" points=\"{}\"/>\n",
                    path.join(" ")
                ),
            );
            for (a, b) in places {
                svg.push_str(&mark(line.look, a, b, &color));
            }
            svg.push_str(&mark(line.look, legend + 5.0, 50.0, &color));
            let name = escaped(&line.name);
            add(
                &mut svg,
                format_args!(
                    "<text class=\"name\" x=\"{:.1}\" y=\"54\">{name}</text>\n",
                    legend + 15.0
                ),
            );
            // An approximate width of the text.
            legend += 34.0 + 6.4 * line.name.chars().count() as f64;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The range of an axis.
struct Span {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Span {
    fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| scale == Scale::Linear || *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if !least.is_finite() {
            (least, most) = (1.0, 1.0);
        }
        match scale {
            Scale::Linear => least = least.min(0.0),
            Scale::Log if least == most => most = least * 10.0,
            Scale::Log => {}
        }
        if least == most {
            most = least + 1.0;
        }
        Self { scale, least, most }
    }

    /// Widened so that it begins and ends with a tick.
    fn up_to_ticks(self) -> Self {
        match self.scale {
            Scale::Linear => {
                let step = self.step();
                Self {
                    least: (self.least / step).floor() * step,
                    most: (self.most / step).ceil() * step,
                    ..self
                }
            }
            Scale::Log => {
                let all = rungs(self.least, self.most);
                let least = all.iter().rfind(|&&rung| rung <= self.least);
                let most = all.iter().find(|&&rung| rung >= self.most);
                Self {
                    least: least.copied().unwrap_or(self.least),
                    most: most.copied().unwrap_or(self.most),
                    ..self
                }
            }
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = self.step();
                let count = ((self.most - self.least) / step).round() as usize;
                (0..=count).map(|n| self.least + step * n as f64).collect()
            }
            Scale::Log => {
                let inside = |rung: &f64| (self.least * 0.999..=self.most * 1.001).contains(rung);
                let all = rungs(self.least, self.most).into_iter();
                all.filter(inside).collect()
            }
        }
    }

    /// A step of one, two or five times a power of ten that gives about six ticks.
    fn step(&self) -> f64 {
        let rough = (self.most - self.least) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0].map(|digit| digit * power);
        steps
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power)
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Log => {
                let value = value.max(self.least);
                (value / self.least).log10() / (self.most / self.least).log10()
            }
        }
    }
}

/// The ones, twos and fives from below the least to above the most; over many powers of ten only
/// the ones.
fn rungs(least: f64, most: f64) -> Vec<f64> {
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let digits: &[f64] = if most / least > 500.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let rungs = |power| digits.iter().map(move |digit| digit * 10f64.powi(power));
    powers.flat_map(rungs).collect()
}

/// A mark of the line: shapes differ too, for readers who cannot distinguish the colours.
fn mark(look: usize, x: f64, y: f64, color: &str) -> String {
    let shape = match look % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\""),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"",
            x - 3.5,
            y - 3.5
        ),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.4 7.4h-8.8z\"", y - 4.4),
        _ => format!(
            "<path d=\"M{x:.1} {:.1}l4.6 4.6l-4.6 4.6l-4.6 -4.6z\"",
            y - 4.6
        ),
    };
    format!("{shape} style=\"fill:{color}\"/>\n")
}

fn add(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _taken = svg.write_fmt(text);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, Line, Scale, Span};

    #[test]
    fn a_name_does_not_end_the_picture() {
        let axis = |scale| Axis {
            label: "a < b",
            scale,
            figure: |value| value.to_string(),
        };
        let lines = vec![Line {
            name: "</svg>&".to_owned(),
            look: 0,
            points: vec![(1.0, 1.0), (10.0, 5.0)],
        }];
        let svg = Chart {
            title: "t",
            x: axis(Scale::Log),
            y: axis(Scale::Linear),
            lines,
        }
        .svg();
        assert_eq!(svg.matches("</svg>").count(), 1);
        assert!(svg.contains("&lt;/svg&gt;&amp;") && svg.contains("a &lt; b"));
    }

    #[test]
    fn the_largest_and_the_smallest_lie_between_ticks() {
        for (scale, values) in [(Scale::Log, [3.0, 7_000.0]), (Scale::Linear, [3.0, 71.0])] {
            let span = Span::over(scale, values.into_iter()).up_to_ticks();
            let ticks = span.ticks();
            assert!(
                ticks[0] <= values[0] && ticks[ticks.len() - 1] >= values[1],
                "{ticks:?}"
            );
            assert!((0.0..=1.0).contains(&span.place(values[0])));
            assert!((0.0..=1.0).contains(&span.place(values[1])));
        }
    }

    #[test]
    fn a_log_axis_over_many_powers_shows_only_ones() {
        let span = Span::over(Scale::Log, [10.0, 100_000.0].into_iter()).up_to_ticks();
        assert_eq!(span.ticks(), [10.0, 100.0, 1e3, 1e4, 1e5]);
    }
}

//! Line plots as inline SVG. Colours come from the page's style sheet, so that they follow its light or dark theme.

use std::fmt::Write;

use super::{thousands, time};

/// Width of a plot in its own units; the page scales it.
const WIDTH: f64 = 960.0;
/// Room for the labels left of the axes.
const LEFT: f64 = 98.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
/// Room for the labels below the axes.
const BOTTOM: f64 = 46.0;

/// One line.
pub(super) struct Line<'a> {
    /// Which colour: the class `series-NAME`.
    pub(super) name: &'a str,
    /// In the units of the axes.
    pub(super) points: Vec<(f64, f64)>,
}

/// How values are placed, and where the ticks are.
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
    label: &'static str,
}

impl Axis {
    /// Latencies in microseconds on a logarithmic scale, from the 1-2-5 step below the least to the one above the greatest.
    pub(super) fn latency(lines: &[Line], label: &'static str) -> Axis {
        // The first points are the luckiest of thousands: they would take half of the scale for themselves, so that they are cut off.
        let luck = |line: &Line| if line.points.len() > 20 { 2 } else { 0 };
        let values = || {
            lines
                .iter()
                .flat_map(|line| &line.points[luck(line)..])
                .map(|point| point.1)
                .filter(|value| *value > 0.0)
        };
        let (least, greatest) =
            (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        let (least, greatest) = if greatest > 0.0 { (least, greatest) } else { (1.0, 10.0) };
        let steps: Vec<f64> = (-1..9)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)))
            .collect();
        let low = steps.iter().copied().rfind(|step| *step <= least).unwrap_or(0.1);
        let high =
            steps.iter().copied().find(|step| *step >= greatest && *step > low).unwrap_or(1e9);
        let wide = high / low > 2e3;
        let ticks = steps.into_iter().filter(|step| (low..=high).contains(step));
        // Over many decades, only the powers of ten find room.
        let ticks =
            ticks.filter(|step| !wide || (step.log10() - step.log10().round()).abs() < 1e-9);
        Axis { low, high, log: true, ticks: ticks.map(|step| (step, short(step))).collect(), label }
    }

    /// Quantiles as `log10(1 / (1 - quantile))`, so that each nine takes the same room; up to the one that so many values can tell.
    pub(super) fn percentiles(count: u64) -> Axis {
        let high = (count.max(10) as f64).log10();
        let mut ticks = vec![
            (0.0, "0 %".to_string()),
            (0.5f64.log10().abs(), "50 %".into()),
            (1.0, "90 %".into()),
        ];
        for nines in 2..=high.floor() as usize {
            let places = "9".repeat(nines - 2);
            ticks.push((
                nines as f64,
                if places.is_empty() { "99 %".into() } else { format!("99.{places} %") },
            ));
        }
        Axis { low: 0.0, high, log: false, ticks, label: "percentile" }
    }

    /// Seconds of the window.
    pub(super) fn seconds(low: f64, high: f64) -> Axis {
        let high = high.max(low + 1.0);
        let step = nice_step((high - low) / 10.0);
        let ticks = linear_ticks(low, high, step).map(|at| (at, format!("{at:.0}"))).collect();
        Axis { low, high, log: false, ticks, label: "seconds since the window began" }
    }

    /// Counts from zero.
    pub(super) fn counts(lines: &[Line], label: &'static str) -> Axis {
        let greatest =
            lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(1.0, f64::max);
        let step = nice_step(greatest / 5.0);
        let high = (greatest / step).ceil() * step;
        let ticks = linear_ticks(0.0, high, step).map(|at| (at, thousands(at))).collect();
        Axis { low: 0.0, high, log: false, ticks, label }
    }

    /// From 0 to 1 along the axis.
    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value.clamp(self.low, self.high) - self.low) / (self.high - self.low)
        }
    }
}

fn linear_ticks(low: f64, high: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (low / step).ceil() as i64;
    (first..first + 100)
        .map(move |number| number as f64 * step)
        .take_while(move |at| *at <= high + step * 1e-6)
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let decade = 10f64.powf(rough.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(decade)
}

/// A latency of one digit: `5 ms`.
fn short(us: f64) -> String {
    time(us)
        .replace(".00", "")
        .replace(".0 ", " ")
        .replace("0.10", "0.1")
        .replace("0.20", "0.2")
        .replace("0.50", "0.5")
}

/// Draws the lines between two axes.
pub(super) fn render(title: &str, height: f64, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, height - TOP - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * inner_width;
    let at_y = |value: f64| TOP + (1.0 - y.place(value)) * inner_height;
    let (right, bottom) = (WIDTH - RIGHT, height - BOTTOM);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n");
    // Writing to a string does not fail.
    for (value, label) in &y.ticks {
        let at = at_y(*value);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            LEFT - 10.0,
            at + 4.0
        );
    }
    for (value, label) in &x.ticks {
        let at = at_x(*value);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
            bottom + 18.0
        );
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
    let _ = writeln!(
        svg,
        "<text class=\"x label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        LEFT + inner_width / 2.0,
        height - 6.0,
        x.label
    );
    let _ = writeln!(
        svg,
        "<text class=\"x label\" transform=\"translate(14 {:.1}) rotate(-90)\">{}</text>",
        TOP + inner_height / 2.0,
        y.label
    );
    // The first one on top: it is the one that matters.
    for line in lines.iter().rev() {
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"line series-{}\" points=\"{}\"/>",
            line.name,
            points.join(" ")
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_takes_the_same_room() {
        let axis = Axis::percentiles(1_000_000);
        let place = |quantile: f64| axis.place(-(1.0 - quantile).log10());
        let (first, second) = (place(0.99) - place(0.9), place(0.999) - place(0.99));
        assert!((first - second).abs() < 1e-9 && (place(0.999999) - 1.0).abs() < 1e-9);
        let labels: Vec<&str> = axis.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(
            labels,
            ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"]
        );
    }

    #[test]
    fn latency_axes_end_on_round_values() {
        let lines = [Line { name: "good", points: vec![(0.0, 130.0), (1.0, 3_400.0)] }];
        let axis = Axis::latency(&lines, "latency");
        assert_eq!((axis.low, axis.high), (100.0, 5_000.0));
        let labels: Vec<&str> = axis.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(labels, ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms"]);
        let empty = Axis::latency(&[], "latency");
        assert!(empty.low < empty.high);
    }

    #[test]
    fn steps_are_one_two_or_five() {
        assert_eq!(
            [nice_step(0.9), nice_step(1.3), nice_step(34.0), nice_step(700.0)],
            [1.0, 2.0, 50.0, 1000.0]
        );
    }
}

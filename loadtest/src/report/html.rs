//! The summary as one HTML page: nothing is loaded from anywhere, and it follows the reader's light or dark theme.

use std::fmt::Write;

use super::plot::{Axis, Line, render as plot};
use super::table::{columns, describe, facts};
use super::{percent, thousands, time};
use crate::run::Outcome;
use crate::summary::{Latency, Second, Summary};

/// Points per halving of the distance to 100 %.
const POINTS_PER_HALF: u32 = 8;

const STYLE: &str = "
:root { color-scheme: light dark; --bg: #fbfbfa; --card: #fff; --ink: #1c1f24; --dim: #5d6570; --line: #d9dce1; --grid: #e8eaee;
  --good: #0b6bcb; --stalled: #8a5a00; --slow: #b3261e; --churn: #7a3fb8; --storm: #0f7b5f; --warn-bg: #fff4d6; --warn: #6b4a00; --bad-bg: #fde5e3; --bad: #8c1d18; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14171b; --card: #1b1f24; --ink: #e6e9ee; --dim: #9aa3af; --line: #333a43; --grid: #282e36;
    --good: #58a6ff; --stalled: #e0b05c; --slow: #ff8a80; --churn: #c79bff; --storm: #56d4a8; --warn-bg: #3a2f12; --warn: #f3d58a; --bad-bg: #43201e; --bad: #ffb4ab; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 34px 0 10px; }
p { margin: 0 0 8px; } .dim { color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px; margin: 20px 0 8px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--dim); font-size: 13px; }
.note { border-radius: 8px; padding: 9px 14px; margin: 8px 0; background: var(--warn-bg); color: var(--warn); }
.note.failed { background: var(--bad-bg); color: var(--bad); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto; }
svg { display: block; width: 100%; height: auto; min-width: 620px; }
svg text { fill: var(--dim); font-size: 12.5px; font-variant-numeric: tabular-nums; } text.y { text-anchor: end; } text.x { text-anchor: middle; }
.grid { stroke: var(--grid); fill: none; } .axis { stroke: var(--dim); fill: none; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.series-good { stroke: var(--good); } .series-stalled { stroke: var(--stalled); } .series-slow { stroke: var(--slow); } .series-churn { stroke: var(--churn); } .series-storm { stroke: var(--storm); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 13px; color: var(--dim); margin: 0 0 6px 6px; }
.legend i { display: inline-block; width: 18px; height: 3px; border-radius: 2px; vertical-align: middle; margin-right: 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; } tr:last-child > * { border-bottom: 0; }
.kinds { width: auto; } .kinds th:first-child { min-width: 160px; } .kinds td { min-width: 120px; } .facts th { width: 170px; }
th:first-child, .facts td { text-align: left; } tbody th { font-weight: 500; color: var(--dim); } .facts td { white-space: normal; }
footer { margin-top: 34px; color: var(--dim); font-size: 13px; }
";

/// Renders the page.
pub fn render(outcome: &Outcome) -> String {
    let summary = &outcome.summary;
    let title = escape(&summary.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p class=\"dim\">{}<br>{}</p>\n",
        escape(&describe(summary)),
        date(summary.began_unix),
    );
    for failed in &summary.failed {
        let _ = writeln!(page, "<p class=\"note failed\"><b>Failed:</b> {}</p>", escape(failed));
    }
    for warning in &summary.warnings {
        let _ = writeln!(page, "<p class=\"note\"><b>Mind:</b> {}</p>", escape(warning));
    }
    page.push_str(&tiles(summary));
    page.push_str(&latency_plot(outcome));
    page.push_str(&groups(summary));
    page.push_str(&second_plots(summary));
    page.push_str(&details(summary));
    let _ = writeln!(
        page,
        "<footer>Latency runs from a tick's own stamp to the moment its bytes were read. Counted is what was stamped within the window, however \
         late it came. Reach compares each client with the best served one of the same stream. tickcast-loadtest {}.</footer>\n</main>\n</body>\n</html>",
        summary.version
    );
    page
}

fn tiles(summary: &Summary) -> String {
    let mut tiles: Vec<(String, String)> = Vec::new();
    if let Some(good) = summary.good().filter(|good| good.deliveries > 0) {
        tiles.push((thousands(good.deliveries_per_second), "deliveries/s".into()));
        tiles.push((good.reach.map_or("-".into(), percent), "reach".into()));
        tiles.push((thousands(good.gaps as f64), "gaps".into()));
        if let Some(Latency { p50, p99, max, .. }) = good.latency_us {
            tiles.extend([
                (time(p50), "p50".into()),
                (time(p99), "p99".into()),
                (time(max), "max".into()),
            ]);
        }
    } else {
        tiles.push((thousands(summary.connecting.clients as f64), "connections".into()));
        tiles.push((thousands(summary.connecting.per_second), "connects/s".into()));
    }
    if let Some(server) = &summary.server {
        match server.cpu_us_per_delivery {
            Some(each) => tiles.push((format!("{each:.3} µs"), "server CPU per delivery".into())),
            None => tiles.push((
                super::bytes(server.bytes_per_connection),
                "server memory per connection".into(),
            )),
        }
    }
    let tiles: String = tiles
        .iter()
        .map(|(value, name)| format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>"))
        .collect();
    format!("<div class=\"tiles\">{tiles}</div>\n")
}

fn legend(names: &[&str]) -> String {
    if names.len() < 2 {
        return String::new();
    }
    let entries: String = names
        .iter()
        .map(|name| {
            format!("<span><i style=\"background: var(--{name})\"></i>{name} clients</span>")
        })
        .collect();
    format!("<div class=\"legend\">{entries}</div>\n")
}

fn latency_plot(outcome: &Outcome) -> String {
    let lines: Vec<Line> = outcome
        .latencies
        .iter()
        .map(|(name, histogram)| {
            let last = (histogram.len() as f64).log10();
            let points = histogram.iter_quantiles(POINTS_PER_HALF).map(|step| {
                let quantile = step.quantile_iterated_to();
                let at = if quantile < 1.0 { (-(1.0 - quantile).log10()).min(last) } else { last };
                (at, step.value_iterated_to().min(histogram.max()) as f64 / 1e3)
            });
            Line { name, points: points.collect() }
        })
        .collect();
    let Some(count) = outcome.latencies.iter().map(|(_, histogram)| histogram.len()).max() else {
        return String::new();
    };
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    let (x, y) = (Axis::percentiles(count), Axis::latency(&lines, "latency"));
    format!(
        "<h2>Latency by percentile</h2>\n<div class=\"card\">{}{}</div>\n",
        legend(&names),
        plot("Latency by percentile", 400.0, &x, &y, &lines)
    )
}

fn groups(summary: &Summary) -> String {
    let mut table = String::from(
        "<h2>By kind of client</h2>\n<div class=\"card\"><table class=\"kinds\">\n<thead><tr><th></th>",
    );
    for group in &summary.groups {
        let _ = write!(table, "<th>{}</th>", group.name);
    }
    table.push_str("</tr></thead>\n<tbody>\n");
    for (name, cell) in columns(summary) {
        let cells: String = summary
            .groups
            .iter()
            .map(|group| format!("<td>{}</td>", escape(&cell(group))))
            .collect();
        let _ = writeln!(table, "<tr><th>{name}</th>{cells}</tr>");
    }
    table.push_str("</tbody></table></div>\n");
    table
}

fn second_plots(summary: &Summary) -> String {
    let seconds: Vec<&Second> =
        summary.seconds.iter().filter(|second| second.at.is_finite()).collect();
    let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { return String::new() };
    if seconds.len() < 2 || summary.parameters.idle {
        return String::new();
    }
    let line = |name, value: fn(&Second) -> f64| Line {
        name,
        points: seconds.iter().map(|second| (second.at, value(second))).collect(),
    };
    let x = Axis::seconds(first.at, last.at);
    let rates = [line("good", |second| second.good_per_second)];
    let worst = [line("good", |second| second.worst_us)];
    format!(
        "<h2>Second by second</h2>\n<div class=\"card\">{}{}</div>\n",
        plot("Deliveries per second", 210.0, &x, &Axis::counts(&rates, "deliveries/s"), &rates),
        plot(
            "Worst latency of each second",
            210.0,
            &x,
            &Axis::latency(&worst, "worst latency"),
            &worst
        ),
    )
}

fn details(summary: &Summary) -> String {
    let mut table = String::from(
        "<h2>Server, connections and this program</h2>\n<div class=\"card\"><table class=\"facts\"><tbody>\n",
    );
    for (name, text) in facts(summary) {
        let _ = writeln!(table, "<tr><th>{name}</th><td>{}</td></tr>", escape(&text));
    }
    table.push_str("</tbody></table></div>\n<h2>Parameters</h2>\n<div class=\"card\"><table class=\"facts\"><tbody>\n");
    if let Ok(serde_json::Value::Object(parameters)) = serde_json::to_value(&summary.parameters) {
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
            let text = match value {
                serde_json::Value::Array(parts) => {
                    parts.iter().map(plain).collect::<Vec<_>>().join(", ")
                }
                single => plain(single),
            };
            let _ = writeln!(
                table,
                "<tr><th>{}</th><td>{}</td></tr>",
                name.replace('_', " "),
                escape(&text)
            );
        }
    }
    table.push_str("</tbody></table></div>\n");
    table
}

/// A JSON value without quotes.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Text into HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `2026-11-21 04:40:00 UTC` (the civil calendar from days, after Howard Hinnant's `civil_from_days`).
fn date(unix: u64) -> String {
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (
        day_of_year - (153 * shifted + 2) / 5 + 1,
        if shifted < 10 { shifted + 3 } else { shifted - 9 },
    );
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_795_236_000), "2026-11-21 04:40:00 UTC");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b>\"a\" & b"), "&lt;b&gt;&quot;a&quot; &amp; b");
    }
}

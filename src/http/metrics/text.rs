//! The text format, version 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::family::{Families, Value};
use super::histogram;

/// The format's content type.
pub(super) const MIME: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn write(families: &Families) -> String {
    let mut out = String::with_capacity(32 << 10);
    for family in &families.0 {
        let (name, help, kind) = (&family.name, family.help, family.kind.as_str());
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in &family.samples {
            let labels = labels(&sample.labels);
            let _ = match &sample.value {
                Value::Whole(value) => writeln!(out, "{name}{} {value}", braced(&labels)),
                Value::Real(value) => writeln!(out, "{name}{} {value}", braced(&labels)),
                Value::Times(times) => {
                    write_times(&mut out, name, &labels, times);
                    Ok(())
                }
            };
        }
    }
    out
}

fn write_times(out: &mut String, name: &str, labels: &str, times: &Histogram<u64>) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, below) in histogram::classic(times) {
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
    }
    let (count, sum, labelled) = (times.len(), histogram::sum(times), braced(labels));
    let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum{labelled} {sum}\n{name}_count{labelled} {count}");
}

fn labels(labels: &[(&str, String)]) -> String {
    let one = |(name, value): &(&str, String)| {
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        format!("{name}=\"{value}\"")
    };
    labels.iter().map(one).collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::new_histogram;

    #[test]
    fn families_are_written_as_the_format_has_it() {
        let mut all = Families::default();
        all.counter("a_total", "Of a.").is(7);
        let b = all.gauge("b", "Of b.");
        b.with(&[("what", &"x\\\"\n"), ("n", &1)], 0.25);
        b.with(&[("what", &"y"), ("n", &2)], true);
        let mut times = new_histogram();
        times.saturating_record(40_000);
        all.histogram("c_seconds", "Of c.").with(&[("of", &"z")], times);
        let text = write(&all);
        let begins = "# HELP a_total Of a.\n# TYPE a_total counter\na_total 7\n# HELP b Of b.\n# TYPE b gauge\n\
            b{what=\"x\\\\\\\"\\n\",n=\"1\"} 0.25\nb{what=\"y\",n=\"2\"} 1\n# HELP c_seconds Of c.\n\
            # TYPE c_seconds histogram\nc_seconds_bucket{of=\"z\",le=\"0.00001\"} 0\n";
        assert!(text.starts_with(begins), "{text}");
        assert!(text.contains("\nc_seconds_bucket{of=\"z\",le=\"0.00005\"} 1\n"), "{text}");
        let count = "\nc_seconds_bucket{of=\"z\",le=\"+Inf\"} 1\nc_seconds_sum{of=\"z\"} 0.00004";
        assert!(
            text.contains(count) && text.ends_with("\nc_seconds_count{of=\"z\"} 1\n"),
            "{text}"
        );
    }
}

//! The percentile text of HdrHistogram (`.hgrm`), which its plotters read: <https://hdrhistogram.github.io/HdrHistogram/plotFiles.html>.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps per halving of the distance to 100 %, as the original's default.
const TICKS_PER_HALF: u32 = 5;

/// Renders a histogram of nanoseconds in milliseconds.
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) =
            (millis(step.value_iterated_to() as f64), step.quantile_iterated_to());
        // Writing to a string does not fail.
        let _ = if quantile < 1.0 {
            writeln!(
                out,
                "{value:>12.6} {quantile:>2.12} {total:>10} {:>14.2}",
                1.0 / (1.0 - quantile)
            )
        } else {
            writeln!(out, "{value:>12.6} {quantile:>2.12} {total:>10}")
        };
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]",
        millis(histogram.mean()),
        millis(histogram.stdev())
    );
    let _ = writeln!(
        out,
        "#[Max     = {:>12.6}, Total count    = {:>12}]",
        millis(histogram.max() as f64),
        histogram.len()
    );
    let _ =
        writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", histogram.buckets(), 2048);
    out
}

fn millis(ns: f64) -> f64 {
    ns / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_form_that_plotters_read() {
        let mut histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).unwrap();
        for value in 1..=1000u64 {
            histogram.record(value * 1_000_000).unwrap();
        }
        let text = render(&histogram);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0]
            && pair[0][1] <= pair[1][1]
            && pair[0][2] <= pair[1][2]));
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 500.0).abs() < 1.0, "{median:?}");
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(text.contains("#[Max     =") && text.contains("Total count    =         1000]"));
    }
}

//! The protobuf format, which alone has native histograms: one message `io.prometheus.client.MetricFamily` behind the
//! other, each behind its length
//! (<https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>).

use hdrhistogram::Histogram;
use prost::{Enumeration, Message};

use super::family::{self, Families, Family, Kind, Sample, Value};
use super::histogram;

/// The format's content type.
pub(super) const MIME: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// What is no longer than this would be in the bucket of zero, seconds; the default of the clients of Prometheus'.
/// Nothing is: the shortest time is a quarter of a microsecond.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39; // 2^-128

/// Empty buckets between two others that are written out rather than skipped.
const SHORT_GAP: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Buckets>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

/// `Counter` and `Gauge`, as far as they are used here.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

/// `Histogram`: the classic buckets, for those who take no others, and the native ones.
#[derive(Clone, PartialEq, Message)]
struct Buckets {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    /// How many more are in a bucket than in the one before.
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

/// Buckets without a break.
#[derive(Clone, Copy, PartialEq, Message)]
struct BucketSpan {
    /// From the end of the span before; of the first, its first bucket's number.
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

pub(super) fn write(families: &Families) -> Vec<u8> {
    // There are readers that take no family without a sample.
    let told = families.0.iter().filter(|family| !family.samples.is_empty());
    told.flat_map(|family| message(family).encode_length_delimited_to_vec()).collect()
}

fn message(family: &Family) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    MetricFamily {
        name: Some(family.name.clone().into_owned()),
        help: Some(family.help.to_owned()),
        kind: Some(kind.into()),
        metric: family.samples.iter().map(|sample| metric(family.kind, sample)).collect(),
    }
}

fn metric(kind: family::Kind, sample: &Sample) -> Metric {
    let label = |(name, value): &(&str, String)| LabelPair {
        name: Some((*name).to_owned()),
        value: Some(value.clone()),
    };
    let mut metric =
        Metric { label: sample.labels.iter().map(label).collect(), ..Metric::default() };
    let number = match &sample.value {
        Value::Whole(value) => *value as f64,
        Value::Real(value) => *value,
        Value::Times(times) => {
            metric.histogram = Some(buckets(times));
            return metric;
        }
    };
    let number = Some(Number { value: Some(number) });
    match kind {
        Kind::Counter => metric.counter = number,
        _ => metric.gauge = number,
    }
    metric
}

fn buckets(times: &Histogram<u64>) -> Buckets {
    let bucket =
        |(bound, below)| Bucket { cumulative_count: Some(below), upper_bound: Some(bound) };
    let (positive_span, positive_delta) = spans(&histogram::native(times));
    Buckets {
        sample_count: Some(times.len()),
        sample_sum: Some(histogram::sum(times)),
        bucket: histogram::classic(times).map(bucket).collect(),
        schema: Some(histogram::SCHEMA),
        zero_threshold: Some(ZERO_THRESHOLD),
        zero_count: Some(0),
        positive_span,
        positive_delta,
    }
}

/// Buckets by number as spans and differences. Short gaps are filled: a span costs more than two empty buckets.
fn spans(buckets: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut next, mut before) = (0, 0);
    for (number, count) in buckets {
        let gap = number - next;
        match spans.last_mut() {
            Some(span) if gap <= SHORT_GAP => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length = span.length.map(|length| length + gap.unsigned_abs() + 1);
            }
            _ => spans.push(BucketSpan { offset: Some(gap), length: Some(1) }),
        }
        let count = count.cast_signed();
        deltas.push(count - before);
        (next, before) = (number + 1, count);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::new_histogram;

    #[test]
    fn families_are_messages_behind_their_lengths() {
        let mut all = Families::default();
        all.counter("a_total", "Of a.").with(&[("of", &"x")], 7);
        let mut times = new_histogram();
        [995_000_000, 995_000_000, 1_400_000_000]
            .iter()
            .for_each(|ns| times.saturating_record(*ns));
        all.histogram("b_seconds", "Of b.").is(times);
        let bytes = write(&all);
        let mut rest = &bytes[..];
        let a = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert_eq!((a.name(), a.help(), a.kind()), ("a_total", "Of a.", MetricType::Counter));
        assert_eq!((a.metric[0].label[0].name(), a.metric[0].label[0].value()), ("of", "x"));
        assert_eq!(a.metric[0].counter.as_ref().map(Number::value), Some(7.0));
        let b = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let times = b.metric[0].histogram.as_ref().unwrap();
        assert_eq!((times.sample_count(), times.schema(), times.bucket.len()), (3, 3, 18));
        let spans: Vec<_> = times.positive_span.iter().map(|s| (s.offset(), s.length())).collect();
        assert_eq!((spans, &times.positive_delta[..]), (vec![(0, 1), (3, 1)], &[2, -1][..]));
        assert!(rest.is_empty());
    }

    /// By the numbers of the fields in Prometheus' description, not by ours.
    #[test]
    fn bytes_are_those_of_the_description() {
        let mut all = Families::default();
        all.gauge("nothing", "");
        all.gauge("g", "h").with(&[("n", &"v")], 2);
        let gauge = b"\x1d\x0a\x01g\x12\x01h\x18\x01\x22\x13\x0a\x06\x0a\x01n\x12\x01v\x12\x09\x09\0\0\0\0\0\0\0\x40";
        let bytes = write(&all);
        assert_eq!(bytes[..].split_at(1).1.len(), bytes[0] as usize);
        assert_eq!(bytes[1..], gauge[1..], "{bytes:02x?}");
        let mut times = new_histogram();
        times.saturating_record(995_000_000);
        let bytes = buckets(&times).encode_to_vec();
        // Schema 3, the threshold of zero, nothing in it, a span of one bucket from number 0, and one more in it.
        let end = b"\x28\x06\x31\0\0\0\0\0\0\xf0\x37\x38\0\x62\x04\x08\0\x10\x01\x6a\x01\x02";
        assert_eq!(
            (&bytes[..3], bytes[bytes.len() - end.len()..].to_vec()),
            (&b"\x08\x01\x11"[..], end.to_vec())
        );
    }

    proptest! {
        #[test]
        fn spans_say_what_is_in_each_bucket(counts in prop::collection::vec((1_i32..6, 1_u64..9), 0..20)) {
            let buckets: Vec<(i32, u64)> = counts
                .into_iter()
                .scan(-30, |number, (step, count)| { *number += step; Some((*number, count)) })
                .collect();
            let (spans, deltas) = spans(&buckets);
            let mut read = Vec::new();
            let (mut number, mut count, mut deltas) = (0, 0, deltas.into_iter());
            for span in spans {
                number += span.offset();
                for _ in 0..span.length() {
                    count += deltas.next().unwrap();
                    if count > 0 { read.push((number, count.unsigned_abs())); }
                    number += 1;
                }
            }
            prop_assert_eq!((read, deltas.next()), (buckets, None));
        }
    }
}

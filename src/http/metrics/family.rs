//! What there is to tell, before it is written in one of the formats.

use std::borrow::Cow;

use hdrhistogram::Histogram;

/// A metric, and all its samples.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: Cow<'static, str>,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One value, and of what it is.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    /// Nanoseconds, to be told in seconds.
    Times(Box<Histogram<u64>>),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<Histogram<u64>> for Value {
    fn from(times: Histogram<u64>) -> Self {
        Value::Times(Box::new(times))
    }
}

/// All metrics, in the order in which they are told.
#[derive(Debug, Default)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Families {
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, help, Kind::Counter)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, help, Kind::Gauge)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, help, Kind::Histogram)
    }

    /// One whose kind stands in a table.
    pub(super) fn begin(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: &'static str,
        kind: Kind,
    ) -> &mut Family {
        self.0.push(Family { name: name.into(), help, kind, samples: Vec::new() });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Family {
    /// The value of a metric that has but one.
    pub(super) fn is(&mut self, value: impl Into<Value>) {
        self.with(&[], value);
    }

    /// A value of one of several, which the labels tell apart.
    pub(super) fn with(
        &mut self,
        labels: &[(&'static str, &dyn ToString)],
        value: impl Into<Value>,
    ) {
        let labels = labels.iter().map(|(name, of)| (*name, of.to_string())).collect();
        self.samples.push(Sample { labels, value: value.into() });
    }
}

//! A book event on its way to ticks: collected whole, so that a message that turns out bad puts
//! nothing.

use simd_json::tape::Value;

use super::json::{Fault, Field, decimal, wrong};
use super::levels::{Cuts, Form, Row};
use crate::decimal::Decimal;
use crate::instrument::InstrumentId;
use crate::tick::{Level, Side, Stamp, Tick, flags};

/// The ticks of one book event, in a reused buffer. Their instrument is set last: it is listed
/// only once the whole message has proved good.
#[derive(Debug, Default)]
pub(super) struct Event {
    ticks: Vec<Tick>,
    stamp: Stamp,
    first: u64,
    /// The levels of the message that are read already.
    cuts: Cuts,
}

impl Event {
    /// Starts over. `first` is the first venue sequence that the event covers, 0 without one.
    pub(super) fn begin(&mut self, stamp: Stamp, first: u64) {
        self.ticks.clear();
        (self.stamp, self.first) = (stamp, first);
    }

    /// Takes what was cut out of a message, before it is read, and gives it back after: there is one
    /// buffer that grows.
    pub(super) fn exchange(&mut self, cuts: &mut Cuts) {
        std::mem::swap(&mut self.cuts, cuts);
    }

    /// Adds one level: the new total at a price.
    #[inline]
    pub(super) fn level(
        &mut self,
        name: &'static str,
        side: Side,
        price: Field<'_, '_>,
        size: Field<'_, '_>,
    ) -> Result<(), Fault> {
        self.push(side, decimal(name, price)?, decimal(name, size)?);
        Ok(())
    }

    /// The same of numbers that were read already.
    #[inline]
    pub(super) fn push(&mut self, side: Side, price: Decimal, size: Decimal) {
        let level = Level { side, price, size, first: self.first };
        self.ticks.push(Tick::level(InstrumentId::default(), self.stamp, 0, &level));
    }

    /// Adds an array of levels that was cut out; false where this is none of that form.
    pub(super) fn adopted(&mut self, form: Form, side: Side, field: Field<'_, '_>) -> bool {
        let Event { ticks, stamp, first, cuts } = self;
        let Some(rows) = cuts.rows(field, form) else { return false };
        ticks.extend(rows.iter().map(|row| {
            let side = if form == Form::Sided { row.side } else { side };
            let level = Level { side, price: row.price, size: row.size, first: *first };
            Tick::level(InstrumentId::default(), *stamp, 0, &level)
        }));
        true
    }

    /// The levels of an array that was cut out.
    pub(super) fn rows(&self, form: Form, field: Field<'_, '_>) -> Option<&[Row]> {
        self.cuts.rows(field, form)
    }

    /// Adds an array of `[price, size]`; what follows the two in an entry is ignored.
    pub(super) fn levels(
        &mut self,
        name: &'static str,
        side: Side,
        field: Field<'_, '_>,
    ) -> Result<(), Fault> {
        if self.adopted(Form::Pair, side, field) {
            return Ok(());
        }
        let entries = array(name, field)?;
        self.ticks.reserve(entries.len());
        for entry in &entries {
            let parts = entry.as_array().ok_or_else(|| wrong(name, entry, "[price, size]"))?;
            let mut parts = parts.iter();
            self.level(name, side, parts.next(), parts.next())?;
        }
        Ok(())
    }

    /// Multiplies every size by `unit`: numbers of contracts become units of the base currency.
    pub(super) fn scale(&mut self, unit: Decimal) -> Result<(), Fault> {
        for tick in &mut self.ticks {
            let size = times(tick.as_level().size, unit)?;
            (tick.payload[1], tick.size_exp) = (size.mantissa as u64, size.exponent);
        }
        Ok(())
    }

    /// The finished event of `instrument`; `kind` is [`flags::SNAPSHOT`] or 0.
    pub(super) fn finish(&mut self, instrument: InstrumentId, kind: u8) -> &[Tick] {
        if self.ticks.is_empty() {
            self.ticks.push(Tick::no_level(instrument, self.stamp, 0, self.first));
        }
        for tick in &mut self.ticks {
            tick.instrument = instrument;
            tick.flags |= kind;
        }
        if let [first, ..] = &mut self.ticks[..] {
            first.flags |= flags::FIRST;
        }
        if let [.., last] = &mut self.ticks[..] {
            last.flags |= flags::LAST;
        }
        &self.ticks
    }
}

/// A number of contracts in units of the base currency, of which `unit` make one contract.
pub(super) fn times(size: Decimal, unit: Decimal) -> Result<Decimal, Fault> {
    size.checked_mul(unit).ok_or_else(|| Fault::Value {
        field: "size",
        got: format!("{size} contracts of {unit}"),
        expected: "a product of at most 18 digits",
    })
}

/// An array's elements.
pub(super) fn array<'t, 'i>(
    name: &'static str,
    field: Field<'t, 'i>,
) -> Result<simd_json::tape::Array<'t, 'i>, Fault> {
    let value: Value<'t, 'i> = field.ok_or(Fault::Missing(name))?;
    value.as_array().ok_or_else(|| wrong(name, value, "an array"))
}

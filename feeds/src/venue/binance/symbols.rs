//! Binance's names and the instruments that they stand for.

use std::sync::Arc;

use super::Market;
use crate::instrument::{Instruments, Listing};
use crate::venue::json::Fault;
use crate::venue::names::{Listed, split_joined};
use crate::venue::slots::{Slot, Slots, is_asset};

/// What is kept per symbol, found by Binance's name.
pub(super) struct Symbols<S> {
    market: Market,
    instruments: Arc<Instruments>,
    pub(super) slots: Slots<S>,
    /// Base and quote, where a list has come.
    pub(super) listed: Listed,
}

impl<S: Default> Symbols<S> {
    pub(super) fn new(market: Market, instruments: Arc<Instruments>) -> Self {
        let slots = Slots::new(market.name(), Arc::clone(&instruments));
        Symbols { market, instruments, slots, listed: Listed::new() }
    }

    /// The slot of `native`, listed now if it is new.
    pub(super) fn resolve(&mut self, native: &str) -> Result<&mut Slot<S>, Fault> {
        if self.market == Market::Usdm && native.contains('_') && !self.slots.knows(native) {
            self.list_dated(native);
        }
        let listed = &self.listed;
        self.slots.resolve(native, |native| match native.contains('_') {
            // Never the pair, which is another instrument.
            true => None,
            false => split_joined(listed, native),
        })
    }

    /// Lists a future with a date, `BTCUSDT_260327`, if the name can be split.
    #[cold]
    fn list_dated(&self, native: &str) {
        let Some((pair, contract)) = dated(native) else { return };
        let split = match self.listed.get(native) {
            Some((base, quote)) => Some((&**base, &**quote)),
            None => split_joined(&self.listed, pair),
        };
        if let Some((base, quote)) = split.filter(|(base, quote)| is_asset(base) && is_asset(quote))
        {
            let contract = Some(contract.to_owned());
            let listing = Listing { contract, ..Listing::pair(native, base, quote) };
            self.instruments.list_as(self.market.name(), &listing);
        }
    }
}

/// The pair and the date of a future's name that has one.
pub(super) fn dated(native: &str) -> Option<(&str, &str)> {
    native.split_once('_').filter(|(_, contract)| is_asset(contract))
}

//! One symbol: its quote, its day, its book as a ladder, and its trades.

use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use tickcast_feeds::Decimal;

use super::bars;
use super::table::{leaning, signed};
use super::text::{Slot, cells, filled, number, pieces, spread, time, width};
use super::theme::Theme;
use crate::watch::model::{Entry, Feed, Level, Link, Market, Model, Open};

/// Narrower windows have no trades beside the ladder.
const BESIDE: u16 = 64;
/// Lower ladders have no trades below them.
const BELOW: u16 = 16;

/// What the parts need.
struct Picture<'a> {
    model: &'a Model,
    open: &'a Open,
    market: Option<&'a Market>,
    theme: Theme,
    /// Whether what is shown is what holds.
    holds: bool,
}

/// Draws the symbol: as many of its parts as there is room for, the most needed first.
pub(super) fn draw(
    model: &Model,
    open: &Open,
    now: Instant,
    theme: Theme,
    area: Rect,
    buf: &mut Buffer,
) {
    let market = model.markets.get(&open.symbol);
    let feed = market.map_or(Feed::Unknown, |market| market.feed);
    let holds = model.link == Link::Connected && matches!(feed, Feed::Live | Feed::Unknown);
    let picture = Picture { model, open, market, theme, holds };
    picture.head(feed, now, Slot::row(area, 0), area.height == 1, buf);
    let mut top = 1;
    if area.height >= 10 {
        picture.day(Slot::row(area, top), buf);
        top += 1;
    }
    if area.height >= 2 {
        picture.quote(Slot::row(area, top), buf);
        top += 1;
    }
    let footed = area.height >= 4;
    if footed {
        picture.foot(feed, now, Slot::row(area, area.height - 1), buf);
    }
    let height = area.height.saturating_sub(top + u16::from(footed));
    picture.body(Rect::new(area.x, area.y + top, area.width, height), buf);
}

impl Picture<'_> {
    fn head(&self, feed: Feed, now: Instant, slot: Slot, alone: bool, buf: &mut Buffer) {
        let (sign, word, style) = bars::feed(self.model, feed, self.theme);
        let mut what = Line::from(vec![
            Span::styled(format!("{}  ", self.open.symbol), self.theme.strong()),
            Span::styled(format!("{sign} {word}"), style),
        ]);
        if let (true, Some(last)) = (alone, self.market.and_then(|market| market.last.as_ref())) {
            // A window of one row: the price rather than the state, whose sign remains. One that is delayed is not
            // shown without saying so.
            let price = Span::raw(format!(" {}", last.price));
            let mark = bars::mark(self.model, slot.width).map_or(0, |mark| mark.len() as u16 + 1);
            let room = slot.width.saturating_sub(mark);
            what = pieces(vec![vec![Span::styled(sign, style)], vec![price]], room);
        }
        bars::head(self.model, &what, now, self.theme, slot, buf);
    }

    fn foot(&self, feed: Feed, now: Instant, slot: Slot, buf: &mut Buffer) {
        let keys = if self.model.has_table() { "q quit  Esc back" } else { "q quit" };
        let trouble = bars::trouble(self.model, now).or_else(|| {
            let words = match feed {
                _ if self.open.broken => "gap in the book: waiting for a new snapshot",
                Feed::Stale => "the feed is stale: what is shown is old",
                Feed::Resync => "the book is being rebuilt by the server",
                Feed::Halted => "trading is halted",
                _ => return None,
            };
            Some(words.to_owned())
        });
        bars::foot(self.model, trouble.as_deref(), keys, self.theme, slot, buf);
    }

    /// The last price, and the last 24 hours.
    fn day(&self, slot: Slot, buf: &mut Buffer) {
        let Some(market) = self.market else { return };
        let places = self.open.price_places;
        let part = |name: &'static str, mut value: Vec<Span<'static>>| {
            value.insert(0, Span::styled(name, self.theme.faint()));
            value
        };
        let mut parts = Vec::new();
        if let Some(last) = &market.last {
            let (sign, style) = bars::moved(last.moved, self.theme);
            let mut price = filled(&last.price, places, self.style(style));
            price.insert(0, Span::styled(format!("{sign} "), self.style(style)));
            parts.push(part("last ", price));
        }
        if let Some(ticker) = &market.ticker {
            let plain = |text: &str, places| filled(text, places, self.style(Style::new()));
            if let Some(percent) = &ticker.change_percent {
                let style = self.style(leaning(percent, self.theme));
                let mut percent = filled(&signed(percent), 2, style);
                percent.push(Span::styled("%", style));
                parts.push(part("  ", percent));
            }
            parts.push(part("  high ", plain(&ticker.high, places)));
            parts.push(part("  low ", plain(&ticker.low, places)));
            if let Some(volume) = &ticker.volume {
                parts.push(part("  volume ", plain(volume, 0)));
            }
            if let Some(change) = &ticker.change {
                parts.push(part("  change ", plain(&signed(change), places)));
            }
        }
        slot.left(buf, &pieces(parts, slot.width));
    }

    /// Best bid and ask: with their sizes, without, or without a word.
    fn quote(&self, slot: Slot, buf: &mut Buffer) {
        let Some(quote) = self.market.and_then(|market| market.quote.as_ref()) else {
            return slot.left(buf, &Line::styled("no quote yet", self.theme.faint()));
        };
        let faint = |text: &'static str| vec![Span::styled(text, self.theme.faint())];
        let price = |text: &str, style| filled(text, self.open.price_places, self.style(style));
        let qty = |text: &str| filled(text, self.open.qty_places, self.style(Style::new()));
        let bid = price(&quote.bid, self.theme.up());
        let ask = price(&quote.ask, self.theme.down());
        let (bid_qty, ask_qty) = (qty(&quote.bid_qty), qty(&quote.ask_qty));
        let short = [faint("bid "), bid.clone(), faint("  ask "), ask.clone()].concat();
        let shortest = [bid.clone(), vec![Span::raw(" ")], ask.clone()].concat();
        let bid = [faint("bid "), bid, faint(" × "), bid_qty].concat();
        let ask = [faint("  ask "), ask, faint(" × "), ask_qty].concat();
        let fits = |spans: &Vec<Span<'_>>| {
            spans.iter().map(Span::width).sum::<usize>() <= usize::from(slot.width)
        };
        let chosen = [[bid, ask].concat(), short].into_iter().find(fits).unwrap_or(shortest);
        slot.left(buf, &Line::from(chosen));
    }

    /// The ladder, and the trades where there is room.
    fn body(&self, area: Rect, buf: &mut Buffer) {
        let tape = self.tape_width();
        if area.width >= BESIDE && area.width >= tape + 32 {
            let ladder = Rect { width: area.width - tape - 2, ..area };
            self.ladder(ladder, buf);
            let x = area.x + ladder.width + 2;
            return self.tape(Rect { x, width: tape, ..area }, buf);
        }
        let below = if area.height >= BELOW { area.height / 3 } else { 0 };
        self.ladder(Rect { height: area.height - below, ..area }, buf);
        self.tape(Rect { y: area.bottom() - below, height: below, ..area }, buf);
    }

    /// Asks above, bids below, the spread in the middle of the room: it does not move.
    fn ladder(&self, area: Rect, buf: &mut Buffer) {
        if area.height == 0 || area.width < 8 {
            return;
        }
        let headed = area.height >= 6;
        let rungs = area.height - 1 - u16::from(headed);
        let above = rungs / 2;
        let book = &self.open.book;
        let asks = &book.asks[..book.asks.len().min(usize::from(above))];
        let bids = &book.bids[..book.bids.len().min(usize::from(rungs - above))];
        let columns = Columns::new(self.open, area.width, bids, asks);
        let middle = u16::from(headed) + above;
        if headed {
            columns.heading(Slot::row(area, 0), self.theme, buf);
        }
        for (up, level) in (1..).zip(asks) {
            self.rung(level, false, &columns, Slot::row(area, middle - up), buf);
        }
        for (down, level) in (1..).zip(bids) {
            self.rung(level, true, &columns, Slot::row(area, middle + down), buf);
        }
        self.middle(Slot::row(area, middle), buf);
    }

    /// One level.
    fn rung(&self, level: &Level, bid: bool, columns: &Columns, slot: Slot, buf: &mut Buffer) {
        let side = if bid { self.theme.up() } else { self.theme.down() };
        let last = self.market.and_then(|market| market.last.as_ref());
        let marked = last.is_some_and(|last| last.value == Some(level.value));
        let price = slot.part(columns.side, columns.price);
        let style = if marked { side.patch(self.theme.strong()) } else { side };
        let text =
            number(&level.price, self.open.price_places, columns.price - 4, self.style(style));
        price.part(0, columns.price - 2).right(buf, &text);
        if marked {
            let (left, right) = (Line::styled("▸", style), Line::styled("◂", style));
            price.part(0, 1).left(buf, &left);
            price.part(columns.price - 1, 1).left(buf, &right);
        }
        let room = columns.side.saturating_sub(1);
        let covered = cells(level.size, columns.largest, room);
        let places = self.open.qty_places;
        let qty = number(&level.qty, places, room.min(columns.qty), self.style(Style::new()));
        let bar = match bid {
            true => {
                slot.part(0, room).right(buf, &qty);
                slot.part(room - covered, covered)
            }
            false => {
                let from = columns.side + columns.price + 1;
                slot.part(from, room.min(columns.qty)).right(buf, &qty);
                slot.part(from, covered)
            }
        };
        if self.is_current() {
            bar.style(buf, self.theme.bar(bid));
        }
    }

    /// The row between asks and bids.
    fn middle(&self, slot: Slot, buf: &mut Buffer) {
        let book = &self.open.book;
        let best = book.bids.first().zip(book.asks.first());
        let line = match best.and_then(|(bid, ask)| spread(bid.value, ask.value)) {
            _ if !book.is_known() && self.model.link == Link::Connected => {
                Line::styled("waiting for the book", self.theme.warning())
            }
            Some((spread, hundredths)) => {
                let points = format!("   {}.{:02} bp", hundredths / 100, hundredths % 100);
                let spread = format!("spread {spread}");
                let parts = [spread, points].map(|text| vec![Span::raw(text)]);
                pieces(parts.into(), slot.width).style(self.theme.faint())
            }
            None if book.bids.is_empty() && book.asks.is_empty() => Line::default(),
            None => Line::styled("one side is empty", self.theme.faint()),
        };
        slot.middle(buf, &line);
    }

    /// Cells of a line of the trades.
    fn tape_width(&self) -> u16 {
        let (price, qty) = self.tape_columns();
        (12 + 3 + price + 2 + qty).min(44)
    }

    /// Of its price and its quantity.
    fn tape_columns(&self) -> (u16, u16) {
        let columns = |entry: &Entry| match entry {
            Entry::Trade { price, qty, .. } => {
                (width(price, self.open.price_places), width(qty, self.open.qty_places))
            }
            Entry::Gap => (0, 0),
        };
        let widest = |(a, b): (u16, u16), (c, d): (u16, u16)| (a.max(c), b.max(d));
        self.open.tape.iter().take(100).map(columns).fold((8, 8), widest)
    }

    /// The trades, newest first.
    fn tape(&self, area: Rect, buf: &mut Buffer) {
        if area.height == 0 {
            return;
        }
        let (price_width, qty_width) = self.tape_columns();
        let exact = area.width >= 12 + 3 + price_width + 2 + qty_width;
        let time_width = if exact { 12 } else { 8 };
        let heading = Slot::row(area, 0);
        let at = time_width + 3 + price_width;
        heading.part(0, time_width).left(buf, &Line::raw("time (UTC)"));
        heading.part(time_width + 3, price_width).right(buf, &Line::raw("trade"));
        heading.part(at + 2, qty_width).right(buf, &Line::raw("qty"));
        heading.style(buf, self.theme.faint());
        if self.open.tape.is_empty() && area.height > 1 {
            let line = Line::styled("no trade yet", self.theme.faint());
            return Slot::row(area, 1).left(buf, &line);
        }
        for (down, entry) in (1..area.height).zip(&self.open.tape) {
            let slot = Slot::row(area, down);
            let Entry::Trade { time: at_time, buy, price, qty } = entry else {
                slot.left(buf, &Line::styled("··· trades missing ···", self.theme.warning()));
                continue;
            };
            let (sign, style) = match buy {
                true => ("▲", self.theme.up()),
                false => ("▼", self.theme.down()),
            };
            let when = Line::styled(time(*at_time, exact), self.theme.faint());
            slot.part(0, time_width).left(buf, &when);
            slot.part(time_width + 1, 1).left(buf, &Line::styled(sign, style));
            let price = number(price, self.open.price_places, price_width, self.style(style));
            slot.part(time_width + 3, price_width).right(buf, &price);
            let qty = number(qty, self.open.qty_places, qty_width, self.style(Style::new()));
            slot.part(at + 2, qty_width).right(buf, &qty);
        }
    }

    fn is_current(&self) -> bool {
        self.holds && self.open.book.is_known()
    }

    /// Fainter where it does not hold any more.
    fn style(&self, style: Style) -> Style {
        if self.is_current() { style } else { style.patch(self.theme.faint()) }
    }
}

/// The columns of the ladder: bids' sizes, prices, asks' sizes.
struct Columns {
    /// Cells of either side's sizes.
    side: u16,
    /// Cells of prices with two on each side for the mark.
    price: u16,
    /// Cells of the longest size.
    qty: u16,
    /// The size whose bar is a whole side.
    largest: Decimal,
}

impl Columns {
    fn new(open: &Open, room: u16, bids: &[Level], asks: &[Level]) -> Self {
        let levels = || bids.iter().chain(asks);
        let widest = levels().map(|level| width(&level.price, open.price_places)).max();
        let price = (widest.unwrap_or(5).max(5) + 4).min(room);
        let qty = levels().map(|level| width(&level.qty, open.qty_places)).max().unwrap_or(4);
        let largest = levels().map(|level| level.size).max().unwrap_or_default();
        Columns { side: (room - price) / 2, price, qty, largest }
    }

    fn heading(&self, slot: Slot, theme: Theme, buf: &mut Buffer) {
        slot.part(0, self.side.saturating_sub(1)).right(buf, &Line::raw("bid"));
        slot.part(self.side, self.price).middle(buf, &Line::raw("price"));
        let ask = slot.part(self.side + self.price + 1, self.side.saturating_sub(1));
        ask.part(0, self.qty).right(buf, &Line::raw("ask"));
        slot.style(buf, theme.faint());
    }
}

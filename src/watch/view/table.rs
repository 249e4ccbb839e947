//! The table of symbols.

use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::bars;
use super::text::{Slot, number};
use super::theme::Theme;
use crate::watch::model::{Feed, Link, Market, Model};

const KEYS: &str = "q quit  ↑↓ select  Enter open  / filter";

/// Where the columns begin, and how wide they are; 0 is one that there is no room for.
struct Columns {
    symbol: u16,
    price: u16,
    quotes: bool,
    change: u16,
    state: u16,
}

impl Columns {
    /// Names are whole as long as prices have room; bid and ask go first.
    fn new(width: u16, longest: u16) -> Self {
        let (price, change) = (14, 11);
        let mut columns = Columns { symbol: 0, price, quotes: true, change, state: 9 };
        let name = longest.clamp(8, 24) + 1;
        if width < name + 3 * price + change + columns.state {
            columns.state = 2;
        }
        if width < name + 3 * price + change + columns.state {
            columns.quotes = false;
        }
        if width < name + price + change + columns.state {
            columns.change = 0;
        }
        let prices = if columns.quotes { 3 * price } else { price };
        columns.symbol = width.saturating_sub(prices + columns.change + columns.state).min(name);
        columns
    }
}

/// Draws the table: heading, rows around the selected one, keys.
pub(super) fn draw(model: &Model, now: Instant, theme: Theme, area: Rect, buf: &mut Buffer) {
    let markets = model.markets.all();
    let rows = &model.table.rows;
    bars::head(model, &title(model, theme), now, theme, Slot::row(area, 0), buf);
    let footed = area.height > 2;
    if footed {
        foot(model, now, theme, Slot::row(area, area.height - 1), buf);
    }
    let headed = area.height > 4;
    let top = 1 + u16::from(headed);
    let room = usize::from(area.height.saturating_sub(top + u16::from(footed)));
    // The selected row is in the middle, but for the ends of the table.
    let place = model.table.place();
    let first = place.saturating_sub(room / 2).min(rows.len().saturating_sub(room));
    let shown = &rows[first..rows.len().min(first + room)];
    let longest = shown.iter().map(|&row| markets[row].symbol.chars().count()).max().unwrap_or(0);
    let columns = Columns::new(area.width, longest as u16);
    if headed {
        heading(&columns, theme, Slot::row(area, 1), buf);
    }
    for (down, &row) in (top..).zip(shown) {
        let slot = Slot::row(area, down);
        line(model, &markets[row], &columns, theme, slot, buf);
        if first + usize::from(down - top) == place {
            slot.style(buf, theme.selected());
        }
    }
}

fn title(model: &Model, theme: Theme) -> Line<'static> {
    let (shown, all) = (model.table.rows.len(), model.markets.all().len());
    let count = match (shown, all) {
        (0, 0) => "no symbols yet".to_owned(),
        (_, 1) => "1 symbol".to_owned(),
        _ if shown == all => format!("{all} symbols"),
        _ => format!("{shown} of {all} symbols"),
    };
    let down = |market: &&Market| !matches!(market.feed, Feed::Live | Feed::Unknown);
    let mut spans = vec![
        Span::styled(format!("{}  ", model.wanted.join(" ")), theme.strong()),
        Span::raw(count),
    ];
    let down = model.markets.all().iter().filter(down).count();
    if down > 0 {
        spans.push(Span::styled(format!(", {down} not live"), theme.warning()));
    }
    Line::from(spans)
}

fn foot(model: &Model, now: Instant, theme: Theme, slot: Slot, buf: &mut Buffer) {
    let table = &model.table;
    if table.editing {
        let line = format!("/{}▏  Enter keep, Esc clear", table.filter);
        return bars::foot(model, Some(&line), "", theme, slot, buf);
    }
    let keys = match table.filter.is_empty() {
        true => KEYS.to_owned(),
        false => format!("/{}  Esc clear  Enter open  q quit", table.filter),
    };
    bars::foot(model, bars::trouble(model, now).as_deref(), &keys, theme, slot, buf);
}

fn heading(columns: &Columns, theme: Theme, slot: Slot, buf: &mut Buffer) {
    let mut at = columns.symbol;
    slot.part(0, at).left(buf, &Line::raw("symbol"));
    let quotes: &[&str] = if columns.quotes { &["bid", "ask", "last"] } else { &["last"] };
    for name in quotes {
        slot.part(at, columns.price).right(buf, &Line::raw(*name));
        at += columns.price;
    }
    slot.part(at, columns.change).right(buf, &Line::raw("change"));
    at += columns.change + 1;
    if columns.state > 2 {
        slot.part(at, columns.state).left(buf, &Line::raw("  state"));
    }
    slot.style(buf, theme.faint());
}

/// One symbol.
fn line(
    model: &Model,
    market: &Market,
    columns: &Columns,
    theme: Theme,
    slot: Slot,
    buf: &mut Buffer,
) {
    let mut at = columns.symbol;
    slot.part(0, at.saturating_sub(1)).left(buf, &Line::raw(&*market.symbol));
    let mut price = |text: Option<&str>, style: Style, buf: &mut Buffer| {
        let line = number(text.unwrap_or("-"), 0, columns.price - 2, style);
        slot.part(at, columns.price).right(buf, &line);
        at += columns.price;
    };
    if columns.quotes {
        let quote = market.quote.as_ref();
        price(quote.map(|quote| &*quote.bid), Style::new(), buf);
        price(quote.map(|quote| &*quote.ask), Style::new(), buf);
    }
    let last = market.last.as_ref();
    let (sign, style) = last.map_or((" ", Style::new()), |last| bars::moved(last.moved, theme));
    price(last.map(|last| &*last.price), style, buf);
    let ticker = market.ticker.as_ref();
    let percent = ticker.and_then(|ticker| ticker.change_percent.as_deref());
    if columns.change > 0 {
        // The sign stands in the gap behind the price.
        slot.part(at + 1, 1).left(buf, &Line::styled(sign, style));
        let change = percent.map_or_else(|| "-".to_owned(), |percent| signed(percent) + "%");
        let style = percent.map_or(Style::new(), |percent| leaning(percent, theme));
        slot.part(at + 2, columns.change - 2).right(buf, &Line::styled(change, style));
    }
    at += columns.change + 1;
    let (sign, word, style) = bars::feed(model, market.feed, theme);
    let word = if columns.state > 2 { format!("{sign} {word}") } else { sign.to_owned() };
    slot.part(at, columns.state).left(buf, &Line::styled(word, style));
    if model.link != Link::Connected || !matches!(market.feed, Feed::Live | Feed::Unknown) {
        slot.part(0, columns.symbol + columns.price).style(buf, theme.faint());
    }
}

/// With a plus where it is more than nothing.
pub(super) fn signed(number: &str) -> String {
    let nothing = number.chars().all(|c| matches!(c, '0' | '.'));
    if nothing || number.starts_with('-') { number.to_owned() } else { format!("+{number}") }
}

/// The style of a change.
pub(super) fn leaning(number: &str, theme: Theme) -> Style {
    match signed(number).as_bytes().first() {
        Some(b'+') => theme.up(),
        Some(b'-') => theme.down(),
        _ => Style::new(),
    }
}

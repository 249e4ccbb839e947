//! Pictures of models.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::*;
use crate::watch::keys::Action;

const SYMBOL: &str = "x:A-B";

fn apply(model: &mut Model, message: &Value, now: Instant) {
    model.apply(message.to_string().as_bytes(), now);
}

/// A model of one symbol, or of all, that has heard everything.
fn model(wanted: &str) -> (Model, Instant) {
    let now = Instant::now();
    let mut model = Model::new(&[wanted.to_owned()], now);
    model.connected();
    let symbol = SYMBOL;
    for message in [
        json!({"channel": "quote", "symbol": symbol, "seq": 1, "bid": "61837.6", "bid_qty": "3.78",
               "ask": "61837.75", "ask_qty": "1", "ts": {"recv": 1}}),
        json!({"channel": "ticker", "symbol": symbol, "seq": 1, "start": 0, "open": "61000",
               "high": "62100", "low": "60800.5", "last": "61837.6", "change": "837.6",
               "change_percent": "1.37", "volume": "20133.7", "quote_volume": "1", "trades": 1}),
        json!({"channel": "status", "type": "feed", "symbol": symbol, "state": "live", "age_ms": 1}),
        json!({"channel": "book", "symbol": symbol, "seq": 1, "depth": 10,
               "bids": [["61837.6", "4"], ["61837", "2"], ["61836.05", "0.125"]],
               "asks": [["61837.75", "1"], ["61838", "8"], ["61839.5", "0.5"]]}),
        json!({"channel": "trade", "symbol": symbol, "seq": 9, "prev": 8, "side": "sell",
               "price": "61837.6", "qty": "0.02", "ts": {"event": 1_723_161_255_012_345u64}}),
    ] {
        apply(&mut model, &message, now);
    }
    (model, now)
}

/// A picture of this size.
fn picture(model: &mut Model, now: Instant, colours: bool, width: u16, height: u16) -> Buffer {
    model.prepare();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no terminal");
    let theme = Theme::new(colours);
    let drawn = terminal.draw(|frame| draw(model, now, theme, frame.area(), frame.buffer_mut()));
    drawn.expect("no terminal").buffer.clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let row = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn shown(model: &mut Model, now: Instant, width: u16, height: u16) -> Vec<String> {
    lines(&picture(model, now, true, width, height))
}

#[test]
fn a_ladder() {
    let (mut model, now) = model(SYMBOL);
    let expected = [
        "x:A-B  ● live                                                        ● connected",
        "last   61837.60  +1.37%  high 62100.00  low 60800.50  volume 20133.7",
        "bid 61837.60 × 3.780  ask 61837.75 × 1.000",
        "            bid    price       ask             time (UTC)        trade       qty",
        "                  61839.50   0.500             23:54:15.012 ▼ 61837.60     0.020",
        "                  61838.00   8.000",
        "                  61837.75   1.000",
        "            spread 0.15   0.02 bp",
        "          4.000 ▸ 61837.60 ◂",
        "          2.000   61837.00",
        "          0.125   61836.05",
        "q quit                                                           0 msg/s  0 gaps",
    ];
    let lines = shown(&mut model, now, 80, 12);
    assert_eq!(lines, expected, "\n{}", lines.join("\n"));
}

#[test]
fn sizes_have_bars_and_colours_can_be_refused() {
    let (mut model, now) = model(SYMBOL);
    let bars = |buffer: &Buffer, y: u16, covered: fn(&ratatui::buffer::Cell) -> bool| {
        (0..44).filter(|&x| covered(&buffer[(x, y)])).count()
    };
    let coloured = picture(&mut model, now, true, 80, 12);
    let background = |cell: &ratatui::buffer::Cell| cell.bg != Color::Reset;
    // 8, 1, 4 and 2 of 8.
    let lengths = [5, 6, 8, 9].map(|y| bars(&coloured, y, background));
    assert_eq!(lengths, [15, 2, 8, 4]);

    let plain = picture(&mut model, now, false, 80, 12);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let reversed = |cell: &ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
    assert_eq!([5, 6, 8, 9].map(|y| bars(&plain, y, reversed)), lengths);
    assert_eq!(lines(&plain), lines(&coloured), "nothing is said by colours alone");
}

/// Whether a row is faint where it says something.
fn faint(buffer: &Buffer, y: u16, text: &str) -> bool {
    let line: Vec<&str> = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
    let at = (0..line.len()).find(|&x| line[x..].concat().starts_with(text)).expect("is there");
    buffer[(at as u16, y)].modifier.contains(Modifier::DIM)
}

#[test]
fn a_gap_says_so_and_the_old_levels_are_faint() {
    let (mut model, now) = model(SYMBOL);
    assert!(!faint(&picture(&mut model, now, true, 80, 12), 8, "61837.60"));
    let broken = json!({"channel": "book", "symbol": SYMBOL, "seq": 9, "prev": 7, "depth": 10,
                        "bids": [], "asks": []});
    apply(&mut model, &broken, now);
    let buffer = picture(&mut model, now, true, 80, 12);
    let lines = lines(&buffer);
    assert!(lines[11].starts_with("gap in the book of x:A-B: messages are missing"), "{lines:?}");
    assert!(lines[11].ends_with("1 gap"), "{lines:?}");
    assert!(lines[7].contains("waiting for the book"), "{lines:?}");
    assert!(faint(&buffer, 8, "61837.60"));
    let later = now + Duration::from_secs(60);
    let lines = shown(&mut model, later, 80, 12);
    assert!(lines[11].starts_with("gap in the book: waiting"), "as long as it lasts: {lines:?}");
}

#[test]
fn a_stale_feed_says_so() {
    let (mut model, now) = model(SYMBOL);
    for (state, words) in
        [("stale", "the feed is stale"), ("resync", "being rebuilt"), ("halted", "halted")]
    {
        let status = json!({"channel": "status", "type": "feed", "symbol": SYMBOL, "state": state});
        apply(&mut model, &status, now);
        let buffer = picture(&mut model, now, true, 80, 12);
        let lines = lines(&buffer);
        assert!(lines[0].contains(state) && lines[11].contains(words), "{lines:?}");
        assert!(faint(&buffer, 8, "61837.60"), "{state}");
    }
}

#[test]
fn a_lost_connection_keeps_the_picture_and_counts_down() {
    let (mut model, now) = model(SYMBOL);
    model.lost("connection lost: silence for 10 s", now + Duration::from_millis(2300), 3);
    let buffer = picture(&mut model, now, true, 80, 12);
    let lines = lines(&buffer);
    assert!(lines[0].starts_with("x:A-B  ○ offline"), "{lines:?}");
    assert!(lines[0].ends_with("○ reconnecting in 2.3 s, try 3"), "{lines:?}");
    assert!(
        lines[11].starts_with("all of this is old: connection lost: silence for 10 s"),
        "{lines:?}"
    );
    assert!(lines[8].contains("4.000 ▸ 61837.60 ◂") && faint(&buffer, 8, "61837.60"));
    let lines = shown(&mut model, now + Duration::from_secs(3), 80, 12);
    assert!(lines[0].ends_with("○ reconnecting, try 3"), "{lines:?}");
    let lines = shown(&mut model, now, 24, 6);
    assert!(lines[0].contains("○ offline"), "even there: {lines:?}");
}

#[test]
fn a_lag_stands_where_the_connection_does() {
    let (mut model, now) = model(SYMBOL);
    let lag = json!({"channel": "status", "type": "lag", "policy": "conflate",
                     "cause": "peer_window", "skipped": 41});
    apply(&mut model, &lag, now);
    let lines = shown(&mut model, now, 80, 12);
    assert!(lines[0].ends_with("◌ lagging: peer_window"), "{lines:?}");
    let told = "lagging: this terminal did not read (conflate, 41 skipped)";
    assert!(lines[11].starts_with(told), "{lines:?}");
    let lines = shown(&mut model, now + Duration::from_secs(60), 80, 12);
    assert!(lines[0].ends_with("● connected"), "{lines:?}");
}

/// The server says by how much what it sends is delayed.
fn delay(model: &mut Model, now: Instant, delay_ms: u64) {
    let answer = json!({"method": "subscribe", "req_id": 0, "success": true, "delay_ms": delay_ms,
        "result": [{"channel": "quote", "symbol": SYMBOL}]});
    apply(model, &answer, now);
}

#[test]
fn what_is_delayed_says_so() {
    for wanted in [SYMBOL, "*"] {
        let (mut model, now) = model(wanted);
        assert!(!shown(&mut model, now, 80, 12).concat().contains("delayed"));
        delay(&mut model, now, 900_000);
        let lines = shown(&mut model, now, 80, 12);
        assert!(lines[0].starts_with(wanted), "{lines:?}");
        assert!(lines[0].ends_with(" delayed 15 min  ● connected"), "{lines:?}");
        // It is told from lag, from a lost connection, and without colours.
        let lag = json!({"channel": "status", "type": "lag", "policy": "conflate",
                         "cause": "peer_window"});
        apply(&mut model, &lag, now);
        let lines = shown(&mut model, now, 80, 12);
        assert!(lines[0].ends_with(" delayed 15 min  ◌ lagging: peer_window"), "{lines:?}");
        model.lost("connection lost", now, 3);
        let plain = picture(&mut model, now, false, 80, 12);
        let lines = self::lines(&plain);
        assert!(lines[0].ends_with(" delayed 15 min  ○ reconnecting, try 3"), "{lines:?}");
    }
}

#[test]
fn no_window_is_too_small_to_say_that_it_is_delayed() {
    let (mut one, now) = model(SYMBOL);
    let (mut all, _) = model("*");
    for model in [&mut one, &mut all] {
        delay(model, now, 900_000);
    }
    for connected in [true, false] {
        if !connected {
            one.lost("connection lost", now, 3);
            all.lost("connection lost", now, 3);
        }
        for (width, height) in (7..100).flat_map(|width| [1, 2, 5, 24].map(|h| (width, h))) {
            for model in [&mut one, &mut all] {
                let lines = shown(model, now, width, height);
                let mark = if width < 14 { "delayed" } else { "delayed 15 min" };
                assert!(lines[0].contains(mark), "{width}x{height}: {lines:?}");
            }
        }
    }
    // A price is shown whole beside it, or not at all.
    let (mut one, now) = model(SYMBOL);
    delay(&mut one, now, 900_000);
    for width in 1..40 {
        let line = shown(&mut one, now, width, 1).concat();
        assert_eq!(line.contains('6'), line.contains("61837.6"), "{width}: {line}");
    }
    assert!(shown(&mut one, now, 25, 1)[0].starts_with("● 61837.6 "));
}

#[test]
fn missing_trades_leave_a_mark() {
    let (mut model, now) = model(SYMBOL);
    let trade = json!({"channel": "trade", "symbol": SYMBOL, "seq": 12, "prev": 11, "side": "buy",
                       "price": "61838", "qty": "1", "ts": {"recv": 1_723_161_256_000_000u64}});
    apply(&mut model, &trade, now);
    let lines = shown(&mut model, now, 80, 12);
    assert!(lines[1].starts_with("last ▲ 61838.00"), "{lines:?}");
    assert!(lines[4].contains("23:54:16.000 ▲ 61838.00     1.000"), "{lines:?}");
    assert!(lines[5].contains("trades missing"), "{lines:?}");
    assert!(lines[6].contains("23:54:15.012"), "{lines:?}");
}

#[test]
fn a_table() {
    let (mut model, now) = model("x:*");
    let other = json!({"channel": "quote", "symbol": "x:C-D", "seq": 1, "bid": "1.5",
                       "bid_qty": "3", "ask": "1.625", "ask_qty": "1"});
    apply(&mut model, &other, now);
    let status = json!({"channel": "status", "type": "feed", "symbol": "x:C-D", "state": "stale"});
    apply(&mut model, &status, now);
    let expected = [
        "x:*  2 symbols, 1 not live                                           ● connected",
        "symbol              bid           ask          last     change   state",
        "x:A-B           61837.6      61837.75       61837.6     +1.37% ● live",
        "x:C-D               1.5         1.625             -          - ◌ stale",
        "",
        "q quit  ↑↓ select  Enter open  / filter                          0 msg/s  0 gaps",
    ];
    let lines = shown(&mut model, now, 80, 6);
    assert_eq!(lines, expected, "\n{}", lines.join("\n"));
    let narrow = shown(&mut model, now, 40, 6);
    assert!(narrow[2].starts_with("x:A-B") && narrow[2].contains("61837.6"), "{narrow:?}");
    assert!(narrow[3].contains('◌'), "{narrow:?}");
}

#[test]
fn the_selected_row_stays_in_sight() {
    let (mut model, now) = model("*");
    for n in 0..100 {
        let quote = json!({"channel": "quote", "symbol": format!("y:S{n:02}-B"), "seq": 1,
                           "bid": "1", "bid_qty": "3", "ask": "2", "ask_qty": "1"});
        apply(&mut model, &quote, now);
    }
    model.prepare();
    for (action, symbol) in [
        (Action::First, "x:A-B"),
        (Action::Step(50), "y:S49-B"),
        (Action::Last, "y:S99-B"),
        (Action::Step(-1), "y:S98-B"),
    ] {
        model.act(action);
        let buffer = picture(&mut model, now, false, 80, 10);
        let reversed = |y: &u16| buffer[(0, *y)].modifier.contains(Modifier::REVERSED);
        let selected: Vec<u16> = (0..10).filter(reversed).collect();
        assert_eq!(selected.len(), 1, "{action:?}");
        assert!(lines(&buffer)[usize::from(selected[0])].starts_with(symbol), "{action:?}");
    }
}

#[test]
fn every_size_has_its_picture() {
    let (mut one, now) = model(SYMBOL);
    let (mut all, _) = model("*");
    for width in (1..30).chain([40, 64, 80, 200]) {
        for height in (1..20).chain([60]) {
            for model in [&mut one, &mut all] {
                let lines = shown(model, now, width, height);
                if width >= 20 && height >= 2 {
                    let text = lines.join("\n");
                    assert!(text.contains("61837."), "{width}x{height}: a price\n{text}");
                }
            }
        }
    }
    let lines = shown(&mut one, now, 20, 1);
    assert!(lines[0].starts_with("● 61837.6"), "{lines:?}");
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let (mut model, now) = model("*");
    let quote = json!({"channel": "quote", "symbol": "x:\u{1b}[2J-B", "seq": 1, "bid": "\u{7}1",
                       "bid_qty": "3", "ask": "2", "ask_qty": "1"});
    apply(&mut model, &quote, now);
    let buffer = picture(&mut model, now, true, 80, 10);
    assert!(buffer.content.iter().all(|cell| !cell.symbol().contains(char::is_control)));
    assert!(lines(&buffer).join("\n").contains("x:[2J-B"));
}

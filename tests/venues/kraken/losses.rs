//! What the checksum does not cover: levels beyond the tenth.

use std::time::Instant;

use super::super::common::{Client, PATIENCE};
use super::*;

/// What a client knows of one book.
#[derive(Default)]
struct Shown {
    book: Book,
    state: String,
    resyncs: usize,
}

impl Shown {
    fn take(&mut self, message: &Value) {
        match (message["channel"].as_str(), message["type"].as_str()) {
            (Some("status"), _) => {
                message["state"].as_str().unwrap_or_default().clone_into(&mut self.state);
                self.resyncs += usize::from(self.state == "resync");
            }
            (Some("book"), kind) => {
                if kind == Some("snapshot") {
                    self.book = Book::default();
                }
                for (side, name) in [(BID, "bids"), (ASK, "asks")] {
                    for level in message[name].as_array().expect("levels") {
                        let part = |at: usize| level[at].as_str().expect("text").parse();
                        let (price, size) = (part(0).expect("a price"), part(1).expect("a size"));
                        self.book.set((side, price, size));
                    }
                }
            }
            _ => {}
        }
    }
}

fn size_at(book: &Book, ticks: i64) -> Option<Decimal> {
    book.sides[BID].get(&Decimal::new(ticks, -2)).copied()
}

/// At a depth of 25 a lost update of the 15th bid is seen by nobody, also not when the best ten go
/// on changing: the client's book is wrong there and said to be live. It shows when that level
/// rises among the best ten, and the book is rebuilt. (At a depth of 10 there is no such place.)
#[test]
fn a_loss_beyond_the_tenth_level_shows_when_it_rises() {
    let native = "BTC/USD";
    let (middle, depth) = (20_000, 25);
    let mut book = Book::default();
    for away in 1..=30 {
        book.set((BID, Decimal::new(middle - away, -2), Decimal::new(1_000 + away, -3)));
        book.set((ASK, Decimal::new(middle + away, -2), Decimal::new(1_000 + away, -3)));
    }
    let truth = super::super::world::Truth::new(book, 1, depth);
    let world = World { truths: HashMap::from([(native.to_owned(), truth)]), depth };
    let venue = LocalVenue::start(Kraken::new(&world), world);
    let server = serve(&venue, "kraken:BTC-USD,channels=book,depth=25");
    venue.wait_subscribed(1);
    server.wait_metric("tickcast_live_links", "", |n| n == 1.0);
    let mut client = Client::native(&server);
    for channel in ["status", "book"] {
        let params = json!({"channel": channel, "symbol": ["kraken:BTC-USD"]});
        client.send(&json!({"method": "subscribe", "params": params}));
    }
    let mut shown = Shown::default();
    let mut until = |shown: &mut Shown, wanted: &dyn Fn(&Shown) -> bool| {
        let end = Instant::now() + PATIENCE;
        while !wanted(shown) {
            assert!(Instant::now() < end, "{} {:?}", shown.state, shown.book);
            shown.take(&client.message());
        }
    };
    let truth = || venue.world(|world| world.truths[native].hash());
    let mut at = 0;
    let mut happen = |away: &[i64], size: i64, fault: Option<Fault>| {
        at += 1;
        let change = |away: &i64| (BID, Decimal::new(middle - away, -2), Decimal::new(size, -3));
        let changes = away.iter().map(change).collect();
        let what = Happening::Book { first: at, last: at, changes };
        let step = Step { native: native.to_owned(), at_ns: at * 1_000, what, captured: None };
        venue.play(&[step], f64::INFINITY, |_, _| fault);
    };
    until(&mut shown, &|shown| shown.book.hash() == truth() && shown.state == "live");

    happen(&[15], 7_777, Some(Fault::Drop));
    happen(&[1], 5_555, None);
    until(&mut shown, &|shown| size_at(&shown.book, middle - 1) == Some(Decimal::new(5_555, -3)));
    assert_eq!(size_at(&shown.book, middle - 15), Some(Decimal::new(1_015, -3)), "the old one");
    assert_ne!(shown.book.hash(), truth());
    assert_eq!((&*shown.state, shown.resyncs), ("live", 0));

    // The best five go: it is the tenth.
    happen(&[1, 2, 3, 4, 5], 0, None);
    until(&mut shown, &|shown| shown.book.hash() == truth() && shown.state == "live");
    assert_eq!(shown.resyncs, 1);
    assert_eq!(size_at(&shown.book, middle - 15), Some(Decimal::new(7_777, -3)));
}

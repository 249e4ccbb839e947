//! Many symbols on one connection.

use std::collections::HashSet;

use super::super::local::wait_for;
use super::super::world::Random;
use super::*;

/// So many symbols: by tickcast's name and by the venue's.
fn names(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("kraken:T{n}-USD"), format!("T{n}/USD"))).collect()
}

/// A venue of so many symbols, with a history of so many steps.
fn begin_many(symbols: &[(String, String)], steps: usize, seed: u64) -> Run {
    let natives: Vec<&str> = symbols.iter().map(|(_, native)| &**native).collect();
    let (world, script) = invented(&natives, steps, 1_000_000, seed, CHECKED, |_| 1);
    let venue = Arc::new(LocalVenue::start(Kraken::new(&world), world));
    let server = serve(&venue, "kraken:*,depth=10");
    let symbols: Vec<(&str, &str)> = symbols.iter().map(|(a, b)| (&**a, &**b)).collect();
    let checker = Checker::start(&server, &venue, &symbols);
    venue.wait_subscribed(3 * symbols.len());
    wait_for(|| symbols.iter().all(|(_, native)| checker.is_live(native)).then_some(()));
    Run { venue, server, checker, script }
}

#[test]
fn a_hundred_and_twenty_symbols_are_subscribed_to_in_few_requests_at_a_gentle_pace() {
    let symbols = names(120);
    let run = begin_many(&symbols, 1_000, 3);
    let requests = requests(&run.venue);
    assert_eq!(requests.len(), 6, "two of each channel: {requests:?}");
    for channel in ["book", "ticker", "trade"] {
        let of = requests.iter().filter(|r| r["params"]["channel"] == channel);
        let mut asked = HashSet::new();
        for request in of {
            let symbols = request["params"]["symbol"].as_array().expect("symbols");
            assert!(symbols.len() <= 100, "{}", symbols.len());
            asked.extend(symbols.iter().map(|s| s.as_str().expect("text").to_owned()));
        }
        assert_eq!(asked.len(), 120, "{channel}");
    }
    let heard = run.venue.heard();
    assert!(heard.iter().all(|(_, text)| text.len() < 4_096));
    // Five a second; the sixth waited.
    let pause = heard[5].0 - heard[0].0;
    assert!(pause >= std::time::Duration::from_millis(700), "{pause:?}");
    run.play_all();
    let seen = run.checker.finish();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
}

/// What breaks all books of a connection at once does not storm the venue, nor keep it busy for
/// minutes: they are subscribed to anew together.
#[test]
fn books_that_break_together_are_rebuilt_together() {
    let symbols = names(120);
    let run = begin_many(&symbols, 3_000, 5);
    run.venue.play(&run.script, 1.0, |index, _| (index == 100).then_some(Fault::Cut));
    let before = 6;
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    let rebuilt = seen.values().filter(|seen| seen.times("resync") == 1).count();
    assert!(rebuilt >= 100, "{rebuilt}");
    let requests = requests(&venue).len() - before;
    assert!(requests <= 60, "{requests} requests for {rebuilt} books");
}

/// A book at the venue, and what a client has of it that lost one update.
struct Watched {
    book: Book,
    losses: usize,
    /// After the loss; `None` where the next update has come.
    stale: Option<Book>,
}

impl Watched {
    /// Whether a step is told to those who are subscribed, and may be lost: one that follows a loss
    /// may not. A loss that this update makes good (it is about the same levels, and nothing else is
    /// wrong) is none.
    fn step(&mut self, changes: &[Change]) -> bool {
        let old = self.book.view(CHECKED);
        changes.iter().for_each(|&change| self.book.set(change));
        let told = told(&old, &self.book, CHECKED);
        if let Some(mut stale) = self.stale.take_if(|_| !told.is_empty()) {
            told.iter().for_each(|&change| stale.set(change));
            self.losses -= usize::from(stale.view(CHECKED) == self.book.view(CHECKED));
            return false;
        }
        !told.is_empty()
    }
}

/// One update lost at each of 200 random places, each on its own: the client has noticed the last one
/// and has the symbol's book again before it loses another.
#[test]
fn two_hundred_losses_and_no_wrong_book() {
    const LOSSES: usize = 4;
    let symbols = names(50);
    let run = begin_many(&symbols, 6_500, 11);
    let mut random = Random::new(13);
    let mut all: HashMap<String, Watched> = run.venue.world(|world| {
        let watched = |book: &Book| Watched { book: book.clone(), losses: 0, stale: None };
        world.truths.iter().map(|(native, truth)| (native.clone(), watched(&truth.book))).collect()
    });
    let end = run.script.len() - 500;
    run.venue.play(&run.script, 1.0, |index, step| {
        let Happening::Book { changes, .. } = &step.what else { return None };
        let watched = all.get_mut(&step.native).expect("a known symbol");
        let before = watched.book.view(CHECKED);
        let may_be_lost = watched.step(changes);
        let is_whole = run.checker.is_live(&step.native)
            && run.checker.resyncs(&step.native) == watched.losses
            && watched.stale.is_none();
        let go = index < end && watched.losses < LOSSES && is_whole && may_be_lost;
        (go && random.below(2) == 0).then(|| {
            (watched.losses, watched.stale) = (watched.losses + 1, Some(before));
            Fault::Drop
        })
    });
    let seen = run.checker.finish();
    let losses: usize = all.values().map(|watched| watched.losses).sum();
    println!("{losses} losses, {} resyncs", resyncs(&seen));
    // A machine that is very slow has no time for all.
    assert!(losses >= LOSSES * symbols.len() * 9 / 10, "{losses}");
    for (symbol, native) in &symbols {
        assert_eq!(seen[symbol].times("resync"), all[native].losses, "{symbol}");
    }
}

//! What the engine of live feeds does when connections come and go, whatever the venue: here it is
//! Binance's protocol.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::binance::{Binance, PLENTY};
use super::common::{Server, pause};
use super::local::{Answer, LocalVenue, Protocol, wait_for};
use super::world::{Step, World, invented};

fn world() -> World {
    invented(&["BTCUSDT"], 1, 1_000_000, 7, usize::MAX, |_| 1).0
}

fn start(venue: &LocalVenue, more: &str) -> Server {
    Server::start(&["--feed", &venue.spec("binance:BTCUSDT", more)])
}

/// A venue that is about to go, and says so to all who come.
struct Leaving(Binance);

impl Protocol for Leaving {
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        let mut answers = self.0.received(text, subscribed, world);
        answers.extend(self.0.shutdown());
        answers
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        self.0.get(path, world)
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        self.0.messages(step, world)
    }
}

#[test]
fn a_venue_that_announces_its_end_to_all_who_come_is_not_stormed() {
    let venue = LocalVenue::start(Leaving(PLENTY), world());
    let _server = start(&venue, "");
    venue.wait_subscribed(3);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert!(venue.connections().0 <= 2, "{:?}", venue.connections());
        pause();
    }
}

#[test]
fn a_connection_whose_successor_dies_goes_when_the_next_one_carries_the_data() {
    let venue = LocalVenue::start(PLENTY, world());
    // Each is replaced before it has replaced the one before it.
    let _server = start(&venue, ",life=1");
    let open = wait_for(|| Some(venue.open_connections()).filter(|open| open.len() == 3));
    venue.abort(open[1]);
    wait_for(|| (!venue.open_connections().contains(&open[0])).then_some(()));
}

#[test]
fn the_program_ends_at_once_whatever_it_waits_for() {
    let venue = LocalVenue::start(PLENTY, world());
    // It waits for the list of instruments, much longer than it may take to end.
    venue.delay_snapshots(Duration::from_secs(600));
    let mut server = start(&venue, "");
    wait_for(|| (!venue.asked().is_empty()).then_some(()));
    let began = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(began.elapsed() < Duration::from_secs(20), "a request may take 30 s");
}

#[test]
fn a_venue_that_trades_nothing_at_present_is_waited_for() {
    let venue = LocalVenue::start(PLENTY, World::default());
    let server = start(&venue, "");
    wait_for(|| server.get("/v1/feeds").1.contains("lists nothing").then_some(()));
    wait_for(|| (venue.asked().len() >= 2).then_some(()));
    assert_eq!(server.metric("tickcast_feed_up", ""), 1.0);
}

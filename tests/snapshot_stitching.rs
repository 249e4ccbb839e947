//! Real captures through the server to clients that are not ours: nothing lost, nothing twice,
//! exact to the last digit, and whoever comes at whatever moment ends with the right book.

mod common;

use common::Server;
use common::python::Clients;

/// The grace is for a machine that has more to do: dozens of clients in one Python process may take
/// seconds to read what the kernel holds for each.
fn replay(feed: &str) -> Server {
    Server::start(&["--reactors", "2", "--slow-grace", "60s", "--feed", feed])
}

#[test]
fn everything_arrives_once_in_order_and_exact_as_fast_as_it_goes() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=2,rebase=false"));
    clients.run(&server, "exact.py", &["kept"]);
}

#[test]
#[ignore = "takes the 17 s of the captures at this speed; scripts/test runs it optimised"]
fn everything_arrives_once_in_order_and_exact_at_20_times_the_speed() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=20,wait=2"));
    clients.run(&server, "exact.py", &["rebased"]);
}

#[test]
fn whoever_comes_at_a_random_moment_ends_with_the_right_book() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=6"));
    clients.run(&server, "moments.py", &["1"]);
}

#[test]
#[ignore = "takes the 17 s of the captures at this speed; scripts/test runs it optimised"]
fn whoever_comes_at_a_random_moment_at_20_times_the_speed_ends_with_the_right_book() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=20,wait=6"));
    clients.run(&server, "moments.py", &["2"]);
}

#[test]
fn a_replay_that_starts_over_goes_on_with_higher_sequences() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=2,loop=true"));
    clients.run(&server, "looped.py", &["1"]);
}

#[test]
fn books_of_other_captures_are_never_crossed() {
    let Some(clients) = Clients::find() else { return };
    for (folder, books) in [("binance_misc", "8"), ("coinbase_exchange_2021", "10")] {
        let server = replay(&clients.folder(folder, "speed=max,wait=2"));
        clients.run(&server, "uncrossed.py", &[books]);
    }
}

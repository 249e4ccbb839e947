//! Real captures through the server to clients that are not ours: nothing lost, nothing twice,
//! exact to the last digit, and whoever comes at whatever moment ends with the right book.

mod common;

use common::Server;
use common::python::Clients;

fn replay(feed: &str) -> Server {
    Server::start(&["--reactors", "2", "--feed", feed])
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

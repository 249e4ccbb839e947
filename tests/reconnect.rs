//! A crowd that leaves and comes back at once: it gets its snapshots, nobody who stayed loses a
//! tick, and nothing of those who left remains.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use common::stream::{Key, Links, Random};
use common::{Client, Server};

const SYMBOLS: usize = 100;
const CROWD: u64 = 300;
const EACH: usize = 20;
const STAY: usize = 5;

/// One of the crowd: subscribes and waits until it has every snapshot.
fn arrive(server: &Server, seed: u64) -> Client {
    let mut client = Client::native(server);
    let symbols = Random::new(seed).symbols(EACH, SYMBOLS);
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut links = Links::default();
    links.subscribe(&mut client, "quote", &symbols);
    links.subscribe(&mut client, "book", &symbols);
    let mut have: HashSet<Key> = HashSet::new();
    let mut seen = 0;
    while have.len() < 2 * EACH {
        if links.updates.len() == seen {
            links.read(&mut client);
        }
        let update = &links.updates[seen];
        seen += 1;
        if update.snapshot {
            have.insert(update.key.clone());
        } else {
            assert!(have.contains(&update.key), "no snapshot before {}", update.text);
        }
    }
    client
}

fn all_arrive(server: &Server) -> Vec<Client> {
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..CROWD).map(|i| scope.spawn(move || arrive(server, i))).collect();
        crowd.into_iter().map(|client| client.join().expect("a client")).collect()
    })
}

/// One who stays checks every link until the end, then says how much there was.
fn stay(mut client: Client, mut links: Links, over: &AtomicBool) -> usize {
    while !over.load(Ordering::SeqCst) {
        links.read(&mut client);
    }
    links.updates.len()
}

#[test]
fn a_crowd_that_comes_back_at_once_disturbs_nobody_and_leaves_nothing() {
    let feed = format!("synthetic:symbols={SYMBOLS},rate=600,zipf=0,names=numbered,seed=11");
    // The crowd does not read between its coming and its going, and is not to be taken for dead.
    let patient = ["--slow-grace", "60s", "--ping-interval", "10m"];
    let server = Server::start(&[&patient[..], &["--reactors", "2", "--feed", &feed]].concat());
    let gauges = ["tickcast_sessions", "tickcast_subscriptions"];
    let is = |wanted: [u64; 2]| {
        for (gauge, wanted) in gauges.into_iter().zip(wanted) {
            server.wait_metric(gauge, "", |now| now == wanted as f64);
        }
    };
    let mut staying = Vec::new();
    for _ in 0..STAY {
        let mut client = Client::native(&server);
        let mut links = Links::default();
        for channel in ["trade", "quote", "book"] {
            links.subscribe(&mut client, channel, &["*"]);
        }
        staying.push((client, links));
    }
    // Before the first quote of a symbol there is no snapshot of it.
    let (client, links) = &mut staying[0];
    while links.last.keys().filter(|(channel, _)| channel != "trade").count() < 2 * SYMBOLS {
        links.read(client);
    }
    let alone = [STAY as u64, (STAY * 3 * SYMBOLS) as u64];
    let crowded = [alone[0] + CROWD, alone[1] + CROWD * 2 * EACH as u64];
    is(alone);
    let over = AtomicBool::new(false);
    let received: Vec<usize> = std::thread::scope(|scope| {
        let staying: Vec<_> = staying
            .into_iter()
            .map(|(client, links)| scope.spawn(|| stay(client, links, &over)))
            .collect();
        let mut crowd = all_arrive(&server);
        is(crowded);
        // All sockets close at once, and all come back while the server notices.
        for _ in 0..2 {
            drop(crowd);
            crowd = all_arrive(&server);
            is(crowded);
        }
        drop(crowd);
        is(alone);
        over.store(true, Ordering::SeqCst);
        staying.into_iter().map(|client| client.join().expect("one who stayed")).collect()
    });
    assert!(received.iter().all(|&count| count > 2 * SYMBOLS), "{received:?}");
    // Nobody was lost but those who went, and those who stayed are gone now too.
    is([0, 0]);
    let lost = server.metric("tickcast_sessions_ended_total", "lost");
    assert_eq!(lost, (3 * CROWD + STAY as u64) as f64);
}

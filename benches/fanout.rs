//! Fan-out in memory: a tick is taken from the ring, encoded once, noted as pending for everyone who listens, and
//! gathered for sending, all by the reactor's own code. `cargo bench --bench fanout`
//!
//! What the kernel's send would add is left out: bytes end in a sink. An element is a delivery, one message to one client.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use tickcast::bench::{FeedSide, Reactor, Window};
use tickcast::wire::request::Channel;
use tickcast_feeds::{Decimal, InstrumentId, Instruments, Side, Stamp, Tick, Trade};

/// Ticks that a reactor takes in a turn.
const TURN: usize = 64;
/// Turns of ticks made beforehand.
const TURNS: usize = 64;

/// Two ends of a connection.
fn connection() -> std::io::Result<[TcpStream; 2]> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;
    near.set_nonblocking(true)?;
    Ok([near, far])
}

/// The server from a feed's sink to its clients' outboxes.
struct Server {
    feed: FeedSide,
    reactor: Reactor,
    /// Trades of all symbols in turn.
    ticks: Vec<Tick>,
    /// The far end of the one socket that the clients share and nobody writes to.
    _far: TcpStream,
}

impl Server {
    /// `clients` clients with `each` of `symbols` symbols, spread evenly.
    fn new(symbols: u32, clients: usize, each: u32) -> Self {
        let instruments = Arc::new(Instruments::new());
        for at in 0..symbols {
            instruments.list("sim", &format!("S{at}"), &format!("S{at}"), "USD");
        }
        let feed = FeedSide::new(instruments);
        let mut reactor = Reactor::new(&feed).expect("a runtime");
        let [near, far] = connection().expect("a connection on the loopback");
        let ids = reactor.connect_in_memory(near, clients).expect("an open socket");
        for (id, client) in ids.into_iter().zip(0u32..) {
            for at in 0..each {
                // A client's symbols lie far apart, as do their encodings: neighbours would merge.
                let symbol = (client * 7 + at * (symbols / each)) % symbols;
                reactor.subscribe(id, Channel::Trade, symbol, 0);
            }
        }
        let ticks = (0..(TURN * TURNS) as u64).map(|at| trade(at, symbols)).collect();
        Server { feed, reactor, ticks, _far: far }
    }

    /// A turn of `ticks` ticks from turn number `turn`; only what the reactor does takes time.
    fn turn(&mut self, turn: usize, ticks: usize) -> [Duration; 2] {
        let at = turn % TURNS * TURN;
        if at == 0 {
            self.feed.sink().restart();
        }
        self.feed.publish(&self.ticks[at..at + ticks]);
        let begin = Instant::now();
        let taken = self.reactor.take_ticks();
        let noted = begin.elapsed();
        self.reactor.gather(|bytes| _ = black_box(bytes));
        let all = begin.elapsed();
        assert_eq!(taken, ticks);
        [noted, all - noted]
    }

    /// Runs turns of `ticks` ticks until so many deliveries were made; what it took by `part`.
    fn run(&mut self, ticks: usize, wanted: u64, part: Part) -> Duration {
        let from = self.reactor.report().deliveries;
        let (mut spent, mut made, mut turn) = (Duration::ZERO, 0, 0);
        while made < wanted {
            for _ in 0..TURNS {
                let [noted, gathered] = self.turn(turn, ticks);
                spent += match part {
                    Part::Note => noted,
                    Part::Gather => gathered,
                    Part::Both => noted + gathered,
                };
                turn += 1;
            }
            made = self.reactor.report().deliveries - from;
        }
        spent.mul_f64(wanted as f64 / made as f64)
    }
}

/// What of a turn is measured.
#[derive(Clone, Copy)]
enum Part {
    /// Take from the ring, encode, note.
    Note,
    /// Gather for sending.
    Gather,
    Both,
}

fn trade(at: u64, symbols: u32) -> Tick {
    let stamp = Stamp {
        event: 1_763_699_999_000_123_456 + at * 1_000_000,
        recv: 1_763_699_999_000_523_456 + at * 1_000_000,
        seq: at + 1,
    };
    let trade = Trade {
        price: Decimal::new(6_183_763_000_000 + at as i64 * 7_000_000, -8),
        size: Decimal::new(2_378_826 + at as i64 * 9_871, -8),
        id: 3_735_683_259 + at,
        side: if at.is_multiple_of(3) { Side::Sell } else { Side::Buy },
    };
    Tick::trade(InstrumentId((at % u64::from(symbols)) as u32), stamp, &trade)
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fanout");
    group.throughput(Throughput::Elements(1));
    let mut case = |name: &str, server: &mut Server, ticks: usize, per_tick: u64| {
        let before = server.reactor.report().deliveries;
        server.turn(0, ticks);
        let made = server.reactor.report().deliveries - before;
        assert_eq!(made, per_tick * ticks as u64, "{name}: deliveries");
        for (what, part) in [("note", Part::Note), ("gather", Part::Gather), ("both", Part::Both)] {
            let run = |b: &mut Bencher<'_>| b.iter_custom(|n| server.run(ticks, n, part));
            group.bench_function(format!("{name}/{what}"), run);
        }
    };
    let mut one = Server::new(1, 1_000, 1);
    case("1 symbol, 1000 clients, a tick at a time", &mut one, 1, 1_000);
    case("1 symbol, 1000 clients, 64 ticks a turn", &mut one, TURN, 1_000);
    let mut many = Server::new(500, 2_000, 20);
    case("500 symbols, 2000 clients x 20, a tick at a time", &mut many, 1, 80);
    case("500 symbols, 2000 clients x 20, 64 ticks a turn", &mut many, TURN, 80);
    group.finish();
}

/// The controller: one observation, in the regions of load that it tells apart.
fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    for (name, clients, opens) in [("alone", 100.0, false), ("gathering", 2_000.0, true)] {
        let mut window = Window::new(5_000_000);
        let mut rate = 0.0;
        let mut observe = || {
            // Never twice the same: 450 to 550 messages a second to each client.
            rate = 450.0 + (rate + 7.0) % 100.0;
            let deliveries = clients * rate / 10.0;
            let sends = deliveries / 2.0;
            window.observe(deliveries as u64, sends as u64, (sends * 2_000.0) as u64, rate)
        };
        let settled = (0..50).map(|_| observe()).last().expect("observations");
        assert_eq!(settled > 0, opens, "{name}: a window of {settled} ns");
        group.bench_function(format!("an observation, {name}"), |b| b.iter(&mut observe));
    }
    group.finish();
}

criterion_group!(benches, fan_out, window);
criterion_main!(benches);

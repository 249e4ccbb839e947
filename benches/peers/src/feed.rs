//! An open-loop feed of trades: the schedule does not know whether anybody keeps up.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_REALTIME, nanoseconds since the Unix epoch: the clock of schedule and stamps.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The name of a symbol by its number.
pub fn symbol_name(number: u32) -> String {
    format!("sim:S{number:04}-USD")
}

/// The number of a symbol by its name.
pub fn symbol_number(name: &str, symbols: u32) -> Option<u32> {
    let digits = name.strip_prefix("sim:S")?.strip_suffix("-USD")?;
    digits.parse().ok().filter(|number| *number < symbols)
}

/// One trade.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// The number of its symbol.
    pub symbol: u32,
    /// 1 and up per symbol.
    pub seq: u64,
    /// When it is due, nanoseconds since the Unix epoch.
    pub due_ns: u64,
    random: u64,
}

/// The schedule, and the sequences so far.
#[derive(Debug)]
pub struct Feed {
    start_ns: u64,
    rate: f64,
    count: u64,
    seqs: Vec<u64>,
    heads: Vec<Box<[u8]>>,
}

impl Feed {
    /// So many symbols, so many ticks per second over all of them, the first one due at `start_ns`.
    pub fn new(symbols: u32, rate: f64, start_ns: u64) -> Self {
        let head = |number| {
            let symbol = symbol_name(number);
            format!(r#"{{"channel":"trade","type":"update","symbol":"{symbol}","seq":"#)
        };
        Feed {
            start_ns,
            rate,
            count: 0,
            seqs: vec![0; symbols as usize],
            heads: (0..symbols).map(|number| head(number).into_bytes().into()).collect(),
        }
    }

    /// When the next tick is due, nanoseconds since the Unix epoch.
    pub fn due_ns(&self) -> u64 {
        self.start_ns + (self.count as f64 * 1e9 / self.rate) as u64
    }

    /// The newest sequence of a symbol, 0 before its first tick.
    pub fn seq(&self, symbol: u32) -> u64 {
        self.seqs[symbol as usize]
    }

    /// The next tick, due or not. Every symbol is as likely as every other.
    pub fn next_tick(&mut self) -> Tick {
        let random = mix(self.count);
        let symbol = (random % self.seqs.len() as u64) as u32;
        let due_ns = self.due_ns();
        self.count += 1;
        let seq = &mut self.seqs[symbol as usize];
        *seq += 1;
        Tick { symbol, seq: *seq, due_ns, random: mix(random) }
    }

    /// Appends the message of a tick, as docs/PROTOCOL.md has it, received at `recv_ns`.
    pub fn encode(&self, tick: &Tick, recv_ns: u64, out: &mut Vec<u8>) {
        let random = tick.random;
        let cents = 100 + random % 900; // always three digits: two are taken
        out.extend_from_slice(&self.heads[tick.symbol as usize]);
        int(out, tick.seq);
        out.extend_from_slice(b",\"prev\":");
        int(out, tick.seq - 1);
        out.extend_from_slice(b",\"id\":");
        int(out, tick.seq);
        out.extend_from_slice(match random >> 63 {
            0 => b",\"side\":\"buy\",\"price\":\"",
            _ => b",\"side\":\"sell\",\"price\":\"",
        });
        int(out, 64_000 + (random >> 10) % 1_000);
        out.push(b'.');
        int(out, cents / 10);
        out.extend_from_slice(b"\",\"qty\":\"0.");
        int(out, 1_001 + (random >> 20) % 8_000);
        out.extend_from_slice(b"\",\"ts\":{\"event\":");
        int(out, tick.due_ns / 1_000);
        out.extend_from_slice(b",\"recv\":");
        int(out, recv_ns / 1_000);
        out.extend_from_slice(b"}}");
    }
}

fn int(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The finalizer of splitmix64: spreads a number over 64 bits.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn ticks_are_due_evenly_and_chain_per_symbol() {
        let mut feed = Feed::new(3, 1_000.0, 5_000_000_000);
        let mut last = [0; 3];
        for count in 0..1_000 {
            let due = feed.due_ns();
            let tick = feed.next_tick();
            assert_eq!((tick.due_ns, due), (5_000_000_000 + count * 1_000_000, due));
            assert_eq!(tick.seq, last[tick.symbol as usize] + 1);
            last[tick.symbol as usize] = tick.seq;
            assert_eq!(feed.seq(tick.symbol), tick.seq);
        }
        assert!(last.iter().all(|seq| *seq > 250), "unevenly spread: {last:?}");
    }

    #[test]
    fn a_message_is_that_of_the_protocol() {
        let mut feed = Feed::new(12, 10.0, 1_700_000_000_000_000_000);
        for _ in 0..200 {
            let tick = feed.next_tick();
            let mut out = Vec::new();
            feed.encode(&tick, 1_700_000_000_123_456_789, &mut out);
            let message: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(message["symbol"], symbol_name(tick.symbol));
            assert_eq!(message["seq"], tick.seq);
            assert_eq!(message["prev"], tick.seq - 1);
            assert_eq!(message["ts"]["event"], tick.due_ns / 1_000);
            assert_eq!(message["ts"]["recv"], 1_700_000_000_123_456_u64);
            let price = message["price"].as_str().unwrap();
            assert!(price.len() == 8 && price.parse::<f64>().is_ok(), "{price}");
        }
    }

    #[test]
    fn names_and_numbers_are_each_others_inverse() {
        assert_eq!(symbol_number(&symbol_name(7), 8), Some(7));
        for unknown in ["sim:S0008-USD", "sim:S-USD", "sim:S0001-EUR", "S0001"] {
            assert_eq!(symbol_number(unknown, 8), None, "{unknown}");
        }
    }
}

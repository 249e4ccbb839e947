//! Who connects, from where, subscribes to what and how well it behaves: a pure function of the parameters and the seed.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::args::{Args, ArgsError, Channel};
use crate::message::stream_key;
use crate::stream::Streams;

/// Symbols in one subscribe request: about 5 KB, within the message size that servers take from a client.
const BATCH: usize = 200;

/// A finalizer of splitmix64: spreads a number over 64 bits.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// splitmix64: small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own per seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        value
    }

    /// A number below `bound`, which must not be 0. The bias of the remainder is below 2⁻⁴⁰ for any bound used here.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Reads whatever comes.
    Good,
    /// Never reads once it is subscribed.
    Stalled,
    /// Reads at most so many bytes per second.
    Slow(u64),
    /// Leaves and comes back, about every so often.
    Churn(Duration),
    /// Is dropped in the middle of the window and comes back at once, with all others of its kind.
    Storm,
}

impl Profile {
    /// Names of the kinds, in the order of [`Profile::group`].
    pub const GROUPS: [&'static str; 5] = ["good", "stalled", "slow", "churn", "storm"];

    /// The index of the kind.
    pub fn group(self) -> usize {
        match self {
            Profile::Good => 0,
            Profile::Stalled => 1,
            Profile::Slow(_) => 2,
            Profile::Churn(_) => 3,
            Profile::Storm => 4,
        }
    }
}

/// One client of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its number over all processes of the run.
    pub number: usize,
    /// How it behaves.
    pub profile: Profile,
    /// Indices into the plan's symbols, all different.
    pub symbols: Box<[u32]>,
    /// The address to connect from; `None` leaves it to the system.
    pub source: Option<IpAddr>,
    /// Whether its `seq`/`prev` are checked.
    pub checked: bool,
}

impl Client {
    /// Where the checks of this client are kept.
    pub fn streams(&self) -> Option<Streams> {
        self.checked.then(Streams::default)
    }
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every symbol that can be subscribed to.
    pub symbols: Vec<String>,
    /// The clients of this process, in the order in which they connect.
    pub clients: Vec<Client>,
}

/// The symbols that `--symbols` names; empty when the server has to be asked.
pub fn named_symbols(args: &Args) -> Vec<String> {
    match (args.pattern(), args.symbol_count) {
        (Some(pattern), Some(count)) => {
            (0..count).map(|number| pattern.replace('%', &format!("{number:04}"))).collect()
        }
        _ => args.symbols.clone(),
    }
}

/// Makes the plan for this process.
///
/// # Errors
/// When a client is to have more symbols than there are.
pub fn plan(args: &Args, symbols: Vec<String>, loopback: bool) -> Result<Plan, ArgsError> {
    let per = if args.idle { 0 } else { args.per };
    if per > symbols.len() {
        return Err(ArgsError::Per { per, symbols: symbols.len() });
    }
    let mut random = Random::new(args.seed);
    let profiles = profiles(args, &mut random);
    let (part, parts) = args.part.unwrap_or((1, 1));
    let clients = profiles.into_iter().enumerate().map(|(number, profile)| Client {
        number,
        profile,
        symbols: choose(symbols.len(), per, &mut random),
        source: (loopback && args.sources > 0).then(|| source(number, args.sources)),
        checked: number.is_multiple_of(args.check_every),
    });
    // Every process draws the whole plan, so that its clients are the same whatever the number of processes.
    let clients = clients.filter(|client| client.number % parts == part - 1).collect();
    Ok(Plan { symbols, clients })
}

/// The bad ones stand scattered among the good ones, so that no reactor of the server gets all of them.
fn profiles(args: &Args, random: &mut Random) -> Vec<Profile> {
    let mut profiles = vec![Profile::Good; args.clients];
    profiles.extend(std::iter::repeat_n(Profile::Stalled, args.stalled));
    if let Some((count, rate)) = args.slow {
        profiles.extend(std::iter::repeat_n(Profile::Slow(rate), count));
    }
    if let Some((count, period)) = args.churn {
        profiles.extend(std::iter::repeat_n(Profile::Churn(period), count));
    }
    profiles.extend(std::iter::repeat_n(Profile::Storm, args.storm));
    for last in (1..profiles.len()).rev() {
        profiles.swap(last, random.below(last + 1));
    }
    profiles
}

fn source(number: usize, sources: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + (number % usize::from(sources)) as u8))
}

/// `per` different numbers below `count`: the beginning of a shuffle, of which only what was touched is kept.
fn choose(count: usize, per: usize, random: &mut Random) -> Box<[u32]> {
    let mut moved = std::collections::HashMap::new();
    (0..per)
        .map(|first| {
            let other = first + random.below(count - first);
            let chosen = moved.get(&other).copied().unwrap_or(other);
            moved.insert(other, moved.get(&first).copied().unwrap_or(first));
            chosen as u32
        })
        .collect()
}

/// What a client says once it is connected.
#[derive(Debug, Clone, PartialEq)]
pub enum Dialect {
    /// Nothing.
    Idle,
    /// The native protocol (docs/PROTOCOL.md, subscribe).
    Native {
        /// The channels, each a request of its own.
        channels: Vec<Channel>,
        /// Levels a side for the book.
        depth: Option<u16>,
        /// Messages a second and subscription at most; every tick where left out.
        max_hz: Option<f64>,
    },
    /// One text with `{symbols}` replaced, and no answer.
    Text(String),
}

impl Dialect {
    /// The dialect that the flags ask for.
    pub fn of(args: &Args) -> Dialect {
        if args.idle {
            return Dialect::Idle;
        }
        match &args.subscribe_text {
            Some(text) => Dialect::Text(text.clone()),
            None => Dialect::Native {
                channels: args.channels.clone(),
                depth: args.depth,
                max_hz: args.max_hz,
            },
        }
    }

    /// Streams that a client of so many symbols asks for.
    pub fn streams(&self, symbols: usize) -> usize {
        match self {
            Dialect::Idle | Dialect::Text(_) => 0,
            Dialect::Native { channels, .. } => symbols * channels.len(),
        }
    }

    /// Snapshots that a client of so many symbols asks for: every channel but trades has a state.
    pub fn snapshots(&self, symbols: usize) -> usize {
        match self {
            Dialect::Idle | Dialect::Text(_) => 0,
            Dialect::Native { channels, .. } => {
                symbols * channels.iter().filter(|&&channel| channel != Channel::Trade).count()
            }
        }
    }

    /// The requests of one client, and how many answers they get; `place` is the run of the server and the
    /// streams that it goes on with.
    pub fn requests(
        &self,
        symbols: &[String],
        chosen: &[u32],
        place: Option<(&str, &Streams)>,
    ) -> (Vec<String>, usize) {
        let names: Vec<&str> =
            chosen.iter().map(|&index| symbols[index as usize].as_str()).collect();
        match self {
            Dialect::Idle => (Vec::new(), 0),
            Dialect::Text(text) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                (vec![text.replace("{symbols}", &quoted.join(","))], 0)
            }
            Dialect::Native { channels, depth, max_hz } => {
                let mut requests = Vec::new();
                for channel in channels {
                    for batch in names.chunks(BATCH) {
                        let mut params =
                            serde_json::json!({ "channel": channel.name(), "symbol": batch });
                        if let (Channel::Book, Some(depth)) = (channel, depth) {
                            params["depth"] = (*depth).into();
                        }
                        if let Some(max_hz) = max_hz {
                            params["max_hz"] = (*max_hz).into();
                        }
                        if let Some((epoch, streams)) = place {
                            let key =
                                |name: &str| stream_key(channel.name().as_bytes(), name.as_bytes());
                            let seqs: serde_json::Map<_, _> = batch
                                .iter()
                                .filter_map(|&name| {
                                    Some((name.to_owned(), streams.last(key(name))?.into()))
                                })
                                .collect();
                            params["since"] = serde_json::json!({ "epoch": epoch, "seq": seqs });
                        }
                        let request = serde_json::json!({ "method": "subscribe", "req_id": requests.len() + 1, "params": params });
                        requests.push(request.to_string());
                    }
                }
                let answers = requests.len();
                (requests, answers)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    fn args(words: &str) -> Args {
        Args::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap()
    }

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("S{number}")).collect()
    }

    #[test]
    fn equal_seeds_give_equal_plans_and_others_differ() {
        let plan_of = |seed: u32| {
            plan(&args(&format!("-n 50 --per 5 --stalled 5 --seed {seed}")), numbered(40), true)
                .unwrap()
        };
        assert_eq!(plan_of(1), plan_of(1));
        assert_ne!(plan_of(1), plan_of(2));
    }

    #[test]
    fn every_kind_is_there_and_scattered() {
        let plan = plan(
            &args("-n 90 --stalled 10 --slow 5:100 --churn 4:1 --storm 3"),
            numbered(3),
            false,
        )
        .unwrap();
        let count =
            |group| plan.clients.iter().filter(|client| client.profile.group() == group).count();
        assert_eq!([count(0), count(1), count(2), count(3), count(4)], [90, 10, 5, 4, 3]);
        let first_bad =
            plan.clients.iter().position(|client| client.profile != Profile::Good).unwrap();
        assert!(first_bad < 90, "the bad ones do not all come last");
        assert!(plan.clients.iter().all(|client| client.source.is_none()));
    }

    #[test]
    fn parts_share_the_plan_of_the_whole() {
        let whole = plan(&args("-n 30 --per 2"), numbered(9), true).unwrap();
        let mut together: Vec<Client> = (1..=3)
            .flat_map(|part| {
                plan(&args(&format!("-n 30 --per 2 --part {part}/3")), numbered(9), true)
                    .unwrap()
                    .clients
            })
            .collect();
        together.sort_by_key(|client| client.number);
        assert_eq!(together, whole.clients);
    }

    #[test]
    fn sources_are_spread_and_every_k_th_is_checked() {
        let plan = plan(&args("-n 8 --sources 4 --check-every 4"), numbered(1), true).unwrap();
        let sources: HashSet<_> = plan.clients.iter().filter_map(|client| client.source).collect();
        assert_eq!(
            sources,
            (2..6).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).collect()
        );
        assert_eq!(plan.clients.iter().filter(|client| client.checked).count(), 2);
    }

    #[test]
    fn too_many_symbols_per_client_is_an_error() {
        assert_eq!(
            plan(&args("--per 4"), numbered(3), false),
            Err(ArgsError::Per { per: 4, symbols: 3 })
        );
    }

    #[test]
    fn a_pattern_is_numbered() {
        assert_eq!(
            named_symbols(&args("--symbols sim:S%-USD --symbol-count 2")),
            ["sim:S0000-USD", "sim:S0001-USD"]
        );
        assert_eq!(named_symbols(&args("--symbols a,b")), ["a", "b"]);
    }

    #[test]
    fn requests_follow_the_protocol() {
        let dialect = Dialect::of(&args("--channel trade --channel book --depth 25"));
        let (requests, answers) =
            dialect.requests(&numbered(250), &(0..250).collect::<Vec<u32>>(), None);
        assert_eq!(dialect.snapshots(250), 250, "trades have none");
        assert_eq!((requests.len(), answers), (4, 4), "two channels, each in two batches");
        let book: serde_json::Value = serde_json::from_str(&requests[3]).unwrap();
        assert_eq!(book["method"], "subscribe");
        assert_eq!(book["params"]["depth"], 25);
        assert_eq!(book["params"]["symbol"].as_array().unwrap().len(), 50);
        let trade: serde_json::Value = serde_json::from_str(&requests[0]).unwrap();
        assert!(trade["params"].get("depth").is_none());
        let text = Dialect::of(&args("--symbols a --subscribe-text [{symbols}]"));
        assert_eq!(
            text.requests(&numbered(2), &[0, 1], None),
            (vec!["[\"S0\",\"S1\"]".to_string()], 0)
        );
    }

    proptest! {
        #[test]
        fn chosen_symbols_are_different_and_exist(count in 1usize..300, share in 0.0f64..=1.0, seed: u64) {
            let per = (count as f64 * share) as usize;
            let chosen = choose(count, per, &mut Random::new(seed));
            prop_assert_eq!(chosen.len(), per);
            prop_assert!(chosen.iter().all(|&symbol| (symbol as usize) < count));
            prop_assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), per);
        }
    }
}

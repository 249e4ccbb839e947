//! What is true at a venue: its books, step by step, and what happens to them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use tickcast_feeds::Decimal;

/// One book: price to quantity on both sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// Bids, then asks.
    pub sides: [BTreeMap<Decimal, Decimal>; 2],
    hash: u64,
}

pub const BID: usize = 0;
pub const ASK: usize = 1;

/// `(side, price, quantity)`: the new total at a price.
pub type Change = (usize, Decimal, Decimal);

fn level_hash(side: usize, price: Decimal, size: Decimal) -> u64 {
    let mut hasher = DefaultHasher::new();
    (side, price.to_string(), size.to_string()).hash(&mut hasher);
    hasher.finish()
}

impl Book {
    pub fn set(&mut self, (side, price, size): Change) {
        let old = match size.mantissa {
            0 => self.sides[side].remove(&price),
            _ => self.sides[side].insert(price, size),
        };
        if let Some(old) = old {
            self.hash ^= level_hash(side, price, old);
        }
        if size.mantissa != 0 {
            self.hash ^= level_hash(side, price, size);
        }
    }

    /// Equal for equal books, whatever led to them.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The levels of a side, best first.
    pub fn best_first(&self, side: usize) -> Vec<(Decimal, Decimal)> {
        let levels = self.sides[side].iter().map(|(&price, &size)| (price, size));
        if side == BID { levels.rev().collect() } else { levels.collect() }
    }

    /// The best level of a side.
    pub fn best(&self, side: usize) -> Option<(Decimal, Decimal)> {
        let levels = &self.sides[side];
        let best = if side == BID { levels.last_key_value() } else { levels.first_key_value() };
        best.map(|(&price, &size)| (price, size))
    }

    /// The best levels of each side only.
    pub fn view(&self, depth: usize) -> Book {
        if depth == usize::MAX {
            return self.clone();
        }
        let mut view = Book::default();
        for side in [BID, ASK] {
            for (price, size) in self.best_first(side).into_iter().take(depth) {
                view.set((side, price, size));
            }
        }
        view
    }

    /// What turns this book into another.
    pub fn changes_to(&self, other: &Book) -> Vec<Change> {
        let mut changes = Vec::new();
        for side in [BID, ASK] {
            for &price in self.sides[side].keys() {
                if !other.sides[side].contains_key(&price) {
                    changes.push((side, price, Decimal::ZERO));
                }
            }
            for (&price, &size) in &other.sides[side] {
                if self.sides[side].get(&price) != Some(&size) {
                    changes.push((side, price, size));
                }
            }
        }
        changes
    }
}

/// A trade at the venue.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade {
    pub id: u64,
    pub price: Decimal,
    pub size: Decimal,
    pub taker_sold: bool,
}

/// Something that happens at the venue.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A book changes; `first..=last` are the update ids that it covers.
    Book { first: u64, last: u64, changes: Vec<Change> },
    /// A trade.
    Trade(Trade),
    /// Nothing to a book that is kept here: a message of a capture that is sent as it is.
    Verbatim,
}

/// One step of a history.
#[derive(Clone, Debug)]
pub struct Step {
    /// The venue's name of the symbol.
    pub native: String,
    /// When, nanoseconds from the beginning.
    pub at_ns: u64,
    pub what: Happening,
    /// The message as it was captured, if it was, with its topic.
    pub captured: Option<(String, String)>,
}

/// The states that a symbol's book has been in, and where it stands.
#[derive(Debug, Default)]
pub struct Truth {
    pub book: Book,
    /// The last update id.
    pub last: u64,
    /// The hashes of all states that were true, with the order of each.
    states: HashMap<u64, Vec<usize>>,
    count: usize,
    hash: u64,
    /// Trades that happened.
    pub trades: Vec<u64>,
}

impl Truth {
    pub fn new(book: Book, last: u64, depth: usize) -> Self {
        let mut truth = Truth { book, last, ..Truth::default() };
        truth.note(depth);
        truth
    }

    fn note(&mut self, depth: usize) {
        self.hash = match depth {
            usize::MAX => self.book.hash(),
            depth => self.book.view(depth).hash(),
        };
        self.states.entry(self.hash).or_default().push(self.count);
        self.count += 1;
    }

    /// Of the book as the venue's clients may see it now.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether a book was true at or after the state `from`; which state it was.
    pub fn when(&self, hash: u64, from: usize) -> Option<usize> {
        self.states.get(&hash)?.iter().copied().find(|&state| state >= from)
    }
}

/// All symbols of a venue.
#[derive(Debug, Default)]
pub struct World {
    pub truths: HashMap<String, Truth>,
    /// Levels a side that its clients may see.
    pub depth: usize,
}

impl World {
    /// Has a step happen; the book before it.
    pub fn happen(&mut self, step: &Step) {
        let depth = self.depth;
        let truth = self.truths.get_mut(&step.native).expect("a known symbol");
        match &step.what {
            Happening::Book { last, changes, .. } => {
                changes.iter().for_each(|&change| truth.book.set(change));
                truth.last = *last;
                truth.note(depth);
            }
            Happening::Trade(trade) => truth.trades.push(trade.id),
            Happening::Verbatim => {}
        }
    }
}

/// A few random numbers that are the same every time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Prices of an invented book have this exponent, quantities one of -3.
const PRICE_EXP: i8 = -2;

/// An invented history of these symbols: books that move and never cross, and trades. Update ids
/// rise by `stride(random)`; `steps` are `every_ns` apart.
pub fn invented(
    natives: &[&str],
    steps: usize,
    every_ns: u64,
    seed: u64,
    depth: usize,
    mut stride: impl FnMut(&mut Random) -> u64,
) -> (World, Vec<Step>) {
    let mut random = Random::new(seed);
    let mut world = World { truths: HashMap::new(), depth };
    let mut middles = HashMap::new();
    for &native in natives {
        let middle = 10_000 + random.below(10_000) as i64;
        let mut book = Book::default();
        for place in 0..20 {
            book.set((BID, price(middle - 1 - place), size(&mut random)));
            book.set((ASK, price(middle + 1 + place), size(&mut random)));
        }
        world.truths.insert(native.to_owned(), Truth::new(book, 1_000, depth));
        middles.insert(native, middle);
    }
    // The books as the script goes; the world goes on when it is played.
    let mut books: HashMap<&str, (Book, u64, u64)> =
        natives.iter().map(|&n| (n, (world.truths[n].book.clone(), 1_000, 1))).collect();
    let mut script = Vec::new();
    for step in 0..steps {
        let native = natives[random.below(natives.len() as u64) as usize];
        let (book, last, trade) = books.get_mut(native).expect("a known symbol");
        let what = if random.below(4) == 0 {
            let taker_sold = random.below(2) == 0;
            let side = if taker_sold { BID } else { ASK };
            let best = book.best_first(side)[0].0;
            *trade += 1;
            Happening::Trade(Trade { id: *trade, price: best, size: size(&mut random), taker_sold })
        } else {
            let middle = middles.get_mut(native).expect("a known symbol");
            let changes = changes(book, middle, &mut random);
            changes.iter().for_each(|&change| book.set(change));
            let first = *last + 1;
            *last += stride(&mut random).max(1);
            Happening::Book { first, last: *last, changes }
        };
        let native = native.to_owned();
        script.push(Step { native, at_ns: step as u64 * every_ns, what, captured: None });
    }
    (world, script)
}

fn price(ticks: i64) -> Decimal {
    Decimal::new(ticks, PRICE_EXP)
}

fn size(random: &mut Random) -> Decimal {
    Decimal::new(random.below(50_000) as i64 + 1, -3)
}

/// One to four changes; at times the middle moves and what it crosses goes.
fn changes(book: &Book, middle: &mut i64, random: &mut Random) -> Vec<Change> {
    let mut changes: BTreeMap<(usize, i64), Decimal> = BTreeMap::new();
    if random.below(5) == 0 {
        *middle += random.below(5) as i64 - 2;
        for (&at, _) in book.sides[BID].range(price(*middle)..) {
            changes.insert((BID, ticks(at)), Decimal::ZERO);
        }
        for (&at, _) in book.sides[ASK].range(..=price(*middle)) {
            changes.insert((ASK, ticks(at)), Decimal::ZERO);
        }
        changes.insert((BID, *middle - 1), size(random));
        changes.insert((ASK, *middle + 1), size(random));
    }
    for _ in 0..random.below(3) + 1 {
        let side = random.below(2) as usize;
        let away = random.below(25) as i64 + 1;
        let at = if side == BID { *middle - away } else { *middle + away };
        // A side never runs out: the five best stay.
        let gone = random.below(4) == 0 && away > 5;
        changes.insert((side, at), if gone { Decimal::ZERO } else { size(random) });
    }
    changes.into_iter().map(|((side, at), size)| (side, price(at), size)).collect()
}

fn ticks(price: Decimal) -> i64 {
    price.rescale(PRICE_EXP).expect("a price of this world")
}

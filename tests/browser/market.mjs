// A seeded market that looks like one: prices that walk on their grid, quotes around them, books with levels.

/** A small seeded generator (mulberry32), so that two runs see the same market. */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const BASES = ('BTC ETH SOL XRP ADA DOGE AVAX DOT LINK MATIC LTC BCH UNI ATOM XLM ETC FIL APT ARB OP NEAR INJ SUI SEI TIA AAVE MKR '
  + 'SNX CRV LDO PEPE SHIB ALGO ICP HBAR VET GRT FTM SAND MANA').split(' ');
const QUOTES = ['USDT', 'USD', 'EUR', 'BTC', 'USDC'];
const LEVELS = 40;

/** Digits of `value` in units of 10^-places, without trailing zeros. */
export function decimal(value, places) {
  const digits = String(value).padStart(places + 1, '0');
  const whole = digits.slice(0, digits.length - places);
  const fraction = digits.slice(digits.length - places).replace(/0+$/, '');
  return fraction ? `${whole}.${fraction}` : whole;
}

class Listing {
  constructor(name, index, random) {
    this.symbol = `sim:${name}`;
    this.random = random;
    this.places = [2, 2, 3, 4, 4, 5, 3, 6][index % 8];
    this.sizePlaces = [5, 4, 2, 1, 0, 3][index % 6];
    this.bid = Math.floor([6183763, 345011, 152204, 5512, 4471, 18320, 36170, 1841][index % 8] * (0.8 + 0.4 * random()));
    this.spread = 1 + Math.floor(random() * 3);
    this.seq = 1000;
    this.tradeSeq = 500;
    this.bids = [];
    this.asks = [];
    for (let level = 0; level < LEVELS; level += 1) {
      this.bids.push([this.bid - level, this.#size()]);
      this.asks.push([this.bid + this.spread + level, this.#size()]);
    }
  }

  #size() {
    return 1 + Math.floor((-Math.log(1 - this.random()) * 10 ** (this.sizePlaces + 1)) / 2);
  }

  get ask() {
    return this.bid + this.spread;
  }

  /** Moves the market by one event: mostly a size, sometimes the price. */
  step() {
    const dice = this.random();
    if (dice < 0.3) this.#move(dice < 0.15 ? 1 : -1);
    for (let changes = 0; changes < 2; changes += 1) {
      const side = this.random() < 0.5 ? this.bids : this.asks;
      side[Math.floor(this.random() * this.random() * LEVELS)][1] = this.#size();
    }
  }

  #move(ticks) {
    this.bid = Math.max(LEVELS + 2, this.bid + ticks);
    const known = new Map([...this.bids, ...this.asks]);
    const level = (price) => [price, known.get(price) ?? this.#size()];
    this.bids = this.bids.map((_, at) => level(this.bid - at));
    this.asks = this.asks.map((_, at) => level(this.ask + at));
  }

  price(ticks) {
    return decimal(ticks, this.places);
  }

  size(units) {
    return decimal(units, this.sizePlaces);
  }

  ts() {
    const now = Date.now() * 1000;
    return { event: now - 180, recv: now };
  }

  quote(type) {
    const prev = this.seq;
    if (type === 'update') this.seq += 1 + Math.floor(this.random() * 9);
    const body = {
      channel: 'quote', type, symbol: this.symbol, seq: this.seq, prev: type === 'update' ? prev : undefined,
      bid: this.price(this.bids[0][0]), bid_qty: this.size(this.bids[0][1]),
      ask: this.price(this.asks[0][0]), ask_qty: this.size(this.asks[0][1]), ts: this.ts(),
    };
    return body;
  }

  trade() {
    const side = this.random() < 0.5 ? 'buy' : 'sell';
    this.tradeSeq += 1;
    return {
      channel: 'trade', type: 'update', symbol: this.symbol, seq: this.tradeSeq, prev: this.tradeSeq - 1, id: this.tradeSeq, side,
      price: this.price(side === 'buy' ? this.ask : this.bid), qty: this.size(this.#size()), ts: this.ts(),
    };
  }

  /** The best `depth` levels a side, as texts. */
  top(depth) {
    const side = (levels) => levels.slice(0, depth).map(([price, size]) => [this.price(price), this.size(size)]);
    return { bids: side(this.bids), asks: side(this.asks) };
  }
}

/** `count` symbols; `pick` chooses one by Zipf's law. */
export class SimulatedMarket {
  constructor(count, seed = 1) {
    this.random = generator(seed);
    this.symbols = [];
    this.bySymbol = new Map();
    for (let index = 0; index < count; index += 1) this.list();
  }

  /** Lists one symbol more. */
  list() {
    const index = this.symbols.length;
    const round = Math.floor(index / (BASES.length * QUOTES.length));
    const name = `${BASES[index % BASES.length]}${round || ''}-${QUOTES[Math.floor(index / BASES.length) % QUOTES.length]}`;
    const symbol = new Listing(name, index, this.random);
    this.symbols.push(symbol);
    this.bySymbol.set(symbol.symbol, symbol);
    return symbol;
  }

  pick() {
    const at = Math.floor(this.symbols.length ** this.random()) - 1;
    return this.symbols[Math.min(this.symbols.length - 1, Math.max(0, at))];
  }
}

/** The levels that lead from one side's top to the next: gone ones with "0", new and changed ones whole. */
export function difference(before, after) {
  const now = new Map(after);
  const was = new Map(before);
  const levels = [];
  for (const [price] of before) if (!now.has(price)) levels.push([price, '0']);
  for (const [price, size] of after) if (was.get(price) !== size) levels.push([price, size]);
  return levels;
}

// What is known of every symbol. Messages only change this model; the views read it once a frame.

/** Seconds that the trend line looks back. */
export const TREND_POINTS = 60;
/** Trades kept per symbol for the tape. */
const TAPE_LENGTH = 40;
/** Weight of the newest second in a symbol's rate: calm, yet settled within a few seconds. */
const RATE_WEIGHT = 0.35;

/** One symbol. `version` rises with every change, which is how a view knows that it must draw. */
class Row {
  constructor(symbol) {
    const colon = symbol.indexOf(':');
    this.symbol = symbol;
    this.venue = colon < 0 ? '' : symbol.slice(0, colon);
    this.pair = symbol.slice(colon + 1);
    this.version = 0;
    this.quote = null;
    this.trade = null;
    this.first = null;
    this.state = '';
    this.quoteSeq = null;
    this.tradeSeq = null;
    this.count = 0;
    this.rate = 0;
    this.tape = [];
    this.trend = [];
    this.pricePlaces = 0;
    this.quantityPlaces = 0;
  }

  /** The price that the trend follows: the middle, which does not jump from side to side as trades do. */
  #mark() {
    if (this.quote?.bid && this.quote.ask) return (Number(this.quote.bid) + Number(this.quote.ask)) / 2;
    return this.trade ? Number(this.trade.price) : NaN;
  }

  second(elapsed) {
    const rate = this.rate + RATE_WEIGHT * (this.count / elapsed - this.rate);
    const settled = rate < 0.05 ? 0 : rate;
    if (settled !== this.rate) this.version += 1;
    this.rate = settled;
    this.count = 0;
    const mark = this.#mark();
    if (Number.isNaN(mark)) return;
    this.trend.push(mark);
    if (this.trend.length > TREND_POINTS) this.trend.shift();
  }

  /** Change since the first trade that this page saw, in percent; a picture of the day is not the server's job. */
  get change() {
    if (!this.trade || !this.first) return null;
    const first = Number(this.first);
    return first === 0 ? null : (Number(this.trade.price) / first - 1) * 100;
  }

  /** The spread in hundredths of a percent of the middle. */
  get basisPoints() {
    if (!this.quote?.bid || !this.quote.ask) return null;
    const bid = Number(this.quote.bid);
    const ask = Number(this.quote.ask);
    return ask + bid === 0 ? null : ((ask - bid) / (ask + bid)) * 20000;
  }
}

/** All symbols, and the counters of the stream that fills them. */
export class Market {
  constructor() {
    this.rows = new Map();
    this.messages = 0;
    this.messageRate = 0;
    this.gaps = 0;
    /** True while quotes are conflated on our own wish: then jumps of `prev` are no gaps. */
    this.conflated = false;
    /** By how much all of it is delayed, milliseconds, as the server said last: what a lost connection leaves is so too. */
    this.delayMs = 0;
  }

  /** The row of a symbol, made on first sight. */
  row(symbol) {
    let row = this.rows.get(symbol);
    if (!row) {
      row = new Row(symbol);
      this.rows.set(symbol, row);
    }
    return row;
  }

  /** A new connection starts new chains. */
  restart() {
    for (const row of this.rows.values()) {
      row.quoteSeq = null;
      row.tradeSeq = null;
    }
  }

  /** Takes the answer to a subscription, which says whether what follows is delayed; a request refused as a whole has no result, and does not. */
  answer(answer) {
    if (answer.result) this.delayMs = answer.delay_ms ?? 0;
  }

  /** Takes one quote. */
  quote(message) {
    const row = this.row(message.symbol);
    const linked = row.quoteSeq === null || message.type === 'snapshot' || message.prev === row.quoteSeq;
    if (!linked && !this.conflated) this.gaps += 1;
    row.quoteSeq = message.seq;
    row.quote = message;
    row.count += 1;
    row.version += 1;
  }

  /** Takes one trade. */
  trade(message) {
    const row = this.row(message.symbol);
    if (row.tradeSeq !== null && message.prev !== row.tradeSeq) this.gaps += 1;
    row.tradeSeq = message.seq;
    row.trade = message;
    row.first ??= message.price;
    row.tape.push(message);
    // Cut in batches: shifting a full array on every trade would cost more than the trade.
    if (row.tape.length >= 2 * TAPE_LENGTH) row.tape.splice(0, TAPE_LENGTH);
    row.count += 1;
    row.version += 1;
  }

  /** Takes the state of one symbol's feed. */
  status(message) {
    const row = this.row(message.symbol);
    row.state = message.state;
    row.version += 1;
  }

  /** Once a second, `elapsed` being the seconds since the last time (a hidden page is called late). */
  second(elapsed) {
    this.messageRate = this.messages / elapsed;
    this.messages = 0;
    for (const row of this.rows.values()) row.second(elapsed);
  }
}

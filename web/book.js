// One side-by-side order book, kept from a snapshot and the updates that follow it.

import { compare, isZero } from './decimal.js';

/** What `Book.apply` found. */
export const Applied = Object.freeze({
  /** The message is in the book. */
  Ok: 'ok',
  /** There is no snapshot to apply it to yet. */
  Waiting: 'waiting',
  /** It does not follow what was applied before: the book is void until the next snapshot. */
  Broken: 'broken',
});

/** The best `depth` levels a side of one symbol, best first, as [price, quantity] strings. */
export class Book {
  constructor(symbol, depth) {
    this.symbol = symbol;
    this.depth = depth;
    this.clear();
    /** How often the chain of `prev` and `seq` broke. */
    this.breaks = 0;
  }

  /** Forgets everything; the next message that counts is a snapshot. */
  clear() {
    this.bids = [];
    this.asks = [];
    this.seq = null;
    this.ts = null;
    this.updates = 0;
  }

  get known() {
    return this.seq !== null;
  }

  /** Takes a `book` message of this symbol and depth. */
  apply(message) {
    if (message.type === 'snapshot') {
      this.bids = message.bids.map((level) => level.slice());
      this.asks = message.asks.map((level) => level.slice());
      this.seq = message.seq;
      this.ts = message.ts;
      return Applied.Ok;
    }
    if (!this.known) return Applied.Waiting;
    if (message.prev !== this.seq) return this.#broken();
    for (const level of message.bids) setLevel(this.bids, level, -1);
    for (const level of message.asks) setLevel(this.asks, level, 1);
    this.seq = message.seq;
    this.ts = message.ts;
    this.updates += 1;
    // The server promises the best `depth` levels exactly; more of them means that a removal was lost.
    if (this.bids.length > this.depth || this.asks.length > this.depth) return this.#broken();
    return Applied.Ok;
  }

  #broken() {
    this.clear();
    this.breaks += 1;
    return Applied.Broken;
  }
}

/** Puts one level in its place; `direction` is 1 where prices ascend and -1 where they descend. */
function setLevel(levels, [price, quantity], direction) {
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(levels[middle][0], price) * direction < 0) low = middle + 1;
    else high = middle;
  }
  const found = low < levels.length && compare(levels[low][0], price) === 0;
  if (isZero(quantity)) {
    if (found) levels.splice(low, 1);
  } else if (found) {
    levels[low][1] = quantity;
  } else {
    levels.splice(low, 0, [price, quantity]);
  }
}

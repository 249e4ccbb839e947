// The selected symbol: its order book as a ladder, and the tape of its last trades.

import { Applied, Book } from './book.js';
import { add, compare, pad, places, subtract } from './decimal.js';
import { Text, attribute, byId, text } from './dom.js';
import { timeOfDay } from './format.js';

/** Levels a side. */
export const DEPTH = 15;
const TAPE_ROWS = 31;
/** A broken chain is mended by subscribing again, yet not more often than this. */
const MEND_EVERY_MS = 1000;

/** One level of the ladder, always in the document, empty where the book is shorter. */
class Level {
  constructor() {
    this.element = document.createElement('tr');
    const cells = ['price', 'size', 'total'].map((name) => {
      const cell = this.element.insertCell();
      cell.className = name;
      return new Text(cell);
    });
    [this.price, this.size, this.total] = cells;
    this.bar = '';
  }

  set(price, size, total, share) {
    this.price.set(price);
    this.size.set(size);
    this.total.set(total);
    const bar = `${Math.round(share * 100)}%`;
    if (bar === this.bar) return;
    this.bar = bar;
    this.element.style.setProperty('--bar', bar);
  }
}

/** One line of the tape. */
class Print {
  constructor() {
    this.element = document.createElement('tr');
    [this.time, this.price, this.size] = ['time', 'price', 'size'].map((name) => {
      const cell = this.element.insertCell();
      cell.className = name;
      return new Text(cell);
    });
  }
}

/** The panel; `connection` gets its requests. */
export class Detail {
  #market;
  #connection;
  #book = null;
  #dirty = false;
  #state = 'none';
  #mendTimer = 0;
  #mendedAt = -Infinity;
  /** The newest trade on the tape: null where there is none, undefined when it must be written anyway. */
  #tapeEnd;
  #places = { price: 0, size: 0 };
  #section = byId('detail');
  #asks;
  #bids;
  #prints;

  constructor(market, connection) {
    this.#market = market;
    this.#connection = connection;
    const levels = (id) => {
      const made = Array.from({ length: DEPTH }, () => new Level());
      byId(id).append(...made.map((level) => level.element));
      return made;
    };
    // Asks stand above the spread, worst first.
    this.#asks = levels('asks').reverse();
    this.#bids = levels('bids');
    this.#prints = Array.from({ length: TAPE_ROWS }, () => new Print());
    byId('trades').append(...this.#prints.map((print) => print.element));
  }

  get symbol() {
    return this.#book?.symbol ?? null;
  }

  /** Shows another symbol, or none. */
  show(symbol) {
    if (symbol === this.symbol) return;
    if (this.#book) this.#request('unsubscribe');
    clearTimeout(this.#mendTimer);
    this.#mendTimer = 0;
    this.#book = symbol === null ? null : new Book(symbol, DEPTH);
    this.#places = { price: 0, size: 0 };
    this.#tapeEnd = undefined;
    this.#set(symbol === null ? 'none' : 'waiting');
    if (symbol !== null) this.#request('subscribe');
    text(byId('detail-symbol'), symbol ?? 'no symbol selected');
    byId('detail-close').hidden = symbol === null;
  }

  /** A new connection knows no subscriptions. */
  reconnected() {
    if (!this.#book) return;
    this.#book.clear();
    this.#set('waiting');
    this.#request('subscribe');
  }

  /** What stands on the panel is from the past. */
  disconnected() {
    if (this.#book) this.#set('offline');
  }

  /** Takes a message of the channel `book`. */
  book(message) {
    const book = this.#book;
    // Messages of the symbol before may still be under way.
    if (!book || message.symbol !== book.symbol || message.depth !== DEPTH) return;
    const applied = book.apply(message);
    if (applied === Applied.Broken) this.#mend();
    else if (applied === Applied.Ok) this.#set('live');
  }

  #request(method) {
    const params = { channel: 'book', symbol: this.#book.symbol, depth: DEPTH };
    const book = this.#book;
    this.#connection.request(method, params, (answer) => {
      if (method === 'subscribe' && book === this.#book && !answer.success) this.#set('refused');
    });
  }

  /** The chain of seq and prev is broken: the book is void, a new snapshot is asked for. */
  #mend() {
    this.#set('broken');
    if (this.#mendTimer) return;
    const wait = Math.max(0, this.#mendedAt + MEND_EVERY_MS - performance.now());
    this.#mendTimer = setTimeout(() => {
      this.#mendTimer = 0;
      this.#mendedAt = performance.now();
      this.#request('subscribe');
    }, wait);
  }

  #set(state) {
    this.#state = state;
    this.#dirty = true;
  }

  /** Writes what has changed. */
  draw() {
    if (this.#book) this.#drawTape(this.#market.rows.get(this.#book.symbol));
    if (!this.#dirty) return;
    this.#dirty = false;
    attribute(this.#section, 'data-state', this.#state);
    text(byId('detail-state'), this.#describe());
    // A void book is shown as none; one from before a disconnection stays, dimmed.
    const book = this.#book;
    this.#learnPlaces(book);
    const largest = largestSize(book);
    this.#drawSide(this.#asks, book?.asks ?? [], largest);
    this.#drawSide(this.#bids, book?.bids ?? [], largest);
    text(byId('spread-row'), spreadText(book));
  }

  #describe() {
    const breaks = this.#book?.breaks ? ` · resynchronised ${this.#book.breaks}×` : '';
    switch (this.#state) {
      case 'live': return `seq ${this.#book.seq}${breaks}`;
      case 'waiting': return 'waiting for the book';
      case 'broken': return 'chain of seq broken: resubscribing';
      case 'offline': return 'disconnected: last known book';
      case 'refused': return 'the server refused the subscription';
      default: return 'select a row for its book';
    }
  }

  #learnPlaces(book) {
    for (const side of book ? [book.bids, book.asks] : []) {
      for (const [price, size] of side) {
        this.#places.price = Math.max(this.#places.price, places(price));
        this.#places.size = Math.max(this.#places.size, places(size));
      }
    }
  }

  #drawSide(rows, levels, largest) {
    let total = '0';
    rows.forEach((row, at) => {
      const level = levels[at];
      if (!level) {
        row.set('', '', '', 0);
        return;
      }
      const [price, size] = level;
      total = add(total, size);
      row.set(pad(price, this.#places.price), pad(size, this.#places.size), pad(total, this.#places.size), Number(size) / largest);
    });
  }

  #drawTape(row) {
    const tape = row?.tape ?? [];
    const newest = tape.at(-1) ?? null;
    if (newest === this.#tapeEnd) return;
    this.#tapeEnd = newest;
    this.#prints.forEach((print, at) => {
      const trade = tape.at(-1 - at);
      attribute(print.element, 'data-side', trade?.side ?? null);
      print.time.set(trade ? timeOfDay(trade.ts.event ?? trade.ts.recv) : '');
      print.price.set(trade ? pad(trade.price, row.pricePlaces) : '');
      print.size.set(trade ? pad(trade.qty, row.quantityPlaces) : '');
    });
  }
}

/** The largest quantity in view, as a float: it only scales the bars. */
function largestSize(book) {
  let largest = 0;
  for (const side of book ? [book.bids, book.asks] : []) {
    for (const level of side) largest = Math.max(largest, Number(level[1]));
  }
  return largest || 1;
}

function spreadText(book) {
  const bid = book?.bids[0]?.[0];
  const ask = book?.asks[0]?.[0];
  if (!bid || !ask) return '';
  return `${compare(bid, ask) < 0 ? 'spread' : 'crossed'} ${subtract(ask, bid)}`;
}

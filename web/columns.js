// The columns of the symbol table: what each shows and how it sorts. No document here.

import { align, compare, places, subtract } from './decimal.js';

/** Places that a column is aligned for at most; a longer value sticks out rather than widen all rows. */
const MOST_PLACES = 8;

/** The exact spread of a row, or null where a side is missing. */
function spread(row) {
  return row.quote?.bid && row.quote.ask ? subtract(row.quote.ask, row.quote.bid) : null;
}

const values = {
  symbol: (row) => row.symbol,
  last: (row) => row.trade?.price ?? null,
  change: (row) => row.change,
  bidSize: (row) => row.quote?.bid_qty ?? null,
  bid: (row) => row.quote?.bid ?? null,
  ask: (row) => row.quote?.ask ?? null,
  askSize: (row) => row.quote?.ask_qty ?? null,
  spread,
  points: (row) => row.basisPoints,
  rate: (row) => row.rate,
};
const decimals = new Set(['last', 'bidSize', 'bid', 'ask', 'askSize', 'spread']);

/** Whether a table can be sorted by this column. */
export function sortable(column) {
  return Object.hasOwn(values, column);
}

/** The rows that match every word of the filter, sorted; rows without a value come last either way. */
export function arrange(rows, filter, column, descending) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const value = values[column];
  const keyed = [];
  for (const row of rows) {
    const name = row.symbol.toLowerCase();
    if (words.every((word) => name.includes(word))) keyed.push({ row, key: value(row) });
  }
  const order = decimals.has(column) ? compare : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const sign = descending ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || bySymbol(a, b);
    return sign * order(a.key, b.key) || bySymbol(a, b);
  });
  return keyed.map((entry) => entry.row);
}

function bySymbol(a, b) {
  return a.row.symbol < b.row.symbol ? -1 : 1;
}

/** How many places prices and quantities are shown with: per symbol (kept in its row) and over all of them. */
export class Alignment {
  constructor() {
    this.price = 0;
    this.quantity = 0;
    /** Widths in characters. */
    this.priceWidth = 8;
    this.quantityWidth = 7;
    this.symbolWidth = 8;
    this.spreadWidth = 6;
    this.venues = new Set();
  }

  #shape() {
    return [this.price, this.quantity, this.priceWidth, this.quantityWidth, this.symbolWidth, this.spreadWidth].join();
  }

  /** Learns from the present values; true when the columns have changed. Columns only grow: they must not jitter. */
  learn(rows) {
    const before = this.#shape();
    const venuesBefore = this.venues.size;
    let priceWhole = 0;
    let quantityWhole = 0;
    for (const row of rows) {
      this.venues.add(row.venue);
      this.symbolWidth = Math.max(this.symbolWidth, row.pair.length);
      for (const price of [row.trade?.price, row.quote?.bid, row.quote?.ask]) {
        if (!price) continue;
        row.pricePlaces = Math.max(row.pricePlaces, places(price));
        priceWhole = Math.max(priceWhole, whole(price));
      }
      for (const quantity of [row.quote?.bid_qty, row.quote?.ask_qty]) {
        if (!quantity) continue;
        row.quantityPlaces = Math.max(row.quantityPlaces, places(quantity));
        quantityWhole = Math.max(quantityWhole, whole(quantity));
      }
      this.price = Math.min(MOST_PLACES, Math.max(this.price, row.pricePlaces));
      this.quantity = Math.min(MOST_PLACES, Math.max(this.quantity, row.quantityPlaces));
    }
    this.priceWidth = Math.max(this.priceWidth, priceWhole + 1 + this.price);
    this.quantityWidth = Math.max(this.quantityWidth, quantityWhole + 1 + this.quantity);
    this.spreadWidth = Math.max(this.spreadWidth, 3 + this.price);
    return before !== this.#shape() || this.venues.size !== venuesBefore;
  }

  /** The texts of a row's cells, by column. */
  texts(row) {
    const quote = row.quote;
    const price = (text) => (text ? align(text, row.pricePlaces, this.price) : '');
    const quantity = (text) => (text ? align(text, row.quantityPlaces, this.quantity) : '');
    const { change, basisPoints } = row;
    return {
      last: price(row.trade?.price),
      change: change === null ? '' : signed(change),
      bidSize: quantity(quote?.bid_qty),
      bid: price(quote?.bid),
      ask: price(quote?.ask),
      askSize: quantity(quote?.ask_qty),
      spread: price(spread(row)),
      points: basisPoints === null ? '' : basisPoints.toFixed(2),
      rate: row.rate === 0 ? '' : row.rate.toFixed(1),
    };
  }
}

function whole(text) {
  const point = text.indexOf('.');
  return point < 0 ? text.length : point;
}

/** +0.12, −0.12 (with the true minus sign, as wide as the plus) or 0.00. */
function signed(percent) {
  const text = Math.abs(percent).toFixed(2);
  if (text === '0.00') return text;
  return (percent > 0 ? '+' : '\u2212') + text;
}

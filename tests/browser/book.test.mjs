import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Applied, Book } from '../../web/book.js';
import { compare } from '../../web/decimal.js';
import { SimulatedMarket, difference } from './market.mjs';

const snapshot = (seq, bids, asks) => ({ type: 'snapshot', seq, bids, asks });
const update = (prev, seq, bids, asks) => ({ type: 'update', prev, seq, bids, asks });

function known() {
  const book = new Book('sim:A-B', 3);
  assert.equal(book.apply(snapshot(10, [['100', '1'], ['99.5', '2']], [['100.5', '3'], ['101', '4']])), Applied.Ok);
  return book;
}

test('levels are set, changed and removed in their places', () => {
  const book = known();
  assert.equal(book.apply(update(10, 14, [['99.75', '7'], ['100', '0']], [['100.25', '1'], ['101', '9']])), Applied.Ok);
  assert.deepEqual(book.bids, [['99.75', '7'], ['99.5', '2']]);
  assert.deepEqual(book.asks, [['100.25', '1'], ['100.5', '3'], ['101', '9']]);
  assert.equal(book.seq, 14);
});

test('one price is one level, however it is written', () => {
  const book = known();
  book.apply(update(10, 11, [['99.50', '5']], [['101.0', '0.00']]));
  assert.deepEqual(book.bids, [['100', '1'], ['99.5', '5']]);
  assert.deepEqual(book.asks, [['100.5', '3']]);
});

test('the removal of a level that is not there changes nothing', () => {
  const book = known();
  assert.equal(book.apply(update(10, 11, [['98', '0']], [])), Applied.Ok);
  assert.equal(book.bids.length, 2);
});

test('updates before the snapshot wait for it', () => {
  const book = new Book('sim:A-B', 3);
  assert.equal(book.apply(update(1, 2, [['1', '1']], [])), Applied.Waiting);
  assert.equal(book.breaks, 0);
  assert.deepEqual(book.bids, []);
});

test('a prev that does not link voids the book until the next snapshot', () => {
  const book = known();
  assert.equal(book.apply(update(11, 12, [['99', '1']], [])), Applied.Broken);
  assert.equal(book.known, false);
  assert.deepEqual([book.bids, book.asks], [[], []]);
  assert.equal(book.apply(update(12, 13, [['99', '1']], [])), Applied.Waiting, 'one break is one break');
  assert.equal(book.breaks, 1);
  assert.equal(book.apply(snapshot(20, [['90', '1']], [['91', '1']])), Applied.Ok);
  assert.equal(book.apply(update(20, 21, [['90', '2']], [])), Applied.Ok);
  assert.deepEqual(book.bids, [['90', '2']]);
});

test('a repeated update is a broken chain too', () => {
  const book = known();
  book.apply(update(10, 11, [], [['101', '5']]));
  assert.equal(book.apply(update(10, 11, [], [['101', '5']])), Applied.Broken);
});

test('more levels than the depth mean a lost removal', () => {
  const book = known();
  assert.equal(book.apply(update(10, 11, [['98', '1'], ['97', '1']], [])), Applied.Broken);
});

test('a snapshot replaces everything, and its arrays stay the message\'s own', () => {
  const book = known();
  const message = snapshot(5, [['1', '1']], [['2', '2']]);
  book.apply(message);
  book.apply(update(5, 6, [['1', '9']], []));
  assert.deepEqual(book.bids, [['1', '9']]);
  assert.deepEqual(message.bids, [['1', '1']]);
});

test('a long stream of top-15 updates ends with the top 15', () => {
  const listing = new SimulatedMarket(1, 3).symbols[0];
  const book = new Book(listing.symbol, 15);
  let top = listing.top(15);
  book.apply(snapshot(0, top.bids, top.asks));
  for (let seq = 1; seq <= 5000; seq += 1) {
    listing.step();
    const next = listing.top(15);
    // Shuffled sides: the order within an update carries no meaning.
    const bids = difference(top.bids, next.bids).reverse();
    assert.equal(book.apply(update(seq - 1, seq, bids, difference(top.asks, next.asks))), Applied.Ok);
    top = next;
  }
  assert.deepEqual({ bids: book.bids, asks: book.asks }, top);
  assert.ok(compare(book.bids[0][0], book.asks[0][0]) < 0);
});

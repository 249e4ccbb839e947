// The parts of the page that need no document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Alignment, arrange, sortable } from '../../web/columns.js';
import { backoff, drainDelay } from '../../web/connection.js';
import { bytes, delay, duration, micros, short } from '../../web/format.js';
import { Market } from '../../web/market.js';
import { bars, range } from '../../web/histogram.js';

test('the wait before a new attempt doubles up to its cap, half of it random', () => {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const ceiling = Math.min(15000, 500 * 2 ** attempt);
    assert.equal(backoff(attempt, () => 0), ceiling / 2);
    assert.equal(backoff(attempt, () => 1), ceiling);
  }
});

test('a drain\'s range is honoured, nonsense is not', () => {
  assert.equal(drainDelay([500, 8000], () => 0), 500);
  assert.equal(drainDelay([500, 8000], () => 1), 8000);
  assert.equal(drainDelay([0, 0], () => 0.7), 0);
  for (const bad of [undefined, null, [], [5], [9, 3], [-1, 3], ['a', 'b'], {}]) assert.equal(drainDelay(bad), null);
});

const quote = (symbol, seq, prev, more) => ({ channel: 'quote', type: prev === undefined ? 'snapshot' : 'update', symbol, seq, prev, bid: '1', ask: '2', bid_qty: '1', ask_qty: '1', ...more });
const trade = (symbol, seq, prev, price = '1') => ({ channel: 'trade', type: 'update', symbol, seq, prev, price, qty: '1', side: 'buy', ts: { recv: 1 } });

test('gaps are counted per channel and symbol, and a new connection starts anew', () => {
  const market = new Market();
  market.quote(quote('a:X-Y', 5));
  market.quote(quote('a:X-Y', 9, 5));
  market.trade(trade('a:X-Y', 100, 99));
  market.trade(trade('a:X-Y', 101, 100));
  market.quote(quote('a:X-Z', 7, 6));
  assert.equal(market.gaps, 0, 'the first message seen has nothing to link to');
  market.quote(quote('a:X-Y', 12, 11));
  market.trade(trade('a:X-Y', 103, 102));
  assert.equal(market.gaps, 2);
  market.restart();
  market.quote(quote('a:X-Y', 500, 499));
  assert.equal(market.gaps, 2);
  market.conflated = true;
  market.quote(quote('a:X-Y', 600, 599));
  assert.equal(market.gaps, 2, 'conflated quotes jump by design');
});

test('the answers say by how much all is delayed, and a refusal does not', () => {
  const market = new Market();
  assert.equal(market.delayMs, 0);
  market.answer({ method: 'subscribe', success: false, result: [], errors: [{ code: 'forbidden' }], delay_ms: 900000 });
  assert.equal(market.delayMs, 900000);
  market.answer({ method: 'subscribe', success: false, error: { code: 'rate_limited' } });
  market.restart();
  assert.equal(market.delayMs, 900000, 'what is shown is what it was');
  market.answer({ method: 'subscribe', success: true, result: [{ channel: 'quote' }] });
  assert.equal(market.delayMs, 0);
});

test('the tape keeps the newest trades and stays bounded', () => {
  const market = new Market();
  for (let seq = 1; seq <= 1000; seq += 1) market.trade(trade('a:X-Y', seq, seq - 1));
  const { tape } = market.row('a:X-Y');
  assert.equal(tape.at(-1).seq, 1000);
  assert.ok(tape.length >= 40 && tape.length <= 80, `${tape.length}`);
});

test('rows are sorted by exact decimals; rows without a value come last either way', () => {
  const market = new Market();
  const bids = { 'a:A-Q': '9.9', 'a:B-Q': '10', 'a:C-Q': '0.1234567890123456789', 'a:D-Q': '0.1234567890123456788' };
  for (const [symbol, bid] of Object.entries(bids)) market.quote(quote(symbol, 1, undefined, { bid }));
  market.row('a:E-Q');
  const names = (...how) => arrange(market.rows.values(), ...how).map((row) => row.symbol[2]).join('');
  assert.equal(names('', 'bid', false), 'DCABE');
  assert.equal(names('', 'bid', true), 'BACDE');
  assert.equal(names('', 'symbol', true), 'EDCBA');
  assert.equal(names('C-q', 'symbol', false), 'C');
  assert.equal(names('  A: b ', 'symbol', false), 'B');
  assert.equal(names('nothing', 'symbol', false), '');
  assert.ok(sortable('spread') && !sortable('trend') && !sortable('constructor'));
});

test('a row is shown with the places of its symbol, aligned over all', () => {
  const market = new Market();
  const alignment = new Alignment();
  market.quote(quote('a:A-Q', 1, undefined, { bid: '100.5', ask: '100.75' }));
  market.quote(quote('a:B-Q', 1, undefined, { bid: '0.0001', ask: '0.0003' }));
  assert.equal(alignment.learn(market.rows.values()), true);
  assert.equal(alignment.learn(market.rows.values()), false, 'nothing new the second time');
  const { bid, ask, spread, last } = alignment.texts(market.row('a:A-Q'));
  assert.deepEqual([bid.trim(), ask.trim(), spread.trim(), last], ['100.50', '100.75', '0.25', '']);
  assert.equal(bid.length - bid.indexOf('.'), 5);
});

test('buckets keep their samples when they are spread over bars', () => {
  const buckets = [[10, 0], [20, 5], [40, 100], [80, 20], [160, 0], [5000, 3]];
  const [low, high] = range(buckets);
  assert.ok(low <= 10 && high >= 5000);
  const heights = bars(buckets, low, high, 60);
  assert.ok(Math.abs(heights.reduce((a, b) => a + b, 0) - 128) < 1e-9);
  assert.deepEqual(range([]), [1, 1000]);
  assert.ok(bars([[0, 4], [1, 1]], 1, 1000, 10)[0] >= 4, 'a bucket of zero is drawn at the left edge');
});

test('numbers in little room', () => {
  assert.deepEqual([short(0), short(9999), short(10000), short(123456), short(1.2e6), short(4.56e9)], ['0', '9,999', '10.0k', '123k', '1.20M', '4.56G']);
  assert.deepEqual([micros(35), micros(1200), micros(2e6)], ['35 µs', '1.20 ms', '2.00 s']);
  assert.deepEqual([duration(59), duration(725), duration(11220), duration(187200)], ['59s', '12m 05s', '3h 07m', '2d 04h']);
  assert.deepEqual([1000, 900000, 5403000, 86400000, 1500].map(delay), ['1 s', '15 min', '1 h 30 min 3 s', '24 h', '1 s 500 ms']);
  assert.deepEqual([bytes(512), bytes(1536), bytes(1048576)], ['512 B', '1.5 KiB', '1.0 MiB']);
});

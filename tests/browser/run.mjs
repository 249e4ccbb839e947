// The page, looked at from outside in a headless Chromium.
//
//   node run.mjs                                   against the stand-in of mock.mjs, all checks
//   node run.mjs URL                               against a running server (it is not restarted)
//   node run.mjs URL --spawn 'COMMAND'             runs the server itself, stops it and starts it again
//   --screenshot PATH.png [--theme dark|light] [--size 1440x900] [--symbol sim:BTC-USD] [--after SECONDS]
//                                                  saves a picture after the checks of the table and the book, of that symbol,
//                                                  and so much later: trends need time to have a shape

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { compare } from '../../web/decimal.js';
import { openBrowser, startCommand, startMock } from './browser.mjs';

const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: {
    spawn: { type: 'string' }, screenshot: { type: 'string' }, theme: { type: 'string', default: 'dark' }, size: { type: 'string', default: '1440x900' },
    symbol: { type: 'string' }, after: { type: 'string', default: '0' },
  },
});
const PATIENCE = 20000;

const target = url ? (options.spawn ? await startCommand(url, options.spawn) : { url, mock: false, end: () => {} }) : await startMock();
const [width, height] = options.size.split('x').map(Number);
const browser = await openBrowser({ colorScheme: options.theme, viewport: { width, height } });
const { page } = browser;
page.setDefaultTimeout(PATIENCE);

/** Whatever the console or the policy complains of; while the server is away, failed connections are no fault. */
const faults = [];
let away = false;
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type()) && !(away && /ERR_CONNECTION|WebSocket connection|Failed to load resource/.test(message.text()))) faults.push(message.text());
});
page.on('pageerror', (error) => faults.push(String(error)));
await page.addInitScript(() => {
  addEventListener('securitypolicyviolation', (event) => console.error(`policy breached: ${event.violatedDirective} by ${event.blockedURI}`));
});

const texts = (selector) => page.$$eval(selector, (cells) => cells.map((cell) => cell.textContent.trim()));
const symbols = () => page.$$eval('#rows tr[data-symbol]', (rows) => rows.map((row) => row.dataset.symbol));
const until = (what, condition, argument) => page.waitForFunction(condition, argument, { timeout: PATIENCE }).catch((error) => {
  throw new Error(`waited in vain: ${what}`, { cause: error });
});
const connectionIs = (state) => until(`connection ${state}`, (name) => document.querySelector('#connection').dataset.state === name, state);
const livesFor = (selector) => until(`${selector} changes`, (name) => {
  const now = [...document.querySelectorAll(name)].map((cell) => cell.textContent).join();
  globalThis.tickcastSeen ??= {};
  const before = (globalThis.tickcastSeen[name] ??= now);
  return before !== now;
}, selector);

let total = 0;
/** How many symbols the grid says there are, header row not counted. */
const rowCount = () => page.$eval('#table', (table) => Number(table.getAttribute('aria-rowcount')) - 1);

const checks = {
  async 'the page loads with a strict policy'() {
    const answer = await page.goto(target.url);
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.match(answer.headers()['content-type'], /text\/html/);
  },

  async 'the connection comes to life and the table fills'() {
    await connectionIs('live');
    await until('rows', () => document.querySelectorAll('#rows tr[data-symbol]').length >= 10);
    await until('quotes', () => [...document.querySelectorAll('#rows .bid')].filter((cell) => cell.textContent).length >= 5);
    assert.equal(await page.isVisible('#delay'), false, 'nothing is delayed');
    total = await rowCount();
    assert.ok(total >= 10, `${total} symbols`);
    await until('a message rate', () => Number(document.querySelector('#message-rate').textContent.replaceAll(',', '')) > 0);
    await until('a round trip', () => /^[\d.]+ ms$/.test(document.querySelector('#round-trip').textContent));
  },

  async 'prices change, cells flash'() {
    await livesFor('#rows .bid');
    await livesFor('#rows .last');
    await until('a flash', () => document.querySelector('#rows .up, #rows .down'));
  },

  async 'bids stand below asks, decimals in one line'() {
    // Both of a row in one go: they are of one moment only within one look.
    const quotes = await page.$$eval('#rows tr[data-symbol]', (rows) => rows.map((row) => ['.bid', '.ask'].map((side) => row.querySelector(side).textContent.trim())));
    for (const [bid, ask] of quotes) if (bid && ask) assert.ok(compare(bid, ask) < 0, `${bid} < ${ask}`);
    const points = await page.$$eval('#rows .bid', (cells) => cells.map((cell) => cell.textContent).filter((text) => text.includes('.')).map((text) => text.length - text.indexOf('.')));
    assert.equal(new Set(points).size, 1, 'one distance from the point to the right edge');
  },

  async 'every column that is shown is in sight'() {
    for (const scale of [1, 0.9, 0.8]) {
      await page.setViewportSize({ width: Math.round(width * scale), height });
      await until(`columns in sight at ${scale} of the width`, () => {
        const scroll = document.querySelector('#scroll');
        return scroll.scrollWidth <= scroll.clientWidth;
      });
    }
    await page.setViewportSize({ width, height });
  },

  async 'the filter narrows and widens'() {
    const [first] = await symbols();
    const word = first.split(':').pop();
    await page.fill('#filter', word.toLowerCase());
    await until('a filtered table', (count) => Number(document.querySelector('#table').getAttribute('aria-rowcount')) - 1 < count, total);
    await until('only matches', (text) => {
      const rows = [...document.querySelectorAll('#rows tr[data-symbol]')];
      return rows.length > 0 && rows.every((row) => row.dataset.symbol.includes(text));
    }, word);
    await page.fill('#filter', 'no such symbol');
    await page.waitForSelector('#empty', { state: 'visible' });
    await page.press('#filter', 'Escape');
    await until('all symbols', (count) => Number(document.querySelector('#table').getAttribute('aria-rowcount')) - 1 >= count, total);
  },

  async 'columns sort, and say so'() {
    await page.click('th[data-column="symbol"] button');
    assert.equal(await page.getAttribute('th[data-column="symbol"]', 'aria-sort'), 'descending');
    await until('Z to A', () => {
      const names = [...document.querySelectorAll('#rows tr[data-symbol]')].map((row) => row.dataset.symbol);
      return names.length > 5 && names.every((name, at) => at === 0 || names[at - 1] > name);
    });
    // The sort by bid is checked on texts of one frame; a bid may pass its neighbour before the next re-sort, so it may take a few.
    await page.focus('th[data-column="bid"] button');
    await page.keyboard.press('Enter');
    assert.equal(await page.getAttribute('th[data-column="bid"]', 'aria-sort'), 'descending');
    assert.equal(await page.getAttribute('th[data-column="symbol"]', 'aria-sort'), 'none');
    await page.mouse.move(5, 5);
    for (let attempt = 0; ; attempt += 1) {
      const bids = (await texts('#rows tr[data-symbol] .bid')).filter(Boolean);
      if (bids.length > 5 && bids.every((bid, at) => at === 0 || compare(bids[at - 1], bid) >= 0)) break;
      assert.ok(attempt < 100, `not descending: ${bids.join(' ')}`);
      await page.waitForTimeout(100);
    }
    await page.click('th[data-column="symbol"] button');
    assert.equal(await page.getAttribute('th[data-column="symbol"]', 'aria-sort'), 'ascending');
    await until('A to Z', () => {
      const names = [...document.querySelectorAll('#rows tr[data-symbol]')].map((row) => row.dataset.symbol);
      return names.length > 5 && names.every((name, at) => at === 0 || names[at - 1] < name);
    });
  },

  async 'the keyboard selects, and the ladder appears'() {
    await page.focus('#table');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowDown');
    const [first, second] = await symbols();
    await until('the second row', (symbol) => document.querySelector('#rows tr[aria-selected="true"]')?.dataset.symbol === symbol
      && document.querySelector('#detail-symbol').textContent === symbol, second);
    // A click chooses the one before.
    await page.click('#rows tr[data-symbol] >> nth=0');
    await until('the symbol', (symbol) => document.querySelector('#detail-symbol').textContent === symbol, first);
    assert.ok(decodeURIComponent(page.url()).endsWith(`#${first}`), page.url());
    await ladderIsSound();
    await livesFor('#ladder td');
    await ladderIsSound();
  },

  async 'the latency of the server is drawn'() {
    await until('bars', () => [...document.querySelectorAll('#histogram rect')].filter((bar) => Number(bar.getAttribute('height')) > 0).length > 1);
    const marks = await texts('#histogram .marks text');
    assert.deepEqual(marks, ['p50', 'p99']);
    assert.equal((await texts('#quantiles dt')).length, 5);
    const stats = await (await fetch(`${target.url}/v1/stats`)).json();
    const sum = stats.latency_us.buckets.reduce((all, [, samples]) => all + samples, 0);
    assert.equal(sum, stats.latency_us.count, 'buckets hold their own samples only, and all of them');
  },

  async 'nothing was missed'() {
    assert.equal(await page.textContent('#gaps'), '0');
  },
};

/** 15 levels a side at most, both sides ordered, best bid below best ask; read in one go, hence of one moment. */
async function ladderIsSound() {
  await until('a live book', () => document.querySelector('#detail').dataset.state === 'live' && document.querySelector('#bids .price').textContent);
  const [asks, bids] = await page.evaluate(() => ['#asks', '#bids'].map((side) => [...document.querySelectorAll(`${side} .price`)].map((cell) => cell.textContent).filter(Boolean)));
  assert.ok(asks.length > 0 && bids.length > 0 && asks.length <= 15 && bids.length <= 15);
  const ladder = [...asks, ...bids];
  ladder.forEach((price, at) => at && assert.ok(compare(ladder[at - 1], price) > 0, `descending: ${ladder.join(' ')}`));
}

/** What needs a server that comes and goes. */
const restarts = {
  async 'the page finds back to a server that went away'() {
    away = true;
    await target.stop();
    await connectionIs('reconnecting');
    assert.match(await page.textContent('#connection-detail'), /again in \d+ s/);
    await until('a dimmed book', () => document.querySelector('#detail').dataset.state === 'offline');
    await target.start();
    await connectionIs('live');
    away = false;
    await ladderIsSound();
    await page.evaluate(() => { globalThis.tickcastSeen = {}; });
    await livesFor('#rows .bid');
    assert.equal(await page.textContent('#gaps'), '0');
  },
};

/** What only the stand-in does on demand. */
const mockOnly = {
  async 'a broken chain is shown and mended'() {
    await target.ask('break');
    await until('a mended book', () => /resynchronised 1×/.test(document.querySelector('#detail-state').textContent) && document.querySelector('#detail').dataset.state === 'live');
    await ladderIsSound();
  },

  async 'a listing appears by itself'() {
    const symbol = await target.ask('list');
    await page.fill('#filter', symbol);
    await until('the new symbol', (name) => document.querySelector('#rows tr[data-symbol]')?.dataset.symbol === name, symbol);
    await page.press('#filter', 'Escape');
  },

  async 'a lag is shown, and a feed that is stale'() {
    await target.ask('lag');
    await page.waitForSelector('#notice', { state: 'visible' });
    assert.match(await page.textContent('#notice'), /lags: 1\.0 MiB queued.*peer_window/);
    const [first] = await symbols();
    await target.ask('stale', first);
    await until('a stale row', (name) => document.querySelector(`#rows tr[data-symbol="${name}"]`).dataset.feed === 'stale', first);
  },

  async 'a drain is honoured'() {
    away = true;
    // The stand-in asks for 300 to 900 ms; the watch is set up first, for the state passes quickly.
    const drained = until('a drained connection', () => document.querySelector('#connection').dataset.state === 'reconnecting'
      && /^server drained, again in [01] s$/.test(document.querySelector('#connection-detail').textContent));
    await target.ask('drain');
    await drained;
    await target.start();
    await connectionIs('live');
    away = false;
  },

  async 'what is delayed has its mark, as long as it is shown'() {
    away = true;
    await target.stop();
    await connectionIs('reconnecting');
    await target.ask('delay', 900000);
    await target.start();
    await connectionIs('live');
    await until('the mark', () => document.querySelector('#delay').textContent === 'delayed 15 min');
    for (const scale of [1, 0.6, 0.25]) {
      await page.setViewportSize({ width: Math.round(width * scale), height });
      const { x, y, width: wide } = await page.locator('#delay').boundingBox();
      assert.ok(wide > 50 && x >= 0 && x + wide <= width * scale && y >= 0 && y < height, `in sight at ${scale} of the width: ${x} ${y} ${wide}`);
    }
    await page.setViewportSize({ width, height });
    await target.stop();
    await connectionIs('reconnecting');
    assert.equal(await page.isVisible('#delay'), true, 'what is left to be seen is delayed too');
    await target.ask('delay', 0);
    await target.start();
    await connectionIs('live');
    await page.waitForSelector('#delay', { state: 'hidden' });
    away = false;
  },

  async 'an evicted page asks for conflated quotes'() {
    assert.equal(await target.ask('quoteMode'), 'all');
    await target.ask('evict');
    await until('the reason', () => /evicted as too slow/.test(document.querySelector('#notice').textContent));
    await connectionIs('live');
    await page.evaluate(() => { globalThis.tickcastSeen = {}; });
    await livesFor('#rows .bid');
    assert.equal(await target.ask('quoteMode'), 'conflate');
  },

  async 'silence is noticed'() {
    away = true;
    await target.ask('silence', true);
    await until('a quiet connection', () => /silent for/.test(document.querySelector('#connection-detail').textContent));
    await connectionIs('reconnecting');
    await target.ask('silence', false);
    await connectionIs('live');
    away = false;
  },

  async 'motion is left out where it is not wanted'() {
    // Counted in one go with the cells that flash: these are lit for a moment only.
    const lit = () => [...document.querySelectorAll('#rows td.flash')].some((cell) => getComputedStyle(cell).backgroundImage !== 'none');
    await until('a lit cell', lit);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await until('a change', () => document.querySelector('#rows td.flash'));
    for (let look = 0; look < 20; look += 1) assert.equal(await page.evaluate(lit), false);
    await page.emulateMedia({ reducedMotion: 'no-preference' });
  },
};

async function run(list) {
  for (const [name, check] of Object.entries(list)) {
    await check();
    console.log(`ok   ${name}`);
  }
}

/** What a visitor sees who has looked on for a while: busy symbols first, one of them chosen. */
async function picture(path) {
  if (options.symbol) {
    await page.fill('#filter', options.symbol);
    await page.click(`#rows tr[data-symbol="${options.symbol}"]`);
    await page.press('#filter', 'Escape');
  }
  await page.click('th[data-column="rate"] button');
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.move(5, 5);
  await page.waitForTimeout(Number(options.after) * 1000);
  await page.screenshot({ path });
}

let failed = false;
try {
  await run(checks);
  if (options.screenshot) await picture(options.screenshot);
  if (target.stop) await run(restarts);
  else console.log('SKIPPED: the server\'s restart (give --spawn to have it run from here)');
  if (target.mock) await run(mockOnly);
  assert.deepEqual(faults, [], 'the console stays empty');
  console.log('ok   no error, no warning, no breach of the policy');
} catch (error) {
  failed = true;
  console.error(`FAIL ${error.stack}`);
  if (error.cause) console.error(error.cause.message);
  if (faults.length) console.error('console:', faults);
  await page.screenshot({ path: options.screenshot ?? 'target/browser/failure.png' }).catch(() => {});
} finally {
  await browser.close();
  await target.end();
}
process.exit(failed ? 1 : 0);

// A stand-in for the server: the page's files, /v1/stats and /v1/ws as docs/PROTOCOL.md has them, with a simulated
// market. `node mock.mjs [--port N] [--rate N] [--symbols N]`; forked by the tests it obeys messages (see `obey`).

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { load, root } from './deps.mjs';
import { SimulatedMarket, difference } from './market.mjs';

const { WebSocketServer } = load('ws');
const { values: options } = parseArgs({
  options: { port: { type: 'string', default: '0' }, rate: { type: 'string', default: '2000' }, symbols: { type: 'string', default: '200' } },
});
const rate = Number(options.rate);
const market = new SimulatedMarket(Number(options.symbols));
// The policy that the binary sends, so that a breach of it fails here already.
const policy = /CONTENT_SECURITY_POLICY: &str = "([^"]+)"/s.exec(readFileSync(`${root}src/http/assets.rs`, 'utf8'))[1].replace(/\\\n\s*/g, '');
const MIME = { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' };

let port = Number(options.port);
let http = null;
let clients = new Set();
let silent = false;
let breakNextBook = false;
let delayMs = 0;
const started = Date.now();
const counts = { ticks: 0, deliveries: 0, ticksBefore: 0, deliveriesBefore: 0, ticksPerSecond: 0, deliveriesPerSecond: 0 };

class Client {
  constructor(socket) {
    this.socket = socket;
    this.all = new Set();
    this.books = new Map();
    this.sentAt = Date.now();
    socket.on('message', (data) => this.request(JSON.parse(data)));
    socket.on('close', () => clients.delete(this));
    socket.on('error', () => clients.delete(this));
  }

  send(message) {
    this.sentAt = Date.now();
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  request({ method, req_id, params = {} }) {
    if (silent) return;
    const answer = { method, req_id, success: true };
    if (delayMs > 0 && method !== 'list_symbols') answer.delay_ms = delayMs;
    if (method === 'ping') {
      const now = Date.now() * 1000;
      this.send({ method: 'pong', req_id, t: params.t, time_in: now, time_out: now });
    } else if (method === 'list_symbols') {
      this.send({ ...answer, result: market.symbols.map(({ symbol }) => ({ symbol, venue: 'sim' })) });
    } else if (method === 'subscribe') {
      this.subscribe(answer, params);
    } else if (method === 'unsubscribe') {
      this.books.delete(params.symbol);
      this.send({ ...answer, result: [{ channel: params.channel, symbol: params.symbol }] });
    } else {
      this.send({ method, req_id, success: false, error: { code: 'unknown_method', message: `unknown method ${method}` } });
    }
  }

  subscribe(answer, { channel, symbol, depth, mode = 'all' }) {
    if (channel === 'book') {
      const listing = market.bySymbol.get(symbol);
      if (!listing) {
        this.send({ ...answer, success: false, result: [], errors: [{ symbol, code: 'unknown_symbol', message: `no such symbol: ${symbol}` }] });
        return;
      }
      const book = { listing, depth, seq: listing.seq, ...listing.top(depth) };
      this.books.set(symbol, book);
      this.send({ ...answer, result: [{ channel, symbol, depth, mode: 'all', epoch: 'm1', seq: book.seq }] });
      this.send({ channel, type: 'snapshot', symbol, depth, seq: book.seq, bids: book.bids, asks: book.asks, ts: listing.ts() });
      return;
    }
    this.all.add(channel);
    if (channel === 'quote') this.quoteMode = mode;
    this.send({ ...answer, result: [{ channel, symbol, mode, epoch: 'm1', matched: market.symbols.length }] });
    if (channel === 'quote') for (const listing of market.symbols) this.send(listing.quote('snapshot'));
    if (channel === 'status') for (const { symbol: name } of market.symbols) this.send({ channel, type: 'feed', symbol: name, state: 'live', age_ms: 3 });
  }

  updateBooks() {
    for (const book of this.books.values()) {
      const top = book.listing.top(book.depth);
      const bids = difference(book.bids, top.bids);
      const asks = difference(book.asks, top.asks);
      if (bids.length + asks.length === 0) continue;
      const prev = book.seq;
      Object.assign(book, top, { seq: prev + 3 });
      if (breakNextBook) {
        breakNextBook = false;
        continue;
      }
      const { symbol } = book.listing;
      this.send({ channel: 'book', type: 'update', symbol, depth: book.depth, seq: book.seq, prev, bids, asks, ts: book.listing.ts() });
    }
  }
}

function publish(message) {
  counts.ticks += 1;
  const text = JSON.stringify(message);
  for (const client of clients) {
    if (!client.all.has(message.channel)) continue;
    client.send(text);
    counts.deliveries += 1;
  }
}

let owed = 0;
let tickedAt = performance.now();
function tick() {
  const now = performance.now();
  owed = Math.min(rate, owed + ((now - tickedAt) * rate) / 1000);
  tickedAt = now;
  for (; owed >= 1; owed -= 1) {
    const listing = market.pick();
    listing.step();
    if (!silent) publish(market.random() < 0.2 ? listing.trade() : listing.quote('update'));
  }
}

function stats() {
  const buckets = [];
  let count = 0;
  for (let at = 0; at < 40; at += 1) {
    const upper = Math.round(8 * 1.16 ** at * 10) / 10;
    const body = 5000 * Math.exp(-((Math.log(upper / 38) / 0.42) ** 2));
    const tail = upper > 60 ? 60 * Math.exp(-((Math.log(upper / 160) / 0.7) ** 2)) : 0;
    const samples = Math.round((body + tail) * (0.9 + 0.2 * Math.random()));
    buckets.push([upper, samples]);
    count += samples;
  }
  const quantile = (share) => {
    let left = share * count;
    return buckets.find(([, samples]) => (left -= samples) <= 0)?.[0] ?? buckets.at(-1)[0];
  };
  return {
    version: '0.1.0', uptime_s: (Date.now() - started) / 1000, clients: clients.size,
    subscriptions: [...clients].reduce((sum, client) => sum + client.all.size + client.books.size, 0),
    ticks: counts.ticks, ticks_per_s: counts.ticksPerSecond, deliveries: counts.deliveries, deliveries_per_s: counts.deliveriesPerSecond,
    latency_us: { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), p999: quantile(0.999), max: 911, count, buckets },
    reactors: [{ id: 0, clients: clients.size, ticks: counts.ticks, lapped: 0 }, { id: 1, clients: 0, ticks: counts.ticks, lapped: 0 }],
    feeds: [{ name: 'synthetic', state: 'live', ticks: counts.ticks, rejected: 0 }],
  };
}

function file(path) {
  const name = path === '/' ? 'index.html' : /^\/web\/([a-z]+\.(?:html|css|js|svg))$/.exec(path)?.[1];
  if (!name) return null;
  try {
    return { type: MIME[name.split('.').pop()], body: readFileSync(`${root}web/${name}`) };
  } catch {
    return null;
  }
}

function serve(request, response) {
  const { pathname } = new URL(request.url, 'http://mock');
  if (pathname === '/v1/stats') {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(stats()));
    return;
  }
  const found = file(pathname);
  if (!found) {
    response.writeHead(404).end('not found');
    return;
  }
  response.writeHead(200, { 'content-type': found.type, 'content-security-policy': policy, 'x-content-type-options': 'nosniff' }).end(found.body);
}

function start() {
  return new Promise((resolve) => {
    http = createServer(serve);
    const sockets = new WebSocketServer({ server: http, path: '/v1/ws', handleProtocols: (offered) => (offered.has('tickcast.v1.json') ? 'tickcast.v1.json' : false) });
    sockets.on('connection', (socket) => clients.add(new Client(socket)));
    http.listen(port, '127.0.0.1', () => {
      port = http.address().port;
      resolve();
    });
  });
}

function stop(close) {
  const ended = new Promise((resolve) => http.close(resolve));
  for (const client of clients) close(client.socket);
  http.closeAllConnections();
  return ended;
}

/** What the tests ask of the stand-in beyond the protocol. */
const orders = {
  start,
  /** Goes away without a word. */
  stop: () => stop((socket) => socket.terminate()),
  /** Goes away as a server that drains. */
  drain: async () => {
    for (const client of clients) client.send({ channel: 'status', type: 'drain', reconnect_ms: [300, 900] });
    for (const client of clients) client.socket.close(1012);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await stop((socket) => socket.terminate());
  },
  /** Loses one book update, so that the next one does not link. */
  break: () => { breakNextBook = true; },
  lag: () => {
    for (const client of clients) {
      client.send({ channel: 'status', type: 'lag', policy: 'disconnect', queued_bytes: 1048576, oldest_ms: 5012, cause: 'peer_window' });
    }
  },
  evict: () => { for (const client of clients) client.socket.close(4008); },
  /** Those who come from here on are told that all is delayed by so much. */
  delay: (ms) => { delayMs = ms; },
  /** The mode of the newest client's quotes. */
  quoteMode: () => [...clients].at(-1)?.quoteMode,
  stale: (symbol) => {
    for (const client of clients) client.send({ channel: 'status', type: 'feed', symbol, state: 'stale', age_ms: 9000 });
  },
  /** Stops talking with open sockets, heartbeats included. */
  silence: (on) => { silent = on; },
  /** Lists a symbol more; answers with its name. */
  list: () => {
    const listing = market.list();
    publish(listing.quote('update'));
    return listing.symbol;
  },
};

process.on('message', async ({ id, order, argument }) => {
  process.send({ id, result: await orders[order](argument) });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));

setInterval(tick, 10);
setInterval(() => { if (!silent) for (const client of clients) client.updateBooks(); }, 50);
setInterval(() => {
  counts.ticksPerSecond = counts.ticks - counts.ticksBefore;
  counts.deliveriesPerSecond = counts.deliveries - counts.deliveriesBefore;
  counts.ticksBefore = counts.ticks;
  counts.deliveriesBefore = counts.deliveries;
  const now = Date.now();
  for (const client of clients) if (!silent && now - client.sentAt > 1000) client.send({ channel: 'heartbeat', time: now * 1000 });
}, 1000);
await start();
if (process.send) process.send({ id: 0, result: port });
else console.log(`listening on http://127.0.0.1:${port}`);

// Server-sent events in a real browser: its EventSource is cut off again and again, comes back by itself with the id of the
// last event, and misses nothing.
//
//   node events.mjs PROGRAM                        runs that tickcast itself

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { openBrowser } from './browser.mjs';
import { root } from './deps.mjs';

const PATIENCE = 20000;
const CUTS = 5;
const PATH = '/v1/sse?subscribe=trade:sim:*,quote:sim:*,book:sim:S0000-USD,book:sim:S0001-USD:10,status:sim:*';

/** A server, and the port that it listens on. */
async function startServer(program) {
  const feed = 'synthetic:symbols=4,rate=2000,names=numbered';
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--log-level', 'warn', '--feed', feed], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const port = await new Promise((resolve, reject) => {
    lines.once('line', (line) => resolve(Number(line.split(':').pop())));
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  const end = () => new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.once('exit', resolve);
    child.kill('SIGKILL');
  });
  return { port, end };
}

/** What stands between browser and server: it may be cut, and lead to another server. */
async function startRelay(port) {
  const sockets = new Set();
  const heads = [];
  const relay = createServer((near) => {
    const far = connect(relay.port, '127.0.0.1');
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    near.on('data', (bytes) => {
      const head = bytes.toString('latin1');
      if (head.startsWith('GET /v1/sse')) heads.push(head);
    });
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise((resolve) => { relay.listen(0, '127.0.0.1', resolve); });
  relay.port = port;
  return {
    url: `http://127.0.0.1:${relay.address().port}`,
    /** The heads of the requests for streams, oldest first. */
    heads,
    lead: (to) => { relay.port = to; },
    /** With a reset, wherever in an event it stands. */
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    end: () => {
      sockets.forEach((socket) => socket.destroy());
      relay.close();
    },
  };
}

/** In the page: opens the stream and follows every chain of `seq` and `prev`. */
function follow(path) {
  const seen = { opened: 0, broken: [], twice: 0, trades: 0, kinds: {}, resumes: [], answers: 0 };
  const last = new Map();
  globalThis.seen = seen;
  globalThis.source = new EventSource(path);
  source.onopen = () => { seen.opened += 1; };
  source.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method) {
      seen.answers += 1;
      if (!message.success) seen.broken.push(data);
      return;
    }
    const { channel, type, symbol, depth, seq, prev } = message;
    const kind = `${channel} ${type}`;
    seen.kinds[kind] = (seen.kinds[kind] ?? 0) + 1;
    const chain = [channel, symbol, depth].join(' ');
    if (type === 'resume') {
      seen.resumes.push(message);
      // What it is told is that a part is missing: the chain begins anew.
      if (!message.recovered) last.delete(chain);
    }
    if (seq === undefined || type === 'resume') return;
    const have = last.get(chain);
    if (type === 'update' && have !== undefined && seq <= have) {
      seen.twice += 1;
      return;
    }
    if (type === 'update' && have !== undefined && prev !== have) seen.broken.push(`after ${have}: ${data}`);
    if (channel === 'trade') seen.trades += 1;
    last.set(chain, seq);
  };
}

let server = await startServer(process.argv[2]);
const relay = await startRelay(server.port);
const browser = await openBrowser();
const { page } = browser;
page.setDefaultTimeout(PATIENCE);
const seen = () => page.evaluate(() => globalThis.seen);
const until = (what, condition, argument) => page.waitForFunction(condition, argument, { timeout: PATIENCE }).catch(async (error) => {
  throw new Error(`waited in vain: ${what}; ${JSON.stringify(await seen())}`, { cause: error });
});
/** The id that the last request for a stream had. */
const sentId = () => /^last-event-id: (\S+)/im.exec(relay.heads.at(-1))?.[1];

const checks = {
  async 'the examples in docs/PROTOCOL.md for a browser run as printed'() {
    const examples = [...readFileSync(`${root}docs/PROTOCOL.md`, 'utf8').matchAll(/```js\n(.*?)```/gs)].map(([, printed]) => printed);
    assert.equal(examples.length, 2);
    for (const printed of examples) {
      await page.goto(`${relay.url}/`);
      const told = (text) => page.waitForEvent('console', (message) => message.text().includes(text));
      const both = Promise.all([told('"method":"subscribe","success":true'), told('"channel":"trade","type":"update","symbol":"sim:S0000-USD"')]);
      // Whatever fails before it is waited for.
      both.catch(() => {});
      // As in the console, which the page's policy does not hold for; as it is, but for the symbol.
      const session = await browser.context.newCDPSession(page);
      const { exceptionDetails } = await session.send('Runtime.evaluate', { expression: printed.replace('sim:BTC-USD', 'sim:S0000-USD'), replMode: true });
      assert.equal(exceptionDetails, undefined);
      await both;
    }
  },

  async 'a page of the server opens a stream: answers, snapshots, updates'() {
    await page.goto(`${relay.url}/`);
    await page.evaluate(follow, PATH);
    await until('all kinds of messages', () => ['trade update', 'quote snapshot', 'quote update', 'book snapshot', 'book update', 'status feed'].every((kind) => seen.kinds[kind]));
    const { answers, opened, resumes } = await seen();
    assert.deepEqual([answers, opened, resumes.length], [5, 1, 0]);
    assert.equal(sentId(), undefined);
  },

  async 'cut off, it comes back with the id of its last event, and nothing is missing'() {
    for (let cut = 1; cut <= CUTS; cut += 1) {
      const before = await seen();
      relay.cut();
      await until(`stream ${cut + 1}`, (count) => seen.opened === count, cut + 1);
      assert.match(sentId(), /^\w+-\d+$/);
      // One for each of four symbols' trades, quotes and states, and the two books.
      await until('a resume for each', (count) => seen.resumes.length === count, before.resumes.length + 14);
      await until('more trades', (count) => seen.trades > count, before.trades + 200);
      const { resumes, broken } = await seen();
      assert.deepEqual(broken, []);
      for (const resume of resumes) {
        // Only of a book to a depth the changes are not known any more: it comes anew.
        if (resume.depth) assert.ok(resume.recovered || resume.reason === 'depth', JSON.stringify(resume));
        else assert.equal(resume.recovered, true, JSON.stringify(resume));
      }
    }
    console.log(`     ${CUTS} cuts, ${(await seen()).trades} trades, ${(await seen()).twice} messages twice`);
  },

  async 'a server that was killed and started again is found, and says that it knows nothing of before'() {
    const before = await seen();
    await server.end();
    server = await startServer(process.argv[2]);
    relay.lead(server.port);
    await until('a new stream', (count) => seen.opened > count, before.opened);
    await until('a resume for each', (count) => seen.resumes.length === count, before.resumes.length + 14);
    const resumes = (await seen()).resumes.slice(before.resumes.length);
    assert.deepEqual([...new Set(resumes.map(({ recovered, reason }) => `${recovered} ${reason}`))], ['false epoch']);
    await until('more trades', (count) => seen.trades > count, before.trades + 200);
    assert.deepEqual((await seen()).broken, []);
  },
};

let failed = false;
try {
  for (const [name, check] of Object.entries(checks)) {
    await check();
    console.log(`ok   ${name}`);
  }
} catch (error) {
  failed = true;
  console.error(`FAIL ${error.stack}`);
} finally {
  await browser.close();
  relay.end();
  await server.end();
}
process.exit(failed ? 1 : 0);

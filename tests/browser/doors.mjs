// Who gets in from a real browser, and how: pages of other origins, TLS, tokens, compression.
//
//   node doors.mjs PROGRAM                        runs that tickcast itself

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openBrowser } from './browser.mjs';

const PATIENCE = 20000;
const MARKET = 'synthetic:symbols=4,rate=2000,names=numbered';
const program = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), 'tickcast-doors-'));

/** A server with these flags, and the addresses that it listens on. */
async function startServer(...flags) {
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--log-level', 'warn', '--feed', MARKET, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  const addresses = {};
  await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, scheme, address] = /^listening on (https?):\/\/(.*)$/.exec(line) ?? [];
      if (scheme) addresses[scheme] = address;
      else resolve();
    });
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  const end = () => new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.once('exit', resolve);
    child.kill('SIGKILL');
  });
  return { ...addresses, end };
}

/** Somebody else's page. */
async function startPage() {
  const server = createServer((_, answer) => answer.end('<!doctype html><title>elsewhere</title>'));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { origin: `http://127.0.0.1:${server.address().port}`, end: () => server.close() };
}

/** In the page: opens a WebSocket, says something, and tells how that went. */
function open({ url, protocols, request }) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, protocols);
    const messages = [];
    const tell = (how, more) => {
      resolve({ how, messages, protocol: socket.protocol, extensions: socket.extensions, ...more });
      socket.close();
    };
    socket.onopen = () => socket.send(JSON.stringify(request));
    socket.onmessage = ({ data }) => {
      messages.push(JSON.parse(data));
      if (messages.length === 50) tell('served');
    };
    socket.onclose = ({ code }) => tell('closed', { code });
  });
}

const subscribe = { method: 'subscribe', params: { channel: 'trade', symbol: '*' } };
// Nobody trusts a certificate that was made for a run.
const browser = await openBrowser({ ignoreHTTPSErrors: true });
const elsewhere = await startPage();
const { page } = browser;
page.setDefaultTimeout(PATIENCE);

/** Opens a WebSocket from a page. */
async function from(origin, url, more = {}) {
  await page.goto(origin);
  return page.evaluate(open, { url, request: subscribe, ...more });
}

/** An entry of a token in a file of access. */
function entry(name, token, more) {
  const sha256 = createHash('sha256').update(token).digest('hex');
  return `[[token]]\nname = "${name}"\nsha256 = "${sha256}"\n${more}\n`;
}

/** The page asks for a token, in such words. */
async function asked(words) {
  await page.waitForSelector('#identity', { state: 'visible' });
  await page.waitForFunction((source) => new RegExp(source).test(document.querySelector('#identity-why').textContent), words.source);
}

async function give(token) {
  await page.fill('#token', token);
  await page.press('#token', 'Enter');
}

/** What the tab has stored. */
const kept = () => page.evaluate(() => [...Object.values(sessionStorage), ...Object.values(localStorage), ...(document.cookie ? [document.cookie] : [])]);
const rows = () => page.$$eval('#rows tr[data-symbol]', (all) => all.map((row) => row.dataset.symbol));

/** Counts the WebSockets that the page opens from here on. */
function sockets() {
  const opened = { count: 0 };
  page.on('websocket', () => { opened.count += 1; });
  return opened;
}

async function withServer(flags, check) {
  const server = await startServer(...flags);
  try {
    await check(server);
  } finally {
    await server.end();
  }
}

const checks = {
  async 'a page of another origin opens no session, by either dialect'() {
    await withServer([], async ({ http }) => {
      for (const path of ['/v1/ws', '/ws/s0000usd@trade', '/stream?streams=s0000usd@trade']) {
        const { how, code, messages } = await from(elsewhere.origin, `ws://${http}${path}`);
        assert.deepEqual([how, code, messages], ['closed', 1006, []], path);
      }
      const read = await page.evaluate((url) => fetch(url).then(() => 'read', (error) => error.name), `http://${http}/v1/symbols`);
      assert.equal(read, 'TypeError', 'nor does it read over HTTP');
      assert.equal((await from(`http://${http}/`, `ws://${http}/v1/ws`)).how, 'served', 'the server\'s own page does');
    });
  },

  async 'one of a listed origin does'() {
    await withServer(['--cors-origin', elsewhere.origin], async ({ http }) => {
      assert.equal((await from(elsewhere.origin, `ws://${http}/v1/ws`)).how, 'served');
    });
  },

  async 'over TLS the page comes to life, and a session is served'() {
    await withServer(['--listen-tls', '127.0.0.1:0', '--tls-self-signed'], async ({ https }) => {
      assert.equal((await from(`https://${https}/`, `wss://${https}/v1/ws`)).how, 'served');
      await page.goto(`https://${https}/`);
      await page.waitForFunction(() => document.body.innerText.includes('S0003-USD'));
    });
  },

  async 'a token opens what it grants, as a subprotocol'() {
    const access = join(folder, 'access.toml');
    writeFileSync(access, entry('page', 'a-token-for-pages', 'symbols = ["sim:S0001-*"]'));
    await withServer(['--access', access], async ({ http }) => {
      const with_ = (token) => from(`http://${http}/`, `ws://${http}/v1/ws`, { protocols: ['tickcast.v1.json', `tickcast.token.${token}`] });
      const { how, protocol, messages } = await with_('a-token-for-pages');
      assert.deepEqual([how, protocol], ['served', 'tickcast.v1.json']);
      const symbols = new Set(messages.map(({ symbol }) => symbol).filter(Boolean));
      assert.deepEqual([...symbols], ['sim:S0001-USD']);
      assert.deepEqual((await with_('another')).code, 1006);
    });
  },

  async 'the page asks for the token that is needed, keeps it for its tab, and forgets it'() {
    const access = join(folder, 'kept.toml');
    writeFileSync(access, entry('desk', 'a-token-of-the-desk', 'symbols = ["sim:S0001-*"]'));
    await withServer(['--access', access], async ({ http }) => {
      const opened = sockets();
      await page.goto(`http://${http}/`);
      await asked(/wants a token/);
      assert.equal(await page.getAttribute('#connection', 'data-state'), 'waiting');
      // It does not try again and again: each time is a line in the server's log.
      await page.waitForTimeout(1500);
      assert.equal(opened.count, 1);
      await give('not-this-one');
      await asked(/does not take the token: no such token/);
      assert.deepEqual(await kept(), []);
      await give('a-token-of-the-desk');
      await page.waitForFunction(() => document.querySelector('#rows .bid')?.textContent);
      assert.deepEqual(await rows(), ['sim:S0001-USD']);
      assert.deepEqual([await page.textContent('#who'), await page.isVisible('#identity')], ['desk', false]);
      await page.reload();
      await page.waitForFunction(() => document.querySelector('#who').checkVisibility() && document.querySelector('#rows .bid')?.textContent);
      assert.deepEqual([await kept(), page.url()], [['a-token-of-the-desk'], `http://${http}/`]);
      await page.click('#sign-out');
      await asked(/wants a token/);
      assert.deepEqual([await kept(), await rows()], [[], []]);
    });
  },

  async 'who may see a part is shown where to sign in for the rest'() {
    const access = join(folder, 'parts.toml');
    const anonymous = '[anonymous]\nsymbols = ["sim:S0000-*"]\ndelay = "1s"\n';
    writeFileSync(access, anonymous + entry('operator', 'a-token-for-all', 'symbols = ["*"]\noperator = true'));
    await withServer(['--access', access, '--spool-dir', join(folder, 'parts')], async ({ http }) => {
      await page.goto(`http://${http}/`);
      await page.waitForFunction(() => document.querySelector('#delay').checkVisibility() && document.querySelector('#rows .bid')?.textContent);
      assert.deepEqual(await rows(), ['sim:S0000-USD']);
      await page.click('#sign-in');
      await give('a-token-for-all');
      await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-symbol]').length === 4);
      assert.deepEqual([await page.textContent('#who'), await page.isVisible('#delay')], ['operator', false]);
      // What is for operators too.
      await page.waitForFunction(() => document.querySelector('#server').dataset.state === 'live');
    });
  },

  async 'a token that ends is replaced while the session goes on'() {
    const access = join(folder, 'ends.toml');
    const soon = new Date(Date.now() + 50_000).toISOString();
    writeFileSync(access, entry('old', 'a-token-that-ends', `symbols = ["*"]\nexpires = ${soon}`) + entry('new', 'the-next-token', 'symbols = ["*"]'));
    await withServer(['--access', access], async ({ http }) => {
      const opened = sockets();
      await page.goto(`http://${http}/`);
      await asked(/wants a token/);
      await give('a-token-that-ends');
      await asked(/ends within a minute/);
      assert.equal(await page.textContent('#who'), 'old');
      await give('the-next-token');
      await page.waitForFunction(() => document.querySelector('#who').textContent === 'new');
      assert.deepEqual([opened.count, await page.getAttribute('#connection', 'data-state'), await kept()], [2, 'live', ['the-next-token']]);
    });
  },

  async 'who is delayed sees that the page is'() {
    const access = join(folder, 'delayed.toml');
    writeFileSync(access, '[anonymous]\nsymbols = ["*"]\ndelay = "1s"\n');
    await withServer(['--access', access, '--spool-dir', join(folder, 'spool')], async ({ http }) => {
      const asked = [];
      page.on('request', (request) => asked.push(request.url()));
      await page.goto(`http://${http}/`);
      await page.waitForFunction(() => document.querySelector('#rows .bid')?.textContent && document.querySelector('#delay').checkVisibility());
      assert.equal(await page.textContent('#delay'), 'delayed 1 s');
      // Nor is the page an operator: it asks once for what is for those, and not each second.
      await page.waitForFunction(() => document.querySelector('#server-summary').textContent === 'for operators only');
      await page.waitForTimeout(2500);
      assert.equal(asked.filter((url) => url.endsWith('/v1/stats')).length, 1);
    });
    await withServer([], async ({ http }) => {
      await page.goto(`http://${http}/`);
      await page.waitForFunction(() => document.querySelector('#rows .bid')?.textContent);
      assert.equal(await page.isVisible('#delay'), false);
    });
  },

  async 'compression is agreed on, and what it carries is read'() {
    await withServer(['--compress'], async ({ http }) => {
      const { how, extensions, messages } = await from(`http://${http}/`, `ws://${http}/v1/ws`);
      assert.equal(how, 'served');
      assert.match(extensions, /^permessage-deflate/);
      assert.equal(messages.filter(({ channel }) => channel === 'trade').length, 49);
      const metrics = await page.evaluate(() => fetch('/metrics').then((answer) => answer.text()));
      const [, compressed] = /^tickcast_deflate_messages_total.* (\d+)$/m.exec(metrics);
      assert.ok(Number(compressed) > 0, metrics);
      await page.goto(`http://${http}/`);
      await page.waitForFunction(() => document.body.innerText.includes('S0003-USD'));
    });
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
  elsewhere.end();
  rmSync(folder, { recursive: true });
}
process.exit(failed ? 1 : 0);

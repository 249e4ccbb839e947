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
    const sha256 = createHash('sha256').update('a-token-for-pages').digest('hex');
    writeFileSync(access, `[[token]]\nname = "page"\nsha256 = "${sha256}"\nsymbols = ["sim:S0001-*"]\n`);
    await withServer(['--access', access], async ({ http }) => {
      const with_ = (token) => from(`http://${http}/`, `ws://${http}/v1/ws`, { protocols: ['tickcast.v1.json', `tickcast.token.${token}`] });
      const { how, protocol, messages } = await with_('a-token-for-pages');
      assert.deepEqual([how, protocol], ['served', 'tickcast.v1.json']);
      const symbols = new Set(messages.map(({ symbol }) => symbol).filter(Boolean));
      assert.deepEqual([...symbols], ['sim:S0001-USD']);
      assert.deepEqual((await with_('another')).code, 1006);
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

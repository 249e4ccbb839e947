// Wires the parts: the stream fills the model at once, frames draw it, one timer keeps the seconds.

import { Connection } from './connection.js';
import { Detail } from './detail.js';
import { attribute, byId, text } from './dom.js';
import { bytes, delay, integer } from './format.js';
import { Identity } from './identity.js';
import { Market } from './market.js';
import { Server } from './server.js';
import { Table } from './table.js';

/** Numbers that change more often than this cannot be read. */
const DRAW_EVERY_MS = 50;
const NOTICE_MS = 12000;
const SLOW_CONSUMER = 4008;

const market = new Market();
const address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`;
const connection = new Connection(address, { onState, onOpen, onMessage, onRoundTrip, onClose });
const table = new Table(market, select);
const detail = new Detail(market, connection);
const identity = new Identity(given);
const server = new Server(identity);
let noticeTimer = 0;

function onState(state) {
  attribute(byId('connection'), 'data-state', state.detail && state.name === 'live' ? 'quiet' : state.name);
  attribute(document.documentElement, 'data-connection', state.name);
  text(byId('connection-name'), state.name);
  byId('retry').hidden = state.name !== 'reconnecting';
  document.title = state.name === 'live' ? 'tickcast' : `${state.name} · tickcast`;
  showConnectionDetail();
}

function showConnectionDetail() {
  const { name, detail: reason, retryAt } = connection.state;
  const wait = name === 'reconnecting' ? Math.max(0, Math.ceil((retryAt - performance.now()) / 1000)) : null;
  text(byId('connection-detail'), wait === null ? reason : `${reason}, again in ${wait} s`);
}

function onOpen() {
  market.restart();
  if (identity.token === null) begin();
  else authenticate(identity.token, begin, (message) => {
    identity.keep(null);
    waitForToken(`The server does not take the token: ${message}.`);
  });
}

/** What the user gave as token. */
function given(token) {
  if (connection.state.name !== 'live') {
    identity.keep(token);
    connection.connect();
  } else if (identity.token !== null) {
    // The next token of who is in: the session goes on.
    authenticate(token, () => {}, (message, code) => {
      if (code === 'other_market') anew(token);
      else identity.ask(`The server does not take the token: ${message}.`);
    });
  } else {
    anew(token);
  }
}

/** Begins as the holder of a token, with nothing that was shown to another. */
function anew(token) {
  identity.keep(token);
  location.reload();
}

function authenticate(token, taken, refused) {
  connection.request('auth', { token }, (answer) => {
    if (!answer.success) {
      refused(answer.error.message, answer.error.code);
      return;
    }
    identity.keep(token);
    identity.known(answer.result.name);
    hint();
    taken();
  });
}

function waitForToken(why) {
  connection.wait('for a token');
  identity.ask(why);
}

function begin() {
  connection.request('list_symbols', undefined, (answer) => {
    for (const { symbol } of answer.result ?? []) market.row(symbol);
    table.second();
  });
  subscribe('quote', market.conflated ? { mode: 'conflate' } : {});
  subscribe('trade', {});
  subscribe('status', {});
  detail.reconnected();
}

function subscribe(channel, more) {
  connection.request('subscribe', { channel, symbol: '*', ...more }, (answer) => {
    market.answer(answer);
    showDelay();
    if (answer.success) return;
    const reason = answer.error ?? answer.errors?.[0];
    if (reason?.code === 'unauthorized') {
      waitForToken('This server wants a token.');
      return;
    }
    notice(`the server refused the channel ${channel}: ${reason?.message ?? 'no reason given'}`);
  });
}

/** Who shows what is delayed has to say so. At once and not with the next frame: the answer comes before what it is about. */
function showDelay() {
  byId('delay').hidden = market.delayMs === 0;
  text(byId('delay'), market.delayMs > 0 ? `delayed ${delay(market.delayMs)}` : '');
}

function onMessage(message) {
  switch (message.channel) {
    case 'quote':
      market.messages += 1;
      market.quote(message);
      break;
    case 'trade':
      market.messages += 1;
      market.trade(message);
      break;
    case 'book':
      market.messages += 1;
      detail.book(message);
      break;
    case 'status':
      onStatus(message);
      break;
  }
}

function onStatus(message) {
  switch (message.type) {
    case 'feed':
      if (message.symbol) market.status(message);
      break;
    case 'lag':
      notice(`this page lags: ${bytes(message.queued_bytes)} queued, the oldest for ${integer(message.oldest_ms)} ms, `
        + `cause ${message.cause}, policy ${message.policy}`);
      break;
    case 'token':
      identity.ask('The token ends within a minute. With the next one this page goes on.');
      break;
    case 'drain':
      notice('the server is draining: this page reconnects by itself');
      break;
  }
}

function onRoundTrip(ms) {
  text(byId('round-trip'), ms < 100 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);
}

function onClose(code) {
  // Whoever was evicted for reading too slowly asks for less next time: the newest quotes instead of all.
  if (code === SLOW_CONSUMER) {
    market.conflated = true;
    notice('evicted as too slow: quotes are conflated from now on');
  }
  text(byId('round-trip'), '–');
  detail.disconnected();
  server.disconnected();
}

function notice(message) {
  const element = byId('notice');
  text(element, message);
  element.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { element.hidden = true; }, NOTICE_MS);
}

function select(symbol) {
  table.select(symbol);
  detail.show(symbol);
  // The address names the symbol, so that a reload or a bookmark comes back to it.
  history.replaceState(null, '', symbol ? `#${symbol}` : location.pathname);
}

/** Draws, and asks for a frame only when the next drawing is due: an idle frame costs the browser something too. */
function frame(now) {
  table.draw(now);
  detail.draw();
  // Half a frame less, or a timer that fires just after a frame would wait for one more.
  setTimeout(() => requestAnimationFrame(frame), DRAW_EVERY_MS - 8);
}

let secondAt = performance.now();
function second() {
  const now = performance.now();
  market.second((now - secondAt) / 1000);
  secondAt = now;
  table.second();
  text(byId('message-rate'), integer(Math.round(market.messageRate)));
  text(byId('symbol-count'), symbolCount());
  text(byId('gaps'), integer(market.gaps));
  attribute(byId('gaps'), 'data-bad', market.gaps > 0 ? 'true' : null);
  showConnectionDetail();
  if (connection.state.name === 'live' && !document.hidden) server.refresh();
}

function symbolCount() {
  const all = market.rows.size;
  return table.order.length === all ? integer(all) : `${integer(table.order.length)} of ${integer(all)}`;
}

function keys(event) {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === '/' && !typing) {
    event.preventDefault();
    byId('filter').focus();
  } else if (event.key === 'Escape' && typing) {
    event.target.value = '';
    table.filter('');
    byId('table').focus();
  } else if (event.key === 'Escape') {
    select(null);
  }
}

function hint() {
  const header = identity.token === null ? '' : '-H "Authorization: Bearer $TOKEN" ';
  text(byId('hint'), `echo '{"method":"subscribe","params":{"channel":"trade","symbol":"*"}}' | websocat -n ${header}${address}`);
}

function copy() {
  byId('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(byId('hint').textContent);
      text(byId('copy'), 'copied');
      setTimeout(() => text(byId('copy'), 'copy'), 1500);
    } catch {
      // Without a secure context there is no clipboard: leave the line selected for the user's own copy.
      getSelection().selectAllChildren(byId('hint'));
    }
  });
}

byId('filter').addEventListener('input', (event) => table.filter(event.target.value));
byId('retry').addEventListener('click', () => connection.connect());
byId('detail-close').addEventListener('click', () => select(null));
document.addEventListener('keydown', keys);
addEventListener('online', () => {
  if (connection.state.name === 'reconnecting') connection.connect();
});
hint();
copy();
const linked = /^#([\w.-]+:[\w.-]+)$/.exec(location.hash);
if (linked) select(linked[1]);
connection.connect();
setInterval(second, 1000);
requestAnimationFrame(frame);

// One WebSocket kept alive: requests and their answers, the wish to reconnect, and the signs of life.

/** Milliseconds of silence after which the page says so; the server promises a heartbeat every second. */
const QUIET_MS = 3000;
/** Milliseconds of silence after which the socket is given up. */
const DEAD_MS = 10000;
const PING_EVERY_MS = 2000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15000;

/** The wait before attempt number `attempt` (from 0): doubling, half of it random, so that clients spread out. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
  return ceiling / 2 + (ceiling / 2) * random();
}

/** The wait that a draining server asked for: anywhere in its range. A range that is none gives null. */
export function drainDelay(range, random = Math.random) {
  if (!Array.isArray(range) || range.length !== 2) return null;
  const [low, high] = range;
  if (!(low >= 0 && high >= low)) return null;
  return low + (high - low) * random();
}

const REASONS = {
  1006: 'connection lost',
  1008: 'closed for a policy',
  1012: 'server restarts',
  1013: 'server is full',
  4003: 'the token ended or was changed',
  4008: 'too slow: evicted',
};

/**
 * Calls back with `onState({name, detail, retryAt})` (name: connecting, live, reconnecting, waiting; retryAt on the clock
 * of performance.now()), `onOpen()`, `onMessage(object)`, `onRoundTrip(ms)` and `onClose(code)`.
 */
export class Connection {
  #socket = null;
  #callbacks;
  #nextId = 1;
  #waiting = new Map();
  #attempt = 0;
  #drain = null;
  #heard = 0;
  #silentChecks = 0;
  #retryTimer = 0;
  #pingTimer = 0;
  #watchTimer = 0;

  constructor(url, callbacks) {
    this.url = url;
    this.#callbacks = callbacks;
    this.state = { name: 'connecting', detail: '', retryAt: 0 };
  }

  connect() {
    clearTimeout(this.#retryTimer);
    if (this.#socket) return;
    this.#set('connecting', this.#attempt > 0 ? `attempt ${this.#attempt + 1}` : '');
    const socket = new WebSocket(this.url, 'tickcast.v1.json');
    this.#socket = socket;
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = (event) => this.#closed(socket, event.code);
  }

  /** Sends a request; `answered` is called with the answer unless the connection ends before. */
  request(method, params, answered) {
    if (this.state.name !== 'live') return;
    const id = this.#nextId++;
    if (answered) this.#waiting.set(id, answered);
    this.#socket.send(JSON.stringify({ method, req_id: id, params }));
  }

  /** Ends the connection, and makes no other one before somebody calls `connect`. `detail` says what is waited for. */
  wait(detail) {
    const socket = this.#socket;
    this.#ended(1000);
    socket?.close();
    this.#set('waiting', detail);
  }

  #set(name, detail = '', retryAt = 0) {
    this.state = { name, detail, retryAt };
    this.#callbacks.onState(this.state);
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    this.#heard = performance.now();
    this.#silentChecks = 0;
    this.#drain = null;
    this.#set('live');
    this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
    this.#watchTimer = setInterval(() => this.#watch(), 1000);
    this.#callbacks.onOpen();
    this.#ping();
  }

  #received(socket, text) {
    if (socket !== this.#socket) return;
    this.#heard = performance.now();
    const message = JSON.parse(text);
    if (message.channel !== undefined) {
      this.#attempt = 0;
      if (message.channel === 'status' && message.type === 'drain') this.#drain = message.reconnect_ms;
      this.#callbacks.onMessage(message);
      return;
    }
    const answered = this.#waiting.get(message.req_id);
    this.#waiting.delete(message.req_id);
    answered?.(message);
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#ended(code);
    const asked = drainDelay(this.#drain);
    const delay = asked ?? backoff(this.#attempt);
    this.#drain = null;
    this.#attempt += 1;
    const reason = asked === null ? (REASONS[code] ?? `closed with ${code}`) : 'server drained';
    this.#set('reconnecting', reason, performance.now() + delay);
    this.#retryTimer = setTimeout(() => this.connect(), delay);
  }

  #ended(code) {
    this.#socket = null;
    clearTimeout(this.#retryTimer);
    clearInterval(this.#pingTimer);
    clearInterval(this.#watchTimer);
    this.#waiting.clear();
    this.#callbacks.onClose(code);
  }

  #ping() {
    const sent = performance.now();
    this.request('ping', { t: Math.round(sent) }, () => this.#callbacks.onRoundTrip(performance.now() - sent));
  }

  /** Two checks in a row must find silence: after a suspend the timer fires before the queued messages do. */
  #watch() {
    const silence = performance.now() - this.#heard;
    this.#silentChecks = silence > QUIET_MS ? this.#silentChecks + 1 : 0;
    const quiet = this.#silentChecks > 1;
    if (quiet && silence > DEAD_MS) {
      // close() waits for the peer's answer, which a dead peer never gives: count it as closed at once.
      const socket = this.#socket;
      socket.close();
      this.#closed(socket, 1006);
      return;
    }
    const detail = quiet ? `silent for ${Math.round(silence / 1000)} s` : '';
    if (detail !== this.state.detail) this.#set('live', detail);
  }
}

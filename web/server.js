// What the server says of itself at /v1/stats, once a second: latency, reactors, feeds.

import { Lines, attribute, byId, text } from './dom.js';
import { duration, integer, micros, short } from './format.js';
import { Histogram } from './histogram.js';

const QUANTILES = [['p50', 'p50'], ['p90', 'p90'], ['p99', 'p99'], ['p999', 'p99.9'], ['max', 'max']];

/** The panel. */
export class Server {
  #section = byId('server');
  #histogram = new Histogram(byId('histogram'));
  #reactors = new Lines(byId('reactors'), ['name', '', '', '']);
  #feeds = new Lines(byId('feeds'), ['name', '', '', '']);
  #quantiles = new Map();
  #busy = false;
  #refused = false;
  #identity;

  constructor(identity) {
    this.#identity = identity;
    for (const [key, name] of QUANTILES) {
      const box = document.createElement('div');
      const term = document.createElement('dt');
      const value = document.createElement('dd');
      term.textContent = name;
      box.append(term, value);
      byId('quantiles').append(box);
      this.#quantiles.set(key, value);
    }
  }

  /** Asks for the figures, unless the last question is still open or they are for others. */
  async refresh() {
    if (this.#busy || this.#refused) return;
    this.#busy = true;
    try {
      const answer = await fetch('/v1/stats', { cache: 'no-store', headers: this.#identity.headers, signal: AbortSignal.timeout(5000) });
      // Each question more would be a line in the server's log.
      this.#refused = answer.status === 401 || answer.status === 403;
      if (this.#refused) {
        this.#identity.offer();
        throw new Error('for operators only');
      }
      if (!answer.ok) throw new Error(`/v1/stats answered ${answer.status}`);
      this.#show(await answer.json());
      attribute(this.#section, 'data-state', 'live');
    } catch (error) {
      attribute(this.#section, 'data-state', 'stale');
      text(byId('server-summary'), error.message);
    } finally {
      this.#busy = false;
    }
  }

  /** The figures are from the past; the server that comes back may tell them. */
  disconnected() {
    this.#refused = false;
    attribute(this.#section, 'data-state', 'stale');
  }

  #show(stats) {
    text(byId('version'), `${stats.version} · up ${duration(stats.uptime_s)}`);
    text(byId('server-summary'),
      `${integer(stats.clients)} ${stats.clients === 1 ? 'client' : 'clients'} · in ${short(stats.ticks_per_s)}/s · out ${short(stats.deliveries_per_s)}/s`);
    const latency = stats.latency_us;
    for (const [key, value] of this.#quantiles) text(value, latency.count > 0 ? micros(latency[key]) : '–');
    if (latency.count > 0) this.#histogram.draw(latency);
    this.#reactors.fill(stats.reactors.map((r) => [String(r.id), integer(r.clients), short(r.ticks), integer(r.lapped)]));
    this.#feeds.fill(stats.feeds.map((f) => [f.name, f.state, short(f.ticks), integer(f.rejected)]));
    // A long spec is cut in the table.
    stats.feeds.forEach((feed, at) => attribute(this.#feeds.lines[at].row, 'title', feed.name));
  }
}

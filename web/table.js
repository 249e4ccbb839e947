// The table of symbols. Only the rows on the screen exist in the document, and only those whose
// version has moved are written, once a frame: the cost depends on the screen, not on the stream.

import { Alignment, arrange, sortable } from './columns.js';
import { compare } from './decimal.js';
import { Text, attribute, byId, svg } from './dom.js';
import { TREND_POINTS } from './market.js';

const ROW_HEIGHT = 22;
/** Rows kept above and below the screen, so that scrolling shows no blank before the next frame. */
const SPARE_ROWS = 6;
/** A cell flashes again after this many milliseconds at the earliest: a busy one would be lit all the time. */
const FLASH_EVERY_MS = 700;
/** How long it is lit, and from when on only half. */
const FLASH_MS = 360;
const FADE_MS = 200;
const TREND_WIDTH = 72;
const TREND_HEIGHT = 16;
const COLUMNS = ['symbol', 'last', 'change', 'trend', 'bidSize', 'bid', 'ask', 'askSize', 'spread', 'points', 'rate'];
const FLASHING = ['last', 'bid', 'ask'];

/** One row of the document, lent to whichever symbol stands at its place. */
class Slot {
  constructor(at) {
    this.row = null;
    this.element = document.createElement('tr');
    this.element.id = `row-${at}`;
    this.element.setAttribute('role', 'row');
    this.cells = {};
    this.texts = {};
    for (const column of COLUMNS) this.#cell(column);
    this.flashes = {};
  }

  #cell(column) {
    const cell = this.element.insertCell();
    cell.setAttribute('role', 'gridcell');
    cell.className = column;
    this.cells[column] = cell;
    if (column === 'trend') {
      const picture = svg('svg', { width: TREND_WIDTH, height: TREND_HEIGHT, 'aria-hidden': 'true' });
      this.trend = svg('path');
      picture.append(this.trend);
      cell.append(picture);
      return;
    }
    this.texts[column] = new Text(cell);
    if (column !== 'symbol') return;
    const venue = document.createElement('span');
    venue.className = 'venue';
    this.venue = new Text(venue);
    this.feedState = document.createElement('span');
    this.feedState.className = 'feed-state';
    cell.append(venue, this.feedState);
  }

  /** Shows another symbol; what changes with it is no news and does not flash. */
  bind(row) {
    this.row = row;
    this.version = -1;
    this.trendEnd = -1;
    this.texts.symbol.set(row.pair);
    this.venue.set(row.venue);
    this.element.dataset.symbol = row.symbol;
    for (const column of FLASHING) {
      this.flashes[column] = { price: null, at: -Infinity, direction: '', stage: '' };
      this.cells[column].className = column;
    }
  }

  draw(alignment, now) {
    this.#decay(now);
    const row = this.row;
    if (row.version === this.version) return;
    this.version = row.version;
    const texts = alignment.texts(row);
    for (const column in texts) this.texts[column].set(texts[column]);
    attribute(this.cells.change, 'data-sign', texts.change[0] === '+' ? 'up' : texts.change[0] === '\u2212' ? 'down' : null);
    attribute(this.element, 'data-feed', row.state === 'live' ? null : row.state || null);
    this.feedState.textContent = row.state === 'live' ? '' : row.state;
    this.#flash('last', row.trade?.price, now);
    this.#flash('bid', row.quote?.bid, now);
    this.#flash('ask', row.quote?.ask, now);
  }

  #flash(column, price, now) {
    const flash = this.flashes[column];
    if (!price || price === flash.price) return;
    const before = flash.price;
    flash.price = price;
    if (before === null) return;
    const direction = compare(price, before);
    if (direction === 0 || now - flash.at < FLASH_EVERY_MS) return;
    flash.at = now;
    flash.direction = direction > 0 ? 'up' : 'down';
    flash.stage = 'flash';
    this.cells[column].className = `${column} ${flash.direction} flash`;
  }

  /** Takes the flashes one step down; the direction stays. */
  #decay(now) {
    for (const column of FLASHING) {
      const flash = this.flashes[column];
      if (!flash.stage) continue;
      const age = now - flash.at;
      const stage = age < FADE_MS ? 'flash' : age < FLASH_MS ? 'fade' : '';
      if (stage === flash.stage) continue;
      flash.stage = stage;
      this.cells[column].className = `${column} ${flash.direction} ${stage}`;
    }
  }

  drawTrend(seconds) {
    if (this.trendEnd === seconds) return;
    this.trendEnd = seconds;
    this.trend.setAttribute('d', trendPath(this.row.trend));
  }
}

function trendPath(points) {
  if (points.length < 2) return '';
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point);
    high = Math.max(high, point);
  }
  const step = TREND_WIDTH / (TREND_POINTS - 1);
  const start = TREND_WIDTH - (points.length - 1) * step;
  const height = high > low ? (TREND_HEIGHT - 3) / (high - low) : 0;
  const middle = high > low ? 0 : (TREND_HEIGHT - 3) / 2;
  return points
    .map((point, at) => `${at ? 'L' : 'M'}${(start + at * step).toFixed(1)} ${(TREND_HEIGHT - 1.5 - middle - (point - low) * height).toFixed(1)}`)
    .join('');
}

/** Classes that hide a column each, the least needed first. */
const SPARE_COLUMNS = ['no-points', 'no-trend', 'no-size', 'no-spread'];

/** The table; `onSelect(symbol)` is called when the user chooses a row. */
export class Table {
  #market;
  #onSelect;
  #scroll = byId('scroll');
  #grid = byId('table');
  #body = byId('rows');
  #empty = byId('empty');
  #above = document.createElement('tr');
  #below = document.createElement('tr');
  #slots = [];
  #order = [];
  #alignment = new Alignment();
  #sort = { column: 'symbol', descending: false };
  #filter = '';
  #top = 0;
  #height = 0;
  #headHeight = ROW_HEIGHT;
  #seconds = 0;
  #held = false;
  #stale = true;
  #selected = null;

  constructor(market, onSelect) {
    this.#market = market;
    this.#onSelect = onSelect;
    this.#grid.style.setProperty('--row-height', `${ROW_HEIGHT}px`);
    for (const spacer of [this.#above, this.#below]) {
      spacer.className = 'spacer';
      spacer.setAttribute('role', 'presentation');
    }
    this.#body.append(this.#above, this.#below);
    this.#scroll.addEventListener('scroll', () => { this.#top = this.#scroll.scrollTop; }, { passive: true });
    new ResizeObserver(() => {
      this.#height = this.#scroll.clientHeight;
      this.#fit();
    }).observe(this.#scroll);
    // Rows that move away under the pointer are clicked by mistake: the order waits until it has left.
    this.#body.addEventListener('pointerenter', (event) => { this.#held = event.pointerType === 'mouse'; });
    this.#body.addEventListener('pointerleave', () => { this.#held = false; });
    this.#body.addEventListener('click', (event) => this.#clicked(event));
    this.#grid.addEventListener('keydown', (event) => this.#key(event));
    this.#grid.tHead.addEventListener('click', (event) => this.#headClicked(event));
    this.#showSort();
  }

  /** The rows as filtered and sorted. */
  get order() {
    return this.#order;
  }

  filter(text) {
    this.#filter = text;
    this.#scroll.scrollTop = 0;
    this.#arrange();
  }

  select(symbol) {
    this.#selected = symbol;
  }

  /** Once a second: new symbols, a new order, wider columns, trends. */
  second() {
    this.#seconds += 1;
    const rows = this.#market.rows;
    if (this.#alignment.learn(rows.values())) {
      this.#widen();
    }
    if (!this.#held || this.#order.length === 0) this.#arrange();
  }

  #widen() {
    const { priceWidth, quantityWidth, spreadWidth, symbolWidth, venues } = this.#alignment;
    // A venue that all symbols share says nothing about any of them.
    const longest = venues.size > 1 ? Math.max(...[...venues].map((venue) => venue.length)) + 1 : 0;
    const widths = { price: priceWidth, size: quantityWidth, spread: spreadWidth, symbol: symbolWidth + longest, pair: symbolWidth };
    for (const [name, width] of Object.entries(widths)) this.#grid.style.setProperty(`--${name}-width`, `${width}ch`);
    this.#grid.classList.toggle('one-venue', venues.size <= 1);
    for (const slot of this.#slots) slot.version = -1;
    this.#fit();
  }

  /** Hides the least needed columns until the others have room. */
  #fit() {
    this.#grid.classList.remove(...SPARE_COLUMNS);
    for (const name of SPARE_COLUMNS) {
      if (this.#scroll.scrollWidth <= this.#scroll.clientWidth) break;
      this.#grid.classList.add(name);
    }
  }

  #arrange() {
    this.#order = arrange(this.#market.rows.values(), this.#filter, this.#sort.column, this.#sort.descending);
    attribute(this.#grid, 'aria-rowcount', String(this.#order.length + 1));
    this.#empty.hidden = this.#order.length > 0;
    this.#empty.textContent = this.#market.rows.size > 0 ? `no symbol matches “${this.#filter}”` : 'waiting for symbols';
    this.#stale = true;
  }

  /** Writes what has changed on the screen. */
  draw(now) {
    const first = Math.max(0, Math.floor(this.#top / ROW_HEIGHT) - SPARE_ROWS);
    const shown = Math.ceil(this.#height / ROW_HEIGHT) + 2 * SPARE_ROWS;
    const start = Math.min(first, Math.max(0, this.#order.length - shown));
    const count = Math.min(shown, this.#order.length - start);
    if (this.#stale || start !== this.start || count !== this.#slots.length) this.#place(start, count);
    for (const slot of this.#slots) {
      slot.draw(this.#alignment, now);
      slot.drawTrend(this.#seconds);
    }
    this.#showSelection();
  }

  #place(start, count) {
    this.#stale = false;
    this.start = start;
    while (this.#slots.length > count) this.#slots.pop().element.remove();
    while (this.#slots.length < count) {
      const slot = new Slot(this.#slots.length);
      this.#slots.push(slot);
      this.#below.before(slot.element);
    }
    this.#slots.forEach((slot, at) => {
      const row = this.#order[start + at];
      if (slot.row !== row) slot.bind(row);
      attribute(slot.element, 'aria-rowindex', String(start + at + 2));
    });
    this.#above.style.height = `${start * ROW_HEIGHT}px`;
    this.#below.style.height = `${(this.#order.length - start - count) * ROW_HEIGHT}px`;
  }

  #showSelection() {
    let active = null;
    for (const slot of this.#slots) {
      const selected = slot.row.symbol === this.#selected;
      attribute(slot.element, 'aria-selected', selected ? 'true' : null);
      if (selected) active = slot.element.id;
    }
    attribute(this.#grid, 'aria-activedescendant', active);
  }

  #clicked(event) {
    const symbol = event.target.closest('tr')?.dataset.symbol;
    if (symbol) this.#onSelect(symbol);
  }

  #headClicked(event) {
    const column = event.target.closest('button')?.closest('th').dataset.column;
    if (!column || !sortable(column)) return;
    const again = this.#sort.column === column;
    // Numbers are asked for from the top, names from A.
    this.#sort = { column, descending: again ? !this.#sort.descending : column !== 'symbol' };
    this.#scroll.scrollTop = 0;
    this.#showSort();
    this.#arrange();
  }

  #showSort() {
    for (const head of this.#grid.tHead.rows[0].cells) {
      const sorted = head.dataset.column === this.#sort.column;
      if (sortable(head.dataset.column)) {
        attribute(head, 'aria-sort', sorted ? (this.#sort.descending ? 'descending' : 'ascending') : 'none');
      }
    }
  }

  #key(event) {
    if (event.target !== this.#grid || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((this.#height - this.#headHeight) / ROW_HEIGHT) - 1);
    const at = this.#order.findIndex((row) => row.symbol === this.#selected);
    const last = this.#order.length - 1;
    const target = {
      ArrowDown: at + 1, ArrowUp: at < 0 ? 0 : at - 1, PageDown: at + page, PageUp: at - page,
      Home: 0, End: last, Enter: at,
    }[event.key];
    if (target === undefined || last < 0) return;
    event.preventDefault();
    const index = Math.min(last, Math.max(0, target));
    this.#reveal(index);
    this.#onSelect(this.#order[index].symbol);
  }

  #reveal(index) {
    const top = index * ROW_HEIGHT;
    const room = this.#height - this.#headHeight - ROW_HEIGHT;
    if (top < this.#scroll.scrollTop) this.#scroll.scrollTop = top;
    else if (top > this.#scroll.scrollTop + room) this.#scroll.scrollTop = top - room;
  }
}

// A latency histogram on a logarithmic axis.

import { attribute, svg } from './dom.js';

const WIDTH = 480;
const HEIGHT = 92;
const BASE = HEIGHT - 16;
const TOP = 14;
const BARS = 60;

/**
 * The buckets, `[upper bound in microseconds, samples in this bucket alone]` in ascending order, spread over `bars`
 * bars of equal width on a logarithmic axis from `low` to `high`. A bucket wider than a bar is shared out over
 * those it covers, so that coarse buckets look like plateaus and not like combs.
 */
export function bars(buckets, low, high, count) {
  const heights = new Array(count).fill(0);
  const scale = count / Math.log(high / low);
  const position = (value) => Math.min(count, Math.max(0, Math.log(value / low) * scale));
  let lower = 0;
  for (const [upper, samples] of buckets) {
    const from = lower > 0 ? position(lower) : Math.max(0, position(upper) - 1);
    const to = Math.max(position(upper), from);
    lower = upper;
    if (samples === 0) continue;
    const first = Math.min(count - 1, Math.floor(from));
    const last = Math.min(count - 1, Math.max(first, Math.ceil(to) - 1));
    if (first === last) {
      heights[first] += samples;
      continue;
    }
    for (let bar = first; bar <= last; bar += 1) {
      const covered = Math.min(bar + 1, to) - Math.max(bar, from);
      heights[bar] += (samples * covered) / (to - from);
    }
  }
  return heights;
}

/** Whole decades around the samples, in microseconds. */
export function range(buckets) {
  const filled = buckets.filter(([, samples]) => samples > 0).map(([upper]) => Math.max(1, upper));
  if (filled.length === 0) return [1, 1000];
  const low = 10 ** Math.floor(Math.log10(filled[0]) - 0.15);
  const high = 10 ** Math.ceil(Math.log10(filled.at(-1)));
  return [Math.max(1, low), Math.max(high, low * 100, 100)];
}

/** The chart, drawn into an SVG element. */
export class Histogram {
  #picture;
  #bars = [];
  #axis = svg('g', { class: 'axis' });
  #marks = svg('g', { class: 'marks' });
  #span = '';

  constructor(picture) {
    this.#picture = picture;
    this.#picture.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    const group = svg('g', { class: 'bars' });
    const width = WIDTH / BARS;
    for (let at = 0; at < BARS; at += 1) {
      const bar = svg('rect', { x: at * width + 0.5, width: width - 1, y: BASE, height: 0 });
      this.#bars.push(bar);
      group.append(bar);
    }
    this.#picture.append(this.#axis, group, this.#marks);
  }

  draw(latency) {
    const [low, high] = range(latency.buckets);
    const x = (value) => (Math.log(Math.max(low, value) / low) / Math.log(high / low)) * WIDTH;
    const heights = bars(latency.buckets, low, high, BARS);
    const tallest = Math.max(...heights) || 1;
    heights.forEach((samples, at) => {
      // A bar with any sample is seen: the tail is what the chart is for.
      const height = samples > 0 ? Math.max(1, (samples / tallest) * (BASE - TOP)) : 0;
      attribute(this.#bars[at], 'y', (BASE - height).toFixed(1));
      attribute(this.#bars[at], 'height', height.toFixed(1));
    });
    if (this.#span !== `${low} ${high}`) this.#drawAxis(low, high, x);
    this.#drawMarks(latency, x);
  }

  #drawAxis(low, high, x) {
    this.#span = `${low} ${high}`;
    this.#axis.replaceChildren(svg('line', { x1: 0, x2: WIDTH, y1: BASE + 0.5, y2: BASE + 0.5 }));
    for (let value = low; value <= high * 1.01; value *= 10) {
      const at = x(value);
      const anchor = value === low ? 'start' : value >= high * 0.99 ? 'end' : 'middle';
      const label = svg('text', { x: at, y: HEIGHT - 3, 'text-anchor': anchor });
      label.textContent = value < 1000 ? `${value} µs` : value < 1e6 ? `${value / 1000} ms` : `${value / 1e6} s`;
      this.#axis.append(svg('line', { x1: at, x2: at, y1: BASE, y2: BASE + 3 }), label);
    }
  }

  #drawMarks(latency, x) {
    const parts = [];
    for (const [key, name] of [['p50', 'p50'], ['p99', 'p99']]) {
      const at = x(latency[key]);
      const end = at > WIDTH - 30;
      const label = svg('text', { x: end ? at - 3 : at + 3, y: 9, 'text-anchor': end ? 'end' : 'start' });
      label.textContent = name;
      parts.push(svg('line', { x1: at, x2: at, y1: 2, y2: BASE }), label);
    }
    this.#marks.replaceChildren(...parts);
  }
}

// Numbers that are not prices, as text of steady width.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** 1,234,567 */
export function integer(value) {
  return whole.format(value);
}

/** Microseconds with the unit that suits: 35 µs, 1.20 ms, 2.00 s. */
export function micros(value) {
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1000).toPrecision(3)} ms`;
  return `${(value / 1e6).toPrecision(3)} s`;
}

/** Seconds as 59s, 12m 05s, 3h 07m, 2d 04h. */
export function duration(seconds) {
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${two(Math.floor(s / 3600) % 24)}h`;
}

/** A delay in milliseconds in words: 15 min, 1 h 30 min, 24 h. */
export function delay(ms) {
  const s = Math.floor(ms / 1000);
  const parts = [[Math.floor(s / 3600), 'h'], [Math.floor(s / 60) % 60, 'min'], [s % 60, 's'], [ms % 1000, 'ms']];
  return parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(' ');
}

/** The local time of day of a timestamp in microseconds: 14:03:27.042. */
export function timeOfDay(micro) {
  const date = new Date(micro / 1000);
  const two = (n) => String(n).padStart(2, '0');
  const ms = String(date.getMilliseconds()).padStart(3, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

/** Bytes as 512 B, 1.0 KiB, 3.4 MiB. */
export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(1)} KiB`;
  return `${(value / 1024 / 1024).toFixed(1)} MiB`;
}

/** A count in little room: 9,999, then 10.0k, 1.23M, 4.56G. */
export function short(value) {
  if (value < 1e4) return whole.format(value);
  const [unit, letter] = value < 1e6 ? [1e3, 'k'] : value < 1e9 ? [1e6, 'M'] : [1e9, 'G'];
  const scaled = value / unit;
  return scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0) + letter;
}

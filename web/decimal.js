// Exact decimals as the server sends them: strings such as "61837.63" or "-0.5".
// Nothing here goes through a float, so no digit of a price is ever lost or invented.

/** True for "0", "0.00", "-0" and the like. */
export function isZero(text) {
  return /^-?0*\.?0*$/.test(text);
}

/** How many digits stand behind the point. */
export function places(text) {
  const point = text.indexOf('.');
  return point < 0 ? 0 : text.length - point - 1;
}

/** -1, 0 or 1; "1.50" equals "1.5". */
export function compare(a, b) {
  if (a === b) return 0;
  const aNegative = a.charCodeAt(0) === 45;
  const bNegative = b.charCodeAt(0) === 45;
  if (aNegative !== bNegative) {
    if (isZero(a) && isZero(b)) return 0;
    return aNegative ? -1 : 1;
  }
  return aNegative ? compareUnsigned(b.slice(1), a.slice(1)) : compareUnsigned(a, b);
}

function compareUnsigned(a, b) {
  const [aWhole, aFraction] = parts(a);
  const [bWhole, bFraction] = parts(b);
  if (aWhole.length !== bWhole.length) return aWhole.length < bWhole.length ? -1 : 1;
  if (aWhole !== bWhole) return aWhole < bWhole ? -1 : 1;
  const width = Math.max(aFraction.length, bFraction.length);
  const aPadded = aFraction.padEnd(width, '0');
  const bPadded = bFraction.padEnd(width, '0');
  if (aPadded === bPadded) return 0;
  return aPadded < bPadded ? -1 : 1;
}

/** The digits before the point without leading zeros ("" for zero), and those behind it. */
function parts(text) {
  const point = text.indexOf('.');
  let from = 0;
  const end = point < 0 ? text.length : point;
  while (from < end && text.charCodeAt(from) === 48) from += 1;
  return [text.slice(from, end), point < 0 ? '' : text.slice(point + 1)];
}

/** The value times 10^scale; `scale` is at least the number of places. */
function scaled(text, scale) {
  const point = text.indexOf('.');
  if (point < 0) return BigInt(text + '0'.repeat(scale));
  return BigInt(text.slice(0, point) + text.slice(point + 1).padEnd(scale, '0'));
}

function unscaled(value, scale) {
  const negative = value < 0n;
  const digits = (negative ? -value : value).toString().padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, '');
  return (negative ? '-' : '') + whole + (fraction && '.' + fraction);
}

/** a + b, exactly, without trailing zeros. */
export function add(a, b) {
  const scale = Math.max(places(a), places(b));
  return unscaled(scaled(a, scale) + scaled(b, scale), scale);
}

/** a - b, exactly, without trailing zeros. */
export function subtract(a, b) {
  const scale = Math.max(places(a), places(b));
  return unscaled(scaled(a, scale) - scaled(b, scale), scale);
}

/** The same value with at least `count` places: "1.5" with 3 is "1.500". Never rounds. */
export function pad(text, count) {
  const missing = count - places(text);
  if (missing <= 0) return text;
  return text + (text.includes('.') ? '' : '.') + '0'.repeat(missing);
}

/**
 * Text for a right-aligned monospaced column whose widest value has `column` places: the value padded
 * with zeros to the `own` places of its symbol, then with spaces, so that the points stand in one line.
 */
export function align(text, own, column) {
  const value = pad(text, own);
  const has = places(value);
  const gap = column - has + (has === 0 && column > 0 ? 1 : 0);
  return gap > 0 ? value + '\u00a0'.repeat(gap) : value;
}

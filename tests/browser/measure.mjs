// Does the page's main thread keep up? `node measure.mjs [--rate 5000] [--symbols 200] [--seconds 20]` against the stand-in,
// or `node measure.mjs URL`. Prints figures and judges nothing: they depend on the machine and on what else it does.

import { parseArgs } from 'node:util';
import { openBrowser, startMock } from './browser.mjs';

const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: { rate: { type: 'string', default: '5000' }, symbols: { type: 'string', default: '200' }, seconds: { type: 'string', default: '20' } },
});
const target = url ? { url, end: () => {} } : await startMock(['--rate', options.rate, '--symbols', options.symbols]);
const browser = await openBrowser();
const { page } = browser;
await page.addInitScript(() => {
  globalThis.measured = { long: [], frames: 0, latest: 0, late: [] };
  new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) measured.long.push(duration); }).observe({ type: 'longtask' });
  const frame = (now) => {
    measured.frames += 1;
    if (measured.latest) measured.late.push(now - measured.latest);
    measured.latest = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
});
await page.goto(target.url);
await page.waitForTimeout(4000);
await page.click('#rows tr[data-symbol] >> nth=0');
const devtools = await page.context().newCDPSession(page);
// Processor time of the thread, not wall time: what others do on the machine is not the page's.
await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
const metrics = async () => Object.fromEntries((await devtools.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));

await page.evaluate(() => Object.assign(measured, { long: [], frames: 0, late: [] }));
const before = await metrics();
const started = performance.now();
const rates = [];
const trips = [];
for (let second = 0; second < Number(options.seconds); second += 1) {
  await page.waitForTimeout(1000);
  rates.push(Number((await page.textContent('#message-rate')).replaceAll(',', '')));
  trips.push(parseFloat(await page.textContent('#round-trip')));
}
const after = await metrics();
const seen = await page.evaluate(() => measured);
const wall = (performance.now() - started) / 1000;
const share = (name) => `${(((after[name] - before[name]) / wall) * 100).toFixed(1)} %`;
seen.late.sort((a, b) => a - b);
const quantile = (list, q) => list[Math.min(list.length - 1, Math.floor(q * list.length))]?.toFixed(1);
console.log(`messages/s       ${Math.round(rates.reduce((a, b) => a + b) / rates.length)} (least ${Math.min(...rates)}), gaps ${await page.textContent('#gaps')}`);
console.log(`main thread      busy ${share('TaskDuration')}: script ${share('ScriptDuration')}, layout ${share('LayoutDuration')}, style ${share('RecalcStyleDuration')}`);
console.log(`long tasks       ${seen.long.length} over 50 ms in ${wall.toFixed(1)} s, longest ${seen.long.length ? Math.max(...seen.long) : 0} ms`);
console.log(`frames           ${(seen.frames / wall).toFixed(1)}/s, apart p50 ${quantile(seen.late, 0.5)} p99 ${quantile(seen.late, 0.99)} max ${seen.late.at(-1)?.toFixed(1)} ms`);
console.log(`round trip       median ${trips.sort((a, b) => a - b)[trips.length >> 1]} ms`);
console.log(`JavaScript heap  ${(before.JSHeapUsedSize / 2 ** 20).toFixed(1)} MiB, then ${(after.JSHeapUsedSize / 2 ** 20).toFixed(1)} MiB; nodes ${after.Nodes}`);
await browser.close();
await target.end();
process.exit(0);

// A headless Chromium with an empty profile, and the servers that the tests look at.

import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, root } from './deps.mjs';

const { chromium } = load('playwright-core');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** Opens a browser; `close()` also removes its profile. `options` are those of a playwright context. */
export async function openBrowser(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'tickcast-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS, viewport: { width: 1440, height: 900 }, ...options,
  });
  return {
    context,
    page: context.pages()[0] ?? (await context.newPage()),
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** The stand-in of mock.mjs in a process of its own; `ask(order, argument)` has it do what a real server would not on demand. */
export async function startMock(args = []) {
  const child = fork(`${root}tests/browser/mock.mjs`, args);
  const waiting = new Map();
  let nextId = 1;
  const ready = new Promise((resolve, reject) => {
    waiting.set(0, resolve);
    child.once('exit', (code) => reject(new Error(`the mock ended with ${code}`)));
  });
  child.on('message', ({ id, result }) => {
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  const ask = (order, argument) => new Promise((resolve) => {
    const id = nextId++;
    waiting.set(id, resolve);
    child.send({ id, order, argument });
  });
  const port = await ready;
  return { url: `http://127.0.0.1:${port}`, mock: true, ask, stop: () => ask('stop'), start: () => ask('start'), end: () => ended(child, 'SIGTERM') };
}

/** A real server run by a shell command that must listen at `url`. */
export async function startCommand(url, command) {
  let child = null;
  const start = async () => {
    child = spawn('/bin/sh', ['-c', `exec ${command}`], { stdio: ['ignore', 'ignore', 'inherit'] });
    for (let attempt = 0; attempt < 300; attempt += 1) {
      if (child.exitCode !== null) throw new Error(`\`${command}\` ended with ${child.exitCode}`);
      const up = await fetch(url).then((answer) => answer.ok, () => false);
      if (up) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`\`${command}\` does not answer at ${url}`);
  };
  const stop = () => ended(child, 'SIGTERM');
  await start();
  return { url, mock: false, start, stop, end: stop };
}

function ended(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}

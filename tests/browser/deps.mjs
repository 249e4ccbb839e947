// The packages live under target/browser, where `test.sh` puts them: the tree of the sources stays clean.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** The root of the repository, with a slash at its end. */
export const root = fileURLToPath(new URL('../../', import.meta.url));

const require = createRequire(`${root}target/browser/`);

/** Loads an npm package by name. */
export function load(name) {
  return require(name);
}

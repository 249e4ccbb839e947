#!/bin/sh
# The page's tests: its logic in Node, then the page itself in a headless Chromium.
# Arguments go to run.mjs (a URL, --spawn, --screenshot); without any, a stand-in plays the server.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"

if ! command -v node >/dev/null; then
    echo "the page's tests need Node.js 20 or newer: apt-get install nodejs npm" >&2
    exit 1
fi
if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
    echo "installing chromium (or point CHROMIUM at one)" >&2
    if [ "$(id -u)" = 0 ]; then apt-get install -y chromium; else sudo apt-get install -y chromium; fi
fi
if ! cmp -s "$here/package-lock.json" target/browser/installed.json; then
    mkdir -p target/browser
    cp "$here/package.json" "$here/package-lock.json" target/browser/
    (cd target/browser && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$here/package-lock.json" target/browser/installed.json
fi

node --test tests/browser/*.test.mjs
exec node tests/browser/run.mjs "$@"

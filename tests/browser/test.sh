#!/bin/sh
# The page's tests: its logic in Node, then the page itself in a headless Chromium.
# Arguments go to run.mjs (a URL, --spawn, --screenshot). Without any, it is run twice: a stand-in plays the server, which
# does on demand what a real one seldom does; then the real server, stopped and started again. Last, the
# browser's EventSource, and who gets in.
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
[ $# = 0 ] || exec node tests/browser/run.mjs "$@"
node tests/browser/run.mjs
echo "--- the same against the real server"
cargo build --quiet --locked --bin tickcast
# It comes back at the address that it had: port 0 would not do. The chance that another takes it meanwhile is small.
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
node tests/browser/run.mjs "http://127.0.0.1:$port" --spawn "target/debug/tickcast --listen 127.0.0.1:$port --log-level warn"
echo "--- server-sent events in the browser"
node tests/browser/events.mjs target/debug/tickcast
echo "--- who gets in from a browser"
exec node tests/browser/doors.mjs target/debug/tickcast

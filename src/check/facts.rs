//! What there is on this machine. Where something cannot be read, it is not known.

use std::fs;
use std::path::PathBuf;

use super::files as start;
use crate::clock;
use crate::config::Loaded;
use crate::transport::certificates::{Certificates, Source};
use crate::transport::validity::{self, Validity};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// `net.core.somaxconn`: the longest queue of connections that wait to be accepted.
    pub(super) somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`, and whether cookies are sent where it is full.
    pub(super) syn_backlog: Option<u64>,
    pub(super) syn_cookies: Option<u64>,
    /// `net.ipv4.tcp_wmem` and `tcp_rmem`: least, first and most bytes of a socket's buffers.
    pub(super) wmem: Option<[u64; 3]>,
    pub(super) rmem: Option<[u64; 3]>,
    /// `net.netfilter.nf_conntrack_max`, where connections are tracked.
    pub(super) conntrack: Option<u64>,
    pub(super) clock: Option<String>,
    /// The others that there are.
    pub(super) clocks: Vec<String>,
    /// Where recordings go: bytes that are free, or why they cannot go there.
    pub(super) disk: Option<Result<u64, String>>,
    /// The same where what is delayed is kept.
    pub(super) spool: Option<Result<u64, String>>,
    /// Addresses that this user cannot listen at, and why.
    pub(super) shut: Vec<(String, String)>,
    /// What is wrong with the certificates, if anything.
    pub(super) certificates: Option<Result<(), String>>,
    /// When the certificate in each of their files is valid.
    pub(super) validities: Vec<(PathBuf, Option<Validity>)>,
    /// What is wrong with the file of `--access`, if anything.
    pub(super) access: Option<Result<(), String>>,
    /// Unix time, seconds.
    pub(super) now: u64,
}

impl Facts {
    /// Looks at the machine, and at the files that a configuration names.
    pub(super) fn read(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let sys = |name: &str| number(&format!("/proc/sys/net/{name}"));
        let clocks = "/sys/devices/system/clocksource/clocksource0";
        let sources = &config.doors.certificates;
        let files = sources.iter().filter_map(|source| match source {
            Source::Files { chain, .. } => Some(chain.clone()),
            Source::SelfSigned => None,
        });
        Facts {
            somaxconn: sys("core/somaxconn"),
            syn_backlog: sys("ipv4/tcp_max_syn_backlog"),
            syn_cookies: sys("ipv4/tcp_syncookies"),
            wmem: three("/proc/sys/net/ipv4/tcp_wmem"),
            rmem: three("/proc/sys/net/ipv4/tcp_rmem"),
            conntrack: sys("netfilter/nf_conntrack_max"),
            clock: text(&format!("{clocks}/current_clocksource")),
            clocks: text(&format!("{clocks}/available_clocksource"))
                .map_or_else(Vec::new, |all| all.split_whitespace().map(str::to_owned).collect()),
            disk: config.record.directory.as_deref().map(start::free_for_recordings),
            spool: config.spool.directory.as_deref().map(start::free),
            shut: start::shut(config),
            certificates: (!sources.is_empty())
                .then(|| Certificates::load(sources.clone()).map(drop).map_err(|e| e.to_string())),
            validities: files.map(|file| (file.clone(), validity::of_file(&file))).collect(),
            access: config
                .access
                .is_some()
                .then(|| start::access(config).map_err(|error| format!("{error:#}"))),
            now: clock::real_ns() / 1_000_000_000,
        }
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

fn three(path: &str) -> Option<[u64; 3]> {
    let text = text(path)?;
    let all: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    all.try_into().ok()
}

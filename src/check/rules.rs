//! The checks: what a configuration needs against what there is.

use std::path::Path;

use super::facts::Facts;
use super::{Finding, memory};
use crate::config::units::Bytes;
use crate::config::{Config, Loaded, Machine, Pin};
use crate::limits;
use crate::transport::validity::Validity;

/// All of them.
pub(super) fn judge(loaded: &Loaded, machine: &Machine, facts: &Facts) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = vec![
        open_files(config, machine, loaded.is_given("max-clients")),
        cores(config, machine),
        backlog(facts),
        half_open(facts),
    ];
    findings.extend(conntrack(config, facts));
    findings.extend(buffers(facts));
    findings.push(clock(facts));
    findings.push(memory::judge(config, machine));
    findings.extend(doors(facts));
    findings.extend(disk(config, facts));
    findings.extend(spool(config, facts));
    findings.extend(certificates(facts));
    findings.extend(access(config, facts));
    findings
}

fn unknown(name: &'static str) -> Finding {
    Finding::ok(name, "cannot be read here")
}

fn sysctl(name: &str, value: &str) -> Vec<String> {
    vec![format!("sysctl -w {name}={value}")]
}

/// The configuration keeps within what may be opened; without `--max-clients` it makes do with less.
fn open_files(config: &Config, machine: &Machine, is_given: bool) -> Finding {
    const NAME: &str = "open files";
    let Config { max_clients, max_handshakes, .. } = *config;
    let files = machine.open_files;
    if is_given || max_clients >= limits::CLIENTS {
        return Finding::ok(
            NAME,
            format!(
                "{files}, enough for {max_clients} clients and {max_handshakes} handshakes at a time"
            ),
        );
    }
    let wanted = limits::CLIENTS + limits::HANDSHAKES + limits::DESCRIPTORS_RESERVED;
    let wanted = wanted.next_power_of_two();
    Finding::change(
        NAME,
        format!(
            "{files}: there is room for {max_clients} clients, not for {} (the default)",
            limits::CLIENTS
        ),
        vec![
            format!("LimitNOFILE={wanted} in the unit, --ulimit nofile={wanted} for a container"),
            format!("or --max-clients {max_clients}, if that is enough"),
        ],
    )
}

fn cores(config: &Config, machine: &Machine) -> Finding {
    const NAME: &str = "cores";
    let (reactors, may_run, cores) = (config.reactors, machine.parallelism, machine.cores.len());
    if reactors > may_run {
        let why = if may_run < cores {
            format!("{reactors} reactors, but a quota lets {may_run} of {cores} cores run at once")
        } else {
            format!("{reactors} reactors on {may_run} cores take the time from each other")
        };
        let mut fix = vec![format!("--reactors {may_run}")];
        if may_run < cores {
            fix.push("or a larger quota: CPUQuota= in the unit, --cpus for a container".to_owned());
        }
        return Finding::change(NAME, why, fix);
    }
    if config.pin == Pin::Always && may_run < cores {
        let why = format!(
            "reactors are bound to cores, while a quota of {may_run} of {cores} may stop any of them"
        );
        return Finding::consider(NAME, why, vec!["--pin auto".to_owned()]);
    }
    let bound = if config.cores.is_empty() { "not bound to cores" } else { "each bound to one" };
    Finding::ok(NAME, format!("{reactors} reactors on {may_run} cores, {bound}"))
}

fn backlog(facts: &Facts) -> Finding {
    const NAME: &str = "somaxconn";
    let wanted = u64::from(limits::LISTEN_BACKLOG);
    match facts.somaxconn {
        None => unknown(NAME),
        Some(most) if most >= wanted => Finding::ok(NAME, format!("{most} connections may wait")),
        Some(most) => Finding::change(
            NAME,
            format!("{most}: of clients that come back at once, those beyond it are dropped"),
            sysctl("net.core.somaxconn", &wanted.to_string()),
        ),
    }
}

/// Half-open connections: with cookies the queue's length does not matter.
fn half_open(facts: &Facts) -> Finding {
    const NAME: &str = "syn backlog";
    let wanted = u64::from(limits::LISTEN_BACKLOG);
    let (Some(most), Some(cookies)) = (facts.syn_backlog, facts.syn_cookies) else {
        return unknown(NAME);
    };
    if cookies != 0 {
        return Finding::ok(NAME, format!("{most}, and cookies beyond that"));
    }
    if most >= wanted {
        return Finding::ok(NAME, format!("{most} half-open connections"));
    }
    Finding::change(
        NAME,
        format!("{most} half-open connections and no cookies: further ones are dropped"),
        vec![
            "sysctl -w net.ipv4.tcp_syncookies=1".to_owned(),
            format!("or sysctl -w net.ipv4.tcp_max_syn_backlog={wanted}"),
        ],
    )
}

fn conntrack(config: &Config, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "conntrack";
    let most = facts.conntrack?;
    let needed = (config.max_clients + config.max_handshakes) as u64;
    // Connections that have ended stay in the table for minutes, and it is not ours alone.
    let wanted = needed * 2;
    Some(if most >= wanted {
        Finding::ok(NAME, format!("{most} connections are tracked, {needed} may be ours"))
    } else {
        Finding::change(
            NAME,
            format!(
                "{most} connections are tracked and {needed} may be ours: packets of new ones are dropped when \
                 the table is full"
            ),
            sysctl("net.netfilter.nf_conntrack_max", &wanted.next_power_of_two().to_string()),
        )
    })
}

/// The kernel's bounds of what is under way to clients, and from venues.
fn buffers(facts: &Facts) -> [Finding; 2] {
    let judge = |name, setting: &str, found: Option<[u64; 3]>, wanted, why: &str| match found {
        None => unknown(name),
        Some([_, _, most]) if most >= wanted => {
            Finding::ok(name, format!("up to {} a socket", Bytes(most as usize)))
        }
        Some([least, first, most]) => Finding::change(
            name,
            format!("up to {} a socket: {why}", Bytes(most as usize)),
            vec![format!("sysctl -w net.ipv4.{setting}='{least} {first} {wanted}'")],
        ),
    };
    [
        judge(
            "send buffers",
            "tcp_wmem",
            facts.wmem,
            limits::SEND_BUFFER_BYTES,
            "clients far away cannot be sent enough before they confirm it",
        ),
        judge(
            "receive buffers",
            "tcp_rmem",
            facts.rmem,
            limits::RECEIVE_BUFFER_BYTES,
            "what a venue sends at once is held up on the way",
        ),
    ]
}

/// Clocks that a program reads only by asking the kernel, which takes a microsecond and more; each turn and
/// each tick is stamped.
const SLOW_CLOCKS: [&str; 5] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"];

fn clock(facts: &Facts) -> Finding {
    const NAME: &str = "clock source";
    let Some(clock) = &facts.clock else { return unknown(NAME) };
    if !SLOW_CLOCKS.contains(&clock.as_str()) {
        return Finding::ok(NAME, clock.clone());
    }
    let better = facts.clocks.iter().find(|clock| !SLOW_CLOCKS.contains(&clock.as_str()));
    let fix = match better {
        Some(better) => vec![
            format!(
                "echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
            ),
            format!("and clocksource={better} on the kernel's command line, for the next start"),
        ],
        None => {
            vec!["none but slow ones are there: `dmesg | grep -i clocksource` says why".to_owned()]
        }
    };
    Finding::change(NAME, format!("{clock}: reading the time is a call of the kernel"), fix)
}

fn disk(config: &Config, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "recording";
    let folder = config.record.directory.as_deref().unwrap_or(Path::new("")).display().to_string();
    let wanted = limits::RECORD_FREE_BYTES;
    Some(match facts.disk.as_ref()? {
        Err(why) => Finding::change(
            NAME,
            format!("nothing can be written there: {why}"),
            vec![format!("mkdir -p {folder} && chown USER {folder}, or another --record")],
        ),
        Ok(free) if *free < wanted => Finding::change(
            NAME,
            format!(
                "{} MiB are free at {folder}: it stops when none is",
                free / limits::MIB as u64
            ),
            vec![
                "--record where there is more, or move away files that the manifest calls closed"
                    .to_owned(),
            ],
        ),
        Ok(free) => {
            Finding::ok(NAME, format!("{} MiB are free at {folder}", free / limits::MIB as u64))
        }
    })
}

fn spool(config: &Config, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "spool";
    let folder = config.spool.directory.as_deref().unwrap_or(Path::new("")).display().to_string();
    let wanted = config.spool.bytes;
    Some(match facts.spool.as_ref()? {
        Err(why) => Finding::change(
            NAME,
            format!("nothing can be written there: {why}"),
            vec![format!("mkdir -p {folder} && chown USER {folder}, or another --spool-dir")],
        ),
        Ok(free) if *free < wanted as u64 => Finding::change(
            NAME,
            format!(
                "{} MiB are free at {folder}, and it may take {}",
                free / limits::MIB as u64,
                Bytes(wanted)
            ),
            vec!["--spool-dir where there is more, or a smaller --spool-bytes".to_owned()],
        ),
        Ok(free) => {
            Finding::ok(NAME, format!("{} MiB are free at {folder}", free / limits::MIB as u64))
        }
    })
}

fn doors(facts: &Facts) -> Vec<Finding> {
    let one = |(address, why): &(String, String)| {
        let fix = vec![
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, for a port below 1024"
                .to_owned(),
            "or an address of this machine, and a port from 1024 on".to_owned(),
        ];
        Finding::change("listen", format!("{address} cannot be listened at: {why}"), fix)
    };
    facts.shut.iter().map(one).collect()
}

fn certificates(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "certificates";
    match &facts.certificates {
        None => return Vec::new(),
        Some(Err(why)) => {
            let fix = "--tls-cert and --tls-key with files that do".to_owned();
            return vec![Finding::change(NAME, why.clone(), vec![fix])];
        }
        Some(Ok(())) => {}
    }
    let day = 24 * 3600;
    let judge = |(file, validity): &(std::path::PathBuf, Option<Validity>)| {
        let file = file.display();
        let renew = || vec![format!("renew {file}; it is read again while the server runs")];
        match validity {
            None => Finding::ok(NAME, format!("{file}: its dates are not understood")),
            Some(Validity { begins, .. }) if *begins > facts.now => {
                let days = (begins - facts.now).div_ceil(day);
                let fix = vec![
                    "the one before it until then, or the right time of this machine".to_owned(),
                ];
                Finding::change(NAME, format!("{file} is valid in {days} days only"), fix)
            }
            Some(Validity { ends, .. }) if *ends <= facts.now => {
                let days = (facts.now - ends) / day;
                Finding::change(NAME, format!("{file} expired {days} days ago"), renew())
            }
            Some(Validity { ends, .. }) => {
                let left = ends - facts.now;
                let why = format!("{file} expires in {} days", left / day);
                match left < limits::CERTIFICATE_WARNING.as_secs() {
                    true => Finding::consider(NAME, why, renew()),
                    false => Finding::ok(NAME, why),
                }
            }
        }
    };
    match &facts.validities[..] {
        [] => vec![Finding::consider(
            NAME,
            "made at the start, and trusted by nobody".to_owned(),
            vec!["--tls-cert and --tls-key, once it is not a first try".to_owned()],
        )],
        files => files.iter().map(judge).collect(),
    }
}

fn access(config: &Config, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "access";
    let file = config.access.as_deref().unwrap_or(Path::new("")).display().to_string();
    Some(match facts.access.as_ref()? {
        Ok(()) => Finding::ok(NAME, format!("{file} is read")),
        Err(why) => {
            Finding::change(NAME, why.clone(), vec![format!("mend {file} (docs/ACCESS.md)")])
        }
    })
}

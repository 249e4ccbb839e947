//! The server from outside: CPU time and memory of its process, read from /proc.

use std::collections::BTreeMap;
use std::fs;

/// A reading of the server failed.
#[derive(Debug, thiserror::Error)]
#[error("--server-pid {pid}: cannot read {path}: {error}")]
pub struct ServerError {
    /// The process.
    pub pid: u32,
    /// The file.
    pub path: String,
    /// Why.
    pub error: std::io::Error,
}

/// Threads whose name starts with this make the load (a synthetic feed) and are reported apart.
const GENERATOR: &str = "gen";

/// CPU time of a process so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Nanoseconds on a core by thread (`id`, name), from `/proc/PID/task/*/schedstat`.
    threads: BTreeMap<(u32, String), u64>,
}

/// CPU time between two readings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuUsed {
    /// Nanoseconds of all threads but the generators.
    pub server_ns: u64,
    /// Nanoseconds of the threads that make the load.
    pub generator_ns: u64,
    /// Nanoseconds by thread, the busiest first; generators included.
    pub threads: Vec<(String, u64)>,
}

impl Cpu {
    /// Reads every thread of the process.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn read(pid: u32) -> Result<Cpu, ServerError> {
        let path = format!("/proc/{pid}/task");
        let failed = |error| ServerError { pid, path: path.clone(), error };
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading: it is then left out.
            let (Ok(name), Ok(stat)) = (
                fs::read_to_string(entry.path().join("comm")),
                fs::read_to_string(entry.path().join("schedstat")),
            ) else {
                continue;
            };
            if let Some(ns) = schedstat(&stat).map(|(running, _)| running) {
                threads.insert((thread, name.trim().to_string()), ns);
            }
        }
        Ok(Cpu { threads })
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Cpu) -> CpuUsed {
        let mut used = CpuUsed::default();
        for (thread, ns) in &self.threads {
            let ns = ns.saturating_sub(before.threads.get(thread).copied().unwrap_or(0));
            if thread.1.starts_with(GENERATOR) {
                used.generator_ns += ns;
            } else {
                used.server_ns += ns;
            }
            used.threads.push((thread.1.clone(), ns));
        }
        used.threads.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        used
    }
}

/// Time on a core and time waiting for one, nanoseconds (the kernel's Documentation/scheduler/sched-stats.rst).
fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Nanoseconds that the calling thread has waited for a core so far; 0 where the kernel does not say.
pub fn own_runqueue_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat(&text).map_or(0, |(_, waiting)| waiting)
}

/// Resident memory of the process, bytes (`VmRSS` of `/proc/PID/status`).
///
/// # Errors
/// When the process is not there.
pub fn resident_bytes(pid: u32) -> Result<u64, ServerError> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| ServerError { pid, path, error })?;
    Ok(vm_rss(&status).unwrap_or(0))
}

fn vm_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_are_counted_apart() {
        let reading = |reactor, generator| Cpu {
            threads: BTreeMap::from([
                ((1, "reactor-0".into()), reactor),
                ((2, "gen-synthetic".into()), generator),
            ]),
        };
        let used = reading(500, 90).since(&reading(100, 50));
        assert_eq!((used.server_ns, used.generator_ns), (400, 40));
        assert_eq!(
            used.threads,
            [("reactor-0".to_string(), 400), ("gen-synthetic".to_string(), 40)]
        );
    }

    #[test]
    fn a_thread_that_began_in_between_counts_in_full() {
        let after = Cpu { threads: BTreeMap::from([((7, "late".into()), 30)]) };
        assert_eq!(after.since(&Cpu::default()).server_ns, 30);
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_an_error() {
        let own = std::process::id();
        assert!(!Cpu::read(own).unwrap().threads.is_empty());
        assert!(resident_bytes(own).unwrap() > 100_000);
        // Process ids end below 2^22 (proc(5), pid_max).
        assert!(Cpu::read(u32::MAX).is_err() && resident_bytes(u32::MAX).is_err());
    }

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(schedstat("123 45 6\n"), Some((123, 45)));
        assert_eq!(schedstat("x"), None);
        assert_eq!(vm_rss("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }
}

//! What the machine allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::memory;

/// What the machine allows this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cores it may run on (`taskset` and cgroups narrow them), ascending, at least one.
    pub cores: Vec<usize>,
    /// Threads that it can run at once: its cores, or fewer where a cgroup's quota says so.
    pub parallelism: usize,
    /// Files that it may have open.
    pub open_files: usize,
    /// Bytes of memory that it can have.
    pub memory: usize,
}

impl Machine {
    /// Asks the kernel, and raises the soft limit of open files to the hard one: the soft one is
    /// low for programs that still use `select`, which is not our case.
    pub fn probe() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised); // as it was, then: what counts is read back
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Machine { cores: affinity(parallelism), parallelism, open_files, memory: memory::probe() }
    }
}

/// The cores of the current affinity mask, ascending. Where the mask cannot be read (more than
/// 1,024 cores), as many as there are threads to run, from 0.
fn affinity(parallelism: usize) -> Vec<usize> {
    let Ok(mask) = sched_getaffinity(None) else { return (0..parallelism).collect() };
    (0..CpuSet::MAX_CPU).filter(|core| mask.is_set(*core)).collect()
}

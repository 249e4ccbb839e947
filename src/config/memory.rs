//! What the machine, or the group of processes that this one is in, has of memory.

use std::path::Path;

/// Bytes that this process can have at most.
pub(super) fn probe() -> usize {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let group = std::fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.and_then(|text| of_group(&text, Path::new("/sys/fs/cgroup")));
    usize::try_from(group.map_or(machine, |group| group.min(machine))).unwrap_or(usize::MAX)
}

/// The least of the limits of a control group and those that it is in; `groups` is what `/proc/self/cgroup` says.
fn of_group(groups: &str, root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let of = |controllers: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (named, path) = rest.split_once(':')?;
            named.split(',').any(|name| name == controllers).then(|| path.trim_start_matches('/'))
        })
    };
    let limits = |folder: &Path, path: &str, file: &str| {
        let full = folder.join(path);
        full.ancestors()
            .take_while(|group| group.starts_with(folder))
            .filter_map(|group| read(&group.join(file)))
            .min()
    };
    let second = of("").and_then(|path| limits(root, path, "memory.max"));
    let first = || {
        of("memory").and_then(|path| limits(&root.join("memory"), path, "memory.limit_in_bytes"))
    };
    second.or_else(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(of_group("0::/a/b\n", root), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(of_group("0::/a/b\n", root), None);
        write("a/memory.max", "2000\n");
        assert_eq!(of_group("0::/a/b\n", root), Some(2_000));
        write("a/b/memory.max", "3000\n");
        assert_eq!(of_group("0::/a/b\n", root), Some(2_000));
        write("memory.max", "1000\n");
        assert_eq!(of_group("0::/\n", root), Some(1_000));
        // The first version, beside others.
        write("memory/c/memory.limit_in_bytes", "4000\n");
        assert_eq!(of_group("5:cpu,cpuacct:/c\n4:memory:/c\n", root), Some(4_000));
        assert!(probe() > 1 << 20);
    }
}

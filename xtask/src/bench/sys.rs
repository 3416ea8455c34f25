//! What the benchmark asks of Linux: pinning, limits, and what a process used.

use std::{collections::HashMap, fs, io, time::Duration};

use rustix::{
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The CPUs that this process may use.
pub(super) fn cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Keeps the calling thread on one CPU.
pub(super) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the soft limit on open files to the hard one, or to `wanted` where that is allowed. Children
/// inherit it. Gives the limit that holds then.
pub(super) fn raise_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let enough = now.maximum.is_none_or(|maximum| maximum >= wanted);
    let maximum = if enough { now.maximum } else { Some(wanted) };
    let current = now.current.map(|_| wanted.max(now.current.unwrap_or(0)));
    if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_err() {
        // Not ours to raise beyond the hard limit: take that.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What a process and its descendants have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time in user mode, of children that have ended as well.
    pub(super) user: Duration,
    /// CPU time in the kernel.
    pub(super) system: Duration,
    /// Resident memory now.
    pub(super) resident_kib: u64,
    /// The sum of each process's peak of resident memory.
    pub(super) peak_kib: u64,
}

impl Usage {
    /// Asks /proc about `root` and all below it.
    pub(super) fn of(root: u32) -> Self {
        let mut usage = Self::default();
        for pid in tree(root) {
            let Some((_, [user, system, ended_user, ended_system])) = stat(pid) else { continue };
            usage.user += ticks(user + ended_user);
            usage.system += ticks(system + ended_system);
            usage.resident_kib += status_kib(pid, "VmRSS:");
            usage.peak_kib += status_kib(pid, "VmHWM:");
        }
        usage
    }
}

/// Asks a process to end, or makes it.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        let _ = kill_process(pid, signal);
    }
}

/// `root` and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The parent of a process, and its utime, stime, cutime and cstime in ticks.
fn stat(pid: u32) -> Option<(u32, [u64; 4])> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and spaces as well.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let time = |index: usize| fields.get(index)?.parse().ok();
    Some((fields.get(1)?.parse().ok()?, [time(11)?, time(12)?, time(13)?, time(14)?]))
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let start = Usage::of(std::process::id());
        assert!(start.resident_kib > 100 && start.peak_kib >= start.resident_kib, "{start:?}");
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(60) {}
        let end = Usage::of(std::process::id());
        assert!(end.user + end.system > start.user + start.system);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

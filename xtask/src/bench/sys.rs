//! What the benchmark asks of Linux: pinning, limits, and what a process used.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    time::Duration,
};

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

/// How many connections to this local port each epoll of a process and its descendants watches: most first,
/// those that watch none left out.
pub(super) fn watched(root: u32, port: u16) -> Vec<usize> {
    let sockets = established(&fs::read_to_string("/proc/net/tcp").unwrap_or_default(), port);
    let mut found: Vec<BTreeSet<u64>> = Vec::new();
    for pid in tree(root) {
        let mut of_process: Vec<BTreeSet<u64>> = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let watched: BTreeSet<u64> = epoll_inodes(&text).intersection(&sockets).copied().collect();
            // A runtime may hold one epoll by two descriptors.
            if !watched.is_empty() && !of_process.contains(&watched) {
                of_process.push(watched);
            }
        }
        found.append(&mut of_process);
    }
    let mut counts: Vec<usize> = found.iter().map(BTreeSet::len).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// The inodes of the established connections of a local port, out of /proc/net/tcp.
fn established(table: &str, port: u16) -> BTreeSet<u64> {
    const ESTABLISHED: &str = "01";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, own_port) = fields.get(1)?.split_once(':')?;
        let is_meant = u16::from_str_radix(own_port, 16) == Ok(port) && *fields.get(3)? == ESTABLISHED;
        fields.get(9)?.parse().ok().filter(|_| is_meant)
    };
    table.lines().filter_map(inode).collect()
}

/// The inodes that an epoll watches, out of its fdinfo.
fn epoll_inodes(info: &str) -> BTreeSet<u64> {
    let inode = |line: &str| {
        let (_, rest) = line.strip_prefix("tfd:")?.split_once("ino:")?;
        u64::from_str_radix(rest.split_ascii_whitespace().next()?, 16).ok()
    };
    info.lines().filter_map(inode).collect()
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
    fn watched_connections_are_counted() {
        use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let epolls = [(); 3].map(|()| epoll::create(CreateFlags::CLOEXEC).unwrap());
        let twice = epolls[0].try_clone().unwrap();
        let mut open = Vec::new();
        for at in [0, 1, 0, 0, 1] {
            let client = std::net::TcpStream::connect(address).unwrap();
            let (server, _) = listener.accept().unwrap();
            epoll::add(&epolls[at], &server, EventData::new_u64(0), EventFlags::IN).unwrap();
            epoll::add(&epolls[2], &client, EventData::new_u64(0), EventFlags::IN).unwrap();
            open.push((client, server));
        }
        assert_eq!(watched(std::process::id(), address.port()), [3, 2]);
        drop((open, twice));
        assert!(watched(std::process::id(), address.port()).is_empty());
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

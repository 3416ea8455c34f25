//! A network that is simulated: hosts, listeners and byte streams in one thread, on the runtime's paused
//! clock, with every delay, cut and fault drawn from a seed.
//!
//! What is modelled is what a program can see of TCP. Bytes come in order, in pieces of any size, after a
//! delay. A sender has a bounded buffer and waits when its peer does not read. Either end closes its
//! direction, or the connection dies of a reset: because an end was told to reset it, was closed with
//! unread bytes, or got bytes after it was closed. A packet on a link that is cut waits there until the
//! link heals, as retransmission would have it. A host's process may die (its peers get resets) or its
//! machine (they get silence).
//!
//! ```
//! use lb_testkit::sim_net::{Network, Options, run};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let heard = run(|| async {
//!     let network = Network::new(&Options::seeded(7));
//!     let (here, there) = (network.host([10, 0, 0, 1]), network.host([10, 0, 0, 2]));
//!     let listener = there.listen("10.0.0.2:80".parse().unwrap()).unwrap();
//!     tokio::task::spawn_local(async move {
//!         let mut client = here.connect("10.0.0.2:80".parse().unwrap()).await.unwrap();
//!         client.write_all(b"hello").await.unwrap();
//!     });
//!     let (mut stream, _) = listener.accept().await;
//!     let mut heard = String::new();
//!     stream.read_to_string(&mut heard).await.unwrap();
//!     heard
//! });
//! assert_eq!(heard, "hello");
//! ```

mod connection;
mod host;
mod stream;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::{
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::{sync::Notify, task::LocalSet};

use self::{
    connection::Tell,
    world::{Lookup, World},
};
pub use self::{
    connection::{Opened, ResetAfter, Side},
    host::{Host, Listener},
    stream::{ReadHalf, Stream, WriteHalf},
    trace::Trace,
};

/// Runs `main` and all that it spawns in one thread, on a clock that only moves when all wait.
///
/// # Panics
/// When the runtime cannot be made.
pub fn run<F: Future>(main: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    LocalSet::new().block_on(&runtime, async { main().await })
}

/// How a network behaves while nothing is wrong with it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every choice comes from it.
    pub seed: u64,
    /// How long a packet takes, in microseconds.
    pub latency_us: RangeInclusive<u64>,
    /// How many bytes of a write travel together.
    pub segment_bytes: RangeInclusive<usize>,
    /// How many bytes may be on their way or unread before a writer waits.
    pub window_bytes: usize,
}

impl Options {
    /// A fast and roomy network.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, latency_us: 50..=500, segment_bytes: 1_448..=65_536, window_bytes: 256 << 10 }
    }
}

/// How a host dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The program ends: its connections are reset, new ones are refused.
    Process,
    /// The machine ends: there is silence until it is back, and resets for what it has forgotten.
    Machine,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    world: Mutex<World>,
    /// Told when a packet is on its way that may be due before all others.
    sent: Notify,
}

impl Network {
    /// A network without faults. It is driven by a task of the current `LocalSet`.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let network = Self(Arc::new(Shared { world: Mutex::new(World::new(options)), sent: Notify::new() }));
        tokio::task::spawn_local(network.clone().deliver());
        network
    }

    /// The host with this address.
    pub fn host(&self, ip: impl Into<IpAddr>) -> Host {
        Host { network: self.clone(), ip: ip.into() }
    }

    /// What hosts find when they ask for `name`; with no addresses, the name does not resolve.
    pub fn set_name(&self, name: &str, ips: &[IpAddr]) {
        self.with(|world| world.set_name(name, Lookup::Found(ips.to_vec())));
    }

    /// Who asks for `name` hears nothing until it is [set](Self::set_name) again, and then only if they ask anew.
    pub fn silence_name(&self, name: &str) {
        self.with(|world| world.set_name(name, Lookup::Silence));
    }

    /// Lets nothing pass from `from` to `to` until it is [healed](Self::heal): packets wait.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.with(|world| world.cut(from, to));
    }

    /// Lets packets pass again, those that have waited first.
    pub fn heal(&self, from: IpAddr, to: IpAddr) {
        self.with(|world| world.heal(from, to));
    }

    /// Heals every link, gives all their usual latency back, and forgets the rule for resets.
    pub fn heal_all(&self) {
        self.with(World::heal_all);
    }

    /// How long packets take from `from` to `to`, from now on.
    pub fn set_latency(&self, from: IpAddr, to: IpAddr, latency_us: RangeInclusive<u64>) {
        self.with(|world| world.set_latency(from, to, latency_us));
    }

    /// Asks `rule` about every connection that is opened from now on: whether, and where, it breaks.
    pub fn set_resets(&self, rule: impl FnMut(&Opened) -> Option<ResetAfter> + Send + 'static) {
        self.with(|world| world.resets = Some(Box::new(rule)));
    }

    /// Resets every connection between these two that stands now, wherever its bytes are; gives how many.
    pub fn reset_between(&self, a: IpAddr, b: IpAddr) -> usize {
        self.with(|world| world.reset_between(a, b))
    }

    /// Ends a host. What runs on it is the caller's to end.
    pub fn crash(&self, ip: IpAddr, crash: Crash) {
        self.with(|world| world.crash(ip, crash));
    }

    /// A host that has [crashed](Self::crash) is back, with nothing that it had.
    pub fn restart(&self, ip: IpAddr) {
        self.with(|world| world.restart(ip));
    }

    /// Connections that at least one side still has, at this host.
    #[must_use]
    pub fn open_connections(&self, ip: IpAddr) -> usize {
        self.with(|world| world.open_connections(ip))
    }

    /// Connections that this host began and that never stood, or do not yet.
    #[must_use]
    pub fn unopened(&self, ip: IpAddr) -> u64 {
        self.with(|world| world.unopened(ip))
    }

    /// Connections that the network has reset by itself.
    #[must_use]
    pub fn breaks(&self) -> u64 {
        self.with(|world| world.breaks)
    }

    /// What programs on that host have written into connections that they had opened, and whose peer had ended its
    /// side before, without ever looking: bytes that nobody will answer. (The beginning of each such write.)
    #[must_use]
    pub fn stale_writes(&self, by: IpAddr) -> Vec<Vec<u8>> {
        let all = |world: &mut World| world.stale_writes.clone();
        self.with(all).into_iter().filter(|(host, _)| *host == by).map(|(_, beginning)| beginning).collect()
    }

    /// What has come to connections that the program there had closed: the beginning of the first bytes of each.
    #[must_use]
    pub fn lost(&self) -> Vec<Vec<u8>> {
        self.with(|world| world.lost.clone())
    }

    /// Adds a line to the trace.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        self.with(|world| world.note(what));
    }

    /// All that happened so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.with(|world| world.trace.clone())
    }

    fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        let (result, tell) = {
            let mut world = self.lock();
            let result = f(&mut world);
            (result, world.take_tell())
        };
        self.tell(tell);
        result
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes without the lock: a waker may drop what takes it.
    fn tell(&self, Tell { wakers, sent }: Tell) {
        wakers.into_iter().for_each(Waker::wake);
        if sent {
            self.0.sent.notify_one();
        }
    }

    /// Delivers packets when they are due, for ever.
    async fn deliver(self) {
        loop {
            while self.with(World::deliver_next) {
                // What a packet leads to may happen before the next one comes, or not.
                if self.with(World::coin) {
                    tokio::task::yield_now().await;
                }
            }
            let next = self.with(|world| world.next_due());
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {}
                () = self.0.sent.notified() => {}
            }
        }
    }
}

//! Starting the balancer under test with a file: what the cases about starting ask for.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    pin::Pin,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

/// Starts more balancers of the kind under test, to see whether they do start.
pub trait Launcher: Send + Sync {
    /// Starts one that is to listen at `listen`, and waits until it does or has ended by itself.
    fn launch<'a>(&'a self, listen: SocketAddr, file: FileGiven<'a>) -> Pending<'a>;
}

/// What a [`Launcher`] gives back.
pub type Pending<'a> = Pin<Box<dyn Future<Output = io::Result<Launched>> + Send + 'a>>;

/// The file that a balancer is started with.
#[derive(Clone, Copy, Debug)]
pub enum FileGiven<'a> {
    /// A path at which there is no file.
    Missing,
    /// A file with this content.
    Text(&'a Texts),
}

/// A configuration in both forms that a balancer under test may choose from.
#[derive(Clone, Debug)]
pub struct Texts {
    /// In the TOML of `lb`.
    pub toml: String,
    /// The same as JSON.
    pub json: String,
}

/// What came of starting a balancer.
#[derive(Debug)]
pub struct Launched {
    /// The name of the TOML file that it was given.
    pub toml_file: String,
    /// The name of the JSON file that it was given.
    pub json_file: String,
    /// How it went on.
    pub came: Came,
}

/// How a start went on.
pub enum Came {
    /// It ended by itself.
    Ended {
        /// Its exit code; none for one that a signal ended.
        exit_code: Option<i32>,
        /// What it wrote.
        message: String,
    },
    /// It listens where it was told. Dropping this value ends it.
    Serves(Box<dyn Send + Sync>),
}

impl fmt::Debug for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { exit_code, message } => write!(f, "ended with {exit_code:?}: {message}"),
            Self::Serves(_) => write!(f, "serves"),
        }
    }
}

impl Texts {
    /// This TOML and the same as JSON, indented, a value to a line.
    ///
    /// # Errors
    /// `InvalidData` when it is no TOML.
    pub fn of(toml: String) -> io::Result<Self> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let table: toml::Table = toml.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        let json = serde_json::to_string_pretty(&table).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { toml, json: json + "\n" })
    }
}

const LISTEN_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A free port of 127.0.0.1 for a balancer that is yet to be started. It lies below those that the
/// system hands out by itself (from 32768 on, unless it was told otherwise), so nobody is given it in
/// the meantime; a [`Port`](crate::Port) could not be had by a program that does not set `SO_REUSEADDR`.
///
/// # Errors
/// `AddrInUse` when every port of the range is taken.
pub fn free_listen_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = LISTEN_PORTS.end - LISTEN_PORTS.start;
    // Processes that run at the same time start at different places.
    let first = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(count)).unwrap_or(0);
    for _ in 0..count {
        let offset = (first + NEXT.fetch_add(1, Relaxed) % count) % count;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORTS.start + offset));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("all ports of {LISTEN_PORTS:?} are taken")))
}

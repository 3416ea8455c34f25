//! The command line of `lb`.

mod demo;
mod simulate;

use std::{
    fs,
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand};
use lb_core::config::{Config, Valid};
use lb_server::{Options, Server, Shutdown, event_log::EventLog};
use lb_testkit::probe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A proxy allocates and frees a buffer of 8 KiB for each request, which the system's allocator does the
/// slow way.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads when it starts: the memory of a burst goes back to the system within a second or two
/// (the default is ten), and a thread of jemalloc's own sees to it, as a server without requests allocates
/// nothing and would never come to do it. Each thread looks through its cache once for each MiB that it
/// allocates, not for each 64 KiB, and may keep eight times as many pieces of a size as there are in a slab, not
/// twice as many: a few hundred instructions of a request.
// SAFETY: jemalloc declares this symbol as a weak `const char *`, to be defined by programs, and only reads
// it; a reference to an array is such a pointer, and the array ends with NUL.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
static ALLOCATOR_SETTINGS: &[u8; 95] =
    b"background_thread:true,dirty_decay_ms:1000,tcache_gc_incr_bytes:1048576,lg_tcache_nslots_mul:3\0";

/// Where a configuration is looked for without `--config`.
const DEFAULT_CONFIGS: [&str; 2] = ["/etc/lb/lb.toml", "lb.toml"];

/// Good; bad configuration or failed start; wrong usage (clap's own).
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// An HTTP load balancer whose decisions come from one pure crate.
#[derive(Parser)]
#[command(name = "lb", version, after_help = EXIT_CODES)]
struct Cli {
    /// The same as `lb check`
    #[arg(short = 't')]
    test: bool,

    /// The configuration [default: /etc/lb/lb.toml, then ./lb.toml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 good, 1 bad configuration or failed start, 2 wrong usage.\n\
    The environment variable LB_LOG sets what is told on standard error: error, warn, info (default), debug.";

#[derive(Subcommand)]
enum Command {
    /// Run the balancer
    #[command(after_help = "Signals: TERM, INT and QUIT stop accepting, finish what is in flight and end \
        (a second one ends at once); HUP reloads the configuration; USR1 reopens the access log.")]
    Run,
    /// Check a configuration and say everything that is wrong with it
    Check,
    /// Ask whether a balancer, or any server, is well: what a container's health check runs
    #[command(after_help = "Without a URL each listener of the configuration must take a connection and \
        end it when this end does; no request is made.\n\
        Exit codes: 0 well, 1 not well, 2 wrong usage.")]
    Probe {
        /// What must be answered with 2xx, such as http://127.0.0.1:8000/health
        url: Option<String>,
        /// How long all of it may take, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 2,
              value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
    },
    /// Predict what a configuration or a scenario does: latency, errors, load, recovery
    #[command(after_help = simulate::AFTER_HELP)]
    Simulate(Box<simulate::Arguments>),
    /// Show a balancer at work in front of mock backends, all inside this process
    Demo {
        /// Where the balancer listens; port 0 takes a free one
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Run one mock backend of the course
    #[command(after_help = "It answers / with a sentence that tells its name, its address and what it was \
        sent, /healthcheck with OK, /health with JSON, /v1 and /v2 with their version.\n\
        APP and ENDPOINT in the environment do the same as --name and --endpoint.")]
    Backend {
        /// The application that it claims to be, such as mango
        #[arg(long, env = "APP", default_value = "mango")]
        name: String,
        /// The host:port that it claims to serve on [default: the address that it listens on]
        #[arg(long, env = "ENDPOINT", value_name = "HOST:PORT")]
        endpoint: Option<String>,
        /// Where it listens
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo tells of health changes by itself.
    let quiet = matches!(cli.command, Some(Command::Demo { .. })) && !cli.test;
    let filter = EnvFilter::try_from_env("LB_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if quiet { "error" } else { "info" }));
    let events = match EventLog::start() {
        Ok(events) => events,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer({
            let events = events.clone();
            move || events.clone()
        })
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = match cli.command {
        _ if cli.test => check(cli.config.as_deref()),
        Some(Command::Check) => check(cli.config.as_deref()),
        Some(Command::Run) => run(cli.config.as_deref()),
        Some(Command::Probe { url, timeout }) => {
            block_on(probed(url.as_deref(), cli.config.as_deref(), Duration::from_secs(timeout)))
        }
        Some(Command::Simulate(arguments)) => {
            let code = simulate::simulate(&arguments, cli.config.as_deref());
            events.close();
            return code;
        }
        Some(Command::Demo { listen }) => block_on(demo::run(listen)),
        Some(Command::Backend { name, endpoint, listen }) => block_on(backend(name, endpoint, listen)),
        None => {
            // Nothing better can be done where standard error is closed.
            let _ = Cli::command().print_help();
            return ExitCode::from(EXIT_USAGE);
        }
    };
    events.close();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nothing better can be done where standard error is closed.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn block_on(future: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(future)
}

fn find_config(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    DEFAULT_CONFIGS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        format!(
            "no configuration: neither {} exists; name one with --config FILE",
            DEFAULT_CONFIGS.join(" nor ")
        )
    })
}

fn load(path: &Path) -> Result<Valid, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: cannot read it: {error}"))?;
    Config::load(&text).map_err(|problems| {
        let count = problems.list.len() + problems.omitted;
        format!("{}\n{name}: {}", problems.in_file(&name.to_string()), counted(count, "problem"))
    })
}

fn check(given: Option<&Path>) -> Result<(), String> {
    let path = find_config(given)?;
    let config = load(&path)?;
    say(format_args!(
        "{}: valid ({}, {}, {})",
        path.display(),
        counted(config.listeners.len(), "listener"),
        counted(config.pools.len(), "pool"),
        counted(config.routes.len(), "route"),
    ));
    Ok(())
}

/// A line on standard output. Where that is closed nobody wants to know, and there is no reason to fail.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn run(given: Option<&Path>) -> Result<(), String> {
    let path = find_config(given)?;
    let config = load(&path)?;
    block_on(async move {
        let signals = Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let server = Server::start(&config, Options::default()).map_err(|error| error.to_string())?;
        for address in server.addresses() {
            tracing::info!(%address, "listening");
        }
        serve_until_ended(&server, &path, signals).await;
        Ok(())
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }

    /// For commands that have nothing to read again: they end with their terminal.
    async fn end_or_hangup(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn serve_until_ended(server: &Server, path: &Path, mut signals: Signals) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload(server, path).await,
            _ = signals.user1.recv() => server.reopen_log(),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.quit.recv() => break,
        }
    }
    tracing::info!("shutting down: finishing what is in flight");
    let mut ending = std::pin::pin!(server.shutdown());
    let outcome = tokio::select! {
        // In this order: there must be a shutdown under way before it can be forced.
        biased;
        outcome = &mut ending => outcome,
        () = signals.end() => {
            server.force();
            ending.await
        }
    };
    match outcome {
        Shutdown::Clean => tracing::info!("shut down"),
        Shutdown::Forced(connections) => tracing::warn!(connections, "shut down by force"),
    }
}

async fn reload(server: &Server, path: &Path) {
    match load(path) {
        // The server itself tells how that went.
        Ok(config) => drop(server.reload(config).await),
        Err(message) => tracing::error!("configuration not reloaded; the old one stays:\n{message}"),
    }
}

async fn probed(url: Option<&str>, config: Option<&Path>, timeout: Duration) -> Result<(), String> {
    if let Some(url) = url {
        let status = probe::get(url, timeout).await.map_err(|unwell| format!("not well: {url}: {unwell}"))?;
        say(format_args!("well: {status} from {url}"));
        return Ok(());
    }
    let path = find_config(config)?;
    for listener in &load(&path)?.listeners {
        if listener.bind.port() == 0 {
            return Err(format!("{}: a listener at a free port cannot be found; name a URL", path.display()));
        }
        let addr = probe::within_reach(listener.bind);
        probe::accepts(addr, timeout).await.map_err(|unwell| format!("not well: {addr}: {unwell}"))?;
        say(format_args!("well: {addr} takes connections"));
    }
    Ok(())
}

async fn backend(name: String, endpoint: Option<String>, listen: SocketAddr) -> Result<(), String> {
    let mut builder = lb_testkit::Backend::app(&name).listen(listen).on_request(|request| {
        say(format_args!("{} {}", request.method(), request.target()));
    });
    if let Some(endpoint) = &endpoint {
        builder = builder.endpoint(endpoint);
    }
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let backend = builder.start().await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    say(format_args!("{name} listens on {}", backend.addr()));
    signals.end_or_hangup().await;
    backend.stop().await;
    Ok(())
}

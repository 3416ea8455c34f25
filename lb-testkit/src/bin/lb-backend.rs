//! `lb-backend`: a mock backend of the course as a process of its own, made for containers.

use std::{env, io::Write, net::SocketAddr, process::ExitCode, str::FromStr, time::Duration};

use lb_testkit::{Backend, Builder, course::control, probe};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const HELP: &str = "\
A mock backend of the course. It answers / with a sentence that tells its name, its address and what it was
sent, /healthcheck with OK, /health with JSON, /v1 and /v2 with their version.

Usage: lb-backend              run, until TERM or INT
       lb-backend probe [URL]  ask whether a backend is well [default: the one of this environment]

Environment:
  APP       the application that it claims to be [default: mango]
  ANSWER    sentence, greeting (the guide's {\"message\": \"Hello from APP\"}) or text (APP and nothing else)
            [default: sentence]
  ENDPOINT  the host:port that it claims to serve on [default: LISTEN]
  LISTEN    where it listens [default: 127.0.0.1:8080]
  CONTROL   where tests may tell it what to do [default: nowhere]

Exit codes: 0 good, or well; 1 failed, or not well; 2 wrong usage.
";

/// How long a probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        [] => block_on(run()),
        ["probe"] => block_on(probed(None)),
        ["probe", url] if !url.starts_with('-') => block_on(probed(Some(url))),
        ["--help" | "-h" | "help"] => {
            say(HELP.trim_end());
            Ok(())
        }
        ["--version" | "-V"] => {
            say(concat!("lb-backend ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        _ => {
            complain(HELP.trim_end());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// A line on standard output. Where that is closed nobody wants to know, and there is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error, if anybody reads it.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn block_on(future: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(future)
}

async fn run() -> Result<(), String> {
    // Before anything is said: whoever reads that it listens may end it at once. Process 1 of a container
    // has no other way to hear of TERM, for it has no default action.
    let listen_for = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let cannot_listen = |addr: SocketAddr, error: std::io::Error| format!("cannot listen on {addr}: {error}");
    let control: Option<SocketAddr> = setting("CONTROL", "an IP:port to listen on")?;
    let listen = listen()?;
    let builder = configured()?.listen(listen);
    let backend = builder.start().await.map_err(|error| cannot_listen(listen, error))?;
    let mut said = format!("{} listens on {}", backend.name(), backend.addr());
    let _uncontrolled = match control {
        Some(addr) => {
            let listener = TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, error))?;
            said += &format!(", control on {}", listener.local_addr().unwrap_or(addr));
            tokio::spawn(control::serve(listener, backend));
            None
        }
        None => Some(backend),
    };
    say(&said);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The backend that the environment describes, but for its address.
fn configured() -> Result<Builder, String> {
    let app: String = setting("APP", "text")?.unwrap_or_else(|| "mango".into());
    let builder = match setting::<String>("ANSWER", "text")?.as_deref() {
        None | Some("sentence") => Backend::app(&app),
        Some("greeting") => Backend::guide(&app),
        Some("text") => Backend::text(&app).name(&app),
        Some(other) => return Err(format!("ANSWER is {other:?}; it can be sentence, greeting or text")),
    };
    let builder = match setting::<String>("ENDPOINT", "text")? {
        Some(endpoint) => builder.endpoint(&endpoint),
        None => builder,
    };
    // Health checks would be all that there is to read.
    Ok(builder.on_request(|request| {
        if !request.is_health_check {
            say(&format!("{} {}", request.method(), request.target()));
        }
    }))
}

fn listen() -> Result<SocketAddr, String> {
    let listen = setting("LISTEN", "an IP:port to listen on")?;
    Ok(listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))))
}

/// A variable of the environment; none if it is not there, or empty.
fn setting<T: FromStr>(name: &str, expected: &str) -> Result<Option<T>, String> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let value = value.to_string_lossy();
    value.parse().map(Some).map_err(|_| format!("{name} is {value:?}; it should be {expected}"))
}

async fn probed(url: Option<&str>) -> Result<(), String> {
    let url = match url {
        Some(url) => url.to_owned(),
        None => format!("http://{}/healthcheck", probe::within_reach(listen()?)),
    };
    match probe::get(&url, PROBE_TIMEOUT).await {
        Ok(status) => {
            say(&format!("well: {status} from {url}"));
            Ok(())
        }
        Err(unwell) => Err(format!("not well: {url}: {unwell}")),
    }
}

//! A balancer under test: started from TOML, watched through an [`Observer`], ended when dropped; and
//! the binary `lb` as a process.

mod process;

use std::{
    fmt,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use lb_core::{config::Config, pool::Transition};
use lb_server::{Observer, Options, Server, Shutdown, StartError, access_log::Record};
use lb_testkit::{Backend, DEADLINE, RawClient, Response};
use tokio::sync::watch;

pub(crate) use self::process::{Process, lb, lb_in};
pub(crate) use rustix::process::Signal;

/// What a test gives back, so that waits can use `?`.
pub(crate) type Tested = std::io::Result<()>;

/// One finished request, as the access log would tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
    /// The code of the reason, `-` without one.
    pub(crate) reason: &'static str,
    pub(crate) backend: Option<String>,
    pub(crate) tries: u32,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// `503 no_healthy_backend`, `200 - a 2`: what most tests want to know of a line.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        match &self.backend {
            Some(backend) => write!(f, " {backend} {}", self.tries),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    /// `pool/backend: down: status 503`
    changes: Vec<String>,
}

struct Watcher(watch::Sender<Seen>);

impl Observer for Watcher {
    fn request(&self, record: &Record<'_>) {
        let line = Line {
            method: record.method.to_owned(),
            target: record.target.to_owned(),
            status: record.status,
            reason: record.reason.map_or("-", lb_core::reason::Reason::code),
            backend: record.backend.map(str::to_owned),
            tries: record.tries,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
        };
        self.0.send_modify(|seen| seen.lines.push(line));
    }

    fn transition(&self, pool: &str, transition: &Transition) {
        let change = format!("{pool}/{}: {}", transition.name, transition.change);
        self.0.send_modify(|seen| seen.changes.push(change));
    }
}

/// A balancer that runs in this process.
pub(crate) struct Lb {
    server: Server,
    watcher: Arc<Watcher>,
}

impl Lb {
    /// Starts it with this configuration.
    pub(crate) fn start(toml: &str) -> Self {
        let watcher = Arc::new(Watcher(watch::Sender::default()));
        let options = Options { observer: Some(watcher.clone()), seed: Some(7) };
        let server = Server::start(&valid(toml), options).expect("the balancer starts");
        Self { server, watcher }
    }

    /// In front of one pool, with all defaults.
    pub(crate) fn over(backends: &[&Backend]) -> Self {
        Self::start(&Setup::over(backends).toml())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) async fn reload(&self, toml: &str) -> Result<(), StartError> {
        self.server.reload(valid(toml)).await
    }

    pub(crate) async fn shutdown(&self) -> Shutdown {
        self.server.shutdown().await
    }

    pub(crate) async fn client(&self) -> RawClient {
        RawClient::connect(self.addr()).await.expect("the balancer accepts")
    }

    /// `GET target` on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> std::io::Result<Response> {
        self.client().await.get(target, "mango").await
    }

    /// So many `GET /`, one after the other on one connection; who answered them, in order.
    pub(crate) async fn who_answers(&self, requests: usize) -> std::io::Result<Vec<String>> {
        let before = self.watcher.0.borrow().lines.len();
        let mut client = self.client().await;
        for _ in 0..requests {
            let answer = client.get("/", "mango").await?;
            assert_eq!(answer.status(), 200, "{answer}");
        }
        let lines = self.lines(before + requests).await?;
        Ok(lines[before..].iter().map(|line| line.backend.clone().unwrap_or_default()).collect())
    }

    /// The log, once it has `count` lines. Everything that a request held is given back by then.
    pub(crate) async fn lines(&self, count: usize) -> std::io::Result<Vec<Line>> {
        self.wait(&format!("{count} lines of log"), |seen| seen.lines.len() >= count).await?;
        Ok(self.watcher.0.borrow().lines.clone())
    }

    /// The only line of the log so far, as text.
    pub(crate) async fn line(&self) -> std::io::Result<String> {
        let lines = self.lines(1).await?;
        assert_eq!(lines.len(), 1, "{lines:?}");
        Ok(lines[0].to_string())
    }

    /// The first line of the log that is meant.
    pub(crate) async fn line_where(&self, what: &str, meant: impl Fn(&Line) -> bool) -> std::io::Result<Line> {
        self.wait(&format!("a line {what}"), |seen| seen.lines.iter().any(&meant)).await?;
        Ok(self.watcher.0.borrow().lines.iter().find(|line| meant(line)).cloned().expect("it is there"))
    }

    /// Waits until a backend's change was told whose text is `wanted`, for the `count`-th time.
    pub(crate) async fn changed(&self, wanted: &str, count: usize) -> Tested {
        let told = |seen: &Seen| seen.changes.iter().filter(|change| change.contains(wanted)).count();
        self.wait(&format!("{wanted:?} ({count})"), |seen| told(seen) >= count).await
    }

    /// Every change told so far.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.watcher.0.borrow().changes.clone()
    }

    async fn wait(&self, what: &str, enough: impl FnMut(&Seen) -> bool) -> Tested {
        let mut seen = self.watcher.0.subscribe();
        let mut enough = enough;
        let waited = tokio::time::timeout(DEADLINE, seen.wait_for(|seen| enough(seen))).await;
        if waited.is_ok() {
            return Ok(());
        }
        let Seen { lines, changes } = &*self.watcher.0.borrow();
        let last = &lines[lines.len().saturating_sub(20)..];
        Err(std::io::Error::other(format!("waited in vain for {what}; {last:?}, {changes:?}")))
    }
}

/// Ends the server at once, without waiting for it.
impl Drop for Lb {
    fn drop(&mut self) {
        // The first poll gives the command; nobody needs to wait for what comes of it.
        let _ = pin!(self.server.shutdown()).poll(&mut Context::from_waker(Waker::noop()));
        self.server.force();
    }
}

pub(crate) fn valid(toml: &str) -> lb_core::config::Valid {
    Config::load(toml).unwrap_or_else(|problems| panic!("{}\n{toml}", problems.in_file("lb.toml")))
}

/// A configuration with one listener, the pool `mango`, and a route to it for everything.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    backends: Vec<String>,
    top: String,
    listener: String,
    pool: String,
    route: String,
}

impl Setup {
    /// In front of these backends, by their names.
    pub(crate) fn over(backends: &[&Backend]) -> Self {
        backends.iter().fold(Self::default(), |setup, backend| setup.backend(backend.name(), backend.addr(), ""))
    }

    /// Another backend; `more` is TOML such as `weight = 2`.
    pub(crate) fn backend(mut self, name: &str, address: impl fmt::Display, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        self.backends.push(format!("{{ name = \"{name}\", address = \"{address}\"{comma}{more} }}"));
        self
    }

    /// Lines of the file's top, such as `workers = 2`.
    pub(crate) fn top(mut self, toml: &str) -> Self {
        self.top += &format!("{toml}\n");
        self
    }

    /// Lines of the listener.
    pub(crate) fn listener(mut self, toml: &str) -> Self {
        self.listener += &format!("{toml}\n");
        self
    }

    /// Lines of the pool.
    pub(crate) fn pool(mut self, toml: &str) -> Self {
        self.pool += &format!("{toml}\n");
        self
    }

    /// Lines of the route.
    pub(crate) fn route(mut self, toml: &str) -> Self {
        self.route += &format!("{toml}\n");
        self
    }

    pub(crate) fn toml(&self) -> String {
        let Self { backends, top, listener, pool, route } = self;
        let workers = if top.contains("workers") { "" } else { "workers = 1\n" };
        let bind = if listener.contains("bind") { "" } else { "bind = \"127.0.0.1:0\"\n" };
        let log = if top.contains("access_log") { "" } else { "access_log = { format = \"off\" }\n" };
        let backends = backends.join(", ");
        format!(
            "{workers}{log}{top}\n[[listener]]\n{bind}reason_header = true\n{listener}\n\
             [pool.mango]\nbackends = [{backends}]\n{pool}\n[[route]]\npool = \"mango\"\n{route}"
        )
    }

    pub(crate) fn start(&self) -> Lb {
        Lb::start(&self.toml())
    }
}

/// A mock backend of this name.
pub(crate) async fn backend(name: &str) -> Backend {
    Backend::mango().name(name).start().await.expect("a backend starts")
}

/// Two of them, `a` and `b`.
pub(crate) async fn two() -> [Backend; 2] {
    [backend("a").await, backend("b").await]
}

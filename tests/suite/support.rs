//! What the suites on backends, lifecycle and command line add to the harness: a balancer in front of
//! named backends, and the binary `lb` as a process.

pub(crate) mod process;

use std::{fmt, net::SocketAddr};

use lb_server::{Server, Shutdown, StartError};
use lb_testkit::{Backend, RawClient, Response};
use lb_tests::{Line, Stage};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) use self::process::{Process, lb, lb_in};
pub(crate) use lb_tests::valid;
pub(crate) use rustix::process::Signal;

/// What a test gives back, so that waits can use `?`.
pub(crate) type Tested = std::io::Result<()>;

/// A balancer that runs in this process, and what these suites ask of it.
pub(crate) struct Lb(Stage);

impl Lb {
    /// Starts it with this configuration.
    pub(crate) fn start(toml: &str) -> Self {
        Self(Stage::start(toml))
    }

    /// In front of one pool, with all defaults.
    pub(crate) fn over(backends: &[&Backend]) -> Self {
        Setup::over(backends).start()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    pub(crate) async fn reload(&self, toml: &str) -> Result<(), StartError> {
        self.0.server.reload(valid(toml)).await
    }

    pub(crate) async fn shutdown(&self) -> Shutdown {
        self.0.server.shutdown().await
    }

    pub(crate) async fn client(&self) -> RawClient {
        self.0.client().await
    }

    /// `GET target` on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> std::io::Result<Response> {
        self.client().await.get(target, "mango").await
    }

    /// So many `GET /`, one after the other on one connection; who answered them, in order.
    pub(crate) async fn who_answers(&self, requests: usize) -> std::io::Result<Vec<String>> {
        let before = self.0.log.lines().len();
        let mut client = self.client().await;
        for _ in 0..requests {
            let answer = client.get("/", "mango").await?;
            assert_eq!(answer.status(), 200, "{answer}");
        }
        let lines = self.lines(before + requests).await;
        Ok(lines[before..].iter().map(|line| line.backend.clone().unwrap_or_default()).collect())
    }

    /// The log, once it has `count` lines. Everything that a request held is given back by then.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Line> {
        self.0.log.wait_for(count).await
    }

    /// The only line of the log so far, as text; the pools' books are checked as well.
    pub(crate) async fn line(&self) -> String {
        let lines = self.lines(1).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        self.assert_idle();
        lines[0].to_string()
    }

    /// Nothing is in flight, nothing is pending.
    pub(crate) fn assert_idle(&self) {
        self.0.assert_idle();
    }

    /// The first line of the log that is meant.
    pub(crate) async fn line_where(&self, what: &str, meant: impl Fn(&Line) -> bool) -> Line {
        let lines = self.0.log.wait_until(&format!("a line {what}"), |lines| lines.iter().any(&meant)).await;
        lines.into_iter().find(meant).expect("it is there")
    }

    /// Waits until a backend's change was told whose text, `mango a down: status 503`, has `words` in it,
    /// for the `count`-th time.
    pub(crate) async fn changed(&self, words: &str, count: usize) {
        self.0.log.wait_for_change(words, count).await;
    }

    /// Every change told so far.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.0.log.transitions()
    }
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
        backends
            .iter()
            .fold(Self::default(), |setup, backend| setup.backend(backend.name(), backend.addr(), ""))
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

/// A client that takes little without reading, so that the most of what it is sent waits at the sender's end.
pub(crate) async fn slow_client(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 << 10)?;
    socket.connect(addr).await
}

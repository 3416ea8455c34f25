//! What the suites share: a balancer in front of mock backends, and the record of what it did.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let mango = lb_testkit::Backend::mango().start().await.unwrap();
//! let stage = lb_tests::Setup::new(&[&mango]).route(r#"match = { path = "/a" }"#).start();
//! let answer = stage.client().await.get("/a", "www.mango.com").await.unwrap();
//! assert_eq!(answer.status(), 200);
//! let lines = stage.log.wait_for(1).await;
//! assert_eq!((lines[0].status, lines[0].reason), (200, None));
//! stage.assert_idle();
//! # });
//! ```

mod log;

use std::{
    net::SocketAddr,
    panic,
    pin::pin,
    process,
    sync::Once,
    task::{Context, Waker},
};

use lb_core::config::{Config, Valid};
use lb_server::{Options, Server};
use lb_testkit::{Backend, RawClient};

pub use self::log::{Line, Log};

/// A running balancer. It ends, with all its connections, when this value is dropped.
pub struct Stage {
    /// The balancer.
    pub server: Server,
    /// What it did.
    pub log: Log,
}

impl Stage {
    /// Runs this configuration. It should bind port 0, and write no access log of its own.
    ///
    /// # Panics
    /// When the configuration is not valid, or the balancer does not start.
    #[must_use]
    pub fn start(toml: &str) -> Self {
        Self::start_with(toml, library_only())
    }

    /// The same, and whether the HTTP library is to serve all requests.
    ///
    /// # Panics
    /// Like [`Stage::start`].
    #[must_use]
    pub fn start_with(toml: &str, library_only: bool) -> Self {
        panics_of_the_balancer_end_the_tests();
        let log = Log::default();
        let options = Options { observer: Some(log.observer()), seed: Some(1), library_only };
        let server = Server::start(&valid(toml), options).unwrap_or_else(|error| panic!("{error}"));
        Self { server, log }
    }

    /// The first listener's address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    /// A new connection to the first listener.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn client(&self) -> RawClient {
        RawClient::connect(self.addr()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// `GET target` on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, target: &str, host: &str) -> lb_testkit::Response {
        self.client().await.get(target, host).await.unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// Nothing is in flight. True as soon as the last request's line is in the log.
    ///
    /// # Panics
    /// When a pool still counts a request.
    pub fn assert_idle(&self) {
        for pool in self.server.pools() {
            let busy: Vec<_> = pool.endpoints.iter().filter(|endpoint| endpoint.in_flight > 0).collect();
            assert!(pool.in_flight == 0 && pool.pending == 0 && busy.is_empty(), "not idle: {pool:?}");
        }
    }
}

/// From now on a panic in the balancer's own code ends the process. The runtime keeps a connection's panic to
/// itself, and a test that asks nothing more of that connection would never tell.
pub fn panics_of_the_balancer_end_the_tests() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            usual(info);
            let file = info.location().map_or("", panic::Location::file);
            if ["lb-server/src/", "lb-core/src/"].iter().any(|own| file.contains(own)) {
                eprintln!("the balancer panicked: all tests of this process end");
                process::abort();
            }
        }));
    });
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The commands are on their way after one poll; nobody waits for the answer.
        let _ = pin!(self.server.shutdown()).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.server.force();
    }
}

/// Whether this run is about the requests that the HTTP library serves. Plain ones are served without it, and
/// nearly all of a test's are plain; so the suite runs once more, with this variable set.
fn library_only() -> bool {
    std::env::var_os("LB_TEST_LIBRARY_ONLY").is_some()
}

/// Reads a configuration.
///
/// # Panics
/// When it is not valid.
#[must_use]
pub fn valid(toml: &str) -> Valid {
    Config::load(toml).unwrap_or_else(|problems| panic!("{}{toml}", problems.in_file("lb.toml")))
}

/// The usual configuration: a listener on a free port, the pool `mango`, the route `mango` to it, and
/// reasons in headers. What a test is about is added as lines of TOML.
#[must_use = "a setup does nothing until it is started"]
pub struct Setup {
    top: String,
    listener: String,
    pool: String,
    route: String,
    rest: String,
}

impl Setup {
    /// A pool of these backends.
    pub fn new(backends: &[&Backend]) -> Self {
        let addresses: Vec<_> = backends.iter().map(|backend| backend.addr().to_string()).collect();
        Self {
            top: "workers = 2\naccess_log = { format = \"off\" }\n".into(),
            listener: "[[listener]]\nbind = \"127.0.0.1:0\"\nreason_header = true\n".into(),
            pool: format!("[pool.mango]\nbackends = {addresses:?}\n"),
            route: "[[route]]\nname = \"mango\"\npool = \"mango\"\n".into(),
            rest: String::new(),
        }
    }

    /// Lines before the first table, such as `firewall = { ... }`.
    pub fn top(self, lines: &str) -> Self {
        Self { top: self.top + lines + "\n", ..self }
    }

    /// Lines of `[[listener]]`.
    pub fn listener(self, lines: &str) -> Self {
        Self { listener: self.listener + lines + "\n", ..self }
    }

    /// Lines of `[pool.mango]`.
    pub fn pool(self, lines: &str) -> Self {
        Self { pool: self.pool + lines + "\n", ..self }
    }

    /// Lines of `[[route]]`.
    pub fn route(self, lines: &str) -> Self {
        Self { route: self.route + lines + "\n", ..self }
    }

    /// Further tables.
    pub fn rest(self, lines: &str) -> Self {
        Self { rest: self.rest + lines + "\n", ..self }
    }

    /// The whole file.
    #[must_use]
    pub fn toml(&self) -> String {
        format!("{}{}{}{}{}", self.top, self.listener, self.pool, self.route, self.rest)
    }

    /// Runs it.
    pub fn start(&self) -> Stage {
        Stage::start(&self.toml())
    }
}

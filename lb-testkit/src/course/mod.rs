//! The course as test suites: each chapter is a cast of backends, a configuration and a list of cases.
//!
//! A case speaks HTTP to an address and knows nothing else of the balancer behind it, so the same suite
//! judges `lb`, nginx or a learner's script. What a chapter needs besides the balancer is its
//! [`Cast`]; the two together are a [`Stage`].
//!
//! [`run`] does it with a base URL and a cast. The longer way, for a balancer that is given the chapter's
//! configuration:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use lb_testkit::course::{Cast, Chapter, Ports, Stage, StartCommand, Tempo, free_listen_address};
//! let (chapter, tempo) = (Chapter::Skeleton, Tempo::default());
//! let cast = Cast::start(chapter, Ports::Free).await?;
//! let command = r#"exec python3 -c "
//! import os, http.server as web
//! class Skeleton(web.BaseHTTPRequestHandler):
//!     def do_GET(self):
//!         self.send_response(200)
//!         self.end_headers()
//!         self.wfile.write(b'hello')
//! host, port = os.environ['COURSE_LISTEN'].split(':')
//! web.ThreadingHTTPServer((host, int(port)), Skeleton).serve_forever()
//! ""#;
//! # if std::process::Command::new("python3").arg("--version").output().is_err() { return Ok(()); }
//! let start = StartCommand::new(command, chapter, &cast);
//! let balancer = start.start(free_listen_address()?, &cast, tempo).await?;
//! let stage = Stage { tempo, launcher: Some(balancer.launcher()), ..Stage::new(balancer.addr(), cast) };
//! let report = chapter.run(&stage).await;
//! balancer.end().await;
//! assert!(report.is_good(), "{report}");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

mod actor;
mod balancer;
mod case;
mod cast;
pub mod control;
mod convert;
mod launch;
mod peer;
mod process;
mod report;
mod stage;
mod table;
mod yaml;

mod algorithms;
mod configuration;
mod firewall;
mod guide;
mod health;
mod manipulating;
mod routing;
mod skeleton;

use std::{fmt, io, net::SocketAddr, time::Duration};

pub use actor::{Act, Actor, CheckUp};
pub use balancer::{Balancer, StartCommand};
pub use case::{Case, Failure, Miss, Verdict};
pub use cast::{Cast, Kind, Member, Ports, Role};
pub use convert::{NotConverted, convert};
pub use launch::{Came, FileGiven, Launched, Launcher, Pending, Texts, free_listen_address};
pub use peer::Peer;
pub use report::{Counts, Report, Told};
pub use stage::{Answer, Stage};
pub use table::{Table, not_offered};

/// Runs a chapter against the balancer at a base URL, such as `http://127.0.0.1:8000`, which has this cast
/// behind it and the chapter's configuration, or one that means the same.
///
/// # Errors
/// When the URL is none, or its name has no address. What the balancer does wrong is in the report.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use lb_testkit::{Backend, course::{self, Cast, Chapter, Ports}};
/// // The skeleton of chapter 1 needs to do no more than this:
/// let skeleton = Backend::text("hello, world").start().await?;
///
/// let cast = Cast::start(Chapter::Skeleton, Ports::Free).await?;
/// let url = format!("http://{}", skeleton.addr());
/// let report = course::run(Chapter::Skeleton, &url, cast).await?;
/// assert!(report.is_good(), "{report}");
///
/// // It does not route yet, and is told so:
/// let cast = Cast::start(Chapter::Routing, Ports::Free).await?;
/// let report = course::run(Chapter::Routing, &url, cast).await?;
/// assert!(report.failed().contains(&"a_host_reaches_mango"), "{report}");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub async fn run(chapter: Chapter, base_url: &str, cast: Cast) -> io::Result<Report> {
    Ok(chapter.run(&Stage::at(base_url, cast).await?).await)
}

/// A chapter of the course that has a suite. (Chapter 8 runs these suites against other balancers.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// 1: theory and a skeleton.
    Skeleton,
    /// 2: routing.
    Routing,
    /// 3: configuration.
    Configuration,
    /// 4: health checks.
    Health,
    /// 5: manipulating the request.
    Manipulating,
    /// 6: load-balancing algorithms.
    Algorithms,
    /// 7: the intelligent firewall.
    Firewall,
    /// The one-page guide.
    Guide,
}

impl Chapter {
    /// All of them, in the order of the course.
    pub const ALL: [Self; 8] = [
        Self::Skeleton,
        Self::Routing,
        Self::Configuration,
        Self::Health,
        Self::Manipulating,
        Self::Algorithms,
        Self::Firewall,
        Self::Guide,
    ];

    /// `1` to `7`, or `guide`: how a person asks for it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Skeleton => "1",
            Self::Routing => "2",
            Self::Configuration => "3",
            Self::Health => "4",
            Self::Manipulating => "5",
            Self::Algorithms => "6",
            Self::Firewall => "7",
            Self::Guide => "guide",
        }
    }

    /// The chapter with this id.
    #[must_use]
    pub fn with_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chapter| chapter.id() == id)
    }

    /// What it is about, in a line.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Skeleton => "a skeleton that answers at all",
            Self::Routing => "routing by host and by path",
            Self::Configuration => "hosts, paths and backends come from a file",
            Self::Health => "health checks: only backends that work get requests",
            Self::Manipulating => "manipulating headers, query and path of a request",
            Self::Algorithms => "random, round robin, weighted, least connections",
            Self::Firewall => "a firewall by client address and path",
            Self::Guide => "the guide: round robin and failover over two backends",
        }
    }

    /// Who takes part.
    #[must_use]
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::Skeleton => skeleton::ROLES,
            Self::Routing => routing::ROLES,
            Self::Configuration => configuration::ROLES,
            Self::Health => health::ROLES,
            Self::Manipulating => manipulating::ROLES,
            Self::Algorithms => algorithms::ROLES,
            Self::Firewall => firewall::ROLES,
            Self::Guide => guide::ROLES,
        }
    }

    /// Its cases, in an order that teaches.
    #[must_use]
    pub const fn cases(self) -> &'static [Case] {
        match self {
            Self::Skeleton => skeleton::CASES,
            Self::Routing => routing::CASES,
            Self::Configuration => configuration::CASES,
            Self::Health => health::CASES,
            Self::Manipulating => manipulating::CASES,
            Self::Algorithms => algorithms::CASES,
            Self::Firewall => firewall::CASES,
            Self::Guide => guide::CASES,
        }
    }

    /// The case with this name.
    #[must_use]
    pub fn case(self, name: &str) -> Option<&'static Case> {
        self.cases().iter().find(|case| case.name == name)
    }

    /// Its configuration, in the TOML of `lb`, for a balancer at `listen` before this cast.
    #[must_use]
    pub fn config(self, listen: SocketAddr, cast: &Cast, tempo: Tempo) -> String {
        let rest = match self {
            Self::Skeleton => skeleton::config(cast),
            Self::Routing => routing::config(cast),
            Self::Configuration => configuration::config(cast),
            Self::Health => health::config(cast, tempo),
            Self::Manipulating => manipulating::config(cast),
            Self::Algorithms => algorithms::config(cast, tempo),
            Self::Firewall => firewall::config(cast),
            Self::Guide => guide::config(cast, tempo),
        };
        let trusted = if self == Self::Firewall { "trusted_proxies = [\"127.0.0.0/8\"]\n" } else { "" };
        format!("# The course, {self}.\n[[listener]]\nbind = \"{listen}\"\n{trusted}\n{rest}")
    }

    /// Runs all cases, one after the other.
    pub async fn run(self, stage: &Stage) -> Report {
        self.run_with(stage, &|_| None, &mut |_| ()).await
    }

    /// Runs all cases for a balancer that is known not to offer those for which `not_offered` gives a
    /// reason; each verdict is told as soon as it is there.
    pub async fn run_with(
        self,
        stage: &Stage,
        not_offered: &(dyn Fn(&Case) -> Option<&'static str> + Sync),
        tell: &mut (dyn FnMut(Told<'_>) + Send),
    ) -> Report {
        let mut report = Report::new(self);
        for case in self.cases() {
            let verdict = match not_offered(case) {
                None => case.run(stage).await,
                Some(reason) => case.run_not_offered(stage, reason).await,
            };
            tell(Told { case, verdict: &verdict });
            report.add(case, verdict);
        }
        report
    }
}

/// `chapter 2: routing by host and by path`
impl fmt::Display for Chapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = if *self == Self::Guide { "" } else { "chapter " };
        let id = if *self == Self::Guide { "" } else { self.id() };
        let colon = if *self == Self::Guide { "" } else { ": " };
        write!(f, "{number}{id}{colon}{}", self.title())
    }
}

/// How fast health is checked. It goes into the configuration, and says how long a case waits for the
/// balancer to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// Between two checks of a backend.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Added to what a balancer is given to notice a change, for the slowness of the machine.
    pub slack: Duration,
}

/// Every half second, for a suite should not take long, with two seconds of slack.
impl Default for Tempo {
    fn default() -> Self {
        let half_a_second = Duration::from_millis(500);
        Self { interval: half_a_second, timeout: half_a_second, slack: Duration::from_secs(2) }
    }
}

impl Tempo {
    /// How long after a change a balancer must have noticed: an interval with its jitter and a check's
    /// timeout, and the slack.
    #[must_use]
    pub fn notice(self) -> Duration {
        self.interval * 6 / 5 + self.timeout + self.slack
    }

    /// `[pool.NAME.health_check]`, and ejections that do not outlast the checks.
    fn sections(self, pool: &str, path: &str) -> String {
        let (interval, timeout) = (self.interval.as_millis(), self.timeout.as_millis());
        format!(
            "[pool.{pool}.health_check]\npath = \"{path}\"\ninterval = \"{interval}ms\"\n\
             timeout = \"{timeout}ms\"\n\n\
             [pool.{pool}.outlier]\nbase_ejection = \"{interval}ms\"\nmax_ejection = \"{interval}ms\"\n\n"
        )
    }
}

/// `[pool.NAME]` over these members of the cast.
fn pool(cast: &Cast, name: &str, algorithm: &str, members: &[&str]) -> String {
    let backends: Vec<_> = members.iter().map(|member| format!("\"{}\"", cast.address(member))).collect();
    let backends = backends.join(", ");
    format!("[pool.{name}]\nalgorithm = \"{algorithm}\"\nbackends = [{backends}]\n\n")
}

/// `[[route]]` with these conditions.
fn route(name: &str, conditions: &str, pool: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nmatch = {{ {conditions} }}\npool = \"{pool}\"\n\n")
}

#[cfg(test)]
mod tests;

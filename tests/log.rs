//! What a balancer says that it did.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use lb_core::{pool::Transition, reason::Reason};
use lb_server::{Observer, access_log::Record};
use lb_testkit::DEADLINE;
use tokio::sync::watch;

/// A line of the access log.
#[derive(Clone, Debug)]
pub struct Line {
    /// The client, after trusted proxies have been looked through.
    pub client: IpAddr,
    /// The method, `-` when no head could be read.
    pub method: String,
    /// What the request was for.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    /// The status sent, or 499.
    pub status: u16,
    /// Why, if the balancer answered by itself or cut the answer off.
    pub reason: Option<Reason>,
    /// More about the reason.
    pub detail: String,
    /// The route's name.
    pub route: Option<String>,
    /// The pool's name.
    pub pool: Option<String>,
    /// The backend that was tried last.
    pub backend: Option<String>,
    /// How many were tried.
    pub tries: u32,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// The request's identity.
    pub request_id: String,
}

/// `503 no_healthy_backend`, `200 - mango1 2`: status, reason, the last backend and the tries.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason.map_or("-", Reason::code))?;
        match &self.backend {
            Some(backend) => write!(f, " {backend} {}", self.tries),
            None => Ok(()),
        }
    }
}

/// Everything that a balancer tells its observer.
#[derive(Default)]
pub struct Log(Arc<Collector>);

#[derive(Default)]
struct Collector(watch::Sender<State>);

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// `mango 127.0.0.1:8081 up`
    transitions: Vec<String>,
}

impl Log {
    /// What the balancer is to tell.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.0) as Arc<dyn Observer>
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.0.borrow().lines.clone()
    }

    /// Waits until there are so many lines, and gives all that there are.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait_for(&self, count: usize) -> Vec<Line> {
        self.wait_until(&format!("{count} lines"), |lines| lines.len() >= count).await
    }

    /// Waits until `enough` says so of the lines, and gives them.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Line]) -> bool) -> Vec<Line> {
        let mut states = self.0.0.subscribe();
        // Only whether: what was found holds the lock that `lines` takes as well.
        let found =
            tokio::time::timeout(DEADLINE, states.wait_for(|state| enough(&state.lines))).await.is_ok();
        assert!(found, "waited in vain for {what} in the log: {:#?}", self.lines());
        self.lines()
    }

    /// Waits until a change of a backend's standing is told whose text has all of `words`; gives the
    /// text, such as `mango 127.0.0.1:8081 up`.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait_for_transition(&self, words: &[&str]) -> String {
        let matches = |text: &&String| words.iter().all(|word| text.contains(word));
        let find = |state: &State| state.transitions.iter().find(matches).cloned();
        let mut states = self.0.0.subscribe();
        let found =
            tokio::time::timeout(DEADLINE, states.wait_for(|state| find(state).is_some())).await.is_ok();
        let state = self.0.0.borrow();
        assert!(found, "waited in vain for {words:?} among {:#?}", state.transitions);
        find(&state).unwrap_or_default()
    }

    /// Waits until a change of a backend's standing whose text has `words` in it is told for the
    /// `count`-th time.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait_for_change(&self, words: &str, count: usize) {
        let told = |state: &State| state.transitions.iter().filter(|text| text.contains(words)).count();
        let mut states = self.0.0.subscribe();
        let found =
            tokio::time::timeout(DEADLINE, states.wait_for(|state| told(state) >= count)).await.is_ok();
        assert!(
            found,
            "waited in vain for {words:?} ({count}) among {:#?}; the last lines: {:#?}",
            self.transitions(),
            self.lines().iter().rev().take(10).map(ToString::to_string).collect::<Vec<_>>()
        );
    }

    /// All changes of backends' standing, as text.
    #[must_use]
    pub fn transitions(&self) -> Vec<String> {
        self.0.0.borrow().transitions.clone()
    }
}

impl Observer for Collector {
    fn request(&self, record: &Record<'_>) {
        let line = Line {
            client: record.client,
            method: record.method.into(),
            host: record.host.into(),
            target: record.target.into(),
            version: record.version.into(),
            status: record.status,
            reason: record.reason,
            detail: record.detail.into(),
            route: record.route.map(Into::into),
            pool: record.pool.map(Into::into),
            backend: record.backend.map(Into::into),
            tries: record.tries,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            duration: record.duration,
            request_id: record.request_id.into(),
        };
        self.0.send_modify(|state| state.lines.push(line));
    }

    fn transition(&self, pool: &str, transition: &Transition) {
        let Transition { name, change, .. } = transition;
        self.0.send_modify(|state| state.transitions.push(format!("{pool} {name} {change}")));
    }
}

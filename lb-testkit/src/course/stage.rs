//! A balancer with its cast, and how cases speak to it.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Cast, Launcher, Miss, Tempo, Verdict};
use crate::{RawClient, Response};

/// How long an answer may take. The backends are near and quick.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const FIRST_LINE_SHOWN_BYTES_MAX: usize = 200;
/// Between two looks at something that no event announces.
const PACE: Duration = Duration::from_millis(5);

/// A balancer that runs, with the backends behind it.
pub struct Stage {
    /// Where the balancer listens.
    pub balancer: SocketAddr,
    /// The backends.
    pub cast: Cast,
    /// What the balancer was told about health checks.
    pub tempo: Tempo,
    /// Starts more balancers of the same kind, for the cases about starting.
    pub launcher: Option<Arc<dyn Launcher>>,
}

impl Stage {
    /// A balancer at this address before this cast, which was told the default [`Tempo`].
    #[must_use]
    pub fn new(balancer: SocketAddr, cast: Cast) -> Self {
        Self { balancer, cast, tempo: Tempo::default(), launcher: None }
    }

    /// A balancer at this base URL, such as `http://127.0.0.1:8000` or `http://localhost:8000/`.
    ///
    /// # Errors
    /// `InvalidInput` for anything else; what the system says when the name has no address.
    pub async fn at(base_url: &str, cast: Cast) -> io::Result<Self> {
        Ok(Self::new(Self::locate(base_url).await?, cast))
    }

    /// The address that a base URL means.
    ///
    /// # Errors
    /// Those of [`Stage::at`].
    pub async fn locate(base_url: &str) -> io::Result<SocketAddr> {
        let invalid = |why: &str| {
            let message = format!("{base_url}: {why}; expected something like http://127.0.0.1:8000");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let rest = match base_url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(invalid("the course speaks plain HTTP only")),
            None => return Err(invalid("a URL begins with http://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err(invalid("a host and a port is all that a base URL has"));
        }
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
        let has_port = match port.map(str::parse::<u16>) {
            None => false,
            Some(Ok(1..)) => true,
            Some(_) => return Err(invalid("a port is a number from 1 to 65535")),
        };
        let target = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let found = tokio::net::lookup_host(&target).await.map_err(|error| invalid(&error.to_string()))?;
        let found: Vec<_> = found.collect();
        let mut balancer = *found.first().ok_or_else(|| invalid("the name has no address"))?;
        // `localhost` is two addresses, and a balancer often listens at one of them only.
        for &addr in &found {
            if tokio::net::TcpStream::connect(addr).await.is_ok() {
                balancer = addr;
                break;
            }
        }
        Ok(balancer)
    }

    /// A GET of this target.
    pub(super) fn get(&self, target: &str) -> Ask {
        Ask {
            balancer: self.balancer,
            target: target.to_owned(),
            host: self.balancer.to_string(),
            headers: Vec::new(),
        }
    }

    /// The name of the member of the cast that gave this answer, as far as its text tells.
    pub(super) fn who(&self, answer: &Answer) -> Option<&'static str> {
        let text = answer.text();
        let told = |name: &str, endpoint: &str| {
            text.contains(&format!("Serving on {endpoint}."))
                || text.contains(&format!("Hello from {name}\""))
        };
        let members = self.cast.members().iter();
        let mut names = members.filter_map(|member| Some((member.role.name, member.actor()?.endpoint())));
        names.find(|(name, endpoint)| told(name, endpoint)).map(|(name, _)| name)
    }

    /// Sends `times` requests, all of which must be answered with 200 by one of `names`, and each of
    /// `names` must answer some. (With `times` of forty, a fair choice among three leaves one out once
    /// in three million runs.)
    pub(super) async fn served_by(&self, ask: &Ask, names: &[&str], times: usize, hint: &str) -> Verdict {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..times {
            let answer = ask.send().await;
            match self.who(&answer).filter(|_| answer.status() == Some(200)) {
                Some(name) if names.contains(&name) => seen.insert(name),
                _ => return Err(answer.miss(format!("200 from {}", names.join(" or ")), hint)),
            };
        }
        if seen.len() == names.len() {
            return Ok(());
        }
        let expected = format!("answers from each of {}", names.join(", "));
        Err(Miss::failed(
            format!("{times} times {ask}"),
            expected,
            format!("answers from {seen:?} only"),
            hint,
        ))
    }

    /// Repeats [`Stage::served_by`] until it holds, as long as the balancer may take to notice.
    pub(super) async fn soon_served_by(&self, ask: &Ask, names: &[&str], hint: &str) -> Verdict {
        let mut patience = self.patience();
        while let Err(miss) = self.served_by(ask, names, 40, hint).await {
            patience.again(miss).await?;
        }
        Ok(())
    }

    /// Repeats a request until its answer is as it should be, as long as the balancer may take to notice.
    pub(super) async fn soon(&self, ask: &Ask, check: impl Fn(&Answer) -> Verdict) -> Verdict {
        let mut patience = self.patience();
        while let Err(miss) = check(&ask.send().await) {
            patience.again(miss).await?;
        }
        Ok(())
    }

    /// Waits until a member of the cast has been probed twice more.
    pub(super) async fn probed_twice(&self, name: &str, hint: &str) -> Verdict {
        let actor = self.cast.the(name)?;
        let before = actor.checks().await?.len();
        let mut patience = self.patience_for(self.tempo.notice() * 2);
        loop {
            let came = actor.checks().await?.len().saturating_sub(before);
            if came >= 2 {
                return Ok(());
            }
            let expected = format!("two health checks of {name}");
            patience.again(Miss::failed("nothing", expected, format!("{came} of them"), hint)).await?;
        }
    }

    /// As long as the balancer may take to notice a change.
    pub(super) fn patience(&self) -> Patience {
        self.patience_for(self.tempo.notice())
    }

    fn patience_for(&self, notice: Duration) -> Patience {
        Patience { notice, until: Instant::now() + notice }
    }
}

/// A bounded number of further looks.
pub(super) struct Patience {
    notice: Duration,
    until: Instant,
}

impl Patience {
    /// Pauses before another look, or gives up with what was missed at the last one.
    pub(super) async fn again(&mut self, miss: Miss) -> Verdict {
        if Instant::now() < self.until {
            tokio::time::sleep(PACE).await;
            return Ok(());
        }
        Err(match miss {
            Miss::Failed(mut failure) => {
                failure.expected += &format!(", within {:?}", self.notice);
                Miss::Failed(failure)
            }
            other => other,
        })
    }
}

/// A request of a case, on a connection of its own.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    balancer: SocketAddr,
    target: String,
    host: String,
    headers: Vec<(&'static str, String)>,
}

impl Ask {
    /// Sends it to this balancer instead.
    pub(super) fn at(self, balancer: SocketAddr) -> Self {
        Self { balancer, ..self }
    }

    pub(super) fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) async fn send(&self) -> Answer {
        let came = async {
            let mut client = self.start().await?;
            let response = client.response().await?;
            let is_http = response.head.word(0).starts_with("HTTP/1.");
            let no_http =
                || format!("not an HTTP response: {:?}", String::from_utf8_lossy(first_line(&response)));
            if is_http { Ok(response) } else { Err(io::Error::new(io::ErrorKind::InvalidData, no_http())) }
        };
        let overdue = |_| {
            let message = format!("it is not whole after {ANSWER_MAX:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        };
        let came = tokio::time::timeout(ANSWER_MAX, came).await.unwrap_or_else(overdue);
        Answer { sent: self.to_string(), came }
    }

    /// Sends the request and leaves the answer to be read.
    pub(super) async fn start(&self) -> io::Result<RawClient> {
        let mut head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.target, self.host);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "User-Agent: lb-course\r\nConnection: close\r\n\r\n";
        let mut client = RawClient::connect(self.balancer).await?;
        client.send(head).await?;
        Ok(client)
    }
}

/// `GET / with Host: www.mango.com`
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {} with Host: {}", self.target, self.host)?;
        self.headers.iter().try_for_each(|(name, value)| write!(f, " and {name}: {value}"))
    }
}

fn first_line(response: &Response) -> &[u8] {
    let raw = &response.head.raw[..response.head.raw.len().min(FIRST_LINE_SHOWN_BYTES_MAX)];
    raw.split(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// Where to look when there is no answer at all, whatever the case is about.
fn on_silence(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "Nothing listens there: has the balancer ended?",
        io::ErrorKind::TimedOut => {
            "Does the balancer wait for what does not come: the end of the request's connection, or an answer \
             of a backend for which it serves nobody else?"
        }
        io::ErrorKind::InvalidData => "A response begins with a line like `HTTP/1.1 200 OK`.",
        _ => {
            "The balancer ended the connection without a whole head (a line like `HTTP/1.1 200 OK`, fields, an \
             empty line). Does it read the request to its empty line? An error of its own often does this: see \
             what it wrote."
        }
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The request, for a person.
    pub sent: String,
    /// The answer, or why there is none.
    pub came: io::Result<Response>,
}

impl Answer {
    /// The status of an answer that came whole.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.came.as_ref().ok().filter(|response| response.body.is_complete()).map(Response::status)
    }

    /// The body as text; empty without an answer.
    #[must_use]
    pub fn text(&self) -> String {
        self.came.as_ref().map(|response| response.body.text()).unwrap_or_default()
    }

    pub(super) fn miss(&self, expected: impl Into<String>, hint: &str) -> Miss {
        match &self.came {
            Ok(response) => Miss::failed(self.sent.as_str(), expected, response.to_string(), hint),
            Err(error) => {
                let hint = format!("{} {hint}", on_silence(error.kind()));
                Miss::failed(self.sent.as_str(), expected, format!("no answer: {error}"), &hint)
            }
        }
    }

    pub(super) fn must(&self, holds: bool, expected: impl Into<String>, hint: &str) -> Verdict {
        if holds { Ok(()) } else { Err(self.miss(expected, hint)) }
    }

    /// This status, and a body that contains `part`.
    pub(super) fn contains(&self, status: u16, part: &str, hint: &str) -> Verdict {
        let holds = self.status() == Some(status) && self.text().contains(part);
        self.must(holds, format!("{status} with a body that contains {part:?}"), hint)
    }

    /// This status, and this very body (white space around it apart).
    pub(super) fn is(&self, status: u16, body: &str, hint: &str) -> Verdict {
        let holds = self.status() == Some(status) && self.text().trim() == body;
        self.must(holds, format!("{status} {body:?}"), hint)
    }
}

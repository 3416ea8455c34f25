//! Whether a server is well, asked as a container's health check asks: once, with a bounded wait, and
//! with a sentence as the answer.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::RawClient;

/// Why a server counts as not well.
#[derive(Debug)]
pub enum Unwell {
    /// The URL is none that can be asked, for this reason.
    Url(&'static str),
    /// There was no answer.
    NoAnswer(io::Error),
    /// There was no answer within this time.
    Overdue(Duration),
    /// The answer was not of the 2xx kind.
    Status(u16),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => f.write_str(why),
            Self::NoAnswer(error) => write!(f, "no answer: {error}"),
            Self::Overdue(timeout) => write!(f, "no answer within {timeout:?}"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

impl std::error::Error for Unwell {}

/// `GET url` on a connection of its own; gives the status if it is 2xx. Redirects are not followed. The
/// timeout is for all of it: finding the address, connecting, and the whole head of the answer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use lb_testkit::{Backend, probe};
/// use std::time::Duration;
/// let mango = Backend::mango().start().await.unwrap();
/// let url = format!("http://{}/healthcheck", mango.addr());
/// assert_eq!(probe::get(&url, Duration::from_secs(2)).await.unwrap(), 200);
/// # });
/// ```
///
/// # Errors
/// Why the server counts as not well.
pub async fn get(url: &str, timeout: Duration) -> Result<u16, Unwell> {
    let Url { authority, host, port, target } = Url::parse(url).map_err(Unwell::Url)?;
    let asking = async {
        // The timeout of the whole strikes first.
        let mut client = RawClient::over(TcpStream::connect((host, port)).await?).deadline(timeout * 2);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: lb-probe\r\nConnection: close\r\n\r\n"
        );
        client.send(head).await?;
        loop {
            match client.head().await? {
                None => return Err(io::Error::other("the connection was closed instead")),
                Some(head) if (100..=199).contains(&head.status()) => {}
                Some(head) => return Ok(head.status()),
            }
        }
    };
    match within(timeout, asking).await? {
        status @ 200..=299 => Ok(status),
        status => Err(Unwell::Status(status)),
    }
}

/// Connects, says at once that nothing will be sent, and waits for the server to end the connection too.
/// It shows that connections are accepted and served, whatever is spoken there, and makes no request.
///
/// # Errors
/// Why the server counts as not well.
pub async fn accepts(addr: SocketAddr, timeout: Duration) -> Result<(), Unwell> {
    let asking = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.shutdown().await?;
        // A server may speak first, or reset what it has no use for: either way it is there.
        match stream.read(&mut [0; 64]).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    };
    within(timeout, asking).await
}

/// Where what listens at this address is reached from the same machine: at the loopback address, if it
/// listens at all of them.
#[must_use]
pub fn within_reach(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn within<T>(timeout: Duration, asking: impl Future<Output = io::Result<T>>) -> Result<T, Unwell> {
    let answer = timeout_at(Instant::now() + timeout, asking).await;
    answer.map_err(|_| Unwell::Overdue(timeout))?.map_err(Unwell::NoAnswer)
}

/// What is needed of `http://host:port/target`.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// `host:port` as written: the Host.
    authority: &'a str,
    /// Without the brackets of an IPv6 address.
    host: &'a str,
    port: u16,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, &'static str> {
        // Whatever is no visible ASCII could end the request's line, or is to be percent-encoded.
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the URL has characters that no URL has");
        }
        let (scheme, rest) = url.split_once("://").ok_or("the URL does not begin with http://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("only http:// can be asked");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => rest.split_at(at),
            Some(_) => return Err("the URL has a query but no path"),
            None => (rest, "/"),
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("the URL's port is no number")?)),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || authority.contains('@') {
            return Err("the URL has no plain host");
        }
        let port = port.map_or(Ok(80), str::parse).map_err(|_| "the URL's port is no number")?;
        Ok(Self { authority, host, port, target })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{Backend, Behaviour, DEADLINE, OnAccept, Port};

    const SHORT: Duration = Duration::from_millis(200);

    #[rstest]
    #[case("http://a", Ok(("a", "a", 80, "/")))]
    #[case("HTTP://a.b:81", Ok(("a.b:81", "a.b", 81, "/")))]
    #[case("http://127.0.0.1:8081/healthcheck?a=b", Ok(("127.0.0.1:8081", "127.0.0.1", 8081, "/healthcheck?a=b")))]
    #[case("http://[::1]:81/a#part", Ok(("[::1]:81", "::1", 81, "/a")))]
    #[case("http://[::1]", Ok(("[::1]", "::1", 80, "/")))]
    #[case("https://a/", Err("only http://"))]
    #[case("127.0.0.1:81", Err("begin with http://"))]
    #[case("http://", Err("no plain host"))]
    #[case("http://:81/", Err("no plain host"))]
    #[case("http://u@a/", Err("no plain host"))]
    #[case("http://a?b", Err("no path"))]
    #[case("http://a:65536/", Err("no number"))]
    #[case("http://a:/", Err("no number"))]
    #[case("http://[::1]81/", Err("no number"))]
    #[case("http://::1/", Err("no plain host"))]
    #[case("http://a/ b", Err("characters"))]
    #[case("http://a/\r\nX: y", Err("characters"))]
    #[case("http://\u{e4}/", Err("characters"))]
    fn urls(#[case] url: &str, #[case] expected: Result<(&str, &str, u16, &str), &str>) {
        match (Url::parse(url), expected) {
            (Ok(Url { authority, host, port, target }), Ok(expected)) => {
                assert_eq!((authority, host, port, target), expected);
            }
            (Err(said), Err(part)) => assert!(said.contains(part), "{said}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[rstest]
    #[case("0.0.0.0:1", "127.0.0.1:1")]
    #[case("[::]:1", "[::1]:1")]
    #[case("10.0.0.1:2", "10.0.0.1:2")]
    fn reach(#[case] listen: &str, #[case] expected: &str) {
        assert_eq!(within_reach(listen.parse().unwrap()).to_string(), expected);
    }

    async fn said(backend: &Backend) -> String {
        match get(&format!("http://{}/health?a", backend.addr()), SHORT).await {
            Ok(status) => format!("well: {status}"),
            Err(unwell) => unwell.to_string(),
        }
    }

    #[rstest]
    #[case(Behaviour::own(), "well: 200")]
    #[case(Behaviour::status(204), "well: 204")]
    #[case(Behaviour::own().interim("HTTP/1.1 103 Early Hints\r\n\r\n"), "well: 200")]
    #[case(Behaviour::status(302), "status 302")]
    #[case(Behaviour::status(503), "status 503")]
    #[case(Behaviour::close(), "no answer: the connection was closed instead")]
    #[case(Behaviour::reset(), "no answer: Connection reset by peer (os error 104)")]
    #[case(Behaviour::hang(), "no answer within 200ms")]
    #[case(Behaviour::raw("HTTP/1.1 100 Continue\r\n\r\n").end(crate::End::Hang), "no answer within 200ms")]
    #[tokio::test]
    async fn answers(#[case] behaviour: Behaviour, #[case] expected: &str) {
        let backend = Backend::mango().behaviour(behaviour).start().await.unwrap();
        assert_eq!(said(&backend).await, expected);
        let asked = &backend.health_checks()[0];
        assert_eq!(asked.target(), "/health?a");
        assert_eq!(asked.header("host"), Some(backend.addr().to_string().as_str()));
    }

    #[tokio::test]
    async fn nobody_is_there() {
        let port = Port::free().unwrap();
        let url = format!("http://{}/", port.addr());
        let unwell = get(&url, DEADLINE).await.unwrap_err();
        assert!(
            matches!(&unwell, Unwell::NoAnswer(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(accepts(port.addr(), DEADLINE).await.is_err());
    }

    #[tokio::test]
    async fn whoever_ends_a_connection_that_ended_is_there() {
        let backend = Backend::mango().start().await.unwrap();
        accepts(backend.addr(), DEADLINE).await.unwrap();
        backend.on_accept(OnAccept::Reset);
        accepts(backend.addr(), DEADLINE).await.unwrap();
        assert_eq!(backend.requests().len() + backend.health_checks().len(), 0);
    }

    /// The kernel of a process that hangs accepts connections all the same.
    #[tokio::test]
    async fn whoever_hangs_is_not_there() {
        let port = Port::free().unwrap();
        let _never_accepts = port.listen().unwrap();
        let unwell = accepts(port.addr(), SHORT).await.unwrap_err();
        assert!(matches!(unwell, Unwell::Overdue(SHORT)), "{unwell}");
    }
}

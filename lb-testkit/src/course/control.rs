//! The control of a backend in another process or container: what cases ask of an [`Actor`], over HTTP.
//!
//! | request | what the backend does |
//! |---|---|
//! | `POST /reset` | answers as usual, holds nothing, forgets what it saw |
//! | `POST /check-up/normal`, `/check-up/hang`, `/check-up/503` | answers health checks so |
//! | `POST /hold` | lets requests that are no health checks wait |
//! | `POST /release/3` | answers three of those that wait |
//! | `POST /large/1000000` | answers `GET /large` with so many bytes, slowly |
//! | `GET /targets` | gives the targets of the requests since the reset, a line each |
//! | `GET /checks` | gives the paths of the health checks since the reset, a line each |

use std::{convert::Infallible, fmt, io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use super::{
    CheckUp,
    actor::{Actor, Here},
};
use crate::{Backend, Behaviour, Head, RawClient, wire::Wire};

/// How long one command may take; they are served one after the other.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// The large answer comes in these pieces, with this pause after each.
const PIECE_BYTES: usize = 1 << 16;
const PIECE_PAUSE: Duration = Duration::from_millis(20);

/// A word to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Reset,
    CheckUp(CheckUp),
    Hold,
    Release(usize),
    Large(u64),
    Targets,
    Checks,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => write!(f, "POST /reset"),
            Self::CheckUp(CheckUp::Normal) => write!(f, "POST /check-up/normal"),
            Self::CheckUp(CheckUp::Hang) => write!(f, "POST /check-up/hang"),
            Self::CheckUp(CheckUp::Status(status)) => write!(f, "POST /check-up/{status}"),
            Self::Hold => write!(f, "POST /hold"),
            Self::Release(requests) => write!(f, "POST /release/{requests}"),
            Self::Large(length_bytes) => write!(f, "POST /large/{length_bytes}"),
            Self::Targets => write!(f, "GET /targets"),
            Self::Checks => write!(f, "GET /checks"),
        }
    }
}

impl Command {
    fn parse(head: &Head) -> Option<Self> {
        let mut words = head.word(1).strip_prefix('/')?.split('/');
        let command = match (head.word(0), words.next()?, words.next()) {
            ("POST", "reset", None) => Self::Reset,
            ("POST", "check-up", Some("normal")) => Self::CheckUp(CheckUp::Normal),
            ("POST", "check-up", Some("hang")) => Self::CheckUp(CheckUp::Hang),
            ("POST", "check-up", Some(status)) => {
                let status = status.parse().ok().filter(|status| (200..=599).contains(status))?;
                Self::CheckUp(CheckUp::Status(status))
            }
            ("POST", "hold", None) => Self::Hold,
            ("POST", "release", Some(requests)) => Self::Release(requests.parse().ok()?),
            ("POST", "large", Some(length_bytes)) => Self::Large(length_bytes.parse().ok()?),
            ("GET", "targets", None) => Self::Targets,
            ("GET", "checks", None) => Self::Checks,
            _ => return None,
        };
        words.next().is_none().then_some(command)
    }
}

/// Lets whoever connects to this listener command the backend, until this future is dropped.
pub async fn serve(listener: TcpListener, backend: Backend) -> Infallible {
    let here = Here::new(backend);
    loop {
        match listener.accept().await {
            // What a client does wrong is told to it, as far as it listens.
            Ok((stream, _)) => drop(tokio::time::timeout(COMMAND_TIMEOUT, answer(stream, &here)).await),
            // Out of file descriptors, most likely: others may need time to give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn answer(stream: TcpStream, here: &Here) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    let Some(head) = wire.head().await? else { return Ok(()) };
    let (status, lines) = match Command::parse(&head) {
        None => ("404 Not Found", vec![format!("no such command: {}", head.start)]),
        Some(command) => match obey(command, here).await {
            Ok(lines) => ("200 OK", lines),
            Err(error) => ("500 Internal Server Error", vec![error.to_string()]),
        },
    };
    let body: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    wire.write(answer.as_bytes()).await?;
    wire.close().await;
    Ok(())
}

async fn obey(command: Command, here: &Here) -> io::Result<Vec<String>> {
    match command {
        Command::Reset => here.reset().await?,
        Command::CheckUp(answer) => here.check_up(answer).await?,
        Command::Hold => here.hold().await?,
        Command::Release(requests) => here.release(requests).await?,
        Command::Large(length_bytes) => {
            let large = Behaviour::pattern(length_bytes).paced(PIECE_BYTES, PIECE_PAUSE);
            here.backend().behave_at("/large", large);
        }
        Command::Targets => return here.targets().await,
        Command::Checks => return here.checks().await,
    }
    Ok(Vec::new())
}

/// Commands a backend at a distance: the other end of [`serve`], with what an [`Actor`] needs that cannot
/// be done from outside.
#[derive(Clone, Copy, Debug)]
pub struct Control(SocketAddr);

impl Control {
    /// Of the backend whose control listens at this address.
    #[must_use]
    pub fn at(addr: SocketAddr) -> Self {
        Self(addr)
    }

    /// See [`Actor::reset`].
    ///
    /// # Errors
    /// When the backend cannot be reached, or says that it could not do it. So it is with all of these.
    pub async fn reset(&self) -> io::Result<()> {
        self.say(Command::Reset).await.map(drop)
    }

    /// See [`Actor::check_up`].
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn check_up(&self, answer: CheckUp) -> io::Result<()> {
        self.say(Command::CheckUp(answer)).await.map(drop)
    }

    /// See [`Actor::hold`].
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn hold(&self) -> io::Result<()> {
        self.say(Command::Hold).await.map(drop)
    }

    /// See [`Actor::release`].
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn release(&self, requests: usize) -> io::Result<()> {
        self.say(Command::Release(requests)).await.map(drop)
    }

    /// `GET /large` is answered with so many bytes of [`pattern`](crate::pattern()) from now on, at some
    /// three MiB a second.
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn large(&self, length_bytes: u64) -> io::Result<()> {
        self.say(Command::Large(length_bytes)).await.map(drop)
    }

    /// See [`Actor::targets`].
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn targets(&self) -> io::Result<Vec<String>> {
        self.say(Command::Targets).await
    }

    /// See [`Actor::checks`].
    ///
    /// # Errors
    /// Like [`Control::reset`].
    pub async fn checks(&self) -> io::Result<Vec<String>> {
        self.say(Command::Checks).await
    }

    async fn say(&self, command: Command) -> io::Result<Vec<String>> {
        let mut client = RawClient::connect(self.0).await?;
        client.send(format!("{command} HTTP/1.1\r\nHost: {}\r\n\r\n", self.0)).await?;
        let answer = client.response().await?;
        if answer.status() != 200 || !answer.body.is_complete() {
            return Err(io::Error::other(format!("{command}: {answer}")));
        }
        Ok(answer.body.text().lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_as_they_are_said() {
        let commands = [
            Command::Reset,
            Command::CheckUp(CheckUp::Normal),
            Command::CheckUp(CheckUp::Hang),
            Command::CheckUp(CheckUp::Status(503)),
            Command::Hold,
            Command::Release(3),
            Command::Large(1 << 40),
            Command::Targets,
            Command::Checks,
        ];
        for command in commands {
            let head = Head::parse(format!("{command} HTTP/1.1\r\n\r\n").into_bytes());
            assert_eq!(Command::parse(&head), Some(command));
        }
    }

    #[test]
    fn nothing_else_is_a_command() {
        for start in [
            "",
            "POST",
            "POST /",
            "GET /reset",
            "POST /reset/1",
            "POST /reset?",
            "POST /check-up",
            "POST /check-up/99",
            "POST /check-up/65536",
            "POST /release/-1",
            "POST /release/3/4",
            "POST reset",
            "get /checks",
        ] {
            let head = Head::parse(format!("{start}\r\n\r\n").into_bytes());
            assert_eq!(Command::parse(&head), None, "{start}");
        }
    }

    /// The control of a backend that runs in this process, and its client.
    async fn controlled() -> (RawClient, SocketAddr, Control, tokio::task::JoinHandle<Infallible>) {
        let backend = Backend::mango().start().await.unwrap();
        let addr = backend.addr();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control_addr = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, backend));
        (RawClient::connect(addr).await.unwrap(), control_addr, Control::at(control_addr), served)
    }

    #[tokio::test]
    async fn a_backend_obeys() -> io::Result<()> {
        let (mut client, _, control, _served) = controlled().await;
        control.check_up(CheckUp::Status(503)).await?;
        assert_eq!(client.get("/healthcheck", "a").await?.status(), 503);
        control.check_up(CheckUp::Normal).await?;
        assert_eq!(client.get("/health?b", "a").await?.status(), 200);
        assert_eq!(control.checks().await?, ["/healthcheck", "/health"]);

        control.hold().await?;
        client.send("GET /c?d HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        while control.targets().await? != ["/c?d"] {
            tokio::task::yield_now().await;
        }
        control.release(1).await?;
        assert_eq!(client.response().await?.status(), 200);

        control.reset().await?;
        assert!(control.targets().await?.is_empty() && control.checks().await?.is_empty());
        assert_eq!(client.get("/", "a").await?.status(), 200);

        control.large(100_000).await?;
        assert_eq!(client.get("/large", "a").await?.body.length_bytes, 100_000);
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_command_is_told() -> io::Result<()> {
        let (_, addr, control, _served) = controlled().await;
        let answer = RawClient::connect(addr).await?.get("/nothing", "a").await?;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.body.text(), "no such command: GET /nothing HTTP/1.1\n");
        // One who connects and says nothing holds up the others for a bounded time.
        let _silent = RawClient::connect(addr).await?;
        control.reset().await
    }
}

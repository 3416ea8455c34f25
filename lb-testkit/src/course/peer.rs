//! nginx and HAProxy under the chapters: chapter 8.

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Case, Cast, Chapter, Tempo, process};
use process::{Listening, Process, told};

/// An open-source balancer that can be judged beside `lb`, with configurations that mean the same as the
/// chapters' as far as it goes. They are in this crate's `peers` directory; `{{...}}` are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// nginx, as open source.
    Nginx,
    /// HAProxy.
    HaProxy,
}

/// The chapters that chapter 8 runs against others.
const CHAPTERS: [Chapter; 5] =
    [Chapter::Routing, Chapter::Health, Chapter::Manipulating, Chapter::Algorithms, Chapter::Firewall];

/// How long a peer may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

const NO_ACTIVE_CHECKS: &str = "open-source nginx has no active health checks (its commercial edition has): it \
                                learns of a backend's trouble from real requests only";
const NO_HOST_OF_THE_SERVER: &str = "nginx makes the request's head before it chooses a server of the upstream \
                                     group, so Host cannot name the server that was chosen";

impl Peer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Nginx, Self::HaProxy];

    /// `nginx`, `HAProxy`
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    /// The Debian package that it comes in.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::HaProxy => "haproxy",
        }
    }

    /// The chapters that it is judged by.
    #[must_use]
    pub const fn chapters(self) -> [Chapter; 5] {
        CHAPTERS
    }

    /// Where it is installed, if it is.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Users other than root often have no /usr/sbin in their path.
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        folders.map(|folder| folder.join(name)).find(|program| program.is_file())
    }

    /// Why it cannot pass this case, as far as that is known.
    #[must_use]
    pub fn not_offered(self, case: &Case) -> Option<&'static str> {
        if self != Self::Nginx {
            return None;
        }
        match (case.chapter, case.name) {
            (
                Chapter::Health,
                "each_backend_is_probed"
                | "a_2xx_is_healthy"
                | "another_status_is_not"
                | "a_timeout_is_not"
                | "a_backend_that_recovers_is_picked_again",
            ) => Some(NO_ACTIVE_CHECKS),
            (
                Chapter::Manipulating,
                "a_header_is_removed" | "all_at_once" | "paths_answer_with_the_endpoint",
            ) => Some(NO_HOST_OF_THE_SERVER),
            _ => None,
        }
    }

    /// Its configuration for this chapter, with places to fill in.
    fn template(self, chapter: Chapter) -> Option<&'static str> {
        macro_rules! template {
            ($name:literal) => {
                Some(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/", $name)))
            };
        }
        match (self, chapter) {
            (Self::Nginx, Chapter::Routing) => template!("nginx/2-routing.conf"),
            (Self::Nginx, Chapter::Health) => template!("nginx/4-health.conf"),
            (Self::Nginx, Chapter::Manipulating) => template!("nginx/5-manipulating.conf"),
            (Self::Nginx, Chapter::Algorithms) => template!("nginx/6-algorithms.conf"),
            (Self::Nginx, Chapter::Firewall) => template!("nginx/7-firewall.conf"),
            (Self::HaProxy, Chapter::Routing) => template!("haproxy/2-routing.cfg"),
            (Self::HaProxy, Chapter::Health) => template!("haproxy/4-health.cfg"),
            (Self::HaProxy, Chapter::Manipulating) => template!("haproxy/5-manipulating.cfg"),
            (Self::HaProxy, Chapter::Algorithms) => template!("haproxy/6-algorithms.cfg"),
            (Self::HaProxy, Chapter::Firewall) => template!("haproxy/7-firewall.cfg"),
            _ => None,
        }
    }

    /// Its configuration for this chapter, for a balancer at `listen` before this cast; none for a chapter
    /// that it is not judged by. `dir` is a directory for its own files.
    #[must_use]
    pub fn config(
        self,
        chapter: Chapter,
        listen: SocketAddr,
        cast: &Cast,
        tempo: Tempo,
        dir: &str,
    ) -> Option<String> {
        let common = match self {
            Self::Nginx => include_str!("../../peers/nginx/common.conf"),
            Self::HaProxy => include_str!("../../peers/haproxy/common.cfg"),
        };
        let files = include_str!("../../peers/nginx/files.conf").trim_end().replace('\n', "\n    ");
        let mut text = self.template(chapter)?.replace("{{common}}", common.trim_end());
        text = text.replace("{{files}}", &files);
        let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
        let mut fill = |place: &str, with: &str| text = text.replace(&format!("{{{{{place}}}}}"), with);
        fill("dir", dir);
        fill("listen", &listen.to_string());
        fill("interval", &milliseconds(tempo.interval));
        fill("timeout", &milliseconds(tempo.timeout));
        for member in cast.members() {
            fill(member.role.name, &member.addr().to_string());
        }
        Some(text)
    }

    /// Starts it with this chapter's configuration and waits until it listens.
    ///
    /// # Errors
    /// `NotFound` when it is not installed, `Unsupported` for a chapter that it is not judged by; what it
    /// wrote when it does not start.
    pub async fn start(
        self,
        chapter: Chapter,
        listen: SocketAddr,
        cast: &Cast,
        tempo: Tempo,
    ) -> io::Result<RunningPeer> {
        let name = self.name();
        let missing = || {
            let message = format!("{name} is not installed (Debian package {})", self.package());
            io::Error::new(io::ErrorKind::NotFound, message)
        };
        let program = self.program().ok_or_else(missing)?;
        let dir = tempfile::Builder::new().prefix("course-peer-").tempdir()?;
        let path = dir.path().display().to_string();
        let Some(config) = self.config(chapter, listen, cast, tempo, &path) else {
            let message = format!("{name} is not judged by {chapter}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        };
        fs::write(dir.path().join("config"), config)?;
        let program = program.display();
        let command = match self {
            Self::Nginx => format!("exec '{program}' -p '{path}' -c '{path}/config' -e stderr"),
            Self::HaProxy => format!("exec '{program}' -db -f '{path}/config'"),
        };
        let mut process = Process::start(&command, &[])?;
        let went = match process.listens(listen, PATIENCE).await? {
            Listening::Yes => return Ok(RunningPeer { process, _dir: dir }),
            Listening::Ended(status) => format!("ended with {}", told(status)),
            Listening::NotYet => format!("does not listen at {listen} after {PATIENCE:?}"),
        };
        Err(io::Error::other(format!("{name} {went}:\n{}", process.output())))
    }

    /// Runs a chapter's suite against it, with a cast of its own.
    ///
    /// # Errors
    /// Like [`Peer::start`]; when the cast cannot be started.
    pub async fn judge(
        self,
        chapter: Chapter,
        tempo: Tempo,
        tell: &mut (dyn FnMut(super::Told<'_>) + Send),
    ) -> io::Result<super::Report> {
        let cast = Cast::start(chapter, super::Ports::Free).await?;
        let listen = super::free_listen_address()?;
        let running = self.start(chapter, listen, &cast, tempo).await?;
        let stage = super::Stage { tempo, ..super::Stage::new(listen, cast) };
        let report = chapter.run_with(&stage, &|case| self.not_offered(case), tell).await;
        running.end().await;
        Ok(report)
    }
}

/// A peer that runs, until this value is dropped.
#[derive(Debug)]
pub struct RunningPeer {
    process: Process,
    _dir: tempfile::TempDir,
}

impl RunningPeer {
    /// Ends it.
    pub async fn end(self) {
        self.process.end().await;
    }
}

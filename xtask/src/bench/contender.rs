//! The programs under test: what they are, their versions, and how one is started and ended.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    backend::PROBE_BYTES,
    sys::{self, Usage},
};

const ROUTES: usize = 10;
/// How long a contender may take until it answers; much longer under valgrind.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(5);
const END_UNDER_VALGRIND: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lb,
    Nginx,
    HaProxy,
    Caddy,
}

/// A program that takes part.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) kind: Kind,
    program: PathBuf,
    pub(super) version: String,
}

/// How much of it is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    Plain,
    Everything,
}

impl Contender {
    pub(super) fn lb(name: &str, program: &Path) -> Result<Self, String> {
        let version = output(program, &["--version"])
            .map(|said| number(&said))
            .ok_or_else(|| format!("{}: cannot be run with --version", program.display()))?;
        let (name, program) = (name.to_owned(), program.to_owned());
        Ok(Self { name, kind: Kind::Lb, program, version })
    }

    /// The peers that are installed, and the names of those that are not, with how to get them.
    pub(super) fn peers() -> (Vec<Self>, Vec<String>) {
        let peers = [
            ("nginx", Kind::Nginx, "-v", "apt-get install nginx-light"),
            ("haproxy", Kind::HaProxy, "-v", "apt-get install haproxy"),
            ("caddy", Kind::Caddy, "version", "https://caddyserver.com/docs/install"),
        ];
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, kind, argument, install) in peers {
            let Some(program) = find(name) else {
                missing.push(format!("{name} ({install})"));
                continue;
            };
            let version = output(&program, &[argument]).map(|said| number(&said)).unwrap_or_default();
            found.push(Self { name: name.into(), kind, program, version });
        }
        (found, missing)
    }

    fn template(&self, setup: Setup) -> &'static str {
        match (self.kind, setup) {
            (Kind::Lb, Setup::Plain) => include_str!("../../bench/peers/lb.toml"),
            (Kind::Lb, Setup::Everything) => include_str!("../../bench/peers/lb-everything.toml"),
            (Kind::Nginx, Setup::Plain) => include_str!("../../bench/peers/nginx.conf"),
            (Kind::Nginx, Setup::Everything) => include_str!("../../bench/peers/nginx-everything.conf"),
            (Kind::HaProxy, Setup::Plain) => include_str!("../../bench/peers/haproxy.cfg"),
            (Kind::HaProxy, Setup::Everything) => include_str!("../../bench/peers/haproxy-everything.cfg"),
            (Kind::Caddy, Setup::Plain) => include_str!("../../bench/peers/Caddyfile"),
            (Kind::Caddy, Setup::Everything) => include_str!("../../bench/peers/Caddyfile-everything"),
        }
    }

    /// Its arguments, given the file of its configuration.
    fn arguments(&self, config: &Path) -> Vec<String> {
        let config = config.display().to_string();
        let words: &[&str] = match self.kind {
            Kind::Lb => &["run", "-c", &config],
            Kind::Nginx => &["-c", &config, "-e", "stderr"],
            Kind::HaProxy => &["-db", "-f", &config],
            Kind::Caddy => &["run", "--adapter", "caddyfile", "--config", &config],
        };
        words.iter().map(|&word| word.to_owned()).collect()
    }
}

/// Where and how to start a contender.
#[derive(Clone, Debug)]
pub(super) struct Stage<'a> {
    /// Where it may run.
    pub(super) cpus: Vec<usize>,
    pub(super) workers: usize,
    pub(super) backends: [SocketAddr; 2],
    /// A directory for its files; emptied first.
    pub(super) dir: PathBuf,
    pub(super) setup: Setup,
    /// Words before the program: a valgrind command.
    pub(super) under: &'a [String],
}

/// A contender that runs. Ended when dropped, however that comes about: if this process dies without
/// dropping it, the kernel sends it TERM.
pub(super) struct Running {
    child: Child,
    pub(super) address: SocketAddr,
    patience: Duration,
}

impl Running {
    /// Starts it, waits until it answers, and makes sure that it does what all have to do.
    pub(super) fn start(contender: &Contender, stage: &Stage<'_>) -> Result<Self, String> {
        let fail = |what: &str, error: io::Error| format!("{}: {what}: {error}", contender.name);
        // What is left of an earlier run.
        let _ = fs::remove_dir_all(&stage.dir);
        fs::create_dir_all(&stage.dir).map_err(|error| fail("its directory", error))?;
        let dir = stage.dir.canonicalize().map_err(|error| fail("its directory", error))?;
        let address = free_address().map_err(|error| fail("a free port", error))?;
        let config = dir.join("config");
        let text = fill(contender.template(stage.setup), &dir, address, stage);
        fs::write(&config, text).map_err(|error| fail("its configuration", error))?;
        let log = |name: &str| File::create(dir.join(name)).map_err(|error| fail("its log", error));

        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &list(&stage.cpus)])
            .args(stage.under)
            .arg(&contender.program)
            .args(contender.arguments(&config))
            .env("GOMAXPROCS", stage.workers.to_string())
            .env("LB_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log("stdout")?)
            .stderr(log("stderr")?)
            .spawn()
            .map_err(|error| fail("cannot start it (setpriv and taskset are of util-linux)", error))?;
        let patience = if stage.under.is_empty() { END } else { END_UNDER_VALGRIND };
        let mut running = Self { child, address, patience };
        running.wait_until_ready(stage.setup).map_err(|error| {
            let said = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
            format!("{}: {error}\n{}", contender.name, said.trim_end())
        })?;
        Ok(running)
    }

    fn wait_until_ready(&mut self, setup: Setup) -> Result<(), String> {
        let until = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended at once: {status}"));
            }
            match probe(self.address, setup) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(format!("no good answer: {error}")),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Ends it, and waits until it has ended.
    pub(super) fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        sys::signal(self.child.id(), Signal::TERM);
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks for the probe: 200 shows that X-Forwarded-For reached the backend.
fn probe(address: SocketAddr, setup: Setup) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let path = match setup {
        Setup::Plain => "/probe",
        Setup::Everything => "/app7/probe",
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let lower = answer.to_ascii_lowercase();
    let length = format!("content-length: {PROBE_BYTES}\r\n");
    let edited = setup == Setup::Plain || lower.contains("x-content-type-options: nosniff");
    if lower.starts_with("http/1.1 200") && lower.contains(&length) && edited {
        return Ok(());
    }
    Err(io::Error::other(format!("{answer:?}")))
}

/// Fills in a template: `{{name}}`, and lines between `{{#routes}}` and `{{/routes}}` once for each route.
fn fill(template: &str, dir: &Path, address: SocketAddr, stage: &Stage<'_>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{#routes}}\n") {
        let (body, after) = after.split_once("{{/routes}}\n").unwrap_or((after, ""));
        text.push_str(before);
        for n in 0..ROUTES {
            text.push_str(&body.replace("{{n}}", &n.to_string()));
        }
        rest = after;
    }
    text.push_str(rest);
    text.replace("{{dir}}", &dir.display().to_string())
        .replace("{{port}}", &address.port().to_string())
        .replace("{{workers}}", &stage.workers.to_string())
        .replace("{{backend1}}", &stage.backends[0].to_string())
        .replace("{{backend2}}", &stage.backends[1].to_string())
}

/// CPUs as taskset takes them.
fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Looks for a program on the PATH and where Debian keeps its daemons.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The first line that a program says.
pub(super) fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Some(String::from_utf8_lossy(&said).lines().next()?.trim().to_owned())
}

/// The version in what a program says of itself, such as `nginx version: nginx/1.22.1`.
fn number(said: &str) -> String {
    let word = said.split_whitespace().find(|word| word.contains(|letter: char| letter.is_ascii_digit()));
    word.and_then(|word| word.rsplit('/').next()).unwrap_or(said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        assert_eq!(number("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(
            number("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"),
            "2.6.12-1+deb12u4"
        );
        assert_eq!(number("lb 0.1.0"), "0.1.0");
        assert_eq!(number("v2.11.7 h1:abc="), "v2.11.7");
    }

    #[test]
    fn templates_are_filled() {
        let address = "127.0.0.1:80".parse().unwrap();
        let backends = ["127.0.0.1:81".parse().unwrap(), "127.0.0.1:82".parse().unwrap()];
        for kind in [Kind::Lb, Kind::Nginx, Kind::HaProxy, Kind::Caddy] {
            for setup in [Setup::Plain, Setup::Everything] {
                let contender =
                    Contender { name: String::new(), kind, program: PathBuf::new(), version: String::new() };
                let stage =
                    Stage { cpus: vec![0], workers: 2, backends, dir: PathBuf::new(), setup, under: &[] };
                let text = fill(contender.template(setup), Path::new("/d"), address, &stage);
                assert!(!text.contains("{{") && text.contains("127.0.0.1:82"), "{text}");
                assert_eq!(text.contains("app9"), setup == Setup::Everything, "{text}");
            }
        }
    }
}

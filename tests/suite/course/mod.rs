//! The course as others meet it: its companion on the command line, other balancers under its suites, and
//! the guide's pages.

mod companion;
mod others;
mod pages;

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use lb_testkit::DEADLINE;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::support::process::built;

/// A chapter may wait for health checks many times.
const RUN_MAX: Duration = Duration::from_secs(180);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a directory of the workspace").to_owned()
}

/// What `cargo xtask` runs.
fn xtask() -> &'static PathBuf {
    static XTASK: OnceLock<PathBuf> = OnceLock::new();
    XTASK.get_or_init(|| built("xtask", "xtask"))
}

fn has_python() -> bool {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let version = std::process::Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let has = version.is_ok_and(|status| status.success());
    if !has && !TOLD.swap(true, Relaxed) {
        eprintln!("not run: what needs python3, which is not installed");
    }
    has
}

/// A program that runs, with all that it writes on both its outputs, in order of arrival.
struct Running {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    text: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(forward(child.stdout.take().expect("piped"), sender.clone()));
        tokio::spawn(forward(child.stderr.take().expect("piped"), sender));
        Self { child, lines, text: String::new() }
    }

    /// `cargo xtask course` with these arguments.
    fn course(arguments: &[&str]) -> Self {
        Self::start(Command::new(xtask()).arg("course").args(arguments).current_dir(workspace()))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it takes the signal");
    }

    /// The next line with this in it.
    async fn says(&mut self, wanted: &str) -> String {
        let looking = async {
            while let Some(line) = self.lines.recv().await {
                self.text += &format!("{line}\n");
                if line.contains(wanted) {
                    return Some(line);
                }
            }
            None
        };
        let found = timeout(RUN_MAX, looking).await.ok().flatten();
        found.unwrap_or_else(|| panic!("waited in vain for {wanted:?} in:\n{}", self.text))
    }

    /// Its exit code (none if a signal ended it), and everything that it wrote.
    async fn ends(mut self) -> (Option<i32>, String) {
        let ended = timeout(RUN_MAX, async {
            while let Some(line) = self.lines.recv().await {
                self.text += &format!("{line}\n");
            }
            self.child.wait().await.expect("it is waited for")
        });
        let Ok(status) = ended.await else { panic!("it does not end; it wrote:\n{}", self.text) };
        (status.code(), self.text)
    }
}

async fn forward(from: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to.send(line).is_err() {
            break;
        }
    }
}

/// Waits until there is no such process.
async fn gone(pid: &str) {
    let pid =
        pid.trim().parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("no process id: {pid:?}"));
    let gone = timeout(DEADLINE, async {
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(gone.await.is_ok(), "process {pid:?} is still there");
}

/// Ended, but not yet waited for by whoever inherited it.
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// Waits until a file is there and has something in it.
async fn written(path: &Path) -> io::Result<String> {
    let waiting = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(DEADLINE, waiting).await.map_err(|_| io::Error::other(format!("no {}", path.display())))
}

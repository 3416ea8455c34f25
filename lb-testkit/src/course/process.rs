//! A process group that a shell command starts, and all of which ends with it.

use std::{
    io,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How much of what a process writes is kept: the newest.
const OUTPUT_KEPT_BYTES_MAX: usize = 64 * 1024;
/// How long a process may take to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const PACE: Duration = Duration::from_millis(10);

/// Runs until it ends by itself or this value is dropped; in the latter case everything that it started
/// is killed, as long as that stayed in its process group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    output: Arc<Mutex<Vec<u8>>>,
    readers: JoinSet<()>,
}

/// How a process that should listen went on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Yes,
    /// It ended by itself.
    Ended(ExitStatus),
    /// It runs, and nothing listens.
    NotYet,
}

impl Process {
    /// Starts a command of the shell, with these variables.
    pub(super) fn start(command: &str, variables: &[(&str, String)]) -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.ok_or_else(|| io::Error::other("the process has no id"))?;
        let output = Arc::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(keep(stdout, Arc::clone(&output)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(keep(stderr, Arc::clone(&output)));
        }
        Ok(Self { child, group, output, readers })
    }

    /// Waits until something listens at this address, or the process has ended.
    pub(super) async fn listens(&mut self, addr: SocketAddr, patience: Duration) -> io::Result<Listening> {
        let connected = async {
            while TcpStream::connect(addr).await.is_err() {
                sleep(PACE).await;
            }
        };
        tokio::select! {
            biased;
            status = self.child.wait() => {
                let status = status?;
                self.read_to_the_end().await;
                Ok(Listening::Ended(status))
            }
            connected = timeout(patience, connected) => {
                Ok(if connected.is_ok() { Listening::Yes } else { Listening::NotYet })
            }
        }
    }

    /// Its exit, if it has ended by itself.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.read_to_the_end().await;
        Some(status)
    }

    /// What it wrote on standard output and standard error, the newest of it.
    pub(super) fn output(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Asks all of the group to end, and kills what does not.
    pub(super) async fn end(mut self) {
        // An error means that there is nobody left.
        let _ = kill_process_group(self.group, Signal::TERM);
        let _ = timeout(END_MAX, self.child.wait()).await;
    }

    /// What an ended process has written is in the pipes. Should somebody else hold them open, that
    /// somebody is not waited for.
    async fn read_to_the_end(&mut self) {
        let _ = timeout(Duration::from_secs(1), async { while self.readers.join_next().await.is_some() {} })
            .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

async fn keep(mut from: impl AsyncRead + Unpin, output: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(&buffer[..count]);
        let excess = output.len().saturating_sub(OUTPUT_KEPT_BYTES_MAX);
        output.drain(..excess);
    }
}

/// `exit code 1`, `signal 9`
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

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

/// Runs until it ends by itself or this value is dropped, by the end of this very process if need be; in the
/// latter cases everything that it started is killed, as long as that stayed in its process group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Ends with this value.
    _guard: Child,
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
        let guard = guard()?;
        let group = guard.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.ok_or_else(|| io::Error::other("the process has no id"))?;
        let mut child = Command::new("sh")
            .args(["-c", command])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(group.as_raw_nonzero().get())
            .spawn()?;
        let output = Arc::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(keep(stdout, Arc::clone(&output)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(keep(stderr, Arc::clone(&output)));
        }
        Ok(Self { child, _guard: guard, group, output, readers })
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

    /// What it wrote on standard output and standard error, the newest of it, as text that does nothing to a
    /// terminal.
    pub(super) fn output(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        printable(&String::from_utf8_lossy(&output))
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

/// The first of a process group: it kills the group when this process is gone, in whatever way it went, for
/// then its end of the pipe is closed.
fn guard() -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "trap '' TERM INT HUP; read -r _; kill -9 0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
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

/// Without colours and other commands to a terminal; what else cannot be printed has the replacement character.
fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                // A control sequence ends with its first letter (ECMA-48, section 5.4).
                while characters.next().is_some_and(|part| !('@'..='~').contains(&part)) {}
            }
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' | '\t' => printed.push(character),
            other if other.is_control() => printed.push(char::REPLACEMENT_CHARACTER),
            other => printed.push(other),
        }
    }
    printed
}

/// `exit code 1`, `signal 9`
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::printable;

    #[rstest]
    #[case("a\tb\r\nc", "a\tb\nc")]
    #[case("\u{1b}[31;1mred\u{1b}[0m", "red")]
    #[case("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}")]
    #[case("\u{1b}[", "")]
    #[case("50 %\r", "50 %\u{fffd}")]
    #[case("\u{9b}2J", "\u{fffd}2J")]
    fn a_balancer_says_nothing_to_the_terminal(#[case] written: &str, #[case] shown: &str) {
        assert_eq!(printable(written), shown);
    }
}

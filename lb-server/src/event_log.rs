//! The program's own events on standard error, written without holding up whoever tells them: a pipe that
//! nobody reads must not stop workers, checks or accepting.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::writer::{Sink, Writer};

/// Most bytes of events that wait to be written; past it events are dropped.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

/// Standard error behind a thread and a bounded backlog. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Writer>);

impl EventLog {
    /// Starts the thread.
    ///
    /// # Errors
    /// Standard error is not open, or no thread can be started.
    pub fn start() -> io::Result<Self> {
        // Not `io::Stderr`: its lock, held through a write that hangs, would hold up every other user.
        let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Self(Writer::start(Sink::Stream(Box::new(stderr)), BACKLOG_BYTES_MAX)?))
    }

    /// Writes what is waiting and ends the thread; waits for that, but no longer than 5 seconds.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Each call is an event with its line's end.
impl Write for EventLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.append(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

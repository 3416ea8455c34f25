//! The thread that writes lines, and the buffer between it and the workers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the writer gathers lines before it writes them, so that workers under load need not wake it for
/// each.
const GATHER: Duration = Duration::from_millis(5);
/// This many waiting bytes cut the gathering short.
const GATHER_BYTES_MAX: usize = 256 << 10;
/// How long a stream that does not take bytes at present is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long closing waits for a disk that does not answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where lines end up.
pub(crate) enum Sink {
    /// A file that can be opened anew under its name.
    File { file: File, path: PathBuf },
    /// A stream that came open.
    Stream(Box<dyn Write + Send>),
}

impl Sink {
    /// Opens a file for appending.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self::File { file, path: path.to_owned() })
    }

    fn out(&mut self) -> &mut dyn Write {
        match self {
            Self::File { file, .. } => file,
            Self::Stream(stream) => stream,
        }
    }

    /// Gives whether it is another file now.
    fn reopen(&mut self) -> bool {
        let Self::File { path, .. } = self else { return false };
        match Self::open(path) {
            Ok(sink) => {
                *self = sink;
                return true;
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "access log: cannot reopen, keeping the old file");
            }
        }
        false
    }
}

/// What the workers and the writer thread share.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Mutex<Shared>,
    /// Tells the thread that there is something to do.
    wake: Condvar,
    /// Tells whoever closes that the thread is done.
    done: Condvar,
    dropped: AtomicU64,
    backlog_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whole lines.
    buffer: Vec<u8>,
    /// Bytes that the thread has taken and not yet written.
    writing_bytes: usize,
    /// How much of the buffer belongs to the old file.
    reopen_at: Option<usize>,
    /// The thread waits for the buffer's first line.
    is_idle: bool,
    is_closing: bool,
    is_done: bool,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(sink: Sink, backlog_bytes_max: usize) -> io::Result<Arc<Self>> {
        let writer = Arc::new(Self {
            shared: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            dropped: AtomicU64::new(0),
            backlog_bytes_max,
        });
        let thread = thread::Builder::new().name("access-log".into()).spawn({
            let writer = Arc::clone(&writer);
            move || writer.run(Output { sink, is_torn: false, is_failing: false })
        })?;
        writer.lock().thread = Some(thread);
        Ok(writer)
    }

    /// The lock; a thread that panicked while it held it cannot have left it half changed.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, line: &[u8]) {
        let mut shared = self.lock();
        let backlog = shared.buffer.len() + shared.writing_bytes;
        if shared.is_closing || backlog + line.len() > self.backlog_bytes_max {
            drop(shared);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = shared.buffer.len();
        shared.buffer.extend_from_slice(line);
        let fills = before < GATHER_BYTES_MAX && shared.buffer.len() >= GATHER_BYTES_MAX;
        let wakes = std::mem::take(&mut shared.is_idle) || fills;
        drop(shared);
        if wakes {
            self.wake.notify_one();
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn reopen(&self) {
        let mut shared = self.lock();
        shared.reopen_at = Some(shared.buffer.len());
        drop(shared);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        let mut shared = self.lock();
        shared.is_closing = true;
        self.wake.notify_one();
        let (mut shared, _) = self
            .done
            .wait_timeout_while(shared, CLOSE_TIMEOUT, |shared| !shared.is_done)
            .unwrap_or_else(PoisonError::into_inner);
        let thread = shared.thread.take().filter(|_| shared.is_done);
        drop(shared);
        if let Some(thread) = thread {
            // If it panicked, it has said so itself.
            drop(thread.join());
        }
    }

    fn run(&self, mut output: Output) {
        let mut batch = Vec::new();
        loop {
            let (reopen_at, is_last) = self.take(&mut batch);
            let old = reopen_at.unwrap_or(batch.len());
            let mut lost = output.write(&batch[..old]);
            if reopen_at.is_some() {
                output.is_torn &= !output.sink.reopen();
                lost += output.write(&batch[old..]);
            }
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            if is_last {
                self.lock().is_done = true;
                self.done.notify_all();
                return;
            }
        }
    }

    /// Waits for something to do and takes what is in the buffer, the place in it where the file changes, and
    /// whether this is all.
    fn take(&self, batch: &mut Vec<u8>) -> (Option<usize>, bool) {
        batch.clear();
        // After a stall, when it may be as large as the whole backlog.
        batch.shrink_to(GATHER_BYTES_MAX);
        let mut shared = self.lock();
        shared.writing_bytes = 0;
        while shared.buffer.is_empty() && shared.reopen_at.is_none() && !shared.is_closing {
            shared.is_idle = true;
            shared = self.wake.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        shared.is_idle = false;
        let gathers = |shared: &mut Shared| {
            shared.buffer.len() < GATHER_BYTES_MAX && shared.reopen_at.is_none() && !shared.is_closing
        };
        let (mut shared, _) =
            self.wake.wait_timeout_while(shared, GATHER, gathers).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut shared.buffer, batch);
        shared.writing_bytes = batch.len();
        (shared.reopen_at.take(), shared.is_closing)
    }
}

/// The sink and what is known of its state.
struct Output {
    sink: Sink,
    /// The last byte written was not the end of a line.
    is_torn: bool,
    /// The last write failed, which has been said.
    is_failing: bool,
}

impl Output {
    /// Writes whole lines; gives how many of them were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let (written, result) = self.try_write(lines);
        match &result {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "access log: cannot write, dropping lines");
            }
            Ok(()) if self.is_failing => tracing::info!("access log: written again"),
            _ => {}
        }
        self.is_failing = result.is_err();
        memchr::memchr_iter(b'\n', &lines[written..]).count() as u64
    }

    fn try_write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.is_torn {
            match self.write_some(b"\n") {
                (0, result) => return (0, result),
                _ => self.is_torn = false,
            }
        }
        let (written, result) = self.write_some(lines);
        if written > 0 {
            self.is_torn = lines[written - 1] != b'\n';
        }
        (written, result.and_then(|()| self.sink.out().flush()))
    }

    /// As `Write::write_all`, but says how far it came.
    fn write_some(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.out().write(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process made our terminal or pipe non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BUSY_PAUSE),
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

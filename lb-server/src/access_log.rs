//! The access log: one line per request, written without holding up the workers.
//!
//! A worker formats its line into memory of its own and appends it to a shared buffer under a short lock. A
//! thread takes the buffer away and writes it. When it cannot keep up, or cannot write at all, lines are
//! dropped and counted: requests are worth more than their traces.

mod record;
mod text;
mod time;

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lb_core::config::{self, LogFormat};

use crate::writer::{Sink, Writer};
pub use record::Record;
pub(crate) use text::push_number;

/// Most bytes of lines that wait to be written; past it lines are dropped.
pub const BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Memory that a worker keeps for its next line, in bytes.
const LINE_BYTES_KEPT: usize = 16 << 10;

/// A handle on the access log. Clones share it. The thread behind it lives until [`AccessLog::close`].
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: LogFormat,
    /// None for `off`.
    writer: Option<Arc<Writer>>,
}

impl AccessLog {
    /// Opens the log and starts its writer thread; for `off` neither.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub fn open(config: &config::AccessLog) -> io::Result<Self> {
        let sink = match (config.format, config.path.as_str()) {
            (LogFormat::Off, _) => return Ok(Self { format: LogFormat::Off, writer: None }),
            (_, "-") => Sink::Stream(Box::new(io::stdout())),
            (_, path) => Sink::open(Path::new(path))?,
        };
        Self::start(config.format, sink, BACKLOG_BYTES_MAX)
    }

    fn start(format: LogFormat, sink: Sink, backlog_bytes_max: usize) -> io::Result<Self> {
        Ok(Self { format, writer: Some(Writer::start(sink, backlog_bytes_max)?) })
    }

    /// Whether lines are written at all; if not, the caller can spare itself the record.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Adds a line. Never waits for the disk; past [`BACKLOG_BYTES_MAX`] the line is dropped.
    pub fn write(&self, record: &Record<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(writer) = &self.writer else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            record.push(line, self.format);
            writer.append(line);
            line.shrink_to(LINE_BYTES_KEPT);
        });
    }

    /// How many lines were lost, because they came too fast or could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.dropped())
    }

    /// Opens the file anew under its name, after it has been moved away. Lines written before this call
    /// still go to the old file, later ones to the new. If that fails the old file stays in use.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Writes what is waiting and ends the writer thread; waits for that, but no longer than 5 seconds.
    /// Lines written later are dropped.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use record::tests::record;

    fn open(path: &Path) -> AccessLog {
        let path = path.to_str().expect("UTF-8").to_owned();
        AccessLog::open(&config::AccessLog { format: LogFormat::Combined, path }).expect("opens")
    }

    fn count_lines(path: &Path) -> usize {
        fs::read_to_string(path).expect("readable").lines().count()
    }

    #[test]
    fn closing_writes_everything_of_all_threads() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("access.log");
        fs::write(&path, "before\n").expect("writable");
        let log = open(&path);
        thread::scope(|scope| {
            for _ in 0..4 {
                let log = log.clone();
                scope.spawn(move || (0..1000).for_each(|_| log.write(&record())));
            }
        });
        log.close();
        log.close();
        log.write(&record());
        assert_eq!((count_lines(&path), log.dropped()), (4001, 1));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.lines().skip(1).all(|line| line.starts_with("55.") && line.ends_with("\"curl/8\"")));
    }

    #[test]
    fn rotation_divides_exactly() {
        let directory = tempfile::tempdir().expect("directory");
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let log = open(&path);
        (0..3).for_each(|_| log.write(&record()));
        fs::rename(&path, &moved).expect("moves");
        log.reopen();
        (0..2).for_each(|_| log.write(&record()));
        log.close();
        assert_eq!((count_lines(&moved), count_lines(&path)), (3, 2));
    }

    #[test]
    fn a_reopening_that_fails_keeps_the_old_file() {
        let directory = tempfile::tempdir().expect("directory");
        let inner = directory.path().join("logs");
        fs::create_dir(&inner).expect("creates");
        let log = open(&inner.join("access.log"));
        let moved = directory.path().join("moved");
        fs::rename(&inner, &moved).expect("moves");
        log.reopen();
        log.write(&record());
        log.close();
        assert_eq!((count_lines(&moved.join("access.log")), log.dropped()), (1, 0));
    }

    #[test]
    fn a_full_disk_costs_lines_only() {
        let log = open(Path::new("/dev/full"));
        (0..10).for_each(|_| log.write(&record()));
        log.close();
        assert_eq!(log.dropped(), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let config = config::AccessLog { format: LogFormat::Json, path: "/nowhere/at/all".into() };
        assert!(AccessLog::open(&config).is_err());
    }

    #[test]
    fn off_is_off() {
        let config = config::AccessLog { format: LogFormat::Off, path: "/nowhere/at/all".into() };
        let log = AccessLog::open(&config).expect("opens");
        log.write(&record());
        log.reopen();
        log.close();
        assert!(!log.is_on());
        assert_eq!(log.dropped(), 0);
    }

    /// Says that it is asked to write, takes nothing until the sender is dropped, then says what it took.
    struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.send(Vec::new()).map_err(io::Error::other)?;
            while self.0.recv().is_ok() {}
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn past_the_backlog_lines_are_dropped_and_counted() {
        let mut one = Vec::new();
        record().push(&mut one, LogFormat::Combined);
        let (hold, held) = mpsc::channel();
        let (written, receive) = mpsc::channel();
        let sink = Sink::Stream(Box::new(Gate(held, written)));
        let log = AccessLog::start(LogFormat::Combined, sink, one.len() * 5).expect("starts");
        log.write(&record());
        assert_eq!(receive.recv(), Ok(Vec::new()), "the writer has the line in hand");
        (0..7).for_each(|_| log.write(&record()));
        assert_eq!(log.dropped(), 3, "what the writer has in hand counts as backlog");
        drop(hold);
        log.close();
        drop(log);
        assert_eq!(receive.into_iter().map(|piece| piece.len()).sum::<usize>(), one.len() * 5);
    }

    /// Fails in the middle of a line once, then takes everything.
    struct Breaks(Option<usize>, mpsc::Sender<Vec<u8>>);

    impl Write for Breaks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.0 {
                Some(0) => {
                    self.0 = None;
                    return Err(io::Error::other("no space"));
                }
                Some(left) => bytes.len().min(left),
                None => bytes.len(),
            };
            self.0 = self.0.map(|left| left - taken);
            self.1.send(bytes[..taken].to_vec()).map_err(io::Error::other)?;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let (written, receive) = mpsc::channel();
        let log =
            AccessLog::start(LogFormat::Combined, Sink::Stream(Box::new(Breaks(Some(10), written))), 9999)
                .expect("starts");
        log.write(&record());
        // The torn piece has been taken, and the failure is the next thing that happens.
        let torn = receive.recv().expect("a piece");
        log.reopen();
        log.write(&record());
        log.write(&record());
        log.close();
        drop(log);
        let text = [torn, receive.into_iter().flatten().collect()].concat();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines[0].len(), 10);
        assert!(lines[1..].iter().all(|line| line.is_empty() || line.ends_with(b"\"curl/8\"")));
    }
}

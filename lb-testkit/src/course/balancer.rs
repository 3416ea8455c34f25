//! A balancer that a shell command starts: anything that reads its environment can be judged.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Came, Cast, Chapter, FileGiven, Launched, Launcher, Pending, Ports, Report, Stage, Tempo, Texts, Told,
    free_listen_address,
    process::{Listening, Process, told},
};

/// A command of the shell that starts a balancer in the foreground.
///
/// It is told what to do by variables: `COURSE_CHAPTER` (`1` to `7`, or `guide`), `COURSE_LISTEN` (the
/// ip:port to listen at), `COURSE_CONFIG` (the path of the chapter's configuration in the TOML of `lb`),
/// `COURSE_CONFIG_JSON` (the path of the same as JSON) and `COURSE_BACKENDS` (name=ip:port,
/// comma-separated).
#[derive(Clone, Debug)]
pub struct StartCommand {
    command: String,
    chapter: Chapter,
    backends: String,
    patience: Duration,
}

/// How long a command may take until it listens, unless told otherwise; some compile first.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

impl StartCommand {
    /// This command, for a balancer before this cast.
    #[must_use]
    pub fn new(command: &str, chapter: Chapter, cast: &Cast) -> Self {
        Self { command: command.to_owned(), chapter, backends: cast.to_string(), patience: PATIENCE_DEFAULT }
    }

    /// How long it may take until it listens; default a minute.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Starts it with the chapter's configuration, and waits until it listens.
    ///
    /// # Errors
    /// When somebody listens there already, or the balancer ends or does not listen in time: with what it
    /// wrote.
    pub async fn start(self, listen: SocketAddr, cast: &Cast, tempo: Tempo) -> io::Result<Balancer> {
        if tokio::net::TcpStream::connect(listen).await.is_ok() {
            let message = format!("somebody else listens at {listen} already");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        let texts = Texts::of(self.chapter.config(listen, cast, tempo))?;
        let files = Files::write(Some(&texts))?;
        let mut process = self.process(listen, &files)?;
        let message = match process.listens(listen, self.patience).await? {
            Listening::Yes => return Ok(Balancer { listen, process, files, command: self }),
            Listening::Ended(status) => {
                // A server that puts itself into the background leaves like this.
                let well = if status.success() { " (it has to stay in the foreground)" } else { "" };
                format!("`{}` ended with {} before it listened at {listen}{well}", self.command, told(status))
            }
            Listening::NotYet => format!(
                "`{}` runs, but nothing listens at {listen} (COURSE_LISTEN) after {:?}",
                self.command, self.patience
            ),
        };
        Err(io::Error::other(format!("{message}; {}", Output(process.output()))))
    }

    /// Runs a chapter's suite against the balancer that this command starts, with a cast of its own on free
    /// ports.
    ///
    /// # Errors
    /// Like [`StartCommand::start`]; when the cast cannot be started.
    pub async fn judge(
        command: &str,
        chapter: Chapter,
        tempo: Tempo,
        tell: &mut (dyn FnMut(Told<'_>) + Send),
    ) -> io::Result<Report> {
        let cast = Cast::start(chapter, Ports::Free).await?;
        let start = Self::new(command, chapter, &cast);
        let balancer = start.start(free_listen_address()?, &cast, tempo).await?;
        let stage = Stage { tempo, launcher: Some(balancer.launcher()), ..Stage::new(balancer.addr(), cast) };
        let report = chapter.run_with(&stage, &|_| None, tell).await;
        balancer.end().await;
        Ok(report)
    }

    fn process(&self, listen: SocketAddr, files: &Files) -> io::Result<Process> {
        let shown = |path: &Path| path.display().to_string();
        let variables = [
            ("COURSE_CHAPTER", self.chapter.id().to_owned()),
            ("COURSE_LISTEN", listen.to_string()),
            ("COURSE_CONFIG", shown(&files.toml())),
            ("COURSE_CONFIG_JSON", shown(&files.json())),
            ("COURSE_BACKENDS", self.backends.clone()),
        ];
        Process::start(&self.command, &variables)
    }
}

impl Launcher for StartCommand {
    fn launch<'a>(&'a self, listen: SocketAddr, file: FileGiven<'a>) -> Pending<'a> {
        Box::pin(async move {
            let files = Files::write(if let FileGiven::Text(texts) = file { Some(texts) } else { None })?;
            let mut process = self.process(listen, &files)?;
            let (toml_file, json_file) =
                (files.toml().display().to_string(), files.json().display().to_string());
            let came = match process.listens(listen, self.patience).await? {
                Listening::Ended(status) => {
                    Came::Ended { exit_code: status.code(), message: process.output() }
                }
                Listening::Yes => Came::Serves(Box::new((process, files))),
                Listening::NotYet => {
                    let message = format!(
                        "it neither ended nor listened at {listen} within {:?}; {}",
                        self.patience,
                        Output(process.output())
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            };
            Ok(Launched { toml_file, json_file, came })
        })
    }
}

/// A balancer that a [`StartCommand`] started. It ends, with all that its command started, when this
/// value is dropped.
#[derive(Debug)]
pub struct Balancer {
    listen: SocketAddr,
    process: Process,
    files: Files,
    command: StartCommand,
}

impl Balancer {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listen
    }

    /// The path of the configuration that it was given.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.files.toml()
    }

    /// Starts more of its kind, for the cases about starting.
    #[must_use]
    pub fn launcher(&self) -> Arc<dyn Launcher> {
        Arc::new(self.command.clone())
    }

    /// The last lines of what it wrote.
    #[must_use]
    pub fn output(&self) -> impl fmt::Display {
        Output(self.process.output())
    }

    /// A sentence for a person, if it has ended by itself.
    pub async fn death(&mut self) -> Option<String> {
        let status = self.process.ended().await?;
        let output = Output(self.process.output());
        Some(format!("`{}` ended by itself with {}; {output}", self.command.command, told(status)))
    }

    /// Asks it to end; kills what has not ended after five seconds.
    pub async fn end(self) {
        self.process.end().await;
    }
}

/// The two files of a configuration, in a directory of their own that goes with this value.
#[derive(Debug)]
struct Files(TempDir);

impl Files {
    fn write(texts: Option<&Texts>) -> io::Result<Self> {
        let files = Self(tempfile::Builder::new().prefix("course-").tempdir()?);
        if let Some(texts) = texts {
            fs::write(files.toml(), &texts.toml)?;
            fs::write(files.json(), &texts.json)?;
        }
        Ok(files)
    }

    fn toml(&self) -> PathBuf {
        self.0.path().join("lb.toml")
    }

    fn json(&self) -> PathBuf {
        self.0.path().join("lb.json")
    }
}

const OUTPUT_SHOWN_LINES_MAX: usize = 20;
const LINE_SHOWN_CHARACTERS_MAX: usize = 300;

/// The last lines of what a process wrote, for a message.
struct Output(String);

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.lines().collect();
        if lines.is_empty() {
            return write!(f, "it wrote nothing");
        }
        write!(f, "it wrote:")?;
        let shown = lines.len().saturating_sub(OUTPUT_SHOWN_LINES_MAX);
        lines[shown..].iter().try_for_each(|line| write!(f, "\n    | {}", cut(line)))
    }
}

fn cut(line: &str) -> std::borrow::Cow<'_, str> {
    match line.char_indices().nth(LINE_SHOWN_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]).into(),
        None => line.into(),
    }
}

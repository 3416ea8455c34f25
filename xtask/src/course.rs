//! `cargo xtask course`: the chapters of the course, against `lb` or any other balancer.

mod all;
mod convert;
mod run;
mod watch;

use std::{fmt, io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use lb_testkit::course::{Chapter, Ports};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// As a shell reports a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, after_help = VARIABLES)]
pub(crate) struct Options {
    /// 1 to 8, or guide; without it the chapters are listed
    chapter: Option<String>,

    /// Judge the balancer that runs at this URL already, such as http://127.0.0.1:8000
    #[arg(long, value_name = "URL", conflicts_with = "start")]
    target: Option<String>,

    /// Judge the balancer that this shell command starts in the foreground
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,

    /// Where the backends (and a started balancer) listen: at the course's own ports or at free ones
    /// [default: fixed with --target, else free]
    #[arg(long, value_enum, value_name = "WHICH")]
    ports: Option<PortsOption>,

    /// Run it again whenever a file in this directory changes [default: the current one]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    watch: Option<PathBuf>,

    /// How many seconds the balancer may take until it listens
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,

    /// With chapter 8: write the table into docs/course/results.md
    #[arg(long)]
    write: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

const VARIABLES: &str = "The command of --start is told what to do by variables:\n  \
    COURSE_CHAPTER      1 to 7, or guide\n  \
    COURSE_LISTEN       the ip:port to listen at\n  \
    COURSE_CONFIG       the path of the chapter's configuration, in the TOML of lb\n  \
    COURSE_CONFIG_JSON  the path of the same as JSON\n  \
    COURSE_BACKENDS     the backends as name=ip:port, comma-separated\n\
    Exit codes: 0 all passed, 1 something failed, 2 wrong usage.";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PortsOption {
    Fixed,
    Free,
}

impl From<PortsOption> for Ports {
    fn from(ports: PortsOption) -> Self {
        match ports {
            PortsOption::Fixed => Self::Fixed,
            PortsOption::Free => Self::Free,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Make the course's own configuration file, in YAML, into one of lb
    Convert {
        /// The file
        file: PathBuf,
        /// Where the balancer is to listen
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
        listen: SocketAddr,
    },
}

/// Whom the cases are sent to.
enum Subject {
    /// `lb`, built from this workspace.
    Lb,
    Target(String),
    Start(String),
}

/// Why nothing was judged.
enum Stopped {
    /// It was asked for in a wrong way.
    Usage(String),
    /// It cannot be done here.
    Cannot(String),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Cannot(error.to_string())
    }
}

/// Whether everything passed, or why nothing was judged.
type Judged = Result<bool, Stopped>;

pub(crate) fn run(options: Options) -> ExitCode {
    let judged = match (&options.command, &options.chapter) {
        (Some(Command::Convert { file, listen }), _) => convert::run(file, *listen),
        (None, None) => list(&options),
        (None, Some(_)) => interruptible(chapter(&options)),
    };
    match judged {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(Stopped::Cannot(message)) => {
            complain(message);
            ExitCode::from(EXIT_FAILED)
        }
        Err(Stopped::Usage(message)) => {
            complain(message);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The chapters, a line each.
fn list(options: &Options) -> Judged {
    if options.target.is_some() || options.start.is_some() || options.watch.is_some() {
        return Err(Stopped::Usage("which chapter? Give its number, as in `cargo xtask course 2`".into()));
    }
    for chapter in Chapter::ALL {
        let (id, title, count) = (chapter.id(), chapter.title(), chapter.cases().len());
        say(format_args!("{id:<6} {title} ({count} case{})", if count == 1 { "" } else { "s" }));
        if chapter == Chapter::Firewall {
            say("8      chapters 2, 4, 5, 6 and 7 against nginx and HAProxy, side by side");
        }
    }
    say("\ncargo xtask course 2                     judges lb by chapter 2");
    say("cargo xtask course 2 --start 'COMMAND'   judges yours; --help says what it is told");
    Ok(true)
}

async fn chapter(options: &Options) -> Judged {
    let id = options.chapter.as_deref().unwrap_or_default();
    let subject = match (&options.target, &options.start) {
        (Some(url), _) => Subject::Target(url.clone()),
        (None, Some(command)) => Subject::Start(command.clone()),
        (None, None) => Subject::Lb,
    };
    if options.write && (id != "8" || !matches!(subject, Subject::Lb)) {
        return Err(Stopped::Usage("--write goes with chapter 8, without --target and --start".into()));
    }
    let wait = Duration::from_secs(options.wait);
    let once = || async {
        if id == "8" {
            return all::run(&subject, options.write).await;
        }
        let Some(chapter) = Chapter::with_id(id) else {
            let message = format!("there is no chapter {id:?}; there are 1 to 8, and guide");
            return Err(Stopped::Usage(message));
        };
        let default = if matches!(subject, Subject::Target(_)) { Ports::Fixed } else { Ports::Free };
        run::run(chapter, &subject, options.ports.map_or(default, Ports::from), wait).await
    };
    let Some(dir) = &options.watch else { return once().await };
    loop {
        let before = watch::look(dir)?;
        match once().await {
            Err(usage @ Stopped::Usage(_)) => return Err(usage),
            Err(Stopped::Cannot(message)) => complain(message),
            Ok(_) => {}
        }
        say(format_args!("\nwaiting for a change in {} (Ctrl-C ends it)", dir.display()));
        let changed = watch::change(dir, before).await?;
        say(format_args!("\n=== {} changed ===", changed.display()));
    }
}

/// Runs to the end, or until INT, TERM or HUP: then everything that was started ends with the future.
fn interruptible(future: impl Future<Output = Judged>) -> Judged {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let judged = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            judged = future => judged.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
            _ = terminate.recv() => Ok(None),
            _ = hangup.recv() => Ok(None),
        }
    });
    // Tasks that are left over hold mock backends only.
    runtime.shutdown_background();
    match judged? {
        Some(judged) => Ok(judged),
        None => {
            complain("interrupted; everything that was started has ended");
            std::process::exit(i32::from(EXIT_INTERRUPTED))
        }
    }
}

/// A line on standard output. Where that is closed nobody wants to know.
fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
fn complain(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

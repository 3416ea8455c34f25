//! One chapter, one balancer.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_testkit::course::{
    Cast, Chapter, Ports, Report, Stage, StartCommand, Tempo, Texts, free_listen_address,
};
use tokio::{net::TcpStream, time::sleep};

use super::{Judged, Stopped, Subject, complain, containers, say};

/// The port that the course gives to the balancer.
const LISTEN_PORT: u16 = 8000;
/// Between two attempts to connect to a target.
const PACE: Duration = Duration::from_millis(50);

/// How a chapter is set up.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) ports: Ports,
    /// Whether the backends run in containers.
    pub(super) in_containers: bool,
    /// How long the balancer may take until it listens.
    pub(super) wait: Duration,
}

/// Starts the cast, and the balancer unless it is a target; runs the chapter; tells how it went.
pub(super) async fn run(chapter: Chapter, subject: &Subject, setting: Setting) -> Judged {
    let Setting { ports, in_containers, wait } = setting;
    match subject {
        // Before anything is started for it.
        Subject::Target(url) => {
            Stage::locate(url).await.map_err(|error| Stopped::Usage(error.to_string()))?;
        }
        Subject::Start(command) if command.trim().is_empty() => {
            return Err(Stopped::Usage("--start: which command?".into()));
        }
        Subject::Start(_) | Subject::Lb => {}
    }
    let cast = match in_containers {
        true => containers::cast(chapter, ports).await,
        false => Cast::start(chapter, ports).await,
    };
    let cast = cast.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Stopped::Cannot(format!("{error}\n--ports free takes other ports; or end what uses this one"))
        }
        _ => Stopped::Cannot(error.to_string()),
    })?;
    say(chapter);
    say("backends:");
    for member in cast.members() {
        let nobody = if member.actor().is_none() { "  (nobody listens there)" } else { "" };
        say(format_args!("  {:<9} {}{nobody}", member.role.name, member.addr()));
    }
    let report = match subject {
        Subject::Target(url) => judge_target(chapter, url, cast, wait).await?,
        Subject::Lb => judge_started(chapter, &lb_command()?, cast, ports, wait).await?,
        Subject::Start(command) => judge_started(chapter, command, cast, ports, wait).await?,
    };
    say(report.counts());
    Ok(report.is_good())
}

async fn judge_target(chapter: Chapter, url: &str, cast: Cast, wait: Duration) -> Result<Report, Stopped> {
    let stage = match Stage::at(url, cast).await {
        Ok(stage) => stage,
        Err(error) => return Err(Stopped::Usage(error.to_string())),
    };
    let texts = Texts::of(chapter.config(stage.balancer, &stage.cast, stage.tempo))?;
    let (toml, json) = expected_files(chapter)?;
    fs::write(&toml, &texts.toml)?;
    fs::write(&json, &texts.json)?;
    say(format_args!("balancer: {url}, which should do what this configuration says:"));
    say(format_args!("  {}\n  {} (the same as JSON)\n", shown(&toml), shown(&json)));
    wait_for(stage.balancer, url, wait).await?;
    Ok(chapter.run_with(&stage, &|_| None, &mut |told| say(told)).await)
}

async fn wait_for(addr: SocketAddr, url: &str, wait: Duration) -> Result<(), Stopped> {
    let began = Instant::now();
    let mut told = false;
    while let Err(error) = TcpStream::connect(addr).await {
        if began.elapsed() >= wait {
            let message = format!("nothing answers at {url} after {wait:?}: {error}");
            return Err(Stopped::Cannot(message));
        }
        if !told {
            say(format_args!("waiting for {url}: {error}"));
            told = true;
        }
        sleep(PACE).await;
    }
    Ok(())
}

async fn judge_started(
    chapter: Chapter,
    command: &str,
    cast: Cast,
    ports: Ports,
    wait: Duration,
) -> Result<Report, Stopped> {
    let listen = match ports {
        Ports::Fixed => SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORT)),
        Ports::Free => free_listen_address()?,
    };
    let tempo = Tempo::default();
    let start = StartCommand::new(command, chapter, &cast).patience(wait);
    let mut balancer = start.start(listen, &cast, tempo).await?;
    let config = balancer.config_path();
    say(format_args!("balancer: `{command}`\n  {listen}, configured by {}\n", config.display()));
    let stage = Stage { tempo, launcher: Some(balancer.launcher()), ..Stage::new(listen, cast) };
    let report = chapter.run_with(&stage, &|_| None, &mut |told| say(told)).await;
    if let Some(death) = balancer.death().await {
        complain(format_args!("\nThe balancer is no longer there: {death}"));
    } else if !report.is_good() {
        complain(format_args!("\nThe balancer still runs; {}", balancer.output()));
    }
    balancer.end().await;
    Ok(report)
}

/// Where a target's expected configuration is written: beside what cargo builds.
fn expected_files(chapter: Chapter) -> io::Result<(PathBuf, PathBuf)> {
    let dir = built()?.join("course");
    fs::create_dir_all(&dir)?;
    let file = |ending: &str| dir.join(format!("chapter-{}.{ending}", chapter.id()));
    Ok((file("toml"), file("json")))
}

/// A path as a person types it: below the current directory where it is.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// The directory that this program was built into, `target/debug` or so.
fn built() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().ok_or_else(|| io::Error::other("this program is in no directory"))?;
    Ok(dir.to_owned())
}

/// Builds `lb`, and gives the command that starts it.
pub(super) fn lb_command() -> Result<String, Stopped> {
    if !crate::test::cargo(&["build", "--quiet", "--package", "lb-server", "--bin", "lb"]) {
        return Err(Stopped::Cannot("lb cannot be built".into()));
    }
    let lb = built()?.join("lb");
    Ok(format!("exec '{}' run --config \"$COURSE_CONFIG\"", lb.display()))
}

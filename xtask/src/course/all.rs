//! Chapter 8: the same suites against several balancers, side by side.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use lb_testkit::course::{Chapter, Peer, Report, StartCommand, Table, Tempo, not_offered};
use tokio::task::JoinSet;

use super::{Judged, Stopped, Subject, run::lb_command, say};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/course/results.md");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/course/examples/balancer.py");
/// What the example was written for.
const EXAMPLE_CHAPTERS: [Chapter; 4] =
    [Chapter::Skeleton, Chapter::Routing, Chapter::Configuration, Chapter::Health];
const NUMBERED: [Chapter; 7] = [
    Chapter::Skeleton,
    Chapter::Routing,
    Chapter::Configuration,
    Chapter::Health,
    Chapter::Manipulating,
    Chapter::Algorithms,
    Chapter::Firewall,
];

/// A balancer that takes part.
#[derive(Clone)]
struct Contender {
    name: &'static str,
    how: How,
    chapters: Vec<Chapter>,
    /// Those in which nothing may fail.
    must_pass: Vec<Chapter>,
}

#[derive(Clone)]
enum How {
    Peer(Peer),
    Command(String),
}

impl Contender {
    async fn judge(&self, chapter: Chapter) -> std::io::Result<Report> {
        match &self.how {
            How::Peer(peer) => peer.judge(chapter, Tempo::default(), &mut |_| ()).await,
            How::Command(command) => {
                StartCommand::judge(command, chapter, Tempo::default(), &mut |_| ()).await
            }
        }
    }
}

/// All that are installed run at the same time, each its chapters one after the other.
pub(super) async fn run(subject: &Subject, write: bool) -> Judged {
    let contenders = contenders(subject)?;
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    let mut running = JoinSet::new();
    for contender in contenders {
        running.spawn(async move {
            let mut reports = Vec::new();
            for &chapter in &contender.chapters {
                reports.push((chapter, contender.judge(chapter).await));
            }
            (contender, reports)
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = running.join_next().await {
        all.push(ended.map_err(|error| Stopped::Cannot(error.to_string()))?);
    }
    all.sort_by_key(|(contender, _)| names.iter().position(|name| *name == contender.name));
    let (mut table, mut good) = (Table::default(), true);
    let mut failures = String::new();
    for (contender, reports) in all {
        for (chapter, report) in reports {
            let report = report?;
            good &= report.is_good() || !contender.must_pass.contains(&chapter);
            if !report.is_good() {
                let (name, failed) = (contender.name, report.failed().join("`, `"));
                failures += &format!("- {name}, chapter {}: `{failed}`.\n", chapter.id());
            }
            say(format_args!("{}, chapter {}: {}", contender.name, chapter.id(), report.counts()));
            if !report.is_good() && contender.must_pass.contains(&chapter) {
                say(format_args!("\n{report}\n"));
            }
            table.add(contender.name, chapter, report.counts());
        }
    }
    say(format_args!("\n{table}"));
    if write {
        fs::write(RESULTS, page(&table, &failures))?;
        say(format_args!("\nwritten: {RESULTS}"));
    }
    Ok(good)
}

fn contenders(subject: &Subject) -> Result<Vec<Contender>, Stopped> {
    let theirs = Peer::ALL[0].chapters().to_vec();
    match subject {
        Subject::Target(_) => {
            let message = "chapter 8 starts the balancer anew for each chapter: give --start, not --target";
            return Err(Stopped::Usage(message.into()));
        }
        Subject::Start(command) => {
            let how = How::Command(command.clone());
            return Ok(vec![Contender { name: "yours", how, chapters: theirs.clone(), must_pass: theirs }]);
        }
        Subject::Lb => {}
    }
    let (all, lb) = (NUMBERED.to_vec(), How::Command(lb_command()?));
    let mut contenders = vec![Contender { name: "lb", how: lb, chapters: all.clone(), must_pass: all }];
    for peer in Peer::ALL {
        if peer.program().is_none() {
            say(format_args!(
                "{} is not installed and takes no part (Debian package {})",
                peer.name(),
                peer.package()
            ));
            continue;
        }
        let (name, how) = (peer.name(), How::Peer(peer));
        contenders.push(Contender { name, how, chapters: theirs.clone(), must_pass: theirs.clone() });
    }
    let python =
        Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if python.is_ok_and(|status| status.success()) {
        contenders.push(Contender {
            name: "the Python example",
            how: How::Command(format!("exec python3 '{EXAMPLE}'")),
            chapters: NUMBERED.to_vec(),
            must_pass: EXAMPLE_CHAPTERS.to_vec(),
        });
    } else {
        say("python3 is not installed: the example takes no part");
    }
    Ok(contenders)
}

/// The page of the guide.
fn page(table: &Table, failures: &str) -> String {
    let mut versions = Vec::new();
    for peer in Peer::ALL {
        let flag = if peer == Peer::Nginx { "-v" } else { "-vv" };
        let output = peer.program().and_then(|program: std::path::PathBuf| version(&program, flag));
        versions.push(output.unwrap_or_else(|| format!("no {}", peer.name())));
    }
    format!(
        "# Who passes what\n\n\
         Written by `cargo xtask course 8 --write`; a test runs the suites again and compares.\n\n\
         {table}\n\n\
         An empty field: not judged by that chapter. The peers: {}.\n\n\
         ## Not offered\n\n\
         These were tried, did not pass, and are known not to. Should one of them pass some day, it is\n\
         reported as a failure of this list.\n\n{}\n\
         ## Failed\n\n\
         The Python example was written for chapters 1 to 4; what it fails is the reader's to add.\n\n{failures}",
        versions.join("; "),
        not_offered(),
    )
}

/// The first line that a program says about its version.
fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next()?.to_owned();
    Some(line.split(" - ").next().unwrap_or(&line).trim_start_matches("nginx version: ").to_owned())
}

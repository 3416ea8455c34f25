//! The guide's commands do what its pages say.
//!
//! A block of the language `sh` is run from the workspace's root and must end well. Words behind `sh` say
//! otherwise: `fails` (exit code 1), `stops` (it goes on until it is interrupted, once the output below has
//! come), `slow` (half a minute and more: run only with LB_COURSE_SLOW=1 in the environment). A block of the
//! language `text` that comes next is what it writes: line by line, with `...` for whatever may come between.

use std::{fs, path::Path};

use rustix::process::Signal;
use tokio::process::Command;

use super::{Running, has_python, workspace};

/// A command, and what it should write.
#[derive(Debug, Default)]
struct Block {
    line: usize,
    marks: String,
    command: String,
    output: Vec<String>,
}

/// The commands of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<String> = None;
    for (index, line) in page.lines().enumerate() {
        match (&fence, line.strip_prefix("```")) {
            (None, Some(info)) => {
                if let Some(marks) = info.strip_prefix("sh") {
                    let marks = marks.trim().to_owned();
                    blocks.push(Block { line: index + 1, marks, ..Block::default() });
                }
                fence = Some(info.to_owned());
            }
            (Some(_), Some(_)) => fence = None,
            (Some(info), None) => match blocks.last_mut() {
                Some(block) if info.starts_with("sh") => block.command += &format!("{line}\n"),
                Some(block) if info == "text" => block.output.push(line.to_owned()),
                _ => {}
            },
            (None, None) => {}
        }
    }
    blocks
}

/// Whether a line is as the page says, `...` standing for anything.
fn is_like(line: &str, told: &str) -> bool {
    let mut rest = line;
    for (index, piece) in told.split("...").enumerate() {
        match rest.find(piece) {
            Some(0) => rest = &rest[piece.len()..],
            Some(at) if index > 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || told.ends_with("...")
}

/// The first told line that does not come, each after the one before.
fn missing<'a>(output: &str, told: &'a [String]) -> Option<&'a str> {
    let mut lines = output.lines();
    let told = told.iter().filter(|line| line.trim() != "..." && !line.trim().is_empty());
    told.map(String::as_str).find(|told| !lines.any(|line| is_like(line.trim_end(), told)))
}

async fn run(page: &str, block: &Block) {
    let Block { line, command, output, .. } = block;
    let is = |mark: &str| block.marks.split(' ').any(|word| word == mark);
    if is("slow") && std::env::var_os("LB_COURSE_SLOW").is_none() {
        eprintln!("not run: {page}:{line} (slow; LB_COURSE_SLOW=1 runs it)");
        return;
    }
    if command.contains("python3") && !has_python() {
        return;
    }
    let mut shell = Command::new("bash");
    shell.args(["-e", "-c", command]).current_dir(workspace()).process_group(0);
    let mut running = Running::start(&mut shell);
    if is("stops") {
        for told in output.iter().filter(|line| line.trim() != "...") {
            running.says(told.split("...").next().unwrap_or_default()).await;
        }
        running.interrupt_group();
    }
    let (code, text) = running.ends().await;
    let expected = Some(i32::from(is("fails")));
    assert!(is("stops") || code == expected, "{page}:{line}: exit code {code:?}\n{command}{text}");
    if let Some(missing) = missing(&text, output) {
        panic!("{page}:{line}: no line {missing:?} in the output of\n{command}\n{text}");
    }
}

impl Running {
    fn interrupt_group(&self) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        rustix::process::kill_process_group(pid.expect("it runs"), Signal::INT).expect("it is interrupted");
    }
}

fn page(name: &str) -> String {
    fs::read_to_string(workspace().join("docs/course").join(name)).expect("the page is there")
}

const PAGES: [&str; 10] = [
    "1-skeleton.md",
    "2-routing.md",
    "3-configuration.md",
    "4-health.md",
    "5-manipulating.md",
    "6-algorithms.md",
    "7-firewall.md",
    "8-others.md",
    "README.md",
    "guide.md",
];

/// All pages at the same time, for their commands wait more than they work.
#[tokio::test]
async fn every_command_does_what_its_page_says() {
    let runs = PAGES.map(|name| {
        tokio::spawn(async move {
            for block in blocks(&page(name)) {
                run(name, &block).await;
            }
        })
    });
    let mut failed = Vec::new();
    for (name, run) in PAGES.iter().zip(runs) {
        if run.await.is_err() {
            failed.push(*name); // the panic has been told already
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// No page goes without a test, and each of them has a command.
#[test]
fn every_page_is_tested() {
    let mut names: Vec<_> = fs::read_dir(workspace().join("docs/course"))
        .expect("the guide is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "md"))
        .filter(|name| name != "results.md")
        .collect();
    names.sort();
    assert_eq!(names, PAGES);
    for name in PAGES {
        assert!(!blocks(&page(name)).is_empty(), "{name}");
    }
}

/// What a reader clicks on is there.
#[test]
fn links_lead_somewhere() {
    let folder = workspace().join("docs/course");
    for entry in fs::read_dir(&folder).expect("the guide is there").flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_here = !link.starts_with("http") && !file.is_empty();
            assert!(!is_here || folder.join(file).exists(), "{:?}: {link}", entry.file_name());
        }
    }
}

#[test]
fn blocks_are_found_with_their_marks_and_outputs() {
    let found = blocks("a\n```sh fails\nx\ny\n```\nb\n```text\no...\n```\n```toml\nz\n```\n```sh\nw\n```\n");
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.line, &*first.marks, &*first.command), (2, "fails", "x\ny\n"));
    assert_eq!(first.output, ["o..."]);
    assert_eq!((&*second.marks, &*second.command, second.output.len()), ("", "w\n", 0));
    for (line, told, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "ab...", true),
        ("abc", "a...c", true),
        ("abc", "...c", true),
        ("abd", "a...c", false),
        ("xabc", "abc", false),
    ] {
        assert_eq!(is_like(line, told), expected, "{line} {told}");
    }
    let told = ["b", "...", "d"].map(str::to_owned);
    assert_eq!(missing("a\nb\nc\nd\n", &told), None);
    assert_eq!(missing("d\nb\n", &told), Some("d"));
}

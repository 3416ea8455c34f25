//! `cargo xtask course` as a learner types it.

use std::fs;

use lb_testkit::{Backend, course::Chapter};
use rstest::rstest;
use rustix::process::Signal;

use super::{Running, gone, written, xtask};
use crate::support::{Tested, process::binary};

#[tokio::test]
async fn the_chapters_are_listed() {
    let (code, text) = Running::course(&[]).ends().await;
    assert_eq!(code, Some(0), "{text}");
    for chapter in Chapter::ALL {
        let line = text.lines().find(|line| line.starts_with(&format!("{:<6} ", chapter.id())));
        assert!(line.is_some_and(|line| line.contains(chapter.title())), "{chapter}\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("8 ") && line.contains("nginx and HAProxy")), "{text}");
}

#[rstest]
#[case::no_such_chapter(&["9"], "there is no chapter \"9\"; there are 1 to 8, and guide")]
#[case::no_chapter(&["--target", "http://127.0.0.1:1"], "which chapter?")]
#[case::two_subjects(&["2", "--target", "http://127.0.0.1:1", "--start", "x"], "cannot be used with")]
#[case::no_url(&["1", "--target", "127.0.0.1:1", "--ports", "free"], "expected something like http://127.0.0.1:8000")]
#[case::path(&["1", "--target", "http://127.0.0.1:1/x", "--ports", "free"], "http://127.0.0.1:1/x: a host and a port")]
#[case::https(&["1", "--target", "https://127.0.0.1:1", "--ports", "free"], "the course speaks plain HTTP only")]
#[case::port(&["1", "--target", "http://127.0.0.1:99999", "--ports", "free"], "a port is a number from 1 to 65535")]
#[case::no_command(&["1", "--start", " "], "--start: which command?")]
#[case::chapter_8_at_a_target(&["8", "--target", "http://127.0.0.1:1"], "give --start, not --target")]
#[case::write(&["2", "--write"], "--write goes with chapter 8")]
#[case::ports(&["2", "--ports", "some"], "possible values: fixed, free")]
#[tokio::test]
async fn wrong_usage_is_exit_code_2(#[case] arguments: &[&str], #[case] words: &str) {
    let (code, text) = Running::course(arguments).ends().await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(words), "{text}");
}

#[tokio::test]
async fn lb_is_judged_without_a_word() {
    let (code, text) = Running::course(&["1"]).ends().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("chapter 1: a skeleton that answers at all\n"), "{text}");
    assert!(text.contains("ok   the_skeleton_says_hello"), "{text}");
    assert!(text.contains("\n1 passed, 0 failed, 0 skipped\n"), "{text}");
}

#[tokio::test]
async fn a_failing_target_is_told_what_it_should_have_done() -> Tested {
    let hello = Backend::text("hello").start().await?;
    let url = format!("http://{}", hello.addr());
    let (code, text) = Running::course(&["2", "--target", &url, "--ports", "free"]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    let told = "FAIL a_host_reaches_mango: `Host: www.mango.com` reaches a mango backend.\n\
                \x20   sent:     GET / with Host: www.mango.com\n\
                \x20   expected: 200 with a body that contains \"This is the mango application.\"\n\
                \x20   got:      200 \"hello\"\n\
                \x20   hint:     Look at the request's Host field";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("\n0 passed, 12 failed, 0 skipped\n"), "{text}");
    // What it should have been told is in files that stay.
    let file = text.lines().find(|line| line.trim().ends_with("chapter-2.toml")).expect("a file is named");
    let toml = fs::read_to_string(super::workspace().join(file.trim()))?;
    assert!(toml.contains(&format!("bind = \"{}\"", hello.addr())), "{toml}");
    Ok(())
}

#[tokio::test]
async fn what_a_target_cannot_show_is_skipped() -> Tested {
    let hello = Backend::text("hello").start().await?;
    let url = format!("http://{}", hello.addr());
    let (code, text) = Running::course(&["3", "--target", &url, "--ports", "free"]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("skip a_missing_file_stops_the_start"), "{text}");
    assert!(text.contains("skipped:  the suite was not told how to start this balancer"), "{text}");
    assert!(text.contains("\n0 passed, 4 failed, 4 skipped\n"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_target_that_is_not_there_is_waited_for_and_named() -> Tested {
    let nobody = lb_testkit::Port::free()?;
    let url = format!("http://{}", nobody.addr());
    // (Another chapter than that of the test whose file stays.)
    let (code, text) =
        Running::course(&["5", "--target", &url, "--ports", "free", "--wait", "0"]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("nothing answers at {url} after 0ns: Connection refused")), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_command_that_dies_is_told_with_its_last_words() {
    let (code, text) =
        Running::course(&["2", "--start", "echo cannot find my head >&2; exit 3"]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(
            "`echo cannot find my head >&2; exit 3` ended with exit code 3 before it listened at 127.0.0.1:"
        ),
        "{text}"
    );
    assert!(text.contains("it wrote:\n    | cannot find my head\n"), "{text}");
}

#[tokio::test]
async fn a_command_is_told_what_to_do() -> Tested {
    let dir = tempfile::tempdir()?;
    let told = dir.path().join("told");
    let command = format!(
        "{{ env | grep ^COURSE_; cat \"$COURSE_CONFIG\" \"$COURSE_CONFIG_JSON\"; }} > {}; exit 1",
        told.display()
    );
    let (code, text) = Running::course(&["4", "--start", &command]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    let told = fs::read_to_string(told)?;
    let variable = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in {told}")).to_owned()
    };
    assert_eq!(variable("COURSE_CHAPTER"), "4");
    let listen = variable("COURSE_LISTEN");
    assert!(listen.parse::<std::net::SocketAddr>().is_ok(), "{listen}");
    let backends = variable("COURSE_BACKENDS");
    let names: Vec<_> = backends.split(',').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
    assert_eq!(names, Chapter::Health.roles().iter().map(|role| role.name).collect::<Vec<_>>());
    assert!(told.contains(&format!("bind = \"{listen}\"")), "{told}");
    let json = &told[told.find("\n{\n").expect("the JSON comes last")..];
    let json: serde_json::Value = serde_json::from_str(json)?;
    assert_eq!(json["listener"][0]["bind"], listen.as_str());
    assert_eq!(json["pool"]["mango"]["health_check"]["path"], "/healthcheck");
    let mango1 = json["pool"]["mango"]["backends"][0].as_str().expect("an address").to_owned();
    assert!(backends.starts_with(&format!("mango1={mango1},")), "{backends}");
    Ok(())
}

#[tokio::test]
async fn a_command_that_never_listens_is_ended_with_all_that_it_started() -> Tested {
    let dir = tempfile::tempdir()?;
    let pid = dir.path().join("pid");
    let command = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let (code, text) = Running::course(&["2", "--start", &command, "--wait", "1"]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("runs, but nothing listens at 127.0.0.1:"), "{text}");
    assert!(text.contains("(COURSE_LISTEN) after 1s; it wrote nothing"), "{text}");
    gone(&written(&pid).await?).await;
    Ok(())
}

#[rstest]
#[case(Signal::INT)]
#[case(Signal::TERM)]
#[tokio::test]
async fn an_interruption_ends_everything(#[case] signal: Signal) -> Tested {
    let dir = tempfile::tempdir()?;
    let pid = dir.path().join("pid");
    let command = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let running = Running::course(&["2", "--start", &command]);
    let pid = written(&pid).await?;
    running.signal(signal);
    let (code, text) = running.ends().await;
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("interrupted; everything that was started has ended"), "{text}");
    gone(&pid).await;
    Ok(())
}

/// Killed, it can do nothing any more; what it started ends all the same.
#[tokio::test]
async fn nothing_outlives_a_companion_that_is_killed() -> Tested {
    let dir = tempfile::tempdir()?;
    let pid = dir.path().join("pid");
    let command = format!("trap '' TERM HUP; sleep 1000 & echo $! > {}; wait", pid.display());
    let running = Running::course(&["2", "--start", &command]);
    let pid = written(&pid).await?;
    running.signal(Signal::KILL);
    assert_eq!(running.ends().await.0, None);
    gone(&pid).await;
    Ok(())
}

/// The access log's third line is the end of this balancer.
#[tokio::test]
async fn a_balancer_that_dies_amid_the_cases_is_told() {
    let command = format!(
        "'{}' run --config \"$COURSE_CONFIG\" 2>&1 | {{ head -n 4; kill -KILL 0; }}",
        binary().display()
    );
    let (code, text) = Running::course(&["2", "--start", &command]).ends().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no answer: Connection refused"), "{text}");
    assert!(text.contains("The balancer is no longer there: "), "{text}");
    assert!(text.contains("ended by itself with signal 9; it wrote:"), "{text}");
}

#[tokio::test]
async fn a_watched_change_runs_it_again() -> Tested {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("balancer.py"), "1")?;
    let watch = format!("--watch={}", dir.path().display());
    let mut running = Running::course(&["1", &watch]);
    for text in ["12", "123"] {
        running.says("1 passed, 0 failed, 0 skipped").await;
        running.says("waiting for a change in").await;
        fs::write(dir.path().join("balancer.py"), text)?;
        running.says("balancer.py changed").await;
    }
    running.signal(Signal::INT);
    assert_eq!(running.ends().await.0, Some(130));
    Ok(())
}

#[tokio::test]
async fn the_courses_yaml_is_converted_or_refused_by_line() -> Tested {
    let dir = tempfile::tempdir()?;
    let (good, bad) = (dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
    fs::write(&good, "hosts:\n- host: www.mango.com\n  servers: [localhost:8081]\n")?;
    fs::write(&bad, "hosts:\n- host: www.mango.com\n  server: [localhost:8081]\n")?;
    let convert = async |file: &std::path::Path| {
        let file = file.to_str().expect("UTF-8");
        Running::course(&["convert", file, "--listen", "127.0.0.1:0"]).ends().await
    };
    let (code, text) = convert(&good).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(lb_tests::valid(&text).routes[0].pool.starts_with("www-mango-com"), "{text}");
    let (code, text) = convert(&bad).await;
    assert_eq!(code, Some(1), "{text}");
    let words = "bad.yaml:3: `server` has no conversion; known are `host` and `servers`\n";
    assert!(text.ends_with(words), "{text}");
    let (code, text) = convert(&dir.path().join("none.yaml")).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("none.yaml: cannot read it: No such file"), "{text}");
    Ok(())
}

/// Where standard output is closed nobody wants to know.
#[tokio::test]
async fn a_reader_that_leaves_is_no_failure() {
    let command = format!("'{}' course | head -n 1", xtask().display());
    let shell = Running::start(tokio::process::Command::new("sh").args(["-c", &command]));
    let (code, text) = shell.ends().await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

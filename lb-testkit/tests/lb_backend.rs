//! The binary `lb-backend`, as a process.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use lb_testkit::{
    Port, RawClient,
    course::{CheckUp, control::Control},
};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-backend"));
    for name in ["APP", "ANSWER", "ENDPOINT", "LISTEN", "CONTROL"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
fn ends(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(variables).args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// A running one, killed on drop.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it; gives the first line that it says, too.
    fn start(variables: &[(&str, &str)]) -> io::Result<(Self, String)> {
        let mut child = command(variables).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok((Self { child, output }, line))
    }

    fn ends_with(&mut self, signal: Signal) -> io::Result<Option<i32>> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(id, signal)?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// The address after these words.
fn address(line: &str, words: &str) -> SocketAddr {
    let after = line.split_once(words).map(|(_, rest)| rest.trim_end());
    let word = after.and_then(|rest| rest.split([',', '\n']).next()).unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("no address after {words:?} in {line:?}"))
}

#[rstest]
#[case(Signal::TERM)]
#[case(Signal::INT)]
#[tokio::test]
async fn serves_obeys_and_ends(#[case] signal: Signal) -> io::Result<()> {
    let variables =
        [("APP", "apple"), ("ENDPOINT", "here:1"), ("LISTEN", "127.0.0.1:0"), ("CONTROL", "127.0.0.1:0")];
    let (mut apple, line) = Running::start(&variables)?;
    let addr = address(&line, "apple listens on ");
    let text = RawClient::connect(addr).await?.get("/a", "b").await?.body.text();
    assert!(text.starts_with("This is the apple application. Serving on here:1."), "{text}");
    let mut told = String::new();
    apple.output.read_line(&mut told)?;
    assert_eq!(told, "GET /a\n");

    let url = format!("http://{addr}/healthcheck");
    assert_eq!(ends(&[], &["probe", &url]), (Some(0), format!("well: 200 from {url}\n"), String::new()));
    Control::at(address(&line, "control on ")).check_up(CheckUp::Status(503)).await?;
    assert_eq!(
        ends(&[], &["probe", &url]),
        (Some(1), String::new(), format!("not well: {url}: status 503\n"))
    );
    // Without a URL it asks the one that its environment describes.
    let listen = addr.to_string();
    assert_eq!(ends(&[("LISTEN", &listen)], &["probe"]).0, Some(1));

    assert_eq!(apple.ends_with(signal)?, Some(0));
    Ok(())
}

#[rstest]
#[case::greeting(&[("APP", "backend1"), ("ANSWER", "greeting")], "{\"message\": \"Hello from backend1\"}")]
#[case::text(&[("APP", "hello, world"), ("ANSWER", "text")], "hello, world")]
#[case::empty_is_unset(&[("APP", ""), ("ENDPOINT", ""), ("CONTROL", "")], "This is the mango application.")]
#[tokio::test]
async fn answers_as_it_is_told(#[case] variables: &[(&str, &str)], #[case] expected: &str) -> io::Result<()> {
    let (_running, line) = Running::start(&[variables, &[("LISTEN", "127.0.0.1:0")]].concat())?;
    let text = RawClient::connect(address(&line, "listens on ")).await?.get("/", "a").await?.body.text();
    assert!(text.starts_with(expected), "{text}");
    Ok(())
}

#[rstest]
#[case("LISTEN", "8080", "LISTEN is \"8080\"; it should be an IP:port")]
#[case("CONTROL", "here", "CONTROL is \"here\"")]
#[case("ANSWER", "song", "it can be sentence, greeting or text")]
fn a_variable_that_makes_no_sense(#[case] name: &str, #[case] value: &str, #[case] wanted: &str) {
    let (code, _, errors) = ends(&[("LISTEN", "127.0.0.1:0"), (name, value)], &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains(wanted), "{errors}");
}

#[tokio::test]
async fn an_address_that_is_taken() -> io::Result<()> {
    let port = Port::free()?;
    let _taken = port.listen()?;
    let taken = port.addr().to_string();
    for variables in
        [[("LISTEN", taken.as_str()), ("CONTROL", "")], [("LISTEN", "127.0.0.1:0"), ("CONTROL", &taken)]]
    {
        let (code, _, errors) = ends(&variables, &[]);
        assert_eq!(code, Some(1));
        assert!(errors.contains("cannot listen on ") && errors.contains(&taken), "{errors}");
    }
    Ok(())
}

#[rstest]
#[case(&["--help"], 0)]
#[case(&["--version"], 0)]
#[case(&["serve"], 2)]
#[case(&["probe", "--url"], 2)]
#[case(&["probe", "a", "b"], 2)]
fn usage(#[case] arguments: &[&str], #[case] expected: i32) {
    let (code, output, errors) = ends(&[], arguments);
    assert_eq!(code, Some(expected));
    assert!((output + &errors).contains("lb-backend"));
}

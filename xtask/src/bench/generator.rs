//! Load for a while, by wrk or by the own generator, and what the clients saw of it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    contender,
    load::{Fleet, Quota},
    scenario::{HEADERS, HOST, Load},
    sys,
};

/// What sends the requests.
#[derive(Clone, Debug)]
pub(super) enum Generator {
    Wrk(PathBuf),
    Own,
}

/// What the clients saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) completed: u64,
    pub(super) errors: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Generator {
    /// wrk, or the own generator where it is missing.
    pub(super) fn find() -> Self {
        contender::find("wrk").map_or(Self::Own, Self::Wrk)
    }

    pub(super) fn version(&self) -> String {
        match self {
            Self::Wrk(program) => {
                let said = contender::output(program, &["-v"]).unwrap_or_default();
                said.split(" Copyright").next().unwrap_or_default().to_owned()
            }
            Self::Own => "own generator".into(),
        }
    }

    /// Sends `load` to `to` from the CPU `cpu`. `dir` is for files of its own.
    pub(super) fn run(
        &self,
        load: &Load,
        to: SocketAddr,
        time: Duration,
        cpu: usize,
        dir: &Path,
    ) -> Result<Seen, String> {
        match self {
            Self::Wrk(program) => wrk(program, load, to, time, cpu, dir),
            Self::Own => own(load, to, time, cpu),
        }
    }
}

fn own(load: &Load, to: SocketAddr, time: Duration, cpu: usize) -> Result<Seen, String> {
    let run = || {
        sys::pin(cpu)?;
        let mut fleet = Fleet::open(to, load.connections, &load.request(), load.close)?;
        let until = Some(Instant::now() + time);
        fleet.run(Quota { in_flight: load.connections, total: u64::MAX, each: u64::MAX, until })
    };
    let outcome = thread::scope(|scope| scope.spawn(run).join())
        .map_err(|_| "the own generator failed".to_owned())?
        .map_err(|error| format!("the own generator: {error}"))?;
    Ok(Seen {
        completed: outcome.completed,
        errors: outcome.errors,
        seconds: outcome.elapsed.as_secs_f64(),
        p50_us: outcome.percentile_us(0.5),
        p99_us: outcome.percentile_us(0.99),
    })
}

/// Tells wrk what to send and how to report. Without a `request` function, wrk builds the request once.
const SCRIPT: &str = r#"
wrk.method = "METHOD"
if BODY > 0 then wrk.body = string.rep("x", BODY) end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\nRESULT %d %d %d %d %d %d\n", summary.requests,
    e.connect + e.read + e.write + e.timeout, e.status, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
"#;

fn wrk(
    program: &Path,
    load: &Load,
    to: SocketAddr,
    time: Duration,
    cpu: usize,
    dir: &Path,
) -> Result<Seen, String> {
    let method = if load.body > 0 { "POST" } else { "GET" };
    let script = dir.join("wrk.lua");
    let text = SCRIPT.replace("METHOD", method).replace("BODY", &load.body.to_string());
    fs::write(&script, text).map_err(|error| format!("{}: {error}", script.display()))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &cpu.to_string()]);
    command.arg(program).args(["-t1", &format!("-c{}", load.connections)]);
    // wrk takes whole seconds only.
    command.arg(format!("-d{}s", time.as_secs().max(1))).args(["--timeout", "10s", "-H"]);
    command.arg(format!("Host: {HOST}"));
    for (name, value) in HEADERS {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    if load.close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg("-s").arg(&script).arg(format!("http://{to}{}", load.path));
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("wrk: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    read_result(&said).ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("wrk ({}) gave no result:\n{said}{complaint}", output.status)
    })
}

fn read_result(said: &str) -> Option<Seen> {
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [requests, broken, refused, duration_us, p50, p99] = numbers.try_into().ok()?;
    Some(Seen {
        // wrk counts answers of other statuses as requests, too.
        completed: requests.saturating_sub(refused),
        errors: broken + refused,
        seconds: duration_us as f64 / 1e6,
        p50_us: p50 as f64,
        p99_us: p99 as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_wrk_are_read() {
        let seen = read_result("Running 1s test\n\nRESULT 1000 2 10 2000000 50 99\n").unwrap();
        assert_eq!((seen.completed, seen.errors, seen.p50_us), (990, 12, 50.0));
        assert!((seen.seconds - 2.0).abs() < 1e-9);
        assert!(read_result("unable to connect").is_none());
    }
}

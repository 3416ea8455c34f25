//! The network that contenders are compared on. On the host's, packets between processes may go through a packet
//! filter (Docker brings one), which takes its time from all alike. A network namespace of its own has none.

use std::{
    env, fmt,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::contender;

/// In the environment of a process that has entered a namespace.
const ENTERED: &str = "LB_BENCH_NAMESPACE";
/// What unshare is asked for: by root, and by anybody else. The latter keeps its user, since nginx as root wants to
/// be another one, and there is none; and the capability to set the interface up.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-current-user", "--keep-caps", "--net"]];
/// A new namespace has nothing but a loopback interface that is down.
const SET_UP: &str = r#""$0" link set lo up && exec "$@""#;

/// Where a comparison ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Own,
    Host,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "a namespace of its own, without a packet filter",
            Self::Host => "the host's",
        })
    }
}

/// Whether this process is in a namespace that [`enter`] made.
pub(super) fn entered() -> bool {
    env::var_os(ENTERED).is_some()
}

/// Begins this program anew in a namespace of its own, in this process's place, with its terminal and its signals.
/// Comes back only if there can be none, with the reason.
pub(super) fn enter() -> String {
    let command = || {
        let tools = Tools::find()?;
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = tools.command(tools.way()?, &program);
        command.args(env::args_os().skip(1)).env(ENTERED, "1");
        Ok(command)
    };
    command().map_or_else(|reason: String| reason, |mut command| command.exec().to_string())
}

/// The programs that make a namespace.
struct Tools {
    unshare: PathBuf,
    ip: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, String> {
        let find = |name, package| {
            contender::find(name).ok_or_else(|| format!("{name} is missing (apt-get install {package})"))
        };
        Ok(Self { unshare: find("unshare", "util-linux")?, ip: find("ip", "iproute2")? })
    }

    /// Runs `program` in a namespace.
    fn command(&self, way: &[&str], program: &Path) -> Command {
        let mut command = Command::new(&self.unshare);
        command.args(way).args(["sh", "-c", SET_UP]).arg(&self.ip).arg(program);
        command
    }

    /// The first way that works; the complaint about the last one if none does.
    fn way(&self) -> Result<&'static [&'static str], String> {
        let mut reason = String::new();
        for way in WAYS {
            match self.command(way, Path::new("true")).output() {
                Ok(output) if output.status.success() => return Ok(way),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    reason = said.lines().next().map_or_else(|| output.status.to_string(), str::to_owned);
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_namespace_there_is_a_reason() {
        for (unshare, ip, reason) in [
            ("/nonexistent", "true", "No such file"),
            ("false", "true", "exit status: 1"),
            // Where there can be a namespace, it is of no use; where not, unshare says so.
            ("unshare", "/nonexistent", ": "),
        ] {
            let tools = Tools { unshare: unshare.into(), ip: ip.into() };
            let said = tools.way().unwrap_err();
            assert!(said.contains(reason) && said.lines().count() == 1, "{unshare}, {ip}: {said}");
        }
    }

    #[test]
    fn a_namespace_has_loopback_alone() {
        let way = |tools: Tools| tools.way().map(|way| tools.command(way, Path::new("ip")));
        let mut command = match Tools::find().and_then(way) {
            Ok(command) => command,
            Err(reason) => return println!("no namespace to look at: {reason}"),
        };
        let output = command.args(["-brief", "address"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("lo ") && said.contains("127.0.0.1/8"), "{said}");
    }
}

//! The cast in containers, from `docker/compose.yaml`.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use lb_testkit::{
    Port, RawClient,
    course::{Act, Actor, Cast, Chapter, Kind, Member, Ports, control::Control},
};
use tokio::time::{sleep, timeout};

use crate::containers::Guarded;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/compose.yaml");
/// Names the run that containers belong to, which they have as a label.
const RUN_VARIABLE: &str = "LB_RUN";
const IMAGE_DEFAULT: &str = "lb-backend";
/// How long a container may take until it answers.
const UP_MAX: Duration = Duration::from_secs(30);
const PACE: Duration = Duration::from_millis(20);

/// Starts a chapter's backends as services of the compose file, named as their roles are. They are taken
/// down when the cast is dropped.
pub(super) async fn cast(chapter: Chapter, ports: Ports) -> io::Result<Cast> {
    let roles = chapter.roles().iter().filter(|role| role.kind != Kind::Nobody);
    let services = roles.map(|role| {
        let port = if ports == Ports::Fixed { role.port } else { 0 };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let taken = |error: io::Error| {
            io::Error::new(error.kind(), format!("{} cannot have {listen}: {error}", role.name))
        };
        Ok(Service { name: role.name, port: Port::at(listen).map_err(taken)?, control: Port::free()? })
    });
    let project = format!("lb-course-{}", std::process::id());
    // Within a run of the tests its own guard sees to it that nothing stays.
    let own_guard = match std::env::var_os(RUN_VARIABLE) {
        Some(_) => None,
        None => Some(Guarded::start(&project)?),
    };
    let composed = Arc::new(Composed {
        words: compose()?,
        project,
        own_guard,
        services: services.collect::<io::Result<_>>()?,
    });
    image()?;
    composed.obey(&["up", "--detach"], true)?;
    let mut members = Vec::new();
    for &role in chapter.roles() {
        let Some(index) = composed.services.iter().position(|service| service.name == role.name) else {
            members.push(Member::here(role, ports).await?);
            continue;
        };
        let contained = Contained::of(Arc::clone(&composed), index)?;
        contained.answers().await?;
        members.push(Member::played_by(role, contained));
    }
    Ok(Cast::of(members))
}

/// The backends' image must be here: it cannot be pulled from anywhere.
fn image() -> io::Result<()> {
    let image = std::env::var("LB_BACKEND_IMAGE").unwrap_or_else(|_| IMAGE_DEFAULT.into());
    let missing = |error| {
        io::Error::other(format!(
            "no image {image}: {error}\n`cargo xtask images` builds it, where an engine answers"
        ))
    };
    run(Command::new("docker").args(["image", "inspect", &image])).map(drop).map_err(missing)
}

/// `docker-compose`, or `docker compose`: whichever is there.
fn compose() -> io::Result<Vec<String>> {
    let candidates = ["docker-compose", "docker compose"];
    let works = |command: &&&str| {
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        run(Command::new(program).args(words).arg("version")).is_ok()
    };
    let found = candidates.iter().find(works).map(|words| words.split(' ').map(str::to_owned).collect());
    found.ok_or_else(|| {
        io::Error::other("--containers needs docker-compose or `docker compose`, and neither works here")
    })
}

/// Services of the compose file that run.
#[derive(Debug)]
struct Composed {
    words: Vec<String>,
    project: String,
    /// Takes away what is left should this process be killed.
    own_guard: Option<Guarded>,
    services: Vec<Service>,
}

/// One of them, with the ports of this machine that lead to it. Nobody else is given them as long as they
/// are held here.
#[derive(Debug)]
struct Service {
    name: &'static str,
    port: Port,
    control: Port,
}

impl Composed {
    /// Runs a command of compose; if `named`, for our services only.
    fn obey(&self, arguments: &[&str], named: bool) -> io::Result<String> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(["--project-name", &self.project, "--file", FILE]);
        command.args(arguments);
        if self.own_guard.is_some() {
            command.env(RUN_VARIABLE, &self.project);
        }
        for Service { name, port, control } in &self.services {
            let variable = name.to_uppercase();
            command.env(format!("{variable}_PORT"), port.addr().port().to_string());
            command.env(format!("{variable}_CONTROL_PORT"), control.addr().port().to_string());
            if named {
                command.arg(name);
            }
        }
        run(&mut command)
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        if let Err(error) = self.obey(&["down", "--timeout", "1", "--remove-orphans"], false) {
            super::complain(format_args!("the containers of {} are not all gone: {error}", self.project));
        }
    }
}

/// Runs a command to its end; an interruption of ours is none of its.
fn run(command: &mut Command) -> io::Result<String> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).process_group(0).output()?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&stderr).trim().to_owned()))
}

/// A backend in a container.
struct Contained {
    composed: Arc<Composed>,
    index: usize,
    id: String,
    endpoint: String,
    control: Control,
}

impl Contained {
    fn of(composed: Arc<Composed>, index: usize) -> io::Result<Self> {
        let Service { name, port, control } = &composed.services[index];
        let id = composed.obey(&["ps", "--quiet", name], false)?.trim().to_owned();
        let (endpoint, control) = (port.addr().to_string(), Control::at(control.addr()));
        Ok(Self { composed, index, id, endpoint, control })
    }

    /// Waits until it can be commanded. (A published port accepts before the container listens.)
    async fn answers(&self) -> io::Result<()> {
        let asked = async {
            while self.control.checks().await.is_err() || self.is_silent().await {
                sleep(PACE).await;
            }
        };
        let name = self.composed.services[self.index].name;
        let overdue =
            |_| io::Error::other(format!("the container of {name} does not answer after {UP_MAX:?}"));
        timeout(UP_MAX, asked).await.map_err(overdue)
    }

    async fn is_silent(&self) -> bool {
        let asked = async { RawClient::connect(self.addr()).await?.get("/healthcheck", "course").await };
        asked.await.is_err()
    }

    fn docker(&self, command: &str) -> io::Result<()> {
        run(Command::new("docker").args([command, &self.id])).map(drop)
    }
}

impl fmt::Debug for Contained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} at {}", self.id, self.endpoint)
    }
}

impl Actor for Contained {
    fn addr(&self) -> SocketAddr {
        self.composed.services[self.index].port.addr()
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A container that was stopped is started by this, for starting one that runs does nothing.
    fn reset(&self) -> Act<'_, ()> {
        Box::pin(async {
            self.start().await?;
            self.control.reset().await
        })
    }

    fn stop(&self) -> Act<'_, ()> {
        Box::pin(async { self.docker("kill") })
    }

    fn start(&self) -> Act<'_, ()> {
        Box::pin(async {
            self.docker("start")?;
            self.answers().await
        })
    }

    fn controlled_by(&self) -> Option<&Control> {
        Some(&self.control)
    }
}

//! Backends in containers.

use std::{env, io, net::SocketAddr, time::Duration};

use lb_testkit::{
    DEADLINE, Port,
    course::{Act, Actor, Kind, Role, control::Control},
    probe,
};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt,
    bollard::{Docker, query_parameters::KillContainerOptionsBuilder},
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

const RUN_LABEL: &str = "lb.run";
/// Where the image listens, and where its control is told to.
const LISTEN_PORT: u16 = 8080;
const CONTROL_PORT: u16 = 8079;
/// How long one that came back may take to answer.
const START_PAUSE: Duration = Duration::from_millis(20);

/// The name of this run, for labels.
pub(crate) fn run() -> String {
    env::var("LB_RUN").unwrap_or_else(|_| "by-hand".into())
}

/// The image of the balancer, as `name:tag`.
pub(crate) fn balancer_image() -> String {
    env::var("LB_IMAGE").unwrap_or_else(|_| "lb:latest".into())
}

/// The image of the mock backend.
pub(crate) fn backend_image() -> String {
    env::var("LB_BACKEND_IMAGE").unwrap_or_else(|_| "lb-backend:latest".into())
}

/// An image by its `name:tag`, waiting for these words on either output.
pub(crate) fn image(reference: &str, ready: WaitFor) -> ContainerRequest<GenericImage> {
    let (name, tag) = reference.split_once(':').unwrap_or((reference, "latest"));
    GenericImage::new(name, tag).with_wait_for(ready).with_label(RUN_LABEL, run())
}

/// What the engine said, as an error of input and output.
pub(crate) fn engine_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// A mock backend in a container. Its published ports are chosen here and stay its own while it is stopped,
/// because an engine that chose them would choose others at the next start. It is removed on drop.
#[derive(Debug)]
pub(crate) struct Contained {
    name: String,
    endpoint: String,
    container: ContainerAsync<GenericImage>,
    port: Port,
    control: Control,
    _control_port: Port,
}

impl Contained {
    /// Starts `lb-backend` with these variables of its environment.
    pub(crate) async fn start(name: &str, app: &str, answer: &str) -> io::Result<Self> {
        let (port, control_port) = (Port::free()?, Port::free()?);
        let endpoint = port.addr().to_string();
        let container = image(&backend_image(), WaitFor::message_on_stdout("listens on"))
            .with_env_var("APP", app)
            .with_env_var("ANSWER", answer)
            .with_env_var("ENDPOINT", &endpoint)
            .with_env_var("CONTROL", format!("0.0.0.0:{CONTROL_PORT}"))
            .with_mapped_port(port.addr().port(), LISTEN_PORT.tcp())
            .with_mapped_port(control_port.addr().port(), CONTROL_PORT.tcp())
            // Published on this machine only.
            .with_host_config_modifier(|host| {
                let bindings = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
                for binding in bindings.flatten().flatten() {
                    binding.host_ip = Some("127.0.0.1".into());
                }
            })
            .start()
            .await
            .map_err(|error| {
                io::Error::other(format!("{name}: {error}; are the images built (cargo xtask images)?"))
            })?;
        let control = Control::at(control_port.addr());
        Ok(Self { name: name.into(), endpoint, container, port, control, _control_port: control_port })
    }

    /// Starts the backend of a part that somebody plays.
    pub(crate) async fn of_role(role: Role) -> io::Result<Option<Self>> {
        let (app, answer) = match role.kind {
            Kind::App(app) => (app, "sentence"),
            Kind::Guide => (role.name, "greeting"),
            Kind::Text(text) => (text, "text"),
            Kind::Nobody => return Ok(None),
        };
        Self::start(role.name, app, answer).await.map(Some)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn container(&self) -> &ContainerAsync<GenericImage> {
        &self.container
    }

    /// KILL, which no process sees coming.
    pub(crate) async fn kill(&self) -> io::Result<()> {
        let docker = Docker::connect_with_defaults().map_err(engine_error)?;
        let signal = KillContainerOptionsBuilder::default().signal("KILL").build();
        docker.kill_container(self.container.id(), Some(signal)).await.map_err(engine_error)
    }

    /// Stops every thread of it, as a process that hangs; its kernel still takes connections.
    pub(crate) async fn pause(&self) -> io::Result<()> {
        self.container.pause().await.map_err(engine_error)
    }

    pub(crate) async fn unpause(&self) -> io::Result<()> {
        self.container.unpause().await.map_err(engine_error)
    }

    /// Waits until it answers through its published port.
    async fn answers(&self) -> io::Result<()> {
        let url = format!("http://{}/healthcheck", self.port.addr());
        let answered = async {
            while probe::get(&url, DEADLINE).await.is_err() {
                tokio::time::sleep(START_PAUSE).await;
            }
        };
        tokio::time::timeout(DEADLINE, answered).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("{} does not answer at {url}", self.name))
        })
    }
}

impl Actor for Contained {
    fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn reset(&self) -> Act<'_, ()> {
        Box::pin(async {
            if !self.container.is_running().await.map_err(engine_error)? {
                self.start().await?;
            }
            self.control.reset().await
        })
    }

    fn stop(&self) -> Act<'_, ()> {
        Box::pin(async { self.container.stop_with_timeout(Some(10)).await.map_err(engine_error) })
    }

    fn start(&self) -> Act<'_, ()> {
        Box::pin(async {
            self.container.start().await.map_err(engine_error)?;
            self.answers().await
        })
    }

    fn controlled_by(&self) -> Option<&Control> {
        Some(&self.control)
    }
}

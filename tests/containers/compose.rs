//! `docker/compose.yaml`: the balancer in a container, too, finding its backends by name.

use std::{
    env, io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use lb_testkit::{
    Port, RawClient,
    course::{CheckUp, control::Control},
    probe,
};

use crate::{
    engine::{backend_image, balancer_image, run},
    traffic::Traffic,
};

/// The services of the default profile, each with the port that it serves at.
const SERVICES: [&str; 5] = ["mango1", "mango2", "mango3", "apple1", "balancer"];

/// The whole file, up; it is taken down on drop.
struct Composed {
    /// `docker-compose`, or `docker compose`.
    words: Vec<String>,
    project: String,
    /// Of each service, and of its control.
    ports: Vec<(Port, Port)>,
}

impl Composed {
    fn up(words: &str) -> io::Result<Self> {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        let project = format!("lb-{}-{}", run(), words.join("-"));
        let two_ports = |_| Ok((Port::free()?, Port::free()?));
        let ports = SERVICES.iter().map(two_ports).collect::<io::Result<_>>()?;
        let composed = Self { words, project, ports };
        composed.obey(&["up", "--detach"])?;
        Ok(composed)
    }

    fn obey(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(["--project-name", &self.project]);
        command.arg("--file").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/compose.yaml"));
        command.args(arguments).stdin(Stdio::null());
        command.envs([
            ("LB_RUN", run()),
            ("LB_IMAGE", balancer_image()),
            ("LB_BACKEND_IMAGE", backend_image()),
        ]);
        for (service, (port, control)) in SERVICES.iter().zip(&self.ports) {
            let name = service.to_uppercase();
            command.env(format!("{name}_PORT"), port.addr().port().to_string());
            command.env(format!("{name}_CONTROL_PORT"), control.addr().port().to_string());
        }
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("{} {arguments:?}: {said}", self.words.join(" "))))
    }

    fn ports(&self, service: &str) -> &(Port, Port) {
        let index = SERVICES.iter().position(|name| *name == service).expect("a service");
        &self.ports[index]
    }

    fn addr(&self, service: &str) -> SocketAddr {
        self.ports(service).0.addr()
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        if let Err(error) = self.obey(&["down", "--timeout", "5"]) {
            eprintln!("{error}");
        }
    }
}

/// The whole file with each command that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_course_runs() -> io::Result<()> {
    let commands = env::var("LB_COMPOSE").unwrap_or_else(|_| "docker-compose".into());
    for command in commands.split(',') {
        println!("with {command}");
        the_course_runs_with(command).await?;
    }
    Ok(())
}

async fn the_course_runs_with(command: &str) -> io::Result<()> {
    let composed = tokio::task::block_in_place(|| Composed::up(command))?;
    let balancer = composed.addr("balancer");
    let get = |addr: SocketAddr, target: &'static str, host: &'static str| async move {
        let answer = RawClient::connect(addr).await?.get(target, host).await?;
        io::Result::Ok((answer.status(), answer.body.text()))
    };
    // Each backend on its own port, as the one that it is.
    for (name, app) in [("mango1", "mango"), ("mango2", "mango"), ("mango3", "mango"), ("apple1", "apple")] {
        let addr = composed.addr(name);
        let (status, text) = get(addr, "/", "me").await?;
        let expected = format!("This is the {app} application. Serving on {addr}.");
        assert!(status == 200 && text.starts_with(&expected), "{name}: {status} {text}");
    }
    // The balancer is the last to be started, and `up` does not wait for it.
    let url = format!("http://{balancer}/mango");
    let began = std::time::Instant::now();
    while let Err(unwell) = probe::get(&url, lb_testkit::DEADLINE).await {
        assert!(began.elapsed() < lb_testkit::DEADLINE, "the balancer does not serve: {unwell}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(get(balancer, "/", "www.apple.com").await?.1.starts_with("This is the apple application."));
    assert!(get(balancer, "/apple", "x").await?.1.starts_with("This is the apple application."));
    assert_eq!(get(balancer, "/", "www.orange.com").await?.0, 404);

    let traffic = Traffic::start(balancer, "www.mango.com", 4);
    let endpoint = |name: &str| composed.addr(name).to_string();
    for name in ["mango1", "mango2", "mango3"] {
        traffic.answered_by(&endpoint(name), 20).await;
    }
    // Out of the rotation by its own word, and in again.
    let control = Control::at(composed.ports("mango3").1.addr());
    control.check_up(CheckUp::Status(503)).await?;
    traffic.silent(&endpoint("mango3")).await;
    control.check_up(CheckUp::Normal).await?;
    traffic.answered_by(&endpoint("mango3"), 20).await;

    tokio::task::block_in_place(|| composed.obey(&["stop", "mango1"]))?;
    traffic.answered_by(&endpoint("mango2"), 20).await;
    tokio::task::block_in_place(|| composed.obey(&["start", "mango1"]))?;
    traffic.answered_by(&endpoint("mango1"), 20).await;
    let tally = traffic.end().await;
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures.first());
    Ok(())
}

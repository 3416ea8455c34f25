//! `docker/compose.yaml`: the balancer in a container, too, finding its backends by name.

use std::{
    env, io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use lb_testkit::{Port, RawClient, probe};

use crate::{
    engine::{backend_image, balancer_image, run},
    traffic::Traffic,
};

/// The services with their ports, by the name of the variable that sets it.
const SERVICES: [(&str, &str); 5] = [
    ("mango1", "MANGO1_PORT"),
    ("mango2", "MANGO2_PORT"),
    ("mango3", "MANGO3_PORT"),
    ("apple1", "APPLE1_PORT"),
    ("balancer", "BALANCER_PORT"),
];

/// The whole file, up; it is taken down on drop.
struct Composed {
    /// `docker-compose`, or `docker compose`.
    words: Vec<String>,
    project: String,
    ports: Vec<Port>,
}

impl Composed {
    fn up(words: &str) -> io::Result<Self> {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        let project = format!("lb-{}-{}", run(), words.join("-"));
        let ports = SERVICES.iter().map(|_| Port::free()).collect::<io::Result<_>>()?;
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
        for ((_, variable), port) in SERVICES.iter().zip(&self.ports) {
            command.env(variable, port.addr().port().to_string());
        }
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("{} {arguments:?}: {said}", self.words.join(" "))))
    }

    fn addr(&self, service: &str) -> SocketAddr {
        let index = SERVICES.iter().position(|(name, _)| *name == service).expect("a service");
        self.ports[index].addr()
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
    tokio::task::block_in_place(|| composed.obey(&["stop", "mango1"]))?;
    traffic.answered_by(&endpoint("mango2"), 20).await;
    tokio::task::block_in_place(|| composed.obey(&["start", "mango1"]))?;
    traffic.answered_by(&endpoint("mango1"), 20).await;
    let tally = traffic.end().await;
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures.first());
    Ok(())
}

//! Containers that are stopped, paused and killed under traffic: no idempotent request fails, a body that
//! breaks off is seen to be broken, and who comes back serves within one interval of health checks.

use std::{
    io,
    time::{Duration, Instant},
};

use lb_testkit::{Body, Digest, course::Actor};
use lb_tests::{Line, Stage};

use crate::{
    engine::Contained,
    traffic::{Tally, Traffic},
};

const INTERVAL: Duration = Duration::from_millis(500);
const CHECK_TIMEOUT: Duration = Duration::from_millis(300);
/// An interval, its jitter of a fifth, the check itself, and what a busy machine takes.
const NOTICE: Duration = Duration::from_millis(500 + 100 + 300 + 2000);
const CLIENTS: usize = 6;
const LARGE_BYTES: u64 = 4 << 20;

/// Three backends in containers, the balancer, and clients at it.
struct Scene {
    backends: [Contained; 3],
    lb: Stage,
    traffic: Traffic,
}

impl Scene {
    async fn set() -> io::Result<Self> {
        let backends = [
            Contained::start("a", "mango", "sentence").await?,
            Contained::start("b", "mango", "sentence").await?,
            Contained::start("c", "mango", "sentence").await?,
        ];
        let entries = backends
            .each_ref()
            .map(|backend| format!("{{ name = \"{}\", address = \"{}\" }}", backend.name(), backend.addr()));
        // Ejections are the default's: they last far longer than an interval, and end with a recovery.
        let lb = Stage::start(&format!(
            "workers = 2\naccess_log = {{ format = \"off\" }}\n\
             [[listener]]\nbind = \"127.0.0.1:0\"\nreason_header = true\n\
             [pool.mango]\nbackends = [{}]\n\
             timeouts = {{ connect = \"500ms\", response_head = \"500ms\" }}\n\
             health_check = {{ path = \"/healthcheck\", interval = \"{}ms\", timeout = \"{}ms\" }}\n\
             [[route]]\npool = \"mango\"\n",
            entries.join(", "),
            INTERVAL.as_millis(),
            CHECK_TIMEOUT.as_millis(),
        ));
        let traffic = Traffic::start(lb.addr(), "www.mango.com", CLIENTS);
        let scene = Self { backends, lb, traffic };
        for backend in &scene.backends {
            scene.traffic.answered_by(backend.endpoint(), 20).await;
        }
        Ok(scene)
    }

    /// Health checks find that `b` is gone, and the traffic goes on without it.
    async fn notices(&self, fault: Instant) {
        self.lb.log.wait_for_change("mango b down", 1).await;
        let took = fault.elapsed();
        assert!(took < NOTICE, "noticed after {took:?}");
        for backend in [&self.backends[0], &self.backends[2]] {
            self.traffic.answered_by(backend.endpoint(), 20).await;
        }
    }

    /// `b` is there again since `back`, and serves within an interval.
    async fn recovers(self, back: Instant) -> Tally {
        self.lb.log.wait_for_change("mango b up", 1).await;
        let b = &self.backends[1];
        self.traffic.answered_by(b.endpoint(), 5).await;
        let took = back.elapsed();
        assert!(took < NOTICE, "serves again after {took:?}; {:?}", self.lb.log.transitions());
        self.traffic.answered_by(b.endpoint(), 20).await;
        let tally = self.traffic.end().await;
        self.lb.log.wait_for(tally.answers.values().sum()).await;
        self.lb.assert_idle();
        tally
    }
}

fn assert_nothing_failed(tally: &Tally) {
    assert!(tally.failures.is_empty(), "{} failures: {:#?}", tally.failures.len(), tally.failures.first());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_stopped_and_comes_back() -> io::Result<()> {
    let scene = Scene::set().await?;
    let fault = Instant::now();
    scene.backends[1].stop().await?;
    scene.notices(fault).await;
    scene.backends[1].start().await?;
    let tally = scene.recovers(Instant::now()).await;
    assert_nothing_failed(&tally);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hangs_and_wakes_up() -> io::Result<()> {
    let scene = Scene::set().await?;
    let fault = Instant::now();
    scene.backends[1].pause().await?;
    scene.notices(fault).await;
    scene.backends[1].unpause().await?;
    let tally = scene.recovers(Instant::now()).await;
    assert_nothing_failed(&tally);
    Ok(())
}

/// While each of the three is in the middle of a large body, one is killed. The client of that body sees
/// that it is broken; the other bodies are whole, and no small request fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_in_a_body_and_comes_back() -> io::Result<()> {
    let scene = Scene::set().await?;
    for backend in &scene.backends {
        backend.control().large(LARGE_BYTES).await?;
    }
    // Until each of them has one: which backend gets a request depends on the traffic.
    let mut clients = Vec::new();
    while !each_streams(&scene.backends).await? {
        assert!(clients.len() < 100, "the balancer leaves a backend out");
        let mut client = scene.lb.client().await;
        client.send("GET /large HTTP/1.1\r\nHost: www.mango.com\r\n\r\n").await?;
        let head = client.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(head.status(), 200);
        clients.push((client, head));
    }
    let fault = Instant::now();
    scene.backends[1].kill().await?;
    let (asked, mut broken) = (clients.len(), 0);
    for (mut client, head) in clients {
        match client.body(&head, "GET").await? {
            body if body.is_complete() => assert_whole(&body),
            body => {
                assert!(body.length_bytes < LARGE_BYTES);
                broken += 1;
            }
        }
    }
    let large = |line: &&Line| line.target == "/large";
    let lines =
        scene.lb.log.wait_until("the large ones", |lines| lines.iter().filter(large).count() == asked);
    let lines = lines.await;
    let cut: Vec<_> = lines.iter().filter(large).filter(|line| line.reason.is_some()).collect();
    assert!(broken >= 1 && cut.len() == broken, "{broken} broken bodies; {cut:#?}");
    assert!(cut.iter().all(|line| line.backend.as_deref() == Some("b")), "{cut:#?}");

    scene.notices(fault).await;
    scene.backends[1].start().await?;
    let tally = scene.recovers(Instant::now()).await;
    assert_nothing_failed(&tally);
    Ok(())
}

/// Whether each of them has been asked for its large body.
async fn each_streams(backends: &[Contained]) -> io::Result<bool> {
    for backend in backends {
        if !backend.targets().await?.iter().any(|target| target == "/large") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn assert_whole(body: &Body) {
    assert_eq!((body.length_bytes, body.digest()), (LARGE_BYTES, Digest::of_pattern(LARGE_BYTES)));
}

//! What the images promise: small, nobody's root, health-checked by their own binary, ending at once.

use std::{
    io,
    time::{Duration, Instant},
};

use lb_testkit::{
    DEADLINE,
    course::{Actor, CheckUp},
};
use rstest::rstest;
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::{Docker, models::HealthStatusEnum, query_parameters::InspectContainerOptions},
    core::WaitFor,
    runners::AsyncRunner,
};

use crate::engine::{Contained, backend_image, balancer_image, engine_error, image};

/// Far less than the ten seconds after which an engine kills.
const AT_ONCE: Duration = Duration::from_secs(5);
const STATUS_PAUSE: Duration = Duration::from_millis(100);

const CONFIG: &str = "[[listener]]\nbind = \"0.0.0.0:8000\"\n\
                      [pool.a]\nbackends = [\"127.0.0.1:81\"]\n[[route]]\npool = \"a\"\n";

#[rstest]
#[case::lb(balancer_image(), "lb")]
#[case::lb_backend(backend_image(), "lb-backend")]
#[tokio::test]
async fn what_is_in_it(#[case] reference: String, #[case] name: &str) -> io::Result<()> {
    let docker = Docker::connect_with_defaults().map_err(engine_error)?;
    let found = docker.inspect_image(&reference).await.map_err(engine_error)?;
    let layers = found.root_fs.and_then(|root| root.layers).unwrap_or_default();
    assert_eq!(layers.len(), 1, "the binary and nothing else");
    let config = found.config.ok_or(io::ErrorKind::NotFound)?;
    let binary = format!("/{name}");
    assert_eq!(config.entrypoint, Some(vec![binary.clone()]));
    assert_eq!(config.user.as_deref(), Some("65532:65532"));
    let check = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    assert_eq!(check, ["CMD", &binary, "probe"]);
    let labels = config.labels.unwrap_or_default();
    for (label, expected) in [("title", name), ("version", env!("CARGO_PKG_VERSION"))] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(labels.get(&label).map(String::as_str), Some(expected), "{label}");
    }
    Ok(())
}

/// TERM to process 1, which has no default action.
async fn ends_at_once(container: &ContainerAsync<GenericImage>) -> io::Result<()> {
    let began = Instant::now();
    container.stop_with_timeout(Some(30)).await.map_err(engine_error)?;
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
    assert_eq!(container.exit_code().await.map_err(engine_error)?, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_balancer_is_healthy_and_ends_at_once() -> io::Result<()> {
    let running = image(&balancer_image(), WaitFor::message_on_stderr("listening"))
        .with_copy_to("/etc/lb/lb.toml", CONFIG.as_bytes().to_vec())
        .start()
        .await
        .map_err(engine_error)?;
    becomes(&running, HealthStatusEnum::HEALTHY).await?;
    ends_at_once(&running).await
}

#[tokio::test]
async fn the_balancer_without_a_configuration_says_so() -> io::Result<()> {
    let failed = image(&balancer_image(), WaitFor::message_on_stderr("no configuration"))
        .start()
        .await
        .map_err(engine_error)?;
    let said = failed.stderr_to_vec().await.map_err(engine_error)?;
    assert!(String::from_utf8_lossy(&said).contains("/etc/lb/lb.toml"));
    assert_eq!(exit_code(&failed).await?, 1);
    Ok(())
}

/// Waits until it has ended: what it says last comes before that.
async fn exit_code(container: &ContainerAsync<GenericImage>) -> io::Result<i64> {
    let began = Instant::now();
    loop {
        if let Some(code) = container.exit_code().await.map_err(engine_error)? {
            return Ok(code);
        }
        assert!(began.elapsed() < DEADLINE, "it does not end");
        tokio::time::sleep(STATUS_PAUSE).await;
    }
}

#[tokio::test]
async fn a_backend_is_as_healthy_as_it_says_and_ends_at_once() -> io::Result<()> {
    let backend = Contained::start("a", "mango", "sentence").await?;
    becomes(backend.container(), HealthStatusEnum::HEALTHY).await?;
    backend.check_up(CheckUp::Status(503)).await?;
    becomes(backend.container(), HealthStatusEnum::UNHEALTHY).await?;
    ends_at_once(backend.container()).await
}

/// Waits until the engine says so of the container's health.
async fn becomes(container: &ContainerAsync<GenericImage>, wanted: HealthStatusEnum) -> io::Result<()> {
    let docker = Docker::connect_with_defaults().map_err(engine_error)?;
    let began = Instant::now();
    loop {
        let found = docker.inspect_container(container.id(), None::<InspectContainerOptions>).await;
        let health = found.map_err(engine_error)?.state.and_then(|state| state.health);
        if health.as_ref().and_then(|health| health.status) == Some(wanted) {
            return Ok(());
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain for {wanted:?}: {health:#?}");
        tokio::time::sleep(STATUS_PAUSE).await;
    }
}

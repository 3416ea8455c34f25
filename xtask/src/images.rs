//! `cargo xtask images`: container images `FROM scratch`, from static binaries and the files in `docker/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// The cargo profile of the binaries: image (smallest), quick or dev (shorter and shortest to build)
    #[arg(long, default_value = "image")]
    profile: String,
    /// The tag of both images
    #[arg(long, default_value = "latest")]
    tag: String,
}

/// An image, which has the name of its binary.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    package: &'static str,
    dockerfile: &'static str,
}

pub(crate) const BALANCER: Image =
    Image { name: "lb", package: "lb-server", dockerfile: "docker/lb.Dockerfile" };
pub(crate) const BACKEND: Image =
    Image { name: "lb-backend", package: "lb-testkit", dockerfile: "docker/lb-backend.Dockerfile" };

/// The label that marks what belongs to one run of the tests.
pub(crate) const RUN_LABEL: &str = "lb.run";

/// Builds both images; gives whether that succeeded.
pub(crate) fn run(options: &Options) -> bool {
    match build(&options.profile, &options.tag, None, None) {
        Ok(()) => true,
        Err(message) => {
            eprintln!("no images: {message}");
            false
        }
    }
}

/// Builds both images with this tag, marked as belonging to this run of the tests, tries them, and prints
/// their sizes. With an allocator that has been built already, they have that one.
pub(crate) fn build(
    profile: &str,
    tag: &str,
    run: Option<&str>,
    allocator: Option<&Path>,
) -> Result<(), String> {
    engine()?; // before minutes of building in vain
    let binaries = static_binaries(profile, allocator)?;
    for image in [BALANCER, BACKEND] {
        let context = binaries.join("context").join(image.name);
        let binary = binaries.join(image.name);
        // Nothing but the binary is sent to the engine.
        let staged = fs::create_dir_all(&context)
            .and_then(|()| fs::copy(&binary, context.join(image.name)))
            .map_err(|error| format!("cannot copy {}: {error}", binary.display()))?;
        let reference = format!("{}:{tag}", image.name);
        let replaced = inspect(&reference, "{{.Id}}").ok();
        build_one(&image, &context, &reference, run)?;
        let version = output(
            docker(&["run", "--rm", "--network", "none", "--read-only"])
                .args(run.map(|run| format!("--label={RUN_LABEL}={run}")))
                .args([&reference, "--version"]),
        )?;
        let bytes: f64 = inspect(&reference, "{{.Size}}")?.parse().unwrap_or_default();
        println!(
            "{reference:<20} {:5.2} MB, of which {:5.2} MB are the static binary; it says: {version}",
            bytes / 1e6,
            staged as f64 / 1e6,
        );
        if let Some(replaced) =
            replaced.filter(|old| inspect(&reference, "{{.Id}}").is_ok_and(|new| new != *old))
        {
            // It stays when a container uses it, or when it has another name too.
            let _ = docker(&["image", "rm", &replaced]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
    Ok(())
}

fn build_one(image: &Image, context: &Path, reference: &str, run: Option<&str>) -> Result<(), String> {
    let mut build = docker(&["build", "--quiet", "--force-rm", "--tag", reference]);
    build.env("DOCKER_BUILDKIT", "0"); // the classic builder is everywhere
    build.arg("--file").arg(root().join(image.dockerfile));
    build.arg(format!("--label=org.opencontainers.image.version={}", env!("CARGO_PKG_VERSION")));
    let describe = ["describe", "--always", "--dirty", "--exclude=*"];
    if let Ok(revision) = output(Command::new("git").args(describe).current_dir(root())) {
        build.arg(format!("--label=org.opencontainers.image.revision={revision}"));
    }
    build.args(run.map(|run| format!("--label={RUN_LABEL}={run}"))).arg(context);
    output(&mut build).map(drop)
}

/// Builds the binaries without any shared library; gives the directory that they are in.
fn static_binaries(profile: &str, allocator: Option<&Path>) -> Result<PathBuf, String> {
    let told = output(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    if !host.contains("-linux-") {
        return Err(format!("static binaries are made on Linux, and this is {host:?}"));
    }
    // A target by name: these flags are not for build scripts and macros then, which all builds share.
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static").trim()).current_dir(root());
    cargo.args(["build", "--target", host, "--profile", profile]).arg("--target-dir").arg(&target);
    cargo.envs(allocator.map(|library| ("JEMALLOC_OVERRIDE", library)));
    for image in [BALANCER, BACKEND] {
        cargo.args(["--package", image.package, "--bin", image.name]);
    }
    let built = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.success() {
        return Err("the static binaries cannot be built".to_owned());
    }
    Ok(target.join(host).join(if profile == "dev" { "debug" } else { profile }))
}

/// The version of the engine that answers.
pub(crate) fn engine() -> Result<String, String> {
    output(&mut docker(&["version", "--format", "{{.Server.Version}}"]))
}

fn inspect(reference: &str, format: &str) -> Result<String, String> {
    output(&mut docker(&["image", "inspect", "--format", format, reference]))
}

pub(crate) fn docker(arguments: &[&str]) -> Command {
    let mut docker = Command::new("docker");
    docker.args(arguments);
    docker
}

/// What a command says on standard output; an error has what it says on standard error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

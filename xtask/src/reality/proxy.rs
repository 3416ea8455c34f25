//! The lb under test: started, waited for, ended.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// An lb that runs; ended when dropped.
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    /// Starts `lb` with this configuration, which has it listen at `address`, and waits until it does.
    pub(super) fn start(lb: &Path, config: &str, address: SocketAddr, dir: &Path) -> Result<Self, String> {
        let file = dir.join("lb.toml");
        fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
        let said = dir.join("lb.log");
        let log = File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(lb)
            .args(["run", "-c"])
            .arg(&file)
            .env("LB_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start lb (setpriv is of util-linux): {error}"))?;
        let mut proxy = Self { child, address };
        let until = Instant::now() + START;
        while TcpStream::connect_timeout(&address, START).is_err() {
            if let Ok(Some(status)) = proxy.child.try_wait() {
                let said = fs::read_to_string(&said).unwrap_or_default();
                return Err(format!("lb ended at once: {status}\n{}", said.trim_end()));
            }
            if Instant::now() > until {
                return Err("lb does not listen".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has nothing to finish: all clients are gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that is free now.
pub(super) fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).map_err(|error| format!("a free port: {error}"))
}

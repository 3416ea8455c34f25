//! Who plays a part of the cast: what cases ask of a backend, wherever it runs.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use super::control::Control;
use crate::{Backend, Behaviour, Gate};

/// What an [`Actor`] gives back.
pub type Act<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A backend of a chapter as its cases use it: in this process, in a container, on another machine.
///
/// Only the first two functions must be there. What an actor cannot do it refuses with
/// [`io::ErrorKind::Unsupported`], as the functions given here do; cases that need it are then skipped,
/// and say why.
pub trait Actor: fmt::Debug + Send + Sync {
    /// Where the balancer under test reaches it. It stays the same through stop and start.
    fn addr(&self) -> SocketAddr;

    /// What it calls itself in its answers (`Serving on ...`), as a host:port.
    fn endpoint(&self) -> &str;

    /// Before each case: it runs, answers as the course says, holds nothing and has forgotten what it saw.
    /// An actor that cannot be changed has nothing to do.
    fn reset(&self) -> Act<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// It ends as a killed process does; when this is done, connecting to it is refused.
    fn stop(&self) -> Act<'_, ()> {
        cannot("be stopped")
    }

    /// It runs again, at the same address.
    fn start(&self) -> Act<'_, ()> {
        cannot("be started")
    }

    /// What commands it, if it is a mock backend in another process. The functions below go there.
    fn controlled_by(&self) -> Option<&Control> {
        None
    }

    /// Health checks are answered so from now on.
    fn check_up(&self, answer: CheckUp) -> Act<'_, ()> {
        match self.controlled_by() {
            Some(control) => Box::pin(control.check_up(answer)),
            None => cannot("fail health checks"),
        }
    }

    /// Requests that are no health checks wait from now on.
    fn hold(&self) -> Act<'_, ()> {
        match self.controlled_by() {
            Some(control) => Box::pin(control.hold()),
            None => cannot("hold requests back"),
        }
    }

    /// So many of those that wait are answered, first those that wait longest.
    fn release(&self, requests: usize) -> Act<'_, ()> {
        match self.controlled_by() {
            Some(control) => Box::pin(control.release(requests)),
            None => cannot("hold requests back"),
        }
    }

    /// The targets, query included, of the requests that came since the reset, health checks apart.
    fn targets(&self) -> Act<'_, Vec<String>> {
        match self.controlled_by() {
            Some(control) => Box::pin(control.targets()),
            None => cannot("tell which requests came"),
        }
    }

    /// The paths of the health checks that came since the reset.
    fn checks(&self) -> Act<'_, Vec<String>> {
        match self.controlled_by() {
            Some(control) => Box::pin(control.checks()),
            None => cannot("tell which health checks came"),
        }
    }
}

/// How a backend answers health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckUp {
    /// As the course says.
    Normal,
    /// With this status.
    Status(u16),
    /// Not at all, though the connection stays.
    Hang,
}

fn cannot<'a, T: Send + 'a>(what: &'static str) -> Act<'a, T> {
    let message = format!("this kind of backend cannot {what}");
    Box::pin(async move { Err(io::Error::new(io::ErrorKind::Unsupported, message)) })
}

/// A mock backend in this process, which can do everything.
#[derive(Debug)]
pub(super) struct Here {
    backend: Backend,
    gate: Mutex<Gate>,
}

impl Here {
    pub(super) fn new(backend: Backend) -> Self {
        Self { backend, gate: Mutex::default() }
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    fn gate(&self) -> Gate {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a closed gate in the place of the old one, and lets everything through that.
    fn new_gate(&self) -> Gate {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.open_for_all();
        *gate = Gate::default();
        gate.clone()
    }
}

impl Actor for Here {
    fn addr(&self) -> SocketAddr {
        self.backend.addr()
    }

    fn endpoint(&self) -> &str {
        self.backend.endpoint()
    }

    fn reset(&self) -> Act<'_, ()> {
        Box::pin(async {
            self.new_gate();
            self.backend.behave_normally();
            if !self.backend.is_running() {
                self.backend.restart().await?;
            }
            self.backend.forget_requests();
            Ok(())
        })
    }

    fn stop(&self) -> Act<'_, ()> {
        Box::pin(async {
            self.backend.stop().await;
            Ok(())
        })
    }

    fn start(&self) -> Act<'_, ()> {
        Box::pin(self.backend.restart())
    }

    fn check_up(&self, answer: CheckUp) -> Act<'_, ()> {
        self.backend.behave_for_health(match answer {
            CheckUp::Normal => Behaviour::own(),
            CheckUp::Status(status) => Behaviour::status(status),
            CheckUp::Hang => Behaviour::hang(),
        });
        Box::pin(async { Ok(()) })
    }

    fn hold(&self) -> Act<'_, ()> {
        self.backend.behave_for_traffic(Behaviour::own().held_by(&self.new_gate()));
        Box::pin(async { Ok(()) })
    }

    fn release(&self, requests: usize) -> Act<'_, ()> {
        self.gate().open(requests);
        Box::pin(async { Ok(()) })
    }

    fn targets(&self) -> Act<'_, Vec<String>> {
        let requests = self.backend.requests();
        let targets = requests.iter().map(|request| request.target().to_owned()).collect();
        Box::pin(async { Ok(targets) })
    }

    fn checks(&self) -> Act<'_, Vec<String>> {
        let checks = self.backend.health_checks();
        let paths = checks.iter().map(|check| check.path().to_owned()).collect();
        Box::pin(async { Ok(paths) })
    }
}

/// A backend of which only the address is known.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) addr: SocketAddr,
    pub(super) endpoint: String,
}

impl Actor for Elsewhere {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

//! The backends of a chapter.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
};

use super::{
    Actor, Chapter, Miss,
    actor::{Elsewhere, Here},
};
use crate::{Backend, Port, RawClient};

/// A part in a chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// `mango1`
    pub name: &'static str,
    /// What it answers.
    pub kind: Kind,
    /// The port that the course gives it.
    pub port: u16,
}

/// What a member of the cast answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sentence of this application.
    App(&'static str),
    /// The guide's greeting.
    Guide,
    /// This text.
    Text(&'static str),
    /// Nothing: nobody listens there.
    Nobody,
}

/// Which ports a cast takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Free ones.
    Free,
    /// Those of the course.
    Fixed,
}

/// The backends of a chapter, running, and the addresses at which nobody is to be found.
#[derive(Debug)]
pub struct Cast {
    members: Vec<Member>,
}

/// One of the cast.
#[derive(Debug)]
pub struct Member {
    /// Its part.
    pub role: Role,
    presence: Presence,
}

#[derive(Debug)]
enum Presence {
    Somebody(Box<dyn Actor>),
    Nobody(Port),
}

impl Member {
    /// This part, played by that backend.
    pub fn played_by(role: Role, actor: impl Actor + 'static) -> Self {
        Self { role, presence: Presence::Somebody(Box::new(actor)) }
    }

    /// This part played by a mock backend in the current tokio runtime, or by nobody if that is the part.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn here(role: Role, ports: Ports) -> io::Result<Self> {
        let port = if ports == Ports::Fixed { role.port } else { 0 };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let builder = match role.kind {
            Kind::App(app) => Some(Backend::app(app)),
            Kind::Guide => Some(Backend::guide(role.name)),
            Kind::Text(said) => Some(Backend::text(said)),
            Kind::Nobody => None,
        };
        let taken = |error: io::Error| {
            io::Error::new(error.kind(), format!("{} cannot have {listen}: {error}", role.name))
        };
        let Some(builder) = builder else {
            return Ok(Self { role, presence: Presence::Nobody(Port::at(listen).map_err(taken)?) });
        };
        let backend = builder.name(role.name).listen(listen).start().await.map_err(taken)?;
        Ok(Self::played_by(role, Here::new(backend)))
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        match &self.presence {
            Presence::Somebody(actor) => actor.addr(),
            Presence::Nobody(port) => port.addr(),
        }
    }

    /// Who plays the part, if anybody does.
    #[must_use]
    pub fn actor(&self) -> Option<&dyn Actor> {
        match &self.presence {
            Presence::Somebody(actor) => Some(&**actor),
            Presence::Nobody(_) => None,
        }
    }
}

impl Cast {
    /// Starts a chapter's backends in the current tokio runtime.
    ///
    /// # Errors
    /// When a port is taken; the message says whose.
    pub async fn start(chapter: Chapter, ports: Ports) -> io::Result<Self> {
        let mut members = Vec::new();
        for &role in chapter.roles() {
            members.push(Member::here(role, ports).await?);
        }
        Ok(Self { members })
    }

    /// A cast of backends that run somewhere else: `at` says where, for each part that somebody plays.
    /// They can be asked, not commanded: cases that stop them or look into them are skipped.
    ///
    /// # Errors
    /// `NotFound` when `at` does not know a part; when a port for nobody cannot be had.
    pub async fn elsewhere(
        chapter: Chapter,
        at: impl Fn(&'static str) -> Option<SocketAddr>,
    ) -> io::Result<Self> {
        let mut members = Vec::new();
        for &role in chapter.roles() {
            members.push(match at(role.name) {
                Some(addr) => Member::played_by(role, Elsewhere { addr, endpoint: endpoint_at(addr).await }),
                None if role.kind == Kind::Nobody => Member::here(role, Ports::Free).await?,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        format!("no address is given for {}", role.name),
                    ));
                }
            });
        }
        Ok(Self { members })
    }

    /// A cast of any members.
    #[must_use]
    pub fn of(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// All members, in the order of the chapter.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The backend of this name, if there is one and it is somebody.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn Actor> {
        self.members.iter().find(|member| member.role.name == name)?.actor()
    }

    /// The backend that a case is about.
    pub(super) fn the(&self, name: &str) -> Result<&dyn Actor, Miss> {
        self.get(name).ok_or_else(|| Miss::Skipped(format!("there is no {name} in this cast")))
    }

    /// The address of a member; port 0 of nowhere for a name that is not in the chapter.
    pub(super) fn address(&self, name: &str) -> SocketAddr {
        let member = self.members.iter().find(|member| member.role.name == name);
        member.map_or((Ipv4Addr::UNSPECIFIED, 0).into(), Member::addr)
    }

    /// Starts whoever was stopped, makes all behave normally and forgets what they recorded.
    ///
    /// # Errors
    /// When a backend cannot be started again.
    pub async fn reset(&self) -> io::Result<()> {
        for actor in self.members.iter().filter_map(Member::actor) {
            actor.reset().await?;
        }
        Ok(())
    }
}

/// `mango1=127.0.0.1:8081,mango2=127.0.0.1:8082`
impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |member: &Member| format!("{}={}", member.role.name, member.addr());
        f.write_str(&self.members.iter().map(named).collect::<Vec<_>>().join(","))
    }
}

/// What the backend at this address calls itself; the address, if it does not say.
async fn endpoint_at(addr: SocketAddr) -> String {
    let asked = async { RawClient::connect(addr).await?.get("/", &addr.to_string()).await };
    let text = asked.await.map(|answer| answer.body.text()).unwrap_or_default();
    let told = text.split_once("Serving on ").and_then(|(_, rest)| rest.split_once(". "));
    told.map_or_else(|| addr.to_string(), |(endpoint, _)| endpoint.to_owned())
}

//! The backends of a chapter.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use super::{Chapter, Miss};
use crate::{Backend, Port};

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
    Here(Backend),
    Nobody(Port),
}

impl Member {
    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        match &self.presence {
            Presence::Here(backend) => backend.addr(),
            Presence::Nobody(port) => port.addr(),
        }
    }

    /// The backend, if anybody is there.
    #[must_use]
    pub fn backend(&self) -> Option<&Backend> {
        match &self.presence {
            Presence::Here(backend) => Some(backend),
            Presence::Nobody(_) => None,
        }
    }
}

impl Cast {
    /// Starts a chapter's backends in the current tokio runtime.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start(chapter: Chapter, ports: Ports) -> io::Result<Self> {
        let mut members = Vec::new();
        for &role in chapter.roles() {
            let port = if ports == Ports::Fixed { role.port } else { 0 };
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let builder = match role.kind {
                Kind::App(app) => Some(Backend::app(app)),
                Kind::Guide => Some(Backend::guide(role.name)),
                Kind::Text(said) => Some(Backend::text(said)),
                Kind::Nobody => None,
            };
            let presence = match builder {
                Some(builder) => Presence::Here(builder.name(role.name).listen(listen).start().await?),
                None => Presence::Nobody(Port::at(listen)?),
            };
            members.push(Member { role, presence });
        }
        Ok(Self { members })
    }

    /// All members, in the order of the chapter.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The backend of this name, if there is one and it is somebody.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Backend> {
        self.members.iter().find(|member| member.role.name == name)?.backend()
    }

    /// The backend that a case is about.
    pub(super) fn the(&self, name: &str) -> Result<&Backend, Miss> {
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
        for backend in self.members.iter().filter_map(Member::backend) {
            backend.behave_normally();
            if !backend.is_running() {
                backend.restart().await?;
            }
            backend.forget_requests();
        }
        Ok(())
    }
}

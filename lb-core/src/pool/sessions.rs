//! Sticky sessions, as far as a pool knows of them: which endpoint a session's handle names.

use alloc::collections::BTreeMap;

use super::{EndpointId, Pool};
use crate::{
    config::AdminState,
    health::Health,
    sticky::{Handle, Signer},
    time::Instant,
};

/// The endpoints by the handles of their addresses.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    signer: Option<Signer>,
    endpoints: BTreeMap<Handle, EndpointId>,
}

impl Pool {
    /// What sessions are signed with from now on; none: there are none.
    pub fn set_signer(&mut self, signer: Option<Signer>, now: Instant) {
        self.sessions.signer = signer;
        self.index_sessions();
        self.freshen(now);
    }

    pub(super) fn index_sessions(&mut self) {
        let endpoints = match &self.sessions.signer {
            None => BTreeMap::new(),
            Some(signer) => {
                self.members().map(|member| (signer.handle(member.site.addr), member.id)).collect()
            }
        };
        self.sessions.endpoints = endpoints;
    }

    /// The endpoint of a session, unless it has to move: to an endpoint that is gone, down, ejected or in
    /// maintenance nobody is sent. One that is drained, or has a weight of 0, keeps those that it has.
    pub(super) fn endpoint_of(&self, session: Handle) -> Option<EndpointId> {
        let id = *self.sessions.endpoints.get(&session)?;
        self.keeps_sessions(id).then_some(id)
    }

    pub(super) fn keeps_sessions(&self, id: EndpointId) -> bool {
        self.slab.get(id).is_some_and(|member| {
            !member.retired
                && member.state != AdminState::Maint
                && member.health.health() == Health::Up
                && !member.ejected()
        })
    }

    /// Whether the sessions of this endpoint are to go on when their time is half over: not while it is
    /// being drained.
    #[must_use]
    pub fn renews_sessions(&self, id: EndpointId) -> bool {
        self.slab.get(id).is_some_and(|member| !member.retired && member.serves())
    }
}

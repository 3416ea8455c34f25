//! Active checks: when they are due and what their results do.

use alloc::{
    string::{String, ToString},
    sync::Arc,
};
use core::net::SocketAddr;

use super::{Change, EndpointId, Pool};
use crate::{
    config::AdminState,
    health::{self, CheckFailure},
    time::Instant,
};

/// A check to be made now, as [`Pool::config`] describes it. Its result goes to [`Pool::on_check`];
/// the endpoint is not checked again before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whose.
    pub endpoint: EndpointId,
    /// Where to connect.
    pub addr: SocketAddr,
    /// What the configuration calls the backend.
    pub name: Arc<str>,
    /// The backend's address as written, for the Host field.
    pub authority: String,
}

impl Pool {
    /// The next check that is due; call it until it gives none.
    pub fn poll_check(&mut self, now: Instant) -> Option<Check> {
        loop {
            let &(due, id) = self.schedule.first().filter(|&&(due, _)| due <= now)?;
            self.schedule.remove(&(due, id));
            if let Some(member) = self.slab.get_mut(id) {
                member.check_due = None;
                member.checking = Some(now);
                return Some(Check {
                    endpoint: id,
                    addr: member.site.addr,
                    name: member.site.name.clone(),
                    authority: member.written.to_string(),
                });
            }
        }
    }

    /// Takes a check's result. One for an endpoint that left the pool, or that an operator took into
    /// maintenance, is ignored.
    ///
    /// A pass does not end an ejection: checks may well pass where real traffic fails. Coming up does,
    /// for then the checks had seen the failure themselves, and now see its end.
    pub fn on_check(&mut self, endpoint: EndpointId, passed: Result<(), CheckFailure>, now: Instant) {
        let Some(check) = &self.config.health_check else { return };
        let Some(member) = self.slab.get_mut(endpoint) else { return };
        if member.retired || member.state == AdminState::Maint {
            return;
        }
        if let Some(started) = member.checking.take() {
            let due = started + health::next_delay(check, &mut self.check_prng);
            member.check_due = Some(due);
            self.schedule.insert((due, endpoint));
        }
        if !member.health.on_result(passed.is_ok(), check.rise, check.fall) {
            return;
        }
        let change = match passed {
            Err(failure) => Change::Down(failure),
            Ok(()) => Change::Up,
        };
        self.transitions.push(member.transition(change));
        if passed.is_ok() {
            member.came_up = Some(now);
            member.standing.on_success();
            if member.ejected() {
                self.transitions.push(member.end_ejection(now));
            }
        }
        self.stale = true;
        self.serve_queue(now);
    }

    /// Sees to it that those endpoints wait for a check that should, and no others.
    pub(super) fn schedule_checks(&mut self, now: Instant) {
        for &slot in &self.order {
            let Some(member) = self.slab.at_mut(slot) else { continue };
            let check = self.config.health_check.as_ref().filter(|_| member.state != AdminState::Maint);
            match check {
                Some(check) if member.check_due.is_none() && member.checking.is_none() => {
                    let due = now + health::first_delay(check, &mut self.check_prng);
                    member.check_due = Some(due);
                    self.schedule.insert((due, member.id));
                }
                Some(_) => {}
                None => {
                    member.checking = None;
                    member.health.doubt();
                    if let Some(due) = member.check_due.take() {
                        self.schedule.remove(&(due, member.id));
                    }
                }
            }
        }
    }

    /// Checks that wait are to be scheduled anew.
    pub(super) fn forget_schedule(&mut self) {
        self.schedule.clear();
        for &slot in &self.order {
            if let Some(member) = self.slab.at_mut(slot) {
                member.check_due = None;
            }
        }
    }
}

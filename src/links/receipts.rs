//! Receipts of changes: which servers have them.

use std::time::{Duration, Instant};

use super::Links;
use super::servers::{NegativeTimes, Patience, ServerStatus, Subject, Unknown, Visible};
use crate::link::{LinkName, Origin};

/// How long a receipt may wait for servers.
pub const WAIT_TIME: Duration = Duration::from_secs(2);

/// How long it may take to ask the servers how far they are.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// Whether to wait until all servers have a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// No: the receipt says what is known now.
    No,
    /// No, but the servers are asked once how far they are. This takes a second at most.
    Look,
    /// Yes, [`WAIT_TIME`] at most.
    Servers,
}

impl Links {
    /// Which servers answer with the state of a link that this one has just made, changed or found.
    pub async fn visible(&self, name: &LinkName, wait: Wait) -> Visible {
        let is_announced = self.is_visible_elsewhere(name);
        self.visible_as(Subject::One(name), name.origin(), is_announced, wait)
            .await
    }

    /// The same for many links of one zone. `denied`: this server [denied](Links::may_have_denied) one of them.
    /// `is_announced`: the others hear of all of them.
    pub async fn all_visible(
        &self,
        origin: &Origin,
        denied: bool,
        is_announced: bool,
        wait: Wait,
    ) -> Visible {
        self.visible_as(Subject::Many(denied), origin.as_str(), is_announced, wait)
            .await
    }

    async fn visible_as(
        &self,
        subject: Subject<'_>,
        origin: &str,
        is_announced: bool,
        wait: Wait,
    ) -> Visible {
        let until = match wait {
            Wait::No => None,
            Wait::Look => Some((Patience::OneLook, Instant::now() + LOOK_TIME)),
            Wait::Servers => Some((Patience::All, Instant::now() + WAIT_TIME)),
        };
        let times = NegativeTimes {
            ttl: Duration::from_secs(self.namespace.negative_ttl(origin).into()),
            absent_for: self.absent_for,
        };
        let servers = &self.servers;
        servers
            .visible(subject, is_announced, until, times, || self.now())
            .await
    }

    /// Whether this server may have denied a name within the time for which resolvers keep negative answers.
    pub fn may_have_denied(&self, name: &LinkName) -> bool {
        self.servers.may_have_denied(name)
    }

    /// The live servers, this one first; and why there may be others.
    pub fn servers(&self) -> (Vec<ServerStatus>, Option<Unknown>) {
        self.servers.list()
    }
}

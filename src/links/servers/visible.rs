//! Receipts: which servers have a change, and until when resolvers may hold a negative answer.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::history::History;
use super::place::Unknown;
use super::text::Denied;
use super::wait::Waited;
use super::{Other, Seen, Servers};
use crate::base::clock::UnixTime;
use crate::base::metrics::{Metrics, RegionLabel, ServerLabel};
use crate::link::LinkName;
use crate::store::servers::{Announcement, Label};

/// How many other servers have a figure of their own.
const MAX_MEASURED: usize = 100;

/// Which servers have a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// How many servers are live, with this one.
    pub servers: usize,
    /// How many of them answer with the change.
    pub applied: usize,
    /// The names of the others, sorted.
    pub missing: Vec<Label>,
    /// Why there may be servers that do not count here; none if there are none.
    pub unknown: Option<Unknown>,
    /// When it was so.
    pub at: UnixTime,
    /// The end of the time in which resolvers may have a negative answer from before the change; none if they have none.
    pub resolvers_until: Option<UnixTime>,
}

impl Visible {
    /// Whether all servers have the change.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_none()
    }
}

/// How long wrong answers may last.
#[derive(Clone, Copy, Debug)]
pub(in crate::links) struct NegativeTimes {
    /// How long resolvers keep a negative answer.
    pub(in crate::links) ttl: Duration,
    /// How long a server that hears of no change denies a name.
    pub(in crate::links) absent_for: Duration,
}

/// A server, as this one sees it.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// What it has announced.
    pub announcement: Announcement,
    /// Whether it is this server.
    pub is_this: bool,
    /// How long ago this server applied the first change that the other has not announced as applied; zero if there is
    /// none.
    pub lag: Duration,
}

/// How long a caller waits for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::links) enum Patience {
    /// Until it is known how far they are.
    OneLook,
    /// Until all have the change.
    All,
}

/// The links that a receipt is about.
#[derive(Clone, Copy, Debug)]
pub(in crate::links) enum Subject<'a> {
    /// The link of this name.
    One(&'a LinkName),
    /// Many links, and whether this server has denied one of them.
    Many(bool),
}

impl Subject<'_> {
    /// Whether a server that has applied the change denied the link before, by its announcement.
    fn was_denied_by(self, server: &Announcement) -> bool {
        match self {
            Self::One(name) => Denied::text_has(&server.denied, name),
            Self::Many(_) => !server.denied.is_empty(),
        }
    }
}

impl Servers {
    /// Whether this server may have denied a name lately.
    pub(in crate::links) fn may_have_denied(&self, name: &LinkName) -> bool {
        self.own.denials.may_have_denied(name)
    }

    /// Which servers have a change that this one has made or found. If `until` is given, waits until then at the latest.
    /// `is_announced`: the others hear of the change.
    pub(in crate::links) async fn visible(
        &self,
        subject: Subject<'_>,
        is_announced: bool,
        until: Option<(Patience, Instant)>,
        times: NegativeTimes,
        now: impl Fn() -> UnixTime,
    ) -> Visible {
        let Waited { seen, position } = match until.filter(|_| is_announced) {
            Some((patience, until)) => self.wait_for_all(patience, until).await,
            None => Waited {
                seen: self.seen.borrow().clone(),
                position: None,
            },
        };
        let instant = Instant::now();
        let has = |other: &&Other| match &position {
            Some(position) => self.has_applied(&other.announcement, position),
            None => false,
        };
        let (having, lacking): (Vec<_>, Vec<_>) = seen.live(instant).partition(has);
        let mut missing: Vec<Label> = lacking
            .iter()
            .map(|other| other.announcement.name.clone())
            .collect();
        missing.sort();
        let is_complete = missing.is_empty() && seen.unknown.is_none() && is_announced;
        let at = now();
        let left = self.denied_for(subject, &seen, &having, is_complete, times);
        // Rounded up, and the second that has begun is over by then.
        let resolvers_until = left.map(|left| at.after(left.as_secs() + 1));
        Visible {
            servers: 1 + having.len() + lacking.len(),
            applied: 1 + having.len(),
            missing,
            unknown: seen
                .unknown
                .or((!is_announced).then_some(Unknown::Unreachable)),
            at,
            resolvers_until,
        }
    }

    async fn wait_for_all(&self, patience: Patience, until: Instant) -> Waited {
        self.wait(until, |seen, position| {
            let mut live = seen.live(Instant::now());
            patience == Patience::OneLook
                || seen.unknown.is_none()
                    && live.all(|other| self.has_applied(&other.announcement, position))
        })
        .await
    }

    /// For how long resolvers may go on to hold a negative answer from before the change; none if they hold none. It may
    /// be too long, and is never too short.
    fn denied_for(
        &self,
        subject: Subject<'_>,
        seen: &Seen,
        having: &[&Other],
        is_complete: bool,
        times: NegativeTimes,
    ) -> Option<Duration> {
        let NegativeTimes { ttl, absent_for } = times;
        // A server that does not hear of the change may use what it has in memory, and what is in Redis.
        let late = 2 * absent_for + ttl;
        if !is_complete {
            return Some(late);
        }
        let by_this = match subject {
            Subject::One(name) => self.may_have_denied(name),
            Subject::Many(by_this) => by_this,
        };
        let mut others = having.iter();
        if by_this || others.any(|other| subject.was_denied_by(&other.announcement)) {
            return Some(ttl);
        }
        // Before that, another process may have answered at the same address. Nothing is known of its denials, nor of those
        // of a server that has gone.
        let beginnings = having.iter().map(|other| other.since + ttl);
        let gone = seen.gone.map(|gone| gone + late);
        let ends = beginnings.chain(gone).chain([self.began + ttl]);
        let left = ends.map(|end| end.saturating_duration_since(Instant::now()));
        left.max().filter(|left| !left.is_zero())
    }

    /// All live servers, this one first and the others by region and name; and why there may be more.
    pub(in crate::links) fn list(&self) -> (Vec<ServerStatus>, Option<Unknown>) {
        let now = Instant::now();
        let seen = self.seen.borrow().clone();
        let history = self.history();
        let mut others: Vec<ServerStatus> = seen
            .live(now)
            .map(|other| ServerStatus {
                lag: history.lag(now, |position| {
                    self.has_applied(&other.announcement, position)
                }),
                announcement: other.announcement.clone(),
                is_this: false,
            })
            .collect();
        others.sort_by(|a, b| {
            let key = |server: &ServerStatus| {
                let Announcement {
                    region, name, id, ..
                } = &server.announcement;
                (region.clone(), name.clone(), id.clone())
            };
            key(a).cmp(&key(b))
        });
        let this = ServerStatus {
            announcement: self.announcement(),
            is_this: true,
            lag: Duration::ZERO,
        };
        (std::iter::once(this).chain(others).collect(), seen.unknown)
    }

    /// Updates the gauges.
    pub(in crate::links) fn measure(&self, metrics: &Metrics) {
        let (servers, unknown) = self.list();
        metrics.servers_known.set(unknown.is_none().into());
        // Servers come and go.
        metrics.servers_live.clear();
        metrics.server_lag.clear();
        for (number, server) in servers.iter().enumerate() {
            let (said, behind) = (&server.announcement, server.lag.as_secs_f64());
            let region = said.region.to_string();
            let live = RegionLabel {
                region: region.clone(),
            };
            metrics.servers_live.get_or_create(&live).inc();
            if !server.is_this && number <= MAX_MEASURED {
                let server = said.name.to_string();
                let label = ServerLabel { region, server };
                let lag = metrics.server_lag.get_or_create(&label);
                // Several servers may have the same name.
                lag.set(lag.get().max(behind));
            }
        }
    }

    /// No code panics while it holds this lock.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

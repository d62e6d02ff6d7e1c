//! Resolving names: what an answer is made of, how long it may be reused, and the flights to the tiers behind the
//! memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Links;
use super::deadline::{RESOLVE_DEADLINE, within};
use super::memory::{Known, Look, Missed, Ticket, Wait};
use super::stamps::Stamp;
use super::tiers::{RedisAnswer, Tiers};
use crate::base::clock::UnixTime;
use crate::base::metrics::{LookupResult, Tier};
use crate::link::{Destination, Link, LinkName, Origin};
use crate::store::StoreError;

/// How long a query waits for a fresh state of a link if memory holds a stale one: long enough for tiers that
/// work, and short enough that the client does not retry (RFC 8767 §5 allows 1.8 s at most).
pub(super) const STALE_PATIENCE: Duration = Duration::from_millis(300);
/// How long an answer made from a stale link may be reused: short compared with the pauses between attempts to ask
/// the tiers.
const STALE_LEASE: Duration = Duration::from_secs(1);

/// The state of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A live link.
    Live(Arc<Link>),
    /// A link that exists, but whose destination nobody may get.
    Withheld(Arc<Link>),
    /// A link that has ended; for DNS the same as [`Resolution::Absent`].
    Expired(Arc<Link>),
    /// No link.
    Absent,
}

/// The state of a name, and how long it may be used.
#[derive(Debug)]
pub struct Resolved {
    /// The state; an error if it is not known whether there is a link. The caller must then claim neither that
    /// there is a link nor that there is none.
    pub outcome: Result<Resolution, StoreError>,
    /// How long it may be reused; none for not at all.
    pub lease: Option<Lease>,
    /// Whether the state may be outdated, because the current one cannot be read.
    pub stale: bool,
}

/// How long something may be reused: until a time, and only while its stamp is [current](Links::is_current).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The end of the lease.
    pub until: Instant,
    /// Expires when the link changes.
    pub stamp: Stamp,
}

/// A name that has to be looked up, or is being looked up.
#[derive(Debug)]
pub struct Unresolved {
    name: LinkName,
    /// Taken before the look-up.
    stamp: Stamp,
    /// The right to begin the flight, if this caller has it.
    ticket: Option<Ticket>,
    wait: Wait,
}

impl Links {
    /// Finds the link of a name, for an answer.
    ///
    /// # Errors
    /// [`StoreError`] if it is not known whether there is a link. The caller must then claim neither that there is
    /// a link nor that there is none.
    pub async fn resolve(&self, name: &LinkName) -> Result<Resolution, StoreError> {
        match self.resolve_now(name) {
            Ok(resolved) => resolved.outcome,
            Err(mut unresolved) => {
                self.look_up([&mut unresolved]);
                self.resolve_later(unresolved).await.outcome
            }
        }
    }

    /// Whether there may be a link of this code below this origin. False is certain, and counts as a look-up.
    /// Takes no lock. True if it is not known, and for codes that are not in lower case.
    pub fn may_exist(&self, code: &[u8], origin: &Origin) -> bool {
        let may_exist = self.may_exist_uncounted(code, origin);
        if !may_exist && let Some(filter) = &self.filter {
            filter.count_denial();
            self.own.denials.note(code, origin.as_str());
        }
        may_exist
    }

    /// The same as [`Links::may_exist`], but not counted: for callers that only decide who looks the name up.
    pub(crate) fn may_exist_uncounted(&self, code: &[u8], origin: &Origin) -> bool {
        let Some(filter) = &self.filter else {
            return true;
        };
        code.iter().any(u8::is_ascii_uppercase) || !filter.excludes(code, origin.as_str())
    }

    /// The same as [`Links::resolve`], if the result is known without waiting.
    ///
    /// # Errors
    /// The look-up to wait for. The caller must pass it to [`Links::look_up`], together with others that it has,
    /// and then to [`Links::resolve_later`].
    pub fn resolve_now(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        if let Some(filter) = &self.filter
            && filter.denies(name.code().as_bytes(), name.origin())
        {
            self.note_denial(name);
            return Ok(Resolved {
                outcome: Ok(Resolution::Absent),
                // The filter can be asked again at no cost.
                lease: None,
                stale: false,
            });
        }
        self.resolve_possible(name)
    }

    /// The same as [`Links::resolve_now`], for a name for which [`Links::may_exist`] has just returned true.
    ///
    /// # Errors
    /// As [`Links::resolve_now`].
    pub fn resolve_possible(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        let count = |result| self.metrics.count_lookup(Tier::Memory, result);
        let now = Instant::now();
        // Before the look-up, so that no later change is missed.
        let stamp = self.memory.stamps().of(name);
        let lease = |until| Some(Lease { until, stamp });
        let (ticket, wait) = match self.memory.look(name, now) {
            Look::Fresh(known, until) => {
                self.memory_hits.inc();
                return Ok(self.judge(name, Ok(known), lease(until)));
            }
            Look::Stale(link) => {
                count(LookupResult::Stale);
                let missed = StoreError::Unavailable("a look-up has just failed".into());
                let known = self.old_state(link, missed);
                let lease = known.is_ok().then(|| lease(now + STALE_LEASE)).flatten();
                return Ok(Resolved {
                    stale: known.is_ok(),
                    ..self.judge(name, known, lease)
                });
            }
            Look::Full => {
                count(LookupResult::Refused);
                return Ok(self.judge(name, Err(StoreError::Overloaded), None));
            }
            Look::Join(wait) => (None, wait),
            Look::Lead(ticket, wait) => (Some(ticket), wait),
        };
        Err(Unresolved {
            name: name.clone(),
            stamp,
            ticket,
            wait,
        })
    }

    /// Passes a destination of a link, drawn if it has several, to `read`, if memory has the link, it may be used without a look-up, is not
    /// withheld, and has not ended at `now`. None, of `read` or otherwise, says nothing about the name: then nothing is begun or counted.
    /// `read` must be short, because the memory of the name is locked meanwhile.
    pub fn with_live<R>(
        &self,
        name: &LinkName,
        at: Instant,
        now: UnixTime,
        read: impl FnOnce(Destination<'_>) -> Option<R>,
    ) -> Option<R> {
        let if_live = |destination: Destination<'_>| {
            let is_live = !destination.is_expired(now);
            is_live.then(|| read(destination)).flatten()
        };
        let found = self.memory.with_fresh(name, at, if_live)?;
        self.memory_hits.inc();
        Some(found)
    }

    /// The stamp for what depends on no link; it expires when everything has to be made again. Must be taken
    /// before it is made.
    pub fn common_stamp(&self) -> Stamp {
        self.memory.stamps().of_all()
    }

    /// Whether no change that this node knows of has happened since the stamp was taken.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.memory.stamps().is_current(stamp)
    }

    /// Makes all stamps expire, so that everything derived so far is made again.
    pub fn renew_all(&self) {
        self.memory.stamps().change_all();
    }

    /// Begins the flights for these names, except for those that have one. Redis is asked about all of them in one
    /// call. Must be called within a runtime.
    pub fn look_up<'a>(&self, unresolved: impl IntoIterator<Item = &'a mut Unresolved>) {
        let tickets = unresolved.into_iter().filter_map(|one| one.ticket.take());
        let tickets: Vec<Ticket> = tickets.collect();
        if !tickets.is_empty() {
            // A task of its own: it must not end with the client that began it, because others may wait for it.
            tokio::spawn(fly(tickets, self.tiers.clone()));
        }
    }

    /// Waits for the flight.
    pub async fn resolve_later(&self, unresolved: Unresolved) -> Resolved {
        let Unresolved {
            name, stamp, wait, ..
        } = unresolved;
        let patience = match wait.stale {
            // From the start of the flight: a query that joins late waits less.
            Some(_) => STALE_PATIENCE.saturating_sub(wait.since.elapsed()),
            None => RESOLVE_DEADLINE,
        };
        let landing = tokio::time::timeout(patience, wait.landing())
            .await
            .unwrap_or_else(|_| Err(StoreError::DeadlineExceeded.into()));
        let until = |known: &Known| self.memory.good_until(known, wait.since);
        let (result, known, until) = match landing {
            Ok(known) => {
                let until = until(&known);
                (LookupResult::Miss, Ok(known), Some(until))
            }
            Err(missed) => {
                let known = match newer(wait.stale, missed.was) {
                    Some(link) => self.old_state(link, missed.error),
                    None => Err(missed.error),
                };
                match known.is_ok() {
                    true => (
                        LookupResult::Stale,
                        known,
                        Some(Instant::now() + STALE_LEASE),
                    ),
                    false => (LookupResult::Miss, known, None),
                }
            }
        };
        self.metrics.count_lookup(Tier::Memory, result);
        let lease = until.map(|until| Lease { until, stamp });
        let stale = result == LookupResult::Stale;
        Resolved {
            stale,
            ..self.judge(&name, known, lease)
        }
    }

    /// The link of memory or of a claim, if it may be used although `why` hides the current state. A link that has
    /// ended may not: it may have been prolonged or made again meanwhile, and "no link" could be wrong.
    fn old_state(&self, link: Arc<Link>, why: StoreError) -> Result<Known, StoreError> {
        match link.is_expired(self.now()) {
            true => Err(why),
            false => Ok(Some(link)),
        }
    }

    /// Remembers that resolvers get a negative answer about a name.
    fn note_denial(&self, name: &LinkName) {
        self.own.denials.note(name.code().as_bytes(), name.origin());
    }

    /// Turns what is known of a name into a result.
    fn judge(
        &self,
        name: &LinkName,
        known: Result<Known, StoreError>,
        lease: Option<Lease>,
    ) -> Resolved {
        if let Err(error) = &known {
            self.failures.note(name, error, self.now());
        }
        let outcome = known.map(|known| match known {
            None => {
                self.note_denial(name);
                Resolution::Absent
            }
            Some(link) if link.is_expired(self.now()) => {
                self.note_denial(name);
                Resolution::Expired(link)
            }
            Some(link) if link.withheld.is_some() => Resolution::Withheld(link),
            Some(link) => Resolution::Live(link),
        });
        Resolved {
            outcome,
            lease,
            stale: false,
        }
    }
}

/// The flights of several names: asks Redis, and then the store for names that Redis does not know.
async fn fly(tickets: Vec<Ticket>, tiers: Arc<Tiers>) {
    let since = Instant::now();
    let names: Vec<_> = tickets.iter().map(|t| (t.name(), t.held())).collect();
    let asked = tiers.ask_redis(&names).await;
    let mut left = None;
    for (ticket, asked) in tickets.into_iter().zip(asked) {
        match asked {
            RedisAnswer::Known(known) => ticket.land(Ok(known), since),
            asked => {
                // One of them is looked up by this task.
                if let Some((ticket, asked)) = left.replace((ticket, asked)) {
                    tokio::spawn(fly_on(ticket, asked, since, tiers.clone()));
                }
            }
        }
    }
    if let Some((ticket, asked)) = left {
        fly_on(ticket, asked, since, tiers).await;
    }
}

/// The newer of two states of a link.
fn newer(one: Known, other: Known) -> Known {
    match (one, other) {
        (Some(one), Some(other)) if one.version < other.version => Some(other),
        (one, other) => one.or(other),
    }
}

/// Continues the flight of a name that Redis does not know.
async fn fly_on(ticket: Ticket, asked: RedisAnswer, since: Instant, tiers: Arc<Tiers>) {
    let was = match &asked {
        RedisAnswer::Changing(link) => Some(Arc::clone(link)),
        _ => None,
    };
    let finding = tiers.find(ticket.name(), ticket.held(), asked);
    let found = within(RESOLVE_DEADLINE.saturating_sub(since.elapsed()), finding).await;
    ticket.land(found.map_err(|error| Missed { error, was }), since);
}

//! Resolving names: what an answer is made of, for how long it may be used again, and the flights to the tiers
//! behind the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Links;
use super::deadline::{RESOLVE_DEADLINE, within};
use super::memory::{Known, Look, Missed, Ticket, Wait};
use super::stamps::Stamp;
use super::tiers::{RedisAnswer, Tiers};
use crate::base::metrics::{LookupResult, Tier};
use crate::link::{Link, LinkName, Origin};
use crate::store::StoreError;

/// How long a query waits for a link of which memory holds an old state: long enough for tiers in
/// order, short enough that the client has not yet asked again (RFC 8767 §5 asks for 1.8 s at most).
pub(super) const STALE_PATIENCE: Duration = Duration::from_millis(300);
/// How long an old state is used again without asking while the tiers behind fail, by those who keep
/// what they make of it: short beside the pauses between the attempts to ask those tiers.
const STALE_LEASE: Duration = Duration::from_secs(1);

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A live link.
    Live(Arc<Link>),
    /// A link that has ended; to DNS this is the same as [`Resolution::Absent`].
    Expired(Arc<Link>),
    /// No link.
    Absent,
}

/// What is known about a name, and for how long that will do.
#[derive(Debug)]
pub struct Resolved {
    /// What is known; an error where it cannot be known whether there is a link. Whoever asked must
    /// then tell neither that there is one nor that there is none.
    pub outcome: Result<Resolution, StoreError>,
    /// How long it may be used again without asking; none for not at all.
    pub lease: Option<Lease>,
    /// Whether it is what was known once, because it cannot be found out what is now.
    pub stale: bool,
}

/// How long something may be used again: until a time, and only as long as its stamp is
/// [current](Links::is_current).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From then on it is to be made anew.
    pub until: Instant,
    /// Moves on when it is overtaken by a change.
    pub stamp: Stamp,
}

/// A name that is to be looked up, or is being looked up.
#[derive(Debug)]
pub struct Unresolved {
    name: LinkName,
    /// Of the time before anything was looked up.
    stamp: Stamp,
    /// Where it falls to the caller to have it looked up.
    ticket: Option<Ticket>,
    wait: Wait,
}

impl Links {
    /// Finds the link of a name, for an answer.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be known whether there is a link. The caller must then tell
    /// neither that there is one nor that there is none.
    pub async fn resolve(&self, name: &LinkName) -> Result<Resolution, StoreError> {
        match self.resolve_now(name) {
            Ok(resolved) => resolved.outcome,
            Err(mut unresolved) => {
                self.look_up([&mut unresolved]);
                self.resolve_later(unresolved).await.outcome
            }
        }
    }

    /// Whether there may be a link of this code below this origin; false is certain, and counts as a
    /// look-up. It takes no lock, and says true whenever it cannot say, also of a code that is not in
    /// lower case.
    pub fn may_exist(&self, code: &[u8], origin: &Origin) -> bool {
        let may_exist = self.may_exist_uncounted(code, origin);
        if !may_exist && let Some(filter) = &self.filter {
            filter.count_denial();
        }
        may_exist
    }

    /// What [`Links::may_exist`] says, without counting it: for who decides where the look-up is to be made.
    pub(crate) fn may_exist_uncounted(&self, code: &[u8], origin: &Origin) -> bool {
        let Some(filter) = &self.filter else {
            return true;
        };
        code.iter().any(u8::is_ascii_uppercase) || !filter.excludes(code, origin.as_str())
    }

    /// What [`Links::resolve`] gives, where that can be said without waiting.
    ///
    /// # Errors
    /// What there is to wait for, where it cannot be said at once. The caller is to have the name
    /// looked up, with others that it has, by [`Links::look_up`], and then to wait by
    /// [`Links::resolve_later`].
    pub fn resolve_now(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        if let Some(filter) = &self.filter
            && filter.denies(name.code().as_bytes(), name.origin())
        {
            return Ok(Resolved {
                outcome: Ok(Resolution::Absent),
                // To ask again costs nothing.
                lease: None,
                stale: false,
            });
        }
        self.resolve_possible(name)
    }

    /// What [`Links::resolve_now`] gives, for a name of which [`Links::may_exist`] has just said that it
    /// may.
    ///
    /// # Errors
    /// As [`Links::resolve_now`].
    pub fn resolve_possible(&self, name: &LinkName) -> Result<Resolved, Unresolved> {
        let count = |result| self.metrics.count_lookup(Tier::Memory, result);
        let now = Instant::now();
        // Before the look, so that no change after it goes unnoticed.
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

    /// The stamp of what is made without asking for a link: it moves on when everything is to be made
    /// anew. To be taken before it is made.
    pub fn common_stamp(&self) -> Stamp {
        self.memory.stamps().of_all()
    }

    /// Whether nothing has changed since a stamp was taken, as far as is known here.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.memory.stamps().is_current(stamp)
    }

    /// Has everything that was made so far, with links or without, be made anew.
    pub fn renew_all(&self) {
        self.memory.stamps().change_all();
    }

    /// Has these names looked up, those of them that nobody is looking up yet: together, as far as
    /// Redis knows them. To be called within a runtime.
    pub fn look_up<'a>(&self, unresolved: impl IntoIterator<Item = &'a mut Unresolved>) {
        let tickets = unresolved.into_iter().filter_map(|one| one.ticket.take());
        let tickets: Vec<Ticket> = tickets.collect();
        if !tickets.is_empty() {
            // A task of its own: it outlives a client that goes away, for those who joined.
            tokio::spawn(fly(tickets, self.tiers.clone()));
        }
    }

    /// Waits for the look-up that was begun.
    pub async fn resolve_later(&self, unresolved: Unresolved) -> Resolved {
        let Unresolved {
            name, stamp, wait, ..
        } = unresolved;
        let patience = match wait.stale {
            // Counted from the flight's beginning: who joins late has the less to wait.
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

    /// What an old state is worth where `why` keeps us from knowing the present one. A link that has ended may
    /// have been prolonged since, or made anew: then nothing is known, least of all that there is no link.
    fn old_state(&self, link: Arc<Link>, why: StoreError) -> Result<Known, StoreError> {
        match link.is_expired(self.now()) {
            true => Err(why),
            false => Ok(Some(link)),
        }
    }

    /// What is known of a name just now.
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
            None => Resolution::Absent,
            Some(link) if link.is_expired(self.now()) => Resolution::Expired(link),
            Some(link) => Resolution::Live(link),
        });
        Resolved {
            outcome,
            lease,
            stale: false,
        }
    }
}

/// Looks names up behind the memory, and lands with what is found.
async fn fly(tickets: Vec<Ticket>, tiers: Arc<Tiers>) {
    let since = Instant::now();
    let names: Vec<_> = tickets.iter().map(|t| (t.name(), t.held())).collect();
    let asked = tiers.ask_redis(&names).await;
    let mut left = None;
    for (ticket, asked) in tickets.into_iter().zip(asked) {
        match asked {
            RedisAnswer::Known(known) => ticket.land(Ok(known), since),
            asked => {
                // One of them can go on in this task.
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

/// Looks a name up that Redis does not know.
async fn fly_on(ticket: Ticket, asked: RedisAnswer, since: Instant, tiers: Arc<Tiers>) {
    let was = match &asked {
        RedisAnswer::Changing(link) => Some(Arc::clone(link)),
        _ => None,
    };
    let finding = tiers.find(ticket.name(), ticket.held(), asked);
    let found = within(RESOLVE_DEADLINE.saturating_sub(since.elapsed()), finding).await;
    ticket.land(found.map_err(|error| Missed { error, was }), since);
}

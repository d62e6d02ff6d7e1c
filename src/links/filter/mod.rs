//! The existence filter: the names of all links in a few bits each. A query for a name without a link is answered
//! from it, without a lock and without a look at any tier. Floods of random names consist of such queries.
//!
//! ```text
//!   query  ── denies? ── bits (complete) ── not set ── watch vouches ──> absent, at once
//!                             │                └── else: memory, Redis, store, as without a filter
//!                             └── set
//!   create ── announce ── bits of the complete one and of one that is being built ── store commits
//!   keeper ── count, register, scan the store ── complete ── worn or outdated: once more
//! ```
//!
//! # The invariant
//!
//! The filter never denies a link that was acknowledged: from the moment when a client has the reply to its creation until
//! its removal begins, no query that begins in that time is answered with "no link". A link that another program has made
//! counts as acknowledged a while after its commit: after [`VALID_FOR`](crate::store::watch::VALID_FOR) if one server uses
//! the store, after [`LOOK_VALID_FOR`] if each server reads the feed, and after
//! [`REGION_LOOK_VALID_FOR`](super::REGION_LOOK_VALID_FOR) and the delay of the feed itself if one server reads it for
//! others. (Memory may also hold a name as absent for `[cache] absent`, with or without a filter. With SQLite there is by
//! default a filter only if that time is not shorter than `VALID_FOR`.)
//!
//! # Why it holds for a store of one server
//!
//! Take a link in the store and the filter that a query uses. Only a *complete* filter denies. It was *registered*
//! at some time R and scanned the store after R; its bits are never cleared. The link's row has been in the store
//! since some commit C.
//!
//! 1. *Our own commit, of a write that ended before R.* C is before R, so every page of the scan sees the row. The
//!    pages are consecutive key ranges without gaps, each page shows one state of the store, and the row is in all
//!    of these states. So the scan has read it.
//! 2. *Our own commit, of a write that had begun but not ended at R.* The filter keeps the names of such writes,
//!    and registration inserts them. It does not matter whether C is before or after R.
//! 3. *Our own commit, of a write that began after R.* A write inserts its name into all registered filters before
//!    it calls the store.
//! 4. *A commit of another program.* The store looks for such commits every second. If it finds one, the
//!    generation of the [`Watch`] increases. A filter notes the generation before R and denies only while the
//!    watch vouches for that generation: the last look is younger than `VALID_FOR` and found nothing new. Commits
//!    before that generation come before R, as in case 1; all others come after the last look. The store also
//!    looks in each of its own transactions, so a client that has the reply to a change is not denied anything
//!    that others wrote before it.
//!
//! One lock covers the begin and the end of writes and the registration of filters, so our own commits have no
//! fourth case. A write continues when its caller has gone, and ends when the store has replied. The reply may
//! leave it unknown whether the link was made; a name too many in the filter does no harm.
//!
//! # Why it holds for a store with a feed
//!
//! Other servers make links at any time, and this server learns of them by the feed ([`super::feed`]). The follower inserts
//! each name into all registered filters before it notes that it has applied the entry. A *look* is a read of the feed that
//! reached its end. The watch is that of the looks: a filter denies only while the last look *began* less than
//! `LOOK_VALID_FOR` ago, by the monotonic clock of this server, and no gap was found since the filter was registered.
//!
//! 1. *C is before R.* The scan has read the row, as above. The store answers the scan with a state that is not older than
//!    what the feed has brought before.
//! 2. *C is after R and before the last look began.* The entry comes after those that were applied at R, and the look has
//!    applied it. So the name is in the filter.
//! 3. *C is after the last look began.* Then the query begins less than `LOOK_VALID_FOR` after C. The server that has made
//!    the link acknowledges it only when each server of the region whose filter may deny has applied the change, or when
//!    more than `LOOK_VALID_FOR` has passed since C ([`Servers::await_filters`]). So the link is not acknowledged yet, or
//!    this server has applied it, and its name is in the filter.
//!
//! Case 3 needs that the server which has made the link knows of this one. So this server announces that its filter may deny
//! *before* the filter denies the first name, and the filter denies only while that announcement counts. Whoever reads the
//! announcements earlier does not wait for this server; but it has committed before that, so before this server was
//! announced, and the filter denies only after a look that began later ([`lease`]). The same holds after a time
//! in which the announcement did not count, such as one in which the process was stopped.
//!
//! If links are read from a replica of the store, the scan may show a state from before R, though never one from before
//! what the feed has brought. A link that was made after that state has an entry that comes later. A look then counts as
//! begun at the moment up to which the replica is known to show everything ([`AsOf`](crate::store::feed::AsOf)), which is
//! before the read: the filter stands aside while the replica is late.
//!
//! Another region has announcements and filters of its own. Its servers may deny a new link until its feed has brought it,
//! as they would find no link in its replica of the store.
//!
//! # Why it holds for a store with a board of filters
//!
//! The feed of DynamoDB brings a change some time after the commit, without a bound. So servers that make links wait for
//! those whose filters deny, which have leases in the table. [`super::deniers`] has the protocol and the proof. The feed
//! brings the links of other programs, and the filter stands aside while the feed is late.
//!
//! # What holds for all
//!
//! The bits need no memory ordering of their own. A write sets its bits before it commits. The news of its success
//! travels through channels and sockets, which order the bits before every query that follows from it; a query
//! that began earlier may get either answer. The bits of the scan are ordered before the filter becomes complete, and those
//! of the feed before the look, which the watch publishes.
//! When a new filter replaces an old one, the new one becomes complete first, and only then is the old one
//! unregistered. A query that still uses the old one began before that, and so before any write that the old one
//! misses.
//!
//! A start is no special case: a process begins without a filter, and the scan finds the writes of a killed
//! process or does not. The filter denies nothing while none is complete, and while the last look is too old. Failing
//! reads do not invalidate a filter: a name that it denies has no link. Deletions leave
//! their bits set; such a name costs a look at the tiers until the filter is rebuilt.

mod keeper;
mod lease;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use foldhash::quality::FixedState;
use prometheus_client::metrics::counter::Counter;

pub(super) use self::keeper::Keeper;
use self::lease::Lease;
use super::bloom::{Bloom, hash};
use super::deniers::Denier;
use super::feed::Applied;
#[cfg(doc)]
use super::feed::LOOK_VALID_FOR;
use super::servers::Servers;
use crate::base::metrics::{LinkLookup, LookupResult, Metrics, Tier};
use crate::link::LinkName;
use crate::store::feed::{Feed, Readers};
use crate::store::{Store, Watch};

/// See the [module](self).
pub(super) struct Filter {
    /// Keyed, so that no attacker can find names that share bits.
    state: FixedState,
    watch: Arc<Watch>,
    others: Others,
    /// The filter that denies.
    complete: ArcSwapOption<Complete>,
    writes: Mutex<Writes>,
    denials: Counter,
}

/// How the filter takes care of the links that other servers make.
#[derive(Debug)]
enum Others {
    /// This server uses the store alone.
    None,
    /// The feed brings their names in time, and they wait for servers that are announced.
    Announced(Announced),
    /// They wait for servers with a lease.
    Leased(Arc<Denier>),
}

/// What a filter needs that other servers have to know of.
#[derive(Debug, Default)]
struct Announced {
    /// Set at the start.
    servers: OnceLock<Arc<Servers>>,
    lease: Lease,
}

/// A filter that contains all links of a generation.
#[derive(Debug)]
struct Complete {
    bloom: Arc<Bloom>,
    generation: u64,
    /// The term of the lease, if the filter needs one.
    term: u64,
    /// How many links had been removed when it was registered.
    removed: u64,
}

/// What writes and registrations share.
#[derive(Debug, Default)]
struct Writes {
    /// The filters that get the names of writes: the complete one, and one that is being built.
    registered: Vec<Arc<Bloom>>,
    /// The hashes of the names of the writes under way, by a number of each.
    under_way: HashMap<u64, u64>,
    next: u64,
}

/// A write under way: from before the call of the store until its reply.
pub(super) struct UnderWay {
    filter: Arc<Filter>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.filter.writes().under_way.remove(&self.number);
    }
}

impl Filter {
    /// A filter for a store that sees all changes of others, for one with a feed that each server reads, or with a denier;
    /// none for other stores. It denies nothing until a [`Keeper`] has built it.
    pub(super) fn new(
        store: &dyn Store,
        applied: Option<&Arc<Applied>>,
        denier: Option<Arc<Denier>>,
        metrics: &Metrics,
    ) -> Option<Arc<Self>> {
        let looks = || Some(Arc::clone(applied?.looks()));
        let (watch, others) = match (store.watch(), denier) {
            (Some(watch), _) => (watch, Others::None),
            (None, Some(denier)) => (looks()?, Others::Leased(denier)),
            (None, None) => {
                let is_read_by_each = |feed: &Arc<dyn Feed>| feed.readers() == Readers::Each;
                store.feed().filter(is_read_by_each)?;
                (looks()?, Others::Announced(Announced::default()))
            }
        };
        let seed = match getrandom::u64() {
            Ok(seed) => seed,
            Err(error) => {
                tracing::warn!(%error, "the system has no random numbers; running without an existence filter");
                return None;
            }
        };
        let denied = LinkLookup {
            tier: Tier::Filter,
            result: LookupResult::Hit,
        };
        Some(Arc::new(Self {
            state: FixedState::with_seed(seed),
            watch,
            others,
            complete: ArcSwapOption::empty(),
            writes: Mutex::default(),
            denials: metrics.link_lookups.get_or_create(&denied).clone(),
        }))
    }

    /// Whether there is certainly no link of this code below this origin, both in lower case. A denial counts as a
    /// look-up.
    pub(super) fn denies(&self, code: &[u8], origin: &str) -> bool {
        let denied = self.excludes(code, origin);
        if denied {
            self.count_denial();
        }
        denied
    }

    /// Counts a look-up that the filter answered.
    pub(super) fn count_denial(&self) {
        self.denials.inc();
    }

    /// What [`Filter::denies`] says, without counting it.
    pub(super) fn excludes(&self, code: &[u8], origin: &str) -> bool {
        let complete = self.complete.load();
        let Some(complete) = &*complete else {
            return false;
        };
        if complete.bloom.may_hold(hash(&self.state, code, origin)) {
            return false;
        }
        // After the bits: a name that may exist need not pay for reading the clock.
        self.may_deny(complete, Instant::now())
    }

    /// Whether a complete filter may deny now.
    fn may_deny(&self, complete: &Complete, now: Instant) -> bool {
        // The look must not be a later one than that whose generation was checked, or a gap could lie between.
        let looked = self.watch.looked();
        let is_counted = match &self.others {
            Others::None => true,
            Others::Announced(announced) => announced.lease.allows(looked, now),
            Others::Leased(denier) => denier.allows(complete.term, now),
        };
        is_counted && self.watch.vouches_for(complete.generation, now)
    }

    /// Whether a filter of this generation and term can still deny something, now or later.
    fn is_current(&self, generation: u64, term: u64) -> bool {
        let is_leased = match &self.others {
            Others::None | Others::Announced(_) => true,
            Others::Leased(denier) => denier.is_current(term),
        };
        is_leased && self.watch.generation() == generation
    }

    /// Sets the servers that share the store. Must be called before the filter is built.
    pub(super) fn join(&self, servers: &Arc<Servers>) {
        if let Others::Announced(announced) = &self.others {
            let _only_once = announced.servers.set(Arc::clone(servers));
        }
    }

    /// Whether other servers wait for this one because it is announced.
    fn is_announced(&self) -> bool {
        matches!(self.others, Others::Announced(_))
    }

    /// What holds the lease of the filter, if it needs one.
    pub(super) fn denier(&self) -> Option<&Arc<Denier>> {
        match &self.others {
            Others::Leased(denier) => Some(denier),
            Others::None | Others::Announced(_) => None,
        }
    }

    /// Inserts a name of another server or program. Must be called before anyone relies on that.
    pub(super) fn insert(&self, name: &LinkName) {
        let hash = self.hash(name.code(), name.origin());
        for bloom in &self.writes().registered {
            bloom.insert(hash);
        }
    }

    /// Looks whether other servers wait for this one's filter.
    fn look_at_lease(&self) {
        if let Others::Announced(announced) = &self.others {
            let servers = announced.servers.get();
            let until = servers.and_then(|servers| servers.filter_counts_until());
            announced.lease.observe(until, Instant::now());
        }
    }

    /// Says whether the filter is about to deny names.
    fn announce_denials(&self, denies: bool) {
        if let Others::Announced(announced) = &self.others {
            if !denies {
                announced.lease.end();
            }
            if let Some(servers) = announced.servers.get() {
                servers.set_filter_denies(denies);
            }
        }
    }

    /// Begins a write that may make a link of this name. Must be called before the store is; the result must be
    /// dropped when the store has replied.
    pub(super) fn announce(self: &Arc<Self>, name: &LinkName) -> UnderWay {
        let hash = self.hash(name.code(), name.origin());
        let mut writes = self.writes();
        for bloom in &writes.registered {
            bloom.insert(hash);
        }
        let number = writes.next;
        writes.next += 1;
        writes.under_way.insert(number, hash);
        UnderWay {
            filter: Arc::clone(self),
            number,
        }
    }

    /// Updates the gauges.
    pub(super) fn measure(&self, metrics: &Metrics) {
        let figure = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let complete = self.complete.load();
        let links = complete.as_ref().map_or(0, |c| c.bloom.links());
        let denies = complete.as_ref();
        let denies = denies.is_some_and(|complete| self.may_deny(complete, Instant::now()));
        let bytes = self.writes().registered.iter().map(|b| b.bytes()).sum();
        metrics.filter_links.set(links.cast_signed());
        metrics.filter_bytes.set(figure(bytes));
        metrics.filter_complete.set(denies.into());
    }

    /// Registers a filter: it gets the names of all writes that have not ended, and of later ones.
    fn register(&self, bloom: &Arc<Bloom>) {
        let mut writes = self.writes();
        for hash in writes.under_way.values() {
            bloom.insert(*hash);
        }
        writes.registered.push(Arc::clone(bloom));
    }

    /// Makes a registered filter that has scanned the store the one that denies.
    fn complete(&self, complete: &Arc<Complete>) {
        self.announce_denials(true);
        self.complete.store(Some(Arc::clone(complete)));
        // Last: the former filter needs the names of writes as long as a query may begin to use it.
        self.writes()
            .registered
            .retain(|registered| Arc::ptr_eq(registered, &complete.bloom));
    }

    /// Unregisters a filter that will not be completed.
    fn abandon(&self, bloom: &Arc<Bloom>) {
        self.writes()
            .registered
            .retain(|registered| !Arc::ptr_eq(registered, bloom));
    }

    /// Denies nothing any more, and frees the memory.
    fn clear(&self) {
        self.complete.store(None);
        self.announce_denials(false);
        self.writes().registered.clear();
    }

    fn hash(&self, code: &str, origin: &str) -> u64 {
        hash(&self.state, code.as_bytes(), origin)
    }

    /// No code panics while it holds this lock.
    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is secret.
        f.debug_struct("Filter")
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

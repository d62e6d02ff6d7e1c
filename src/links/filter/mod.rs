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
//! The filter never denies a link that exists: from the commit of a link until its removal begins, no query that
//! begins in that time is answered with "no link". The one exception is a link that another program has written
//! into the store's file: the filter may deny it for at most [`VALID_FOR`](crate::store::watch::VALID_FOR) after
//! its commit. (Memory may also hold a name as absent for `[cache] absent`, with or without a filter. By default
//! there is a filter only if that time is not shorter than `VALID_FOR`.)
//!
//! # Why it holds
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
//! The bits need no memory ordering of their own. A write sets its bits before it commits. The news of its success
//! travels through channels and sockets, which order the bits before every query that follows from it; a query
//! that began earlier may get either answer. The bits of the scan are ordered before the filter becomes complete.
//! When a new filter replaces an old one, the new one becomes complete first, and only then is the old one
//! unregistered. A query that still uses the old one began before that, and so before any write that the old one
//! misses.
//!
//! A start is no special case: a process begins without a filter, and the scan finds the writes of a killed
//! process or does not. The filter denies nothing while none is complete, and while the store's last look is older
//! than `VALID_FOR`. Failing reads do not invalidate a filter: a name that it denies has no link. Deletions leave
//! their bits set; such a name costs a look at the tiers until the filter is rebuilt.
//!
//! # Why DynamoDB has no filter
//!
//! Other servers and programs make links in the table at any time, and the stream of changes reports them only
//! after the commit. Between the two, a filter would deny an existing link. A filter would need two things: every
//! writer would have to announce a name in the stream before it commits, and every node would have to confirm,
//! once for a batch of queries, that it has read the stream to its end before it denies. Both cost a round trip,
//! and both work only for a table that no other program writes to.

pub(super) mod bloom;
mod keeper;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use foldhash::quality::FixedState;
use prometheus_client::metrics::counter::Counter;

use self::bloom::Bloom;
pub(super) use self::keeper::Keeper;
use crate::base::metrics::{LinkLookup, LookupResult, Metrics, Tier};
use crate::link::LinkName;
use crate::store::{Store, Watch};

/// See the [module](self).
pub(super) struct Filter {
    /// Keyed, so that no attacker can find names that share bits.
    state: FixedState,
    watch: Arc<Watch>,
    /// The filter that denies.
    complete: ArcSwapOption<Complete>,
    writes: Mutex<Writes>,
    denials: Counter,
}

/// A filter that contains all links of a generation.
#[derive(Debug)]
struct Complete {
    bloom: Arc<Bloom>,
    generation: u64,
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
pub(super) struct Announced {
    filter: Arc<Filter>,
    number: u64,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.filter.writes().under_way.remove(&self.number);
    }
}

impl Filter {
    /// A filter for a store that sees all changes of others; none for other stores. It denies nothing until a
    /// [`Keeper`] has built it.
    pub(super) fn new(store: &dyn Store, metrics: &Metrics) -> Option<Arc<Self>> {
        let watch = store.watch()?;
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
        self.watch.vouches_for(complete.generation, Instant::now())
    }

    /// Begins a write that may make a link of this name. Must be called before the store is; the result must be
    /// dropped when the store has replied.
    pub(super) fn announce(self: &Arc<Self>, name: &LinkName) -> Announced {
        let hash = self.hash(name.code(), name.origin());
        let mut writes = self.writes();
        for bloom in &writes.registered {
            bloom.insert(hash);
        }
        let number = writes.next;
        writes.next += 1;
        writes.under_way.insert(number, hash);
        Announced {
            filter: Arc::clone(self),
            number,
        }
    }

    /// Updates the gauges.
    pub(super) fn measure(&self, metrics: &Metrics) {
        let figure = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let complete = self.complete.load();
        let links = complete.as_ref().map_or(0, |c| c.bloom.links());
        let generation = complete.as_ref().map(|c| c.generation);
        let denies = generation.is_some_and(|g| self.watch.vouches_for(g, Instant::now()));
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

/// The hash of a name. It leaves the dot between code and origin out: two names that become equal that way share
/// their bits, which never causes a denial.
pub(super) fn hash(state: &FixedState, code: &[u8], origin: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(code);
    hasher.write(origin.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;

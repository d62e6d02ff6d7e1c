//! The existence filter: the names of all links in a few bits each, so that a query for a name that has
//! no link is answered without a lock and without a look at any tier. A flood of random names is made of
//! such queries.
//!
//! ```text
//!   query  ── denies? ── bits (complete) ── not set ── watch vouches ──> absent, at once
//!                             │                └── else: memory, Redis, store, as without a filter
//!                             └── set
//!   create ── announce ── bits of the complete one and of one that is being built ── store commits
//!   keeper ── count, register, scan the store ── complete ── worn or doubtful: once more
//! ```
//!
//! # The law
//!
//! It never denies a link that exists: once the store has a link, until the link's removal begins, no
//! query that begins meanwhile is told that there is none. The one exception is a link that another
//! program has written into the store's file, for at most [`VALID_FOR`](crate::store::watch::VALID_FOR)
//! after its commit. A name that was asked for just before counts as absent for `[cache] absent`, filter
//! or not, and by default there is a filter only where that is no shorter.
//!
//! # Why it holds
//!
//! Take a link that the store has, and the filter that a query uses. Only a *complete* one denies. It
//! was *registered* at some time R and scanned the store after R; bits are never taken back. The link's
//! row has been in the store from some commit C on.
//!
//! 1. *Our own commit, from a write that ended before R.* C is before R, so every page of the scan sees
//!    the row. The pages are ranges of keys that follow each other without a gap, each page is of one
//!    state of the store, and the row is in all these states: the scan has met it.
//! 2. *Our own commit, from a write that had begun before R and not ended.* The names of such writes are
//!    kept, and registration puts them in. On which side of R the commit falls need not be known.
//! 3. *Our own commit, from a write that began after R.* A write begins by putting its name into all
//!    registered filters, before the store is called.
//! 4. *Another program's commit.* The store looks for those each second, and each time that it finds some
//!    the [`Watch`]'s generation moves on. A filter notes the generation before R and denies only while
//!    the watch vouches for it, that is, while the last look is younger than `VALID_FOR` and has found
//!    nothing new. Commits that were counted in that generation come before R, as in case 1; all others
//!    come after the last look. The store looks in each of its own transactions, too: who is told of a
//!    change of ours is not denied what others had written before it.
//!
//! Writes begin and end, and filters are registered, under one lock, so our own commits have no fourth
//! case. A write goes on when its caller has left, and ends when the store has answered. Whether it was
//! made may be unknown then: a name too many in the filter harms nobody.
//!
//! The bits need no memory order of their own. A write puts its bits in before it commits, and its success
//! is told by channels and sockets, which order it before every query that comes because of it; a query
//! that began earlier may be told either. The scan's bits are ordered before the filter is made complete.
//! And when a new filter takes an old one's place, it is made complete first and the old one taken from
//! the registered ones afterwards: who still uses the old one began before that, and so before any write
//! that the old one was not told of.
//!
//! A start is no special case: a process begins without a filter, and what a killed process had begun is
//! for the scan to find or not. While no filter is complete nothing is denied, nor when the store has not
//! been able to look for longer than `VALID_FOR`. That its reads fail takes nothing from a filter: a name
//! that is known to have no link is absent, and not unknown. Deletions leave their bits; the name then
//! costs a look at the tiers, until the filter is built anew.
//!
//! # Why there is none for DynamoDB
//!
//! Other servers and other programs make links there at any time, and the stream of changes tells of them
//! after the commit: between the two, a filter would deny what exists. Two things would open the way. Every
//! writer would have to *announce* a name, by the stream, before it commits, and every node would have to
//! confirm, once for a batch of queries, that it has read the stream to its end before it denies. Both cost
//! a round trip, and both are for a table that nobody else writes to.

mod bloom;
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
    /// Keyed: nobody can tell from outside which names look alike.
    state: FixedState,
    watch: Arc<Watch>,
    /// The one that denies.
    complete: ArcSwapOption<Complete>,
    writes: Mutex<Writes>,
    denials: Counter,
}

/// A filter that holds all links of a generation.
#[derive(Debug)]
struct Complete {
    bloom: Arc<Bloom>,
    generation: u64,
    /// How many links had been removed, from the beginning on, when it was registered.
    removed: u64,
}

/// What writes and registrations share.
#[derive(Debug, Default)]
struct Writes {
    /// Those that are told of writes: the complete one, and one that is being built.
    registered: Vec<Arc<Bloom>>,
    /// What the names of the writes under way hash to, by a number of each.
    under_way: HashMap<u64, u64>,
    next: u64,
}

/// A write under way: from before the call of the store until it has answered.
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
    /// A filter for a store that sees all changes of others; none for any other store. It denies nothing
    /// before a [`Keeper`] has built it.
    pub(super) fn new(store: &dyn Store, metrics: &Metrics) -> Option<Arc<Self>> {
        let watch = store.watch()?;
        let seed = match getrandom::u64() {
            Ok(seed) => seed,
            Err(error) => {
                tracing::warn!(%error, "no random key, so no existence filter");
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

    /// Whether there is certainly no link of this code below this origin, both in lower case. That counts as a
    /// look-up.
    pub(super) fn denies(&self, code: &[u8], origin: &str) -> bool {
        let denied = self.excludes(code, origin);
        if denied {
            self.count_denial();
        }
        denied
    }

    /// Counts a look-up that has ended here.
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
        // After the bits, so that a name that may exist does not pay for a look at the clock.
        self.watch.vouches_for(complete.generation, Instant::now())
    }

    /// Begins a write that may make a link of this name. To be called before the store is, and what it
    /// gives to be dropped when the store has answered.
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

    /// Brings the figures that are read off up to date.
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

    /// Has a filter told of all writes that have not ended.
    fn register(&self, bloom: &Arc<Bloom>) {
        let mut writes = self.writes();
        for hash in writes.under_way.values() {
            bloom.insert(*hash);
        }
        writes.registered.push(Arc::clone(bloom));
    }

    /// Puts a filter that was registered and has scanned the store in the place of the one before it.
    fn complete(&self, complete: &Arc<Complete>) {
        self.complete.store(Some(Arc::clone(complete)));
        // Afterwards: the one before must be told of writes for as long as queries may begin to use it.
        self.writes()
            .registered
            .retain(|registered| Arc::ptr_eq(registered, &complete.bloom));
    }

    /// Has a filter that is not to be completed told of nothing more.
    fn abandon(&self, bloom: &Arc<Bloom>) {
        self.writes()
            .registered
            .retain(|registered| !Arc::ptr_eq(registered, bloom));
    }

    /// Denies nothing any more, and gives the memory back.
    fn clear(&self) {
        self.complete.store(None);
        self.writes().registered.clear();
    }

    fn hash(&self, code: &str, origin: &str) -> u64 {
        hash(&self.state, code.as_bytes(), origin)
    }

    /// Nothing under this lock panics half-way.
    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("Filter")
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// What a name hashes to. The dot between its two parts is left out: names that become alike by that
/// are taken for each other, which is never a denial.
fn hash(state: &FixedState, code: &[u8], origin: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(code);
    hasher.write(origin.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;

//! The servers that share a store: each announces itself, and knows which others are live and what they have applied.
//!
//! ```text
//!   changes applied ──> post ──> announcements, each with a lease ──> read ──> who waits for a change
//!                    every second   in the store, or in Redis     every second,
//!                    and at once                                  more often while anyone waits
//! ```
//!
//! # Where the announcements are
//!
//! In the store, if it keeps them and each server reads its feed: then they are those of all regions. Otherwise in Redis,
//! if several servers may use the store: they are those of the region. A server that uses its store alone needs none.
//! Servers that share a store without Redis and without such a feed do not know of each other.
//!
//! # Positions
//!
//! A server announces up to which [position](crate::store::feed::Position) it has applied the changes: of the store's
//! feed, or of the stream of changes in Redis, depending on where the announcements are. Whoever waits for a change reads
//! the end of the feed or stream after the change has been announced there, and then waits until all live servers have
//! applied everything up to that end. So nothing has to be remembered about a change.
//!
//! # Existence filters
//!
//! A server whose filter may deny names says so in its announcement *before* the filter denies the first one, and the
//! filter denies only while that announcement is younger than [`FILTER_LEASE`] ([`Servers::filter_counts_until`]). So
//! whoever has made a link and then reads the announcements sees all servers that may deny it
//! ([`Servers::await_filters`]). A filter must begin with a look at the feed that began after its server was announced:
//! that look finds the links that were made before.
//!
//! A server that can follow the feed but cannot announce itself stops denying after [`FILTER_LEASE`], and then nobody
//! waits for it. So a killed server delays those who make links for that time, and no list of servers that did not
//! confirm is needed.

mod denials;
mod history;
mod own;
mod place;
mod rounds;
mod text;
mod visible;
mod wait;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use self::history::History;
pub(super) use self::own::Own;
use self::place::Place;
pub use self::place::Unknown;
#[cfg_attr(
    not(feature = "redis"),
    allow(unused_imports, reason = "announcements in Redis have these texts")
)]
pub(super) use self::text::{from_json, to_json};
pub(super) use self::visible::{NegativeTimes, Patience, Subject};
pub use self::visible::{ServerStatus, Visible};
use super::Applied;
use super::redis::RedisCache;
use crate::base::clock::UnixTime;
use crate::store::Store;
use crate::store::feed::Position;
use crate::store::servers::{Announcement, Label};

/// How long the filter of a server may deny after the server was announced: it announces itself each second.
pub(super) const FILTER_LEASE: Duration = Duration::from_secs(2);

/// What operators call a server, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// Its name.
    pub name: Label,
    /// Its region.
    pub region: Label,
}

impl Default for ServerName {
    fn default() -> Self {
        Self {
            name: Label::closest(""),
            region: Label::closest("default"),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Servers {
    id: Label,
    called: ServerName,
    version: Label,
    started: UnixTime,
    began: Instant,
    place: Place,
    own: Arc<Own>,
    /// How far this server has applied the changes.
    applied: watch::Receiver<Option<Position>>,
    /// Whether the filter of this server is about to deny names.
    filter_denies: AtomicBool,
    /// Until when the last announcement that said so counts: nanoseconds from `began`.
    filter_counts_until: AtomicU64,
    /// What was last read.
    seen: watch::Sender<Arc<Seen>>,
    /// How many callers wait for the next read of the announcements.
    waiting: AtomicUsize,
    /// Wakes the task that reads.
    read: Notify,
    /// Wakes the task that posts.
    post: Notify,
    history: Mutex<History>,
}

/// The announcements, as they were last read.
#[derive(Debug)]
struct Seen {
    /// When the read began.
    began: Instant,
    others: Vec<Other>,
    /// A position that covers all changes that were announced before the read began; none if it was not asked for.
    end: Option<Position>,
    /// Why there may be other servers.
    unknown: Option<Unknown>,
    /// When a server was last seen to have gone.
    gone: Option<Instant>,
}

/// Another server.
#[derive(Debug)]
struct Other {
    announcement: Announcement,
    /// When its announcement is over.
    until: Instant,
    /// Since when this server has seen it all the time.
    since: Instant,
}

impl Servers {
    /// The servers that share `store`, and `redis`. This one has applied what `applied` says, or what `own` says about the
    /// stream of changes.
    pub(super) fn new(
        called: ServerName,
        (store, redis): (&Arc<dyn Store>, Option<&Arc<RedisCache>>),
        own: Arc<Own>,
        applied: Option<&Arc<Applied>>,
        started: UnixTime,
    ) -> Self {
        let place = Place::of(store, redis);
        let applied = match (&place, applied) {
            (Place::Store(..), Some(applied)) => applied.positions(),
            _ => own.followed(),
        };
        let now = Instant::now();
        let seen = Seen {
            began: now,
            others: Vec::new(),
            end: None,
            unknown: place.unknown_at_start(),
            gone: None,
        };
        Self {
            id: random_id(started),
            called,
            version: Label::closest(env!("CARGO_PKG_VERSION")),
            started,
            began: now,
            place,
            own,
            applied,
            filter_denies: AtomicBool::new(false),
            filter_counts_until: AtomicU64::new(0),
            seen: watch::Sender::new(Arc::new(seen)),
            waiting: AtomicUsize::new(0),
            read: Notify::new(),
            post: Notify::new(),
            history: Mutex::default(),
        }
    }

    /// What operators call this server.
    pub(super) fn called(&self) -> &ServerName {
        &self.called
    }

    /// Says whether the filter of this server is about to deny names. It may deny until
    /// [`Servers::filter_counts_until`]. Before this is called with false, the filter must have stopped.
    pub(super) fn set_filter_denies(&self, denies: bool) {
        let before = self.filter_denies.swap(denies, Ordering::AcqRel);
        if !denies {
            self.filter_counts_until.store(0, Ordering::Release);
        }
        if before != denies {
            self.post.notify_one();
        }
    }

    /// Until when servers that make links wait for this one's filter; none if they do not. If no other server uses the
    /// store, nothing has to be waited for.
    pub(super) fn filter_counts_until(&self) -> Option<Instant> {
        if matches!(self.place, Place::Alone) {
            return Some(Instant::now() + FILTER_LEASE);
        }
        match self.filter_counts_until.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(self.began + Duration::from_nanos(nanos)),
        }
    }

    /// What this server says about itself.
    fn announcement(&self) -> Announcement {
        let filter_denies = self.filter_denies.load(Ordering::Acquire);
        // First: the names that were denied are those of all changes up to there.
        let applied = self.applied.borrow().clone();
        Announcement {
            id: self.id.clone(),
            name: self.called.name.clone(),
            region: self.called.region.clone(),
            version: self.version.clone(),
            started: self.started,
            applied,
            filter_denies,
            denied: self.own.denied(Instant::now()).to_text(),
        }
    }

    /// Whether a server has applied all changes up to a position.
    fn has_applied(&self, server: &Announcement, position: &Position) -> bool {
        let applied = server.applied.as_ref();
        applied.is_some_and(|applied| self.place.covers(applied, position))
    }
}

impl Seen {
    /// The other servers whose announcements count.
    fn live(&self, now: Instant) -> impl Iterator<Item = &Other> {
        self.others.iter().filter(move |other| now < other.until)
    }
}

/// A random id; from the time if the system has no random numbers.
fn random_id(now: UnixTime) -> Label {
    let number = getrandom::u64().unwrap_or(now.0);
    Label::closest(&format!("{number:016x}"))
}

//! The feed of changes of a SQLite store: a ring in memory with the names that this server has changed.
//!
//! ```text
//!   job of the writer ── note ──> uncommitted ── commit ── end_commit ──> ring ──> readers
//! ```
//!
//! No other server uses the file, so the ring need not outlive the process: positions have a number that is drawn at each
//! start, and those of another run are too old. The same happens to all positions when the [`Watch`] finds that another
//! program has written to the file. Such a change is in the feed as soon as the watch has seen it, within a second.
//!
//! A name must not come before its commit, because its old state would still be read then. It must not come after a read
//! that began later than the commit either. So a read waits for the end of a commit that is under way when it begins,
//! which takes as long as the disk takes to sync.
//!
//! Links that the sweep removes are not in the feed: they had ended before, and so count as absent already.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::link::{Link, LinkName, Version};
use crate::store::feed::{AsOf, Entries, Entry, Feed, FeedPage, Position, Readers};
use crate::store::{Adopted, Changed, Created, Deleted, StoreError, Watch};

/// How many entries the ring holds: more than are made in a second, some megabytes.
const RING: usize = 16_384;
/// The most entries of a page.
const MAX_PAGE: usize = 1_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ring {
    /// Drawn for this run of the server.
    run: u64,
    others: Arc<Watch>,
    state: Mutex<State>,
    /// How many commits have ended.
    ended: watch::Sender<u64>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The names of the transaction that is under way.
    uncommitted: Vec<Entry>,
    /// How many commits have begun.
    begun: u64,
    entries: VecDeque<Entry>,
    /// How many entries were removed from the front.
    removed: u64,
}

impl State {
    fn end(&self) -> u64 {
        self.removed + self.entries.len() as u64
    }
}

/// The parts of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    run: u64,
    /// The generation of the watch.
    generation: u64,
    /// How many entries come before it.
    number: u64,
}

impl Place {
    fn parse(position: &Position) -> Option<Self> {
        let mut parts = position.as_str().split('.');
        let place = Self {
            run: u64::from_str_radix(parts.next()?, 16).ok()?,
            generation: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    fn position(self) -> Result<Position, StoreError> {
        let Self {
            run,
            generation,
            number,
        } = self;
        let text = format!("{run:x}.{generation}.{number}");
        Position::new(text).ok_or_else(|| StoreError::Unavailable("no position".into()))
    }
}

/// What a write of a link has done.
pub(super) trait Outcome {
    /// The version of the new state; none if nothing has changed.
    fn version(&self) -> Option<Version>;
}

impl Outcome for Created {
    fn version(&self) -> Option<Version> {
        match self {
            Self::New(link) => Some(link.version),
            Self::Same(_) | Self::Taken(_) => None,
        }
    }
}

impl Outcome for Changed {
    fn version(&self) -> Option<Version> {
        match self {
            Self::Changed(link) => Some(link.version),
            Self::Absent | Self::Conflict(_) | Self::Withheld(_) => None,
        }
    }
}

impl Outcome for Deleted {
    fn version(&self) -> Option<Version> {
        match self {
            Self::Deleted(version) => Some(*version),
            Self::Absent | Self::Conflict(_) | Self::Withheld(_) => None,
        }
    }
}

impl Ring {
    pub(super) fn new(others: Arc<Watch>) -> Self {
        Self {
            run: super::session::draw().cast_unsigned(),
            others,
            state: Mutex::default(),
            ended: watch::channel(0).0,
            news: Notify::new(),
        }
    }

    /// Notes the change of a name, if there was one, in the transaction that is under way.
    pub(super) fn noted<T: Outcome>(
        &self,
        name: &LinkName,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(version) = outcome.as_ref().ok().and_then(Outcome::version) {
            self.note(name, version);
        }
        outcome
    }

    /// Notes a link, if it was taken over in the transaction that is under way.
    pub(super) fn adopted(
        &self,
        link: &Link,
        outcome: Result<Adopted, StoreError>,
    ) -> Result<Adopted, StoreError> {
        if let Ok(Adopted::Written) = &outcome {
            self.note(&link.name, link.version);
        }
        outcome
    }

    fn note(&self, name: &LinkName, version: Version) {
        let (name, version) = (name.clone(), Some(version));
        self.lock().uncommitted.push(Entry { name, version });
    }

    /// Must be called before the changes of a transaction are made.
    pub(super) fn begin_commit(&self) {
        self.lock().begun += 1;
    }

    /// Must be called when the transaction has ended, in whatever way: a name too many does no harm.
    pub(super) fn end_commit(&self) {
        let mut state = self.lock();
        let new = std::mem::take(&mut state.uncommitted);
        let is_news = !new.is_empty();
        state.entries.extend(new);
        while state.entries.len() > RING {
            state.entries.pop_front();
            state.removed += 1;
        }
        let begun = state.begun;
        drop(state);
        self.ended.send_replace(begun);
        if is_news {
            self.news.notify_one();
        }
    }

    /// Waits until the commits that have begun are over.
    async fn settled(&self) {
        let begun = self.lock().begun;
        let mut ended = self.ended.subscribe();
        // The sender is a part of the ring, so it is not closed.
        let _ = ended.wait_for(|ended| *ended >= begun).await;
    }

    /// The entries from `place` on; none if some of them, or changes by other programs, are missing.
    fn since(&self, place: Place, limit: usize) -> Option<(Vec<Entry>, Place, bool)> {
        let state = self.lock();
        let is_ours = place.run == self.run && place.generation == self.others.generation();
        let skipped = place
            .number
            .checked_sub(state.removed)
            .filter(|_| is_ours)?;
        if place.number > state.end() {
            return None;
        }
        let skipped = usize::try_from(skipped).ok()?;
        let entries: Vec<Entry> = state
            .entries
            .range(skipped..)
            .take(limit)
            .cloned()
            .collect();
        let number = place.number + entries.len() as u64;
        let at_end = number == state.end();
        Some((entries, Place { number, ..place }, at_end))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Feed for Ring {
    fn readers(&self) -> Readers {
        Readers::Each
    }

    async fn end(&self) -> Result<Position, StoreError> {
        // Before the end: what others write later must make the position too old.
        let generation = self.others.generation();
        self.settled().await;
        let number = self.lock().end();
        let run = self.run;
        let place = Place {
            run,
            generation,
            number,
        };
        place.position()
    }

    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError> {
        self.settled().await;
        let page =
            Place::parse(after).and_then(|place| self.since(place, limit.clamp(1, MAX_PAGE)));
        Ok(match page {
            Some((entries, place, at_end)) => FeedPage::Entries(Entries {
                entries,
                position: place.position()?,
                at_end,
                as_of: AsOf::Read,
            }),
            None => FeedPage::TooOld,
        })
    }

    async fn news(&self) {
        self.news.notified().await;
    }

    fn covers(&self, position: &Position, other: &Position) -> bool {
        match (Place::parse(position), Place::parse(other)) {
            (Some(place), Some(other)) => {
                (place.run, place.generation) == (other.run, other.generation)
                    && place.number >= other.number
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn name(number: usize) -> LinkName {
        LinkName::parse(&format!("c{number}.s.example.com")).unwrap()
    }

    fn ring() -> Ring {
        Ring::new(Arc::new(Watch::new(Instant::now())))
    }

    fn commit(ring: &Ring, numbers: std::ops::Range<usize>) {
        ring.begin_commit();
        numbers.for_each(|number| ring.note(&name(number), Version(number as u64)));
        ring.end_commit();
    }

    async fn read(ring: &Ring, after: &Position) -> Option<Entries> {
        match ring.read(after, 100).await.unwrap() {
            FeedPage::Entries(entries) => Some(entries),
            FeedPage::TooOld => None,
        }
    }

    #[tokio::test]
    async fn entries_come_in_order_page_by_page() {
        let ring = ring();
        commit(&ring, 0..3);
        let mut place = ring.end().await.unwrap();
        commit(&ring, 3..150);
        let first = place.clone();
        let mut seen = Vec::new();
        for at_end in [false, true] {
            let page = read(&ring, &place).await.unwrap();
            assert_eq!(page.at_end, at_end);
            assert!(ring.covers(&page.position, &place));
            place = page.position;
            seen.extend(page.entries);
        }
        assert!(!ring.covers(&first, &place));
        let wanted: Vec<Entry> = (3..150)
            .map(|number| Entry {
                name: name(number),
                version: Some(Version(number as u64)),
            })
            .collect();
        assert_eq!(seen, wanted);
        assert_eq!(read(&ring, &place).await.unwrap().entries, []);
    }

    #[tokio::test]
    async fn a_read_waits_for_the_commit_that_is_under_way() {
        let ring = Arc::new(ring());
        let place = ring.end().await.unwrap();
        ring.begin_commit();
        ring.note(&name(1), Version(1));
        let reading = tokio::spawn({
            let (ring, place) = (ring.clone(), place.clone());
            async move { read(&ring, &place).await }
        });
        let ending = tokio::spawn({
            let ring = ring.clone();
            async move { ring.end().await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!reading.is_finished() && !ending.is_finished());
        ring.end_commit();
        let page = reading.await.unwrap().unwrap();
        assert_eq!((page.entries.len(), page.at_end), (1, true));
        assert_eq!(ending.await.unwrap().unwrap(), page.position);
        ring.news().await;
    }

    #[tokio::test]
    async fn positions_that_the_ring_does_not_reach_are_too_old() {
        let ring = ring();
        let first = ring.end().await.unwrap();
        commit(&ring, 0..RING);
        assert!(read(&ring, &first).await.is_some());
        commit(&ring, 0..1);
        assert!(read(&ring, &first).await.is_none());
        let now = ring.end().await.unwrap();
        assert!(read(&ring, &now).await.is_some());
        ring.others.note_others();
        assert!(read(&ring, &now).await.is_none(), "others have written");
        let now = ring.end().await.unwrap();
        assert!(read(&ring, &now).await.is_some());
        let another = Ring::new(ring.others.clone());
        assert!(read(&another, &now).await.is_none(), "another run");
        for text in [
            "x",
            "1.2",
            "1.0.0.0",
            &format!("{:x}.1.{}", ring.run, u64::MAX),
        ] {
            let made_up = Position::new(text).unwrap();
            assert!(read(&ring, &made_up).await.is_none(), "{text}");
            assert!(!ring.covers(&now, &made_up), "{text}");
        }
    }
}

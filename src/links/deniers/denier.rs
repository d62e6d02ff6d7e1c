//! A server whose filter denies names: its lease, and its looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{CALL_TIME, Deniers, LIST_FOR};
use crate::link::LinkName;
use crate::links::LOOK_VALID_FOR;
use crate::links::deadline::within;
use crate::store::filters::{KEPT_POSTS, Register};
use crate::store::{StoreError, Watch};

/// How often the register is read: several times while a look is good.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// The pause after a renewal that failed.
const RETRY: Duration = Duration::from_millis(200);
/// How long this server trusts its lease after it has begun to write it.
const LEASE: Duration = Duration::from_secs(5);
/// The longest time between two looks. The posts of a server that leaves as many as it can reach back further.
const MAX_GAP: Duration = Duration::from_secs(5);
/// How many posts of one server a look may find at most. One that is being replaced is not counted on.
const MAX_POSTS: u64 = KEPT_POSTS - 4;
/// How long the filter must have a lease before it is registered and scans the store: longer than servers use what they have
/// read of the leases.
const WAIT: Duration = LIST_FOR.saturating_add(Duration::from_millis(500));
/// How long a server keeps its lease while it does not hear of changes. Others wait for it all the time.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How many servers may have leases.
const MAX_LEASES: usize = 100;

/// Takes the names of posts.
type Sink = Box<dyn Fn(&LinkName) + Send + Sync>;

/// See the [module](self).
pub(in crate::links) struct Denier {
    deniers: Arc<Deniers>,
    /// The looks at the register. The generation is that of the term.
    looks: Watch,
    /// The looks at the feed of changes.
    feed: Arc<Watch>,
    sink: Sink,
    state: Mutex<State>,
    /// Wakes the task that looks and renews.
    begun: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last number that was written, or may have been.
    number: u64,
    /// None while the filter may not deny.
    term: Option<Term>,
}

/// A time in which the lease was renewed and the register was read without a gap.
#[derive(Debug)]
struct Term {
    /// The last number that was certainly written, and until when this server trusts it.
    confirmed: u64,
    until: Instant,
    /// When the last look began.
    looked: Instant,
    /// The posts that were read, by their servers.
    posts: HashMap<Box<str>, u64>,
}

/// Why a look was in vain.
enum Miss {
    /// The lease or a post is gone.
    Lost,
    Failed,
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "the register of filters cannot be read");
        Self::Failed
    }
}

impl Denier {
    /// `feed` has the looks at the feed of changes. `sink` takes the names of posts.
    pub(in crate::links) fn new(
        deniers: Arc<Deniers>,
        feed: Arc<Watch>,
        sink: impl Fn(&LinkName) + Send + Sync + 'static,
    ) -> Self {
        Self {
            deniers,
            looks: Watch::unlooked(Instant::now(), LOOK_VALID_FOR),
            feed,
            sink: Box::new(sink),
            state: Mutex::default(),
            begun: Notify::new(),
        }
    }

    /// Whether a filter that was registered in this term may deny at `now`.
    pub(in crate::links) fn allows(&self, term: u64, now: Instant) -> bool {
        self.looks.vouches_for(term, now)
    }

    /// Whether this term lasts.
    pub(in crate::links) fn is_current(&self, term: u64) -> bool {
        self.looks.generation() == term && self.state().term.is_some()
    }

    /// Begins a term: takes a lease, and waits until every server that makes links knows of it. A filter that is registered
    /// and scans the store after that may deny in this term.
    pub(in crate::links) async fn begin(&self) -> Result<u64, StoreError> {
        self.lapse();
        let others = within(CALL_TIME, self.deniers.board.register())
            .await?
            .leases;
        if others.len() >= MAX_LEASES {
            let reason = format!("{MAX_LEASES} servers have existence filters already");
            return Err(StoreError::Refused(reason));
        }
        let (number, began) = (self.next_number(), Instant::now());
        within(
            CALL_TIME,
            self.deniers.board.lease(self.deniers.id(), number),
        )
        .await?;
        let leased = Instant::now();
        // Posts up to here are of links that the scan will find.
        let looked = leased;
        let register = within(CALL_TIME, self.deniers.board.register()).await?;
        self.deniers.note(looked, Instant::now(), &register);
        let term = Term {
            confirmed: number,
            until: began + LEASE,
            looked,
            posts: register.posts.into_iter().collect(),
        };
        let number = {
            let mut state = self.state();
            state.term = Some(term);
            self.looks.note_look(looked, false);
            self.looks.generation()
        };
        self.begun.notify_one();
        tokio::time::sleep_until((leased + WAIT).into()).await;
        match self.is_current(number) {
            true => Ok(number),
            false => Err(StoreError::DeadlineExceeded),
        }
    }

    /// Ends the term, and gives the lease back. The filter denies nothing any more.
    pub(in crate::links) async fn end(&self) {
        let had_term = self.lapse();
        let number = self.state().number;
        if had_term {
            let ended = within(
                CALL_TIME,
                self.deniers.board.end_lease(self.deniers.id(), number),
            );
            // If this fails, others wait until the lease is over.
            let _ = ended.await;
        }
    }

    /// Looks and renews until `shutdown`, and then gives the lease back.
    pub(in crate::links) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let work = async {
            loop {
                self.begun.notified().await;
                tokio::select! {
                    () = self.keep_looking() => {}
                    () = self.keep_renewing() => {}
                }
                if self.lapse() {
                    tracing::warn!(
                        "the existence filter denies nothing until it is built anew: its lease in the table, or the \
                         feed of changes, was away for too long"
                    );
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        self.end().await;
    }

    /// Returns when the term is over.
    async fn keep_looking(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let began = Instant::now();
            let look = self.look(began);
            match tokio::time::timeout(CALL_TIME, look).await {
                Ok(Err(Miss::Lost)) => return,
                Ok(Ok(()) | Err(Miss::Failed)) | Err(_) => {}
            }
        }
    }

    async fn look(&self, began: Instant) -> Result<(), Miss> {
        let (confirmed, known) = {
            let state = self.state();
            let term = state.term.as_ref().ok_or(Miss::Lost)?;
            let is_late = began.saturating_duration_since(term.looked) > MAX_GAP;
            if is_late || began >= term.until {
                return Err(Miss::Lost);
            }
            (term.confirmed, term.posts.clone())
        };
        let register = self.deniers.board.register().await?;
        self.deniers.note(began, Instant::now(), &register);
        // Nothing else writes this number. If it is gone, so is the table, or others have given this server up.
        let own = self.deniers.id();
        let is_there = |(id, number): &(Box<str>, u64)| &**id == own && *number >= confirmed;
        if !register.leases.iter().any(is_there) {
            return Err(Miss::Lost);
        }
        self.read_posts(&known, &register).await?;
        let mut state = self.state();
        let term = state.term.as_mut().ok_or(Miss::Lost)?;
        // Otherwise the look is one of the term before.
        if term.looked < began {
            term.posts = register.posts.into_iter().collect();
            term.looked = began;
            // Last: all names are in the filter.
            self.looks.note_look(began, false);
        }
        Ok(())
    }

    /// Takes the names of the posts that are new since the last look.
    async fn read_posts(
        &self,
        known: &HashMap<Box<str>, u64>,
        register: &Register,
    ) -> Result<(), Miss> {
        for (id, last) in &register.posts {
            let first = known.get(id).map_or(1, |known| known.saturating_add(1));
            if last.saturating_sub(first) >= MAX_POSTS {
                return Err(Miss::Lost);
            }
            let posts = (first..=*last).map(|number| self.deniers.board.posted(id, number));
            for names in try_join_all(posts).await? {
                names.ok_or(Miss::Lost)?.iter().for_each(&self.sink);
            }
        }
        Ok(())
    }

    /// Returns when the term is over.
    async fn keep_renewing(&self) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            while !self.renew().await {
                tokio::time::sleep(RETRY).await;
                if self.is_over(Instant::now()) {
                    return;
                }
            }
            if self.is_over(Instant::now()) {
                return;
            }
        }
    }

    /// Renews the lease. Whether that worked.
    async fn renew(&self) -> bool {
        let (number, began) = (self.next_number(), Instant::now());
        let lease = self.deniers.board.lease(self.deniers.id(), number);
        if let Err(error) = within(CALL_TIME, lease).await {
            tracing::debug!(%error, "the lease of the existence filter cannot be renewed");
            return false;
        }
        let mut state = self.state();
        // If it has ended meanwhile, others may have given this server up.
        if let Some(term) = &mut state.term
            && Instant::now() < term.until
        {
            term.confirmed = number;
            term.until = began + LEASE;
        }
        true
    }

    /// Whether the term has ended, or has to.
    fn is_over(&self, now: Instant) -> bool {
        let is_old = |looked| now.saturating_duration_since(looked) > GIVE_UP;
        let state = self.state();
        state.term.as_ref().is_none_or(|term| now >= term.until)
            || self.feed.looked().is_none_or(is_old)
    }

    /// Ends the term. Whether there was one.
    fn lapse(&self) -> bool {
        let mut state = self.state();
        self.looks.note_others();
        state.term.take().is_some()
    }

    fn next_number(&self) -> u64 {
        let mut state = self.state();
        state.number += 1;
        state.number
    }

    /// No code panics while it holds this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Denier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Denier")
            .field("looks", &self.looks)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

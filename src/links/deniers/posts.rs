//! Posts: the names of new links that some server with a filter has not confirmed.
//!
//! Creations that wait at the same time share a post, and each post has names of its own: nothing is written twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CALL_TIME, random};
use crate::base::batch::{BatchLimits, Batcher};
use crate::link::LinkName;
use crate::links::deadline::within;
use crate::store::StoreError;
use crate::store::filters::{FilterBoard, MAX_POST_NAMES};

/// How many creations may wait for a post, and how many share one.
const POSTS: BatchLimits = BatchLimits {
    queue: 65_536,
    size: MAX_POST_NAMES,
    calls: 1,
};
/// The shortest time between two posts. So the posts that are kept reach back further than any server may go without a look.
const PAUSE: Duration = Duration::from_millis(150);
/// How long the posts of a server stay listed after the last one.
const LISTED_FOR: Duration = Duration::from_secs(20);

/// The posts of this server.
#[derive(Debug)]
pub(super) struct Posts {
    own: Arc<Own>,
    /// Replies when the post was there; none if it failed.
    posting: Batcher<LinkName, Option<Instant>>,
}

#[derive(Debug)]
struct Own {
    board: Arc<dyn FilterBoard>,
    last: Mutex<Last>,
}

/// The last post.
#[derive(Clone, Debug, Default)]
struct Last {
    /// Random, and new for each series of posts; none between them.
    id: Option<Box<str>>,
    number: u64,
    /// When it was begun.
    began: Option<Instant>,
}

impl Posts {
    /// Must be called within a runtime.
    pub(super) fn new(board: Arc<dyn FilterBoard>) -> Self {
        let own = Arc::new(Own {
            board,
            last: Mutex::default(),
        });
        let posts = own.clone();
        let posting = Batcher::start(POSTS, move |names: Vec<LinkName>| {
            let posts = posts.clone();
            async move {
                let posted = posts.post(&names).await;
                names.iter().map(|_| posted).collect()
            }
        });
        Self { own, posting }
    }

    /// Leaves a name. Returns a time at which it was there; none if the store does not take it.
    pub(super) async fn leave(&self, name: LinkName) -> Option<Instant> {
        self.posting.ask(name).await.flatten()
    }

    /// Takes this server off the list of those with posts, if its posts are old.
    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        let (id, number) = {
            let mut last = self.own.last();
            let is_old = last
                .began
                .is_some_and(|began| began.elapsed() >= LISTED_FOR);
            let Some(id) = last.id.take_if(|_| is_old) else {
                return Ok(());
            };
            (id, last.number)
        };
        self.own.board.end_posts(&id, number).await
    }
}

impl Own {
    async fn post(&self, names: &[LinkName]) -> Option<Instant> {
        let last = self.last().began;
        if let Some(last) = last {
            tokio::time::sleep_until((last + PAUSE).into()).await;
        }
        let (id, number) = {
            let mut last = self.last();
            last.began = Some(Instant::now());
            let id = last.id.get_or_insert_with(random_id).clone();
            (id, last.number)
        };
        let post = self.board.post(&id, number + 1, names);
        match within(CALL_TIME, post).await {
            Ok(()) => {
                let mut last = self.last();
                // Unless the series was given up meanwhile.
                if last.id.as_ref() == Some(&id) {
                    last.number = number + 1;
                }
                Some(Instant::now())
            }
            Err(error) => {
                tracing::debug!(%error, "the names of new links cannot be left for other servers");
                self.give_up();
                None
            }
        }
    }

    /// Begins another series with the next post: the last one may have been made, or may be made later.
    fn give_up(&self) {
        let mut last = self.last();
        last.id = None;
        last.number = 0;
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_id() -> Box<str> {
    format!("{:016x}", random()).into()
}

//! The connections of a store.
//!
//! A call takes a connection, or makes one, and puts it back when it is done. How many calls of each kind may be under
//! way is bounded by [`Lane`]s, whose sum is the size of the pool: so no kind of call waits for the connections of another
//! one. A connection whose call did not end is not used again.
//!
//! Connections belong to a *generation*. A new one begins when the server that they lead to has become a replica, and when
//! passwords or certificates have changed. Connections of an earlier generation are not used again.
//!
//! Not chosen: a crate for pools. Connections are made by tasks of their own here, so that a call that gives up does not
//! stop the attempt to reach another server; and several generations exist at the same time.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::connect::{ConnectError, Connection, Connector};

/// How long a connection is used at most. PostgreSQL's processes grow with time.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// The calls of one kind: their number and time are bounded.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) permits: Semaphore,
    /// How long a call may take, including the wait for a permit and for a connection.
    pub(super) limit: Duration,
}

/// See the [module](self).
pub(super) struct Pool {
    pub(super) connector: Connector,
    size: usize,
    idle: Mutex<Vec<Kept>>,
    generation: AtomicU64,
    /// The history that the last connection led to; 0 while it is not known.
    history: AtomicU64,
}

/// A connection and its generation.
struct Kept {
    connection: Arc<Connection>,
    generation: u64,
}

/// A connection that a call has taken. It goes back to the pool only by [`Borrowed::give_back`].
pub(super) struct Borrowed {
    kept: Kept,
}

impl Deref for Borrowed {
    type Target = Arc<Connection>;

    fn deref(&self) -> &Arc<Connection> {
        &self.kept.connection
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, size: u32) -> Self {
        Self {
            connector,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            idle: Mutex::default(),
            generation: AtomicU64::new(0),
            history: AtomicU64::new(0),
        }
    }

    /// A connection: one that is idle, or a new one. If the caller goes away, the new one becomes idle.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Borrowed, ConnectError> {
        if let Some(kept) = self.idle_one() {
            return Ok(Borrowed { kept });
        }
        let (tell, made) = oneshot::channel();
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let made = pool.connect().await;
            if let Err(Ok(kept)) = tell.send(made) {
                pool.keep(kept);
            }
        });
        match made.await {
            Ok(made) => made.map(|kept| Borrowed { kept }),
            Err(_) => Err(ConnectError {
                text: "the server stops".into(),
                may_pass: true,
            }),
        }
    }

    async fn connect(&self) -> Result<Kept, ConnectError> {
        // Before the connection, so that one with an old password does not count as new.
        let generation = self.generation.load(Ordering::Acquire);
        let connection = self.connector.connect(None).await?;
        if let Some(history) = &connection.history {
            self.note_history(history.number);
        }
        Ok(Kept {
            connection: Arc::new(connection),
            generation,
        })
    }

    /// The generation of the connections that are made now.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Records which history the store has. If it is another one than before, earlier connections are not used again.
    pub(super) fn note_history(&self, id: u64) {
        let before = self.history.swap(id, Ordering::AcqRel);
        if before != 0 && before != id {
            tracing::warn!(
                database = self.connector.place(),
                "the store has another history than before: a replica was promoted, or a backup was restored"
            );
            self.renew();
        }
    }

    /// Records the history of a replica, if that of the store is not known yet. Whether the store has this one.
    pub(super) fn is_history(&self, id: u64) -> bool {
        let history = &self.history;
        match history.compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(held) => held == id,
        }
    }

    /// The history that the store has, if it is known.
    pub(super) fn history(&self) -> Option<u64> {
        Some(self.history.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    fn idle_one(&self) -> Option<Kept> {
        let generation = self.generation.load(Ordering::Acquire);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| {
            kept.generation == generation
                && !kept.connection.client.is_closed()
                && kept.connection.made.elapsed() < MAX_AGE
        });
        idle.pop()
    }

    fn keep(&self, kept: Kept) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation == self.generation.load(Ordering::Acquire) && idle.len() < self.size {
            idle.push(kept);
        }
    }

    /// Begins a new generation of connections.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.clear();
    }

    /// Closes the idle connections.
    pub(super) fn clear(&self) {
        let idle = self.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Borrowed {
    /// Puts the connection back. Only when its call has ended.
    pub(super) fn give_back(self, pool: &Pool) {
        pool.keep(self.kept);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

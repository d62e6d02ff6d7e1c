//! The queues before the threads of the store.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::{Call, Job};
use super::condition::Condition;
use super::{READ_WAIT, reader};
use crate::store::StoreError;

/// How many reads may wait. A look-up takes well under 100 µs, so the last of them waits less than a tenth of a
/// second; a resolver gives up after one or two seconds.
const READ_QUEUE: usize = 1_024;

/// The queues of a store.
#[derive(Debug)]
pub(super) struct Queues {
    /// None if the file was opened only to be read.
    pub(super) writes: Option<Queue>,
    pub(super) reads: Queue,
}

/// The queue of one or several threads. Callers that find it full wait in order of arrival.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) jobs: SyncSender<Box<dyn Job>>,
    places: Arc<Semaphore>,
    /// How long a call may wait for a place.
    wait: Duration,
}

impl Queue {
    pub(super) fn new(jobs: SyncSender<Box<dyn Job>>, places: usize, wait: Duration) -> Self {
        Self {
            jobs,
            places: Arc::new(Semaphore::new(places)),
            wait,
        }
    }

    /// A place in the queue, which is free again when the permit is dropped.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        // Free places go to waiting callers first, in their order.
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let place = tokio::time::timeout(self.wait, self.places.clone().acquire_owned()).await;
        place
            .map_err(|_| StoreError::Overloaded)?
            .map_err(|_| closed())
    }
}

/// The way to the threads, which several parts of a store share.
#[derive(Debug)]
pub(super) struct Calls {
    /// `None` once the store is closed.
    queues: RwLock<Option<Queues>>,
    /// The faults of the file.
    pub(super) condition: Arc<Condition>,
}

impl Calls {
    pub(super) fn new(queues: Queues, condition: Arc<Condition>) -> Self {
        Self {
            queues: RwLock::new(Some(queues)),
            condition,
        }
    }

    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.call(|queues| queues.writes.as_ref(), work).await
    }

    pub(super) async fn read<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.condition.check_reads()?;
        self.call(|queues| Some(&queues.reads), work).await
    }

    /// Queues `work` and waits for its result.
    async fn call<T, W>(
        &self,
        queue: fn(&Queues) -> Option<&Queue>,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let queue_now = || {
            let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.as_ref().map(queue).ok_or_else(closed)?;
            queue.cloned().ok_or_else(only_read)
        };
        let place = queue_now()?.place().await?;
        let (call, reply) = Call::new(work, place);
        // Looked up again: a caller that waited must not keep a closed queue open.
        queue_now()?
            .jobs
            .try_send(Box::new(call))
            .map_err(|e| match e {
                TrySendError::Full(_) => StoreError::Overloaded,
                TrySendError::Disconnected(_) => closed(),
            })?;
        reply.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Closes the queues; the threads end when they have done the queued calls.
    pub(super) fn close(&self) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        drop(queues.take());
    }
}

fn only_read() -> StoreError {
    StoreError::Refused("its file was opened only to be read".into())
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

/// Starts the threads of these connections.
pub(super) fn start_readers(
    connections: Vec<Connection>,
) -> io::Result<(Queue, Vec<JoinHandle<()>>)> {
    let (reads, waiting) = sync_channel(READ_QUEUE);
    let waiting = Arc::new(Mutex::new(waiting));
    let start = |(number, conn): (usize, Connection)| {
        let waiting = Arc::clone(&waiting);
        thread::Builder::new()
            .name(format!("sqlite-reader-{number}"))
            .spawn(move || reader::run(&conn, &waiting))
    };
    let readers = connections.into_iter().enumerate().map(start);
    let readers = readers.collect::<io::Result<_>>()?;
    Ok((Queue::new(reads, READ_QUEUE, READ_WAIT), readers))
}

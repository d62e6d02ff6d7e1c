//! The queues before the threads of the store.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Job;
use super::{READ_WAIT, closed, reader};
use crate::store::StoreError;

/// How many reads may wait. A look-up takes well under 100 µs, so the last of them waits less than a tenth of a
/// second; a resolver gives up after one or two seconds.
const READ_QUEUE: usize = 1_024;

/// The queues of a store.
pub(super) struct Queues {
    /// None if the file was opened only to be read.
    pub(super) writes: Option<Queue>,
    pub(super) reads: Queue,
}

/// The queue of one or several threads. Callers that find it full wait in order of arrival.
#[derive(Clone)]
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

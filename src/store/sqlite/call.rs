//! Calls that wait in a queue for a thread with a connection.
//!
//! A call consists of the work and of the channel to its caller. Running the work and replying are two steps,
//! because the caller of a write may get its reply only after the commit of a transaction with several writes.

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::StoreError;

/// A call of any type.
pub(super) trait Job: Send {
    /// Whether the caller still waits.
    fn is_awaited(&self) -> bool;

    /// Runs the work; returns the error if it failed.
    fn run(&mut self, conn: &Connection) -> Option<&StoreError>;

    /// Replies to the caller with the result, or with the failure of the commit.
    fn answer(self: Box<Self>, commit_failure: Option<&StoreError>);
}

/// A call with a result of type `T`.
pub(super) struct Call<T, W> {
    stage: Stage<T, W>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// The place in the queue, which is given up after the reply.
    place: OwnedSemaphorePermit,
}

enum Stage<T, W> {
    Waiting(W),
    Done(Result<T, StoreError>),
    /// The work has begun and not ended; after a panic it stays like that.
    Running,
}

impl<T, W> Call<T, W>
where
    W: FnOnce(&Connection) -> Result<T, StoreError>,
{
    /// A call that does `work`, and the receiver of its result.
    pub(super) fn new(
        work: W,
        place: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, receiver) = oneshot::channel();
        let stage = Stage::Waiting(work);
        let call = Self {
            stage,
            reply,
            place,
        };
        (call, receiver)
    }
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, conn: &Connection) -> Option<&StoreError> {
        if let Stage::Waiting(work) = std::mem::replace(&mut self.stage, Stage::Running) {
            self.stage = Stage::Done(work(conn));
        }
        match &self.stage {
            Stage::Done(Err(error)) => Some(error),
            _ => None,
        }
    }

    fn answer(self: Box<Self>, commit_failure: Option<&StoreError>) {
        let Self {
            stage,
            reply,
            place,
        } = *self;
        let result = match (stage, commit_failure) {
            (Stage::Done(Err(error)), _) => Err(error),
            (_, Some(failure)) => Err(failure.clone()),
            (Stage::Done(done), None) => done,
            (Stage::Waiting(_) | Stage::Running, None) => {
                Err(StoreError::Unavailable("the call was not run".into()))
            }
        };
        // An error means that the caller has gone.
        drop(reply.send(result));
        drop(place);
    }
}

//! Calls that wait in a queue for a thread with a connection.
//!
//! A call is the work to do and the channel to its caller. The two are kept apart from the result,
//! because a write may be answered only after the commit of a transaction that it shares with
//! others.

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::StoreError;

/// A call of any type.
pub(super) trait Job: Send {
    /// Whether its caller still waits.
    fn is_awaited(&self) -> bool;

    /// Does the work; gives the error if it failed.
    fn run(&mut self, conn: &Connection) -> Option<&StoreError>;

    /// Tells the caller the result, or why the commit failed after all.
    fn answer(self: Box<Self>, commit_failure: Option<&StoreError>);
}

/// A call that gives a `T`.
pub(super) struct Call<T, W> {
    stage: Stage<T, W>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Its place in the queue, which it gives up when it has been answered.
    place: OwnedSemaphorePermit,
}

enum Stage<T, W> {
    Waiting(W),
    Done(Result<T, StoreError>),
    /// Between the two; a call that stays here was never finished.
    Running,
}

impl<T, W> Call<T, W>
where
    W: FnOnce(&Connection) -> Result<T, StoreError>,
{
    /// A call that does `work`, and where its caller gets the result.
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
        // A caller that has gone away in the meantime needs no answer.
        drop(reply.send(result));
        drop(place);
    }
}

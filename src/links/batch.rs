//! Gathering: what is asked for at the same time becomes one call.
//!
//! Nobody waits for a batch to fill. While fewer calls are under way than may be, each question is a
//! call of its own; only when all are taken do questions gather, and the next call takes along what
//! has come by then. So a lone question is as fast as without batches, and a crowd costs a fraction
//! of a call each.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

/// The bounds of a [`Batcher`].
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    /// How many questions may wait.
    pub(super) queue: usize,
    /// How many go into one call.
    pub(super) size: usize,
    /// How many calls may be under way.
    pub(super) calls: usize,
}

/// Makes calls for several out of questions by one; see the [module](self).
pub(super) struct Batcher<Q, A> {
    queue: mpsc::Sender<Waiting<Q, A>>,
}

/// A question, and who waits for its answer, if anybody does.
type Waiting<Q, A> = (Q, Option<oneshot::Sender<A>>);

impl<Q, A> fmt::Debug for Batcher<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

impl<Q, A> Batcher<Q, A>
where
    Q: Send + 'static,
    A: Send + 'static,
{
    /// A batcher whose questions are answered by `call`, in their order. It ends when it is dropped,
    /// after it has answered what waits. To be called within a runtime.
    pub(super) fn start<F, C>(limits: BatchLimits, call: F) -> Self
    where
        F: Fn(Vec<Q>) -> C + Send + Sync + 'static,
        C: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(limits.queue);
        tokio::spawn(work(limits, waiting, Arc::new(call)));
        Self { queue }
    }

    /// Asks, and waits for the answer. None if too many wait already, or the call panicked.
    pub(super) async fn ask(&self, question: Q) -> Option<A> {
        let (tell, answer) = oneshot::channel();
        self.queue.try_send((question, Some(tell))).ok()?;
        answer.await.ok()
    }

    /// Has something done, and does not wait. False if too much waits already.
    pub(super) fn tell(&self, question: Q) -> bool {
        self.queue.try_send((question, None)).is_ok()
    }
}

async fn work<Q, A, F, C>(
    limits: BatchLimits,
    mut waiting: mpsc::Receiver<Waiting<Q, A>>,
    call: Arc<F>,
) where
    Q: Send + 'static,
    A: Send + 'static,
    F: Fn(Vec<Q>) -> C + Send + Sync + 'static,
    C: Future<Output = Vec<A>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.calls));
    loop {
        // First the permit: what comes while there is none gathers.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let mut batch = Vec::new();
        if waiting.recv_many(&mut batch, limits.size).await == 0 {
            return;
        }
        let call = Arc::clone(&call);
        tokio::spawn(async move {
            let (questions, waiting): (Vec<Q>, Vec<_>) = batch.into_iter().unzip();
            let answers = call(questions).await;
            for (answer, waiting) in answers.into_iter().zip(waiting) {
                // Who has gone away is not told.
                if let Some(waiting) = waiting {
                    let _ = waiting.send(answer);
                }
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        queue: 100,
        size: 10,
        calls: 1,
    };

    #[tokio::test]
    async fn questions_gather_while_a_call_is_under_way_and_each_gets_its_own_answer() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let batcher = Batcher::start(LIMITS, move |questions: Vec<u32>| {
            seen.lock().unwrap().push(questions.len());
            async move {
                tokio::task::yield_now().await;
                questions.into_iter().map(|n| n * 2).collect()
            }
        });
        let asked = join_all((0..25).map(|n| batcher.ask(n))).await;
        let expected: Vec<_> = (0..25).map(|n| Some(n * 2)).collect();
        assert_eq!(asked, expected);
        let sizes = sizes.lock().unwrap().clone();
        assert_eq!(sizes.iter().sum::<usize>(), 25);
        assert!(
            sizes.len() <= 4 && sizes.iter().all(|n| *n <= 10),
            "{sizes:?}"
        );
        assert_eq!(batcher.ask(1).await, Some(2), "a lone one does not wait");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_call_that_panics_takes_only_its_own_along() {
        let go = Arc::new(Notify::new());
        let gate = go.clone();
        let batcher = Batcher::start(LIMITS, move |questions: Vec<u32>| {
            let gate = gate.clone();
            async move {
                gate.notified().await;
                assert_ne!(questions[0], 0, "the first call is to panic");
                questions
            }
        });
        let asked = (0..200).map(|n| batcher.ask(n));
        let asking = join_all(asked);
        let opening = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                go.notify_one();
            }
        };
        let (answers, ()) = tokio::join!(asking, opening);
        let answered = answers.iter().flatten().count();
        assert!((80..=110).contains(&answered), "{answered}");
        assert_eq!(answers[0], None);
        assert!(answers[199].is_none());
    }
}

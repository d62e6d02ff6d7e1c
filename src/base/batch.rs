//! Batches: questions that are asked at the same time become one call.
//!
//! No question waits for a batch to fill. While fewer calls are under way than allowed, each question is a call of
//! its own. Only when all calls are in use do questions gather, and the next call takes all that have gathered. So
//! a single question is as fast as without batches, and under load each costs a fraction of a call.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

/// The bounds of a [`Batcher`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// How many questions may wait.
    pub(crate) queue: usize,
    /// How many questions one call takes.
    pub(crate) size: usize,
    /// How many calls may be under way.
    pub(crate) calls: usize,
}

/// Makes one call of several questions; see the [module](self).
pub(crate) struct Batcher<Q, A> {
    queue: mpsc::Sender<Waiting<Q, A>>,
}

/// A question, and the channel for its answer, if one is wanted.
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
    /// Starts a batcher. `call` answers questions in their order. The batcher ends when it is dropped and has
    /// answered the waiting questions. Must be called within a runtime.
    pub(crate) fn start<F, C>(limits: BatchLimits, call: F) -> Self
    where
        F: Fn(Vec<Q>) -> C + Send + Sync + 'static,
        C: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(limits.queue);
        tokio::spawn(work(limits, waiting, Arc::new(call)));
        Self { queue }
    }

    /// Asks a question. None if too many wait already, or the call panicked.
    pub(crate) async fn ask(&self, question: Q) -> Option<A> {
        let (tell, answer) = oneshot::channel();
        self.queue.try_send((question, Some(tell))).ok()?;
        answer.await.ok()
    }

    /// Asks a question without waiting for its answer. False if too many wait already.
    pub(crate) fn tell(&self, question: Q) -> bool {
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
        // The permit comes first: questions gather while there is none.
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
                // An error means that the caller has gone.
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
        assert_eq!(
            batcher.ask(1).await,
            Some(2),
            "a single question does not wait"
        );
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_panic_fails_only_the_questions_of_its_call() {
        let go = Arc::new(Notify::new());
        let gate = go.clone();
        let batcher = Batcher::start(LIMITS, move |questions: Vec<u32>| {
            let gate = gate.clone();
            async move {
                gate.notified().await;
                assert_ne!(questions[0], 0, "the first call panics");
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

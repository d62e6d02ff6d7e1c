//! How many TLS handshakes are computed at once.
//!
//! A handshake costs time and not memory: as much time as hundreds of DNS queries take, whoever asks for it. So
//! only as many handshakes are computed at once as leave half of the threads to everything else; the others wait
//! for their turn. A handshake holds its turn only while it computes, never while it waits for its client.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// How long a handshake may take.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// The turns of all handshakes of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Handshakes(Arc<Semaphore>);

impl Default for Handshakes {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((threads / 2).max(1))))
    }
}

impl Handshakes {
    /// Runs a handshake to its end, and lets it compute only while it has a turn.
    pub(crate) async fn run<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        let mut turns = PollSemaphore::new(Arc::clone(&self.0));
        poll_fn(|cx| {
            // The semaphore is never closed; a closed one would not keep a handshake from computing.
            let _turn = ready!(turns.poll_acquire(cx));
            handshake.as_mut().poll(cx)
        })
        .await
    }
}

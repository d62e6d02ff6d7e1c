//! Signs replies: a thread beside each worker, so that a signature, which takes as long as some ten replies, does
//! not delay clients that need none.
//!
//! The queue is bounded. When it is full, a client gets a truncated reply, which costs no signature. Queries for
//! existing names go before queries for made-up names, and have a bound of their own.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::batch::{Outbox, Peer};
use super::{BATCH, Later, STOP_LOOK, count_times, wait};
use crate::base::metrics::DropReason;
use crate::dns::pipeline::handler::Handler;
use crate::dns::pipeline::packet::{ENCODING, Fate};
use crate::dns::pipeline::pending::Signatures;
use crate::dns::pipeline::respond::Scratch;
use crate::dns::pipeline::tally::Tally;
use crate::dns::pipeline::via::Via;
use crate::dns::query_log::Sampled;
use crate::dns::watchdog::Mark;

/// How many queries of either kind may wait. Signing them takes some hundredths of a second.
const QUEUE: usize = 1_024;

/// A query whose reply has to be signed.
pub(crate) struct Unsigned {
    pub(crate) packet: Box<[u8]>,
    pub(crate) peer: Peer,
    /// When it was read.
    pub(crate) began: Instant,
    pub(crate) sampled: Option<Sampled>,
}

/// The worker's end of the queue. When the worker drops it, no more queries come.
pub(crate) struct Queue(Arc<Waiting>);

/// The state that the queue and its signer share.
#[derive(Default)]
struct Waiting {
    lines: Mutex<Lines>,
    /// Signals that a query waits, or that no more queries come.
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    /// Queries for names that exist, or may exist.
    own: VecDeque<Unsigned>,
    made_up: VecDeque<Unsigned>,
    is_closed: bool,
}

/// Signs and sends the replies to the queries in its queue.
pub(crate) struct Signer {
    waiting: Arc<Waiting>,
    socket: Arc<UdpSocket>,
    handler: Handler,
    runtime: Handle,
    mark: Mark,
    /// To the sender of this socket.
    replies: mpsc::Sender<Later>,
}

impl Queue {
    /// Puts a query in; returns it if there is no room.
    pub(crate) fn put(&self, query: Unsigned, is_made_up: bool) -> Result<(), Unsigned> {
        let mut lines = self.0.lines();
        let line = match is_made_up {
            true => &mut lines.made_up,
            false => &mut lines.own,
        };
        if line.len() >= QUEUE {
            return Err(query);
        }
        line.push_back(query);
        drop(lines);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.lines().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl Waiting {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the first queries into `batch`, which is empty, and waits for them at most for a while. Returns whether
    /// more queries may come.
    fn take(&self, batch: &mut Vec<Unsigned>) -> bool {
        let lines = self.lines();
        let is_idle = |lines: &mut Lines| {
            lines.own.is_empty() && lines.made_up.is_empty() && !lines.is_closed
        };
        let waited = self.changed.wait_timeout_while(lines, STOP_LOOK, is_idle);
        let (mut lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Lines { own, made_up, .. } = &mut *lines;
        let first = own.len().min(BATCH);
        batch.extend(own.drain(..first));
        let more = made_up.len().min(BATCH - first);
        batch.extend(made_up.drain(..more));
        !batch.is_empty() || !lines.is_closed
    }
}

impl Signer {
    pub(crate) fn new(
        socket: Arc<UdpSocket>,
        handler: Handler,
        runtime: Handle,
        replies: mpsc::Sender<Later>,
    ) -> (Queue, Self) {
        let waiting = Arc::new(Waiting::default());
        let signer = Self {
            waiting: Arc::clone(&waiting),
            socket,
            mark: handler.pulse().mark(),
            handler,
            runtime,
            replies,
        };
        (Queue(waiting), signer)
    }

    /// Signs until the worker has ended.
    pub(crate) fn run(self) -> io::Result<()> {
        let _entered = self.runtime.enter();
        let mut outbox = Outbox::new(BATCH, self.handler.udp_payload());
        let mut encoding = Vec::with_capacity(ENCODING);
        let mut waiting = Vec::new();
        let mut tally = Tally::of_worker(self.handler.lookups());
        let mut batch = Vec::with_capacity(BATCH);
        let mut begun = Vec::with_capacity(BATCH);
        while self.waiting.take(&mut batch) {
            self.mark.leave();
            let now = self.handler.time();
            for query in batch.drain(..) {
                let Unsigned {
                    packet,
                    peer,
                    began,
                    sampled,
                } = query;
                let Some(reply) = outbox.next() else { break };
                let scratch = Scratch {
                    reply,
                    encoding: &mut encoding,
                };
                let read = self.handler.read(&packet, peer.address, Via::Udp);
                let signatures = Signatures::Now;
                match self
                    .handler
                    .take(&read, &now, scratch, &mut tally, signatures)
                {
                    Fate::Replied => {
                        if let Some(sampled) = sampled {
                            sampled.replied(reply.as_bytes());
                        }
                        outbox.commit(peer);
                        begun.push(began);
                    }
                    Fate::Waits(mut query) => {
                        query.set_began(began);
                        waiting.push((query, peer, sampled));
                    }
                    Fate::Signs { .. } | Fate::Dropped => {}
                }
            }
            if !waiting.is_empty() {
                let links = waiting.iter_mut().map(|(one, ..)| one.unanswered());
                self.handler.look_up(links);
                for (one, peer, sampled) in waiting.drain(..) {
                    wait(&self.handler, &self.replies, one, peer, sampled);
                }
            }
            let unsent = outbox.send(&self.socket);
            if unsent > 0 {
                self.handler.count_drops(DropReason::Unsendable, unsent);
            }
            tally.tell(self.handler.metrics());
            tally.pass(now.instant);
            count_times(&self.handler, begun.drain(..));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsigned(number: usize) -> Unsigned {
        Unsigned {
            packet: number.to_be_bytes().into(),
            peer: Peer {
                address: ([192, 0, 2, 1], 53).into(),
                local: None,
                place: 0,
            },
            began: Instant::now(),
            sampled: None,
        }
    }

    #[test]
    fn names_that_exist_go_first_and_each_kind_has_its_bound() {
        let queue = Queue(Arc::default());
        let put = |number, is_made_up| queue.put(unsigned(number), is_made_up).is_ok();
        assert!((0..QUEUE).all(|number| put(number, true)));
        assert!(!put(QUEUE, true), "beyond the bound");
        assert!(put(10_000, false) && put(10_001, false));
        let mut batch = Vec::new();
        let mut numbers = || {
            batch.clear();
            assert!(queue.0.take(&mut batch));
            let number =
                |query: &Unsigned| usize::from_be_bytes(*query.packet.first_chunk().unwrap());
            batch.iter().map(number).collect::<Vec<_>>()
        };
        let first: Vec<_> = [10_000, 10_001].into_iter().chain(0..BATCH - 2).collect();
        assert_eq!(numbers(), first);
        let second: Vec<_> = (BATCH - 2..2 * BATCH - 2).collect();
        assert_eq!(numbers(), second);
        assert!(put(QUEUE, true), "there is room again");
    }

    #[test]
    fn the_end_comes_when_all_is_taken() {
        let queue = Queue(Arc::default());
        let waiting = Arc::clone(&queue.0);
        let mut batch = Vec::new();
        assert!(
            waiting.take(&mut batch) && batch.is_empty(),
            "after a while"
        );
        assert!(queue.put(unsigned(1), false).is_ok());
        drop(queue);
        assert!(waiting.take(&mut batch));
        assert_eq!(batch.len(), 1);
        batch.clear();
        assert!(!waiting.take(&mut batch));
    }

    #[test]
    fn who_waits_is_woken() {
        let queue = Queue(Arc::default());
        let waiting = Arc::clone(&queue.0);
        let taker = std::thread::spawn(move || {
            let (mut batch, mut taken) = (Vec::new(), 0);
            while waiting.take(&mut batch) {
                taken += batch.drain(..).count();
            }
            taken
        });
        for number in 0..100 {
            assert!(queue.put(unsigned(number), number % 2 == 0).is_ok());
            std::thread::yield_now();
        }
        drop(queue);
        assert_eq!(taker.join().unwrap(), 100);
    }
}

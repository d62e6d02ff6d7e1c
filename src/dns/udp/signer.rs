//! Where replies are signed: a thread beside each worker, so that a signature, which takes as long as some ten
//! replies, holds nobody up who needs none.
//!
//! What waits for it has a bound. Beyond that a reply is cut short, which costs no signature.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::batch::{Outbox, Peer};
use super::{BATCH, Later, STOP_LOOK, wait};
use crate::dns::handler::Handler;
use crate::dns::ordinary::{Scratch, Signatures};
use crate::dns::packet::{ENCODING, Fate, Via};
use crate::dns::pulse::Mark;
use crate::dns::query_log::Sampled;
use crate::dns::tally::Tally;
use crate::metrics::DropReason;

/// How many queries may wait: what is signed in some hundredths of a second.
const QUEUE: usize = 1_024;

/// A query whose reply has to be signed.
pub(super) struct Unsigned {
    pub(super) packet: Box<[u8]>,
    pub(super) peer: Peer,
    pub(super) sampled: Option<Sampled>,
}

/// Where queries wait for their signatures.
pub(super) struct Queue(SyncSender<Unsigned>);

/// Signs what is in its queue.
pub(super) struct Signer {
    queries: Receiver<Unsigned>,
    socket: Arc<UdpSocket>,
    handler: Handler,
    runtime: Handle,
    mark: Mark,
    /// To the sender of this socket.
    replies: mpsc::Sender<Later>,
}

impl Queue {
    /// Puts a query in; gives it back if there is no room.
    pub(super) fn put(&self, query: Unsigned) -> Result<(), Unsigned> {
        self.0.try_send(query).map_err(|error| match error {
            TrySendError::Full(query) | TrySendError::Disconnected(query) => query,
        })
    }
}

impl Signer {
    pub(super) fn new(
        socket: Arc<UdpSocket>,
        handler: Handler,
        runtime: Handle,
        replies: mpsc::Sender<Later>,
    ) -> (Queue, Self) {
        let (queue, queries) = sync_channel(QUEUE);
        let signer = Self {
            queries,
            socket,
            mark: handler.pulse().mark(),
            handler,
            runtime,
            replies,
        };
        (Queue(queue), signer)
    }

    /// Signs until there is no worker any more.
    pub(super) fn run(self) -> io::Result<()> {
        let _entered = self.runtime.enter();
        let mut outbox = Outbox::new(BATCH, self.handler.udp_payload());
        let mut encoding = Vec::with_capacity(ENCODING);
        let mut waiting = Vec::new();
        let mut tally = Tally::default();
        loop {
            self.mark.leave();
            let first = match self.queries.recv_timeout(STOP_LOOK) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let more = self.queries.try_iter().take(BATCH - 1);
            let now = self.handler.time();
            for query in [first].into_iter().chain(more) {
                let Unsigned {
                    packet,
                    peer,
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
                    }
                    Fate::Waits(query) => waiting.push((query, peer, sampled)),
                    Fate::Signs | Fate::Dropped => {}
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
        }
    }
}

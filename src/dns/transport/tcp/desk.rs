//! The buffers that a thread uses for all the connections that it serves. A connection needs none while it waits.
//!
//! One poll of a connection reads, answers and writes without waiting in between. So the large buffers belong to the
//! few threads, and a connection only keeps what is incomplete: the beginning of a message, or replies that the
//! client has not read yet.

use std::cell::RefCell;
use std::time::Instant;

use crate::base::metrics::Transport;
use crate::dns::pipeline::handler::Handler;
use crate::dns::pipeline::hot::Now;
use crate::dns::pipeline::packet::{ENCODING, Fate, Packet};
use crate::dns::pipeline::pending::Signatures;
use crate::dns::pipeline::respond::Scratch;
use crate::dns::pipeline::tally::Tally;
use crate::dns::pipeline::via::MAX_TCP_PAYLOAD;
use crate::dns::query_log::Sampled;
use crate::dns::wire::reply::ReplyBuffer;

/// How many bytes one call reads at most: some hundred queries.
pub(super) const READ: usize = 16 << 10;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk::new());
}

/// See the [module](self).
pub(super) struct Desk {
    /// The bytes that were just read.
    pub(super) input: Box<[u8]>,
    /// Replies with their length fields, about to be written.
    pub(super) output: Vec<u8>,
    pub(super) tools: Tools,
}

/// The buffers and counters for making replies.
pub(super) struct Tools {
    reply: ReplyBuffer,
    encoding: Vec<u8>,
    pub(super) tally: Tally,
    /// When the first of the queries that are answered now was read, and how many replies there are.
    made: Option<(Instant, u64)>,
}

impl Desk {
    fn new() -> Self {
        Self {
            input: vec![0; READ].into(),
            output: Vec::new(),
            tools: Tools {
                reply: ReplyBuffer::new(MAX_TCP_PAYLOAD.into()),
                encoding: Vec::with_capacity(ENCODING),
                tally: Tally::default(),
                made: None,
            },
        }
    }

    /// Calls a function with this thread's desk. The function must not call this again.
    pub(super) fn lend<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        DESK.with_borrow_mut(work)
    }
}

impl Tools {
    pub(super) fn scratch(&mut self) -> Scratch<'_> {
        Scratch {
            reply: &mut self.reply,
            encoding: &mut self.encoding,
        }
    }

    /// Decides about a message, and makes its reply if it need not wait.
    pub(super) fn take(&mut self, handler: &Handler, packet: &Packet<'_>, now: &Now) -> Fate {
        let scratch = Scratch {
            reply: &mut self.reply,
            encoding: &mut self.encoding,
        };
        let tally = &mut self.tally;
        let fate = handler.take(packet, now, scratch, tally, Signatures::Now);
        if matches!(fate, Fate::Replied) {
            self.made.get_or_insert((now.instant, 0)).1 += 1;
        }
        fate
    }

    /// Begins with another connection: replies of the last one that could not be written are not timed.
    pub(super) fn begin(&mut self) {
        self.made = None;
    }

    /// Adds the times of the replies that have just been made and written.
    pub(super) fn count_times(&mut self, handler: &Handler, transport: Transport) {
        if let Some((began, replies)) = self.made.take() {
            let times = handler.metrics().dns_response_times.of(transport);
            times.add(replies, began.elapsed());
        }
    }

    /// Adds the reply, with its length field (RFC 1035 §4.2.2), to those that are about to be written, and logs it
    /// if its query was picked.
    pub(super) fn push_reply(&self, output: &mut Vec<u8>, sampled: Option<Sampled>) {
        let reply = self.reply.as_bytes();
        // The buffer has the maximum length of a message by TCP.
        let Ok(len) = u16::try_from(reply.len()) else {
            return;
        };
        output.extend_from_slice(&len.to_be_bytes());
        output.extend_from_slice(reply);
        if let Some(sampled) = sampled {
            sampled.replied(reply);
        }
    }
}

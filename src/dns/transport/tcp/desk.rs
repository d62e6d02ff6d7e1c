//! What a thread has for all the connections that it serves: buffers, of which a connection needs none
//! while it waits.
//!
//! A connection is looked after by one call at a time, which reads, answers and writes without a wait in
//! between. So the large buffers belong to the threads, of which there are few, and a connection keeps only
//! what is incomplete: the beginning of a message, or replies that the client does not take yet.

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

/// How much is read at once, in bytes: some hundred queries.
pub(super) const READ: usize = 16 << 10;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk::new());
}

/// See the [module](self).
pub(super) struct Desk {
    /// Where the system puts what has come.
    pub(super) input: Box<[u8]>,
    /// Replies with their lengths, which are about to be written.
    pub(super) output: Vec<u8>,
    pub(super) tools: Tools,
}

/// What a reply is made with.
pub(super) struct Tools {
    reply: ReplyBuffer,
    encoding: Vec<u8>,
    pub(super) tally: Tally,
    /// When the first query was read of those that are being answered at once, and how many replies there are.
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

    /// Lends this thread's desk. It is not lent twice at a time: what has it must not lend it.
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

    /// Decides about a message, and makes its reply if there is one at once.
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

    /// Begins with a connection: what was made for another one, and could not be written, is not timed.
    pub(super) fn begin(&mut self) {
        self.made = None;
    }

    /// Counts how long the replies took that were made at once, as they have just been written.
    pub(super) fn count_times(&mut self, handler: &Handler, transport: Transport) {
        if let Some((began, replies)) = self.made.take() {
            let times = handler.metrics().dns_response_times.of(transport);
            times.add(replies, began.elapsed());
        }
    }

    /// Puts the reply that was made behind those that are about to be written, with its length in front
    /// (RFC 1035 §4.2.2), and logs it, if its query is to be logged.
    pub(super) fn push_reply(&self, output: &mut Vec<u8>, sampled: Option<Sampled>) {
        let reply = self.reply.as_bytes();
        // A buffer holds no more than a message by TCP may have.
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

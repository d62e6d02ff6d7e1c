//! What a worker counts by itself, and adds to the counters of all once for each batch: those are found
//! by a hash of their labels and behind a lock, and shared by all cores.

use prometheus_client::metrics::counter::Counter;

use super::packet::Via;
use super::reply::Sent;
use crate::metrics::{DnsResponse, Metrics, Transport};

/// The rcodes that we send are below this: those of a header, and BADVERS and BADCOOKIE.
const RCODES: usize = 24;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Tally {
    udp: Replies,
    tcp: Replies,
    truncated: u32,
    hot: u32,
}

/// Replies by one transport.
#[derive(Default)]
struct Replies {
    counts: [u32; RCODES],
    /// The counters of the rcodes that there were.
    counters: [Option<Counter>; RCODES],
}

impl Tally {
    /// Counts a reply.
    pub(super) fn count(&mut self, via: Via, sent: Sent) {
        let replies = match via {
            Via::Udp => &mut self.udp,
            Via::Tcp { .. } => &mut self.tcp,
        };
        replies.counts[usize::from(sent.rcode) % RCODES] += 1;
        self.truncated += u32::from(sent.truncated);
        self.hot += u32::from(sent.hot);
    }

    /// Tells what was counted since the last time.
    pub(super) fn tell(&mut self, metrics: &Metrics) {
        self.udp.tell(Transport::Udp, metrics);
        self.tcp.tell(Transport::Tcp, metrics);
        for (count, counter) in [
            (&mut self.truncated, &metrics.dns_truncated),
            (&mut self.hot, &metrics.dns_hot_answers),
        ] {
            if *count > 0 {
                counter.inc_by(std::mem::take(count).into());
            }
        }
    }
}

impl Replies {
    fn tell(&mut self, transport: Transport, metrics: &Metrics) {
        let counts = self.counts.iter_mut().zip(&mut self.counters);
        for (rcode, (count, counter)) in (0..).zip(counts) {
            if *count > 0 {
                let counter = counter.get_or_insert_with(|| {
                    let sent = DnsResponse { transport, rcode };
                    metrics.dns_responses.get_or_create_owned(&sent)
                });
                counter.inc_by(std::mem::take(count).into());
            }
        }
    }
}

//! What a worker counts by itself, and adds to the counters of all once for each batch: those are found
//! by a hash of their labels and behind a lock, and shared by all cores.

use prometheus_client::metrics::counter::Counter;

use super::reply::Sent;
use crate::metrics::{DnsResponse, Metrics, Transport};

/// How many rcodes a header has room for.
const RCODES: usize = 16;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Tally {
    replies: [u32; RCODES],
    truncated: u32,
    hot: u32,
    /// The counters of the rcodes that there were.
    counters: [Option<Counter>; RCODES],
}

impl Tally {
    /// Counts a reply.
    pub(super) fn count(&mut self, sent: Sent) {
        self.replies[usize::from(sent.rcode) % RCODES] += 1;
        self.truncated += u32::from(sent.truncated);
        self.hot += u32::from(sent.hot);
    }

    /// Tells what was counted since the last time.
    pub(super) fn tell(&mut self, metrics: &Metrics) {
        let counts = self.replies.iter_mut().zip(&mut self.counters);
        for (rcode, (count, counter)) in (0..).zip(counts) {
            if *count > 0 {
                let counter = counter.get_or_insert_with(|| {
                    let transport = Transport::Udp;
                    let sent = DnsResponse { transport, rcode };
                    metrics.dns_responses.get_or_create_owned(&sent)
                });
                counter.inc_by(std::mem::take(count).into());
            }
        }
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

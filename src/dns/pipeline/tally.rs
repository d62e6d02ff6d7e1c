//! Counters of one worker, which it adds to the metrics once for each batch. The metrics are behind a lock and a
//! hash of their labels, and all cores share them.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;

use super::lookups::{Asked, LookupCounter, Lookups};
use super::via::Via;
use crate::base::metrics::{
    DnsDrop, DnsResponse, DropReason, LimitAction, LimitKind, Metrics, RateLimited, Transport,
};
use crate::dns::answer::outcome::Variant;
use crate::dns::wire::reply::Sent;

/// All rcodes that the server sends are below this: those of a header, BADVERS and BADCOOKIE.
const RCODES: usize = 24;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Tally {
    udp: Replies,
    tcp: Replies,
    tls: Replies,
    truncated: u32,
    hot: u32,
    limited: [[u32; LimitAction::ALL.len()]; LimitKind::ALL.len()],
    /// Whether any count in `limited` is not zero.
    is_limiting: bool,
    dropped: u32,
    /// Replies with addresses that depend on the client, by [`Variant::pool_place`].
    routed: Vec<u32>,
    /// The places in `routed` whose counts are not zero. A batch has few, and there may be many pools.
    routed_places: Vec<usize>,
    /// For look-ups of links, if this thread has a counter of its own.
    lookups: Option<LookupCounter>,
}

/// Replies by one transport.
#[derive(Default)]
struct Replies {
    /// Whether any count in `counts` is not zero.
    is_counting: bool,
    counts: [u32; RCODES],
    /// The counters of the rcodes that have occurred.
    counters: [Option<Counter>; RCODES],
}

impl Tally {
    /// The tally of a thread that counts look-ups of links by itself, if they are counted. It has to call [`Tally::pass`] for
    /// each batch, and [`Tally::rest`] when it is idle.
    pub(crate) fn of_worker(lookups: Option<&Lookups>) -> Self {
        let mut tally = Self::default();
        tally.count_lookups_by_itself(lookups);
        tally
    }

    /// Makes this the tally of a worker.
    pub(crate) fn count_lookups_by_itself(&mut self, lookups: Option<&Lookups>) {
        if self.lookups.is_none() {
            self.lookups = lookups.map(Lookups::counter);
        }
    }

    /// Counts a look-up of a link.
    #[inline]
    pub(crate) fn count_lookup(&mut self, asked: Asked<'_>, lookups: &Lookups) {
        match &mut self.lookups {
            Some(own) => own.count(asked),
            None => lookups.count(asked),
        }
    }

    /// Brings the memory that is needed to count look-ups with these hashes into the processor's cache.
    #[inline]
    pub(crate) fn fetch_lookups(&self, hashes: impl Iterator<Item = u64>) {
        if let Some(own) = &self.lookups {
            own.fetch(hashes);
        }
    }

    /// Hands look-ups over that were counted some seconds ago.
    pub(crate) fn pass(&mut self, now: Instant) {
        if let Some(own) = &mut self.lookups {
            own.pass(now);
        }
    }

    /// Hands look-ups over, while there is nothing else to do.
    pub(crate) fn rest(&mut self) {
        if let Some(own) = &mut self.lookups {
            own.hand_over();
        }
    }

    /// Counts a reply.
    pub(crate) fn count(&mut self, via: Via, sent: Sent) {
        let replies = match via {
            Via::Udp => &mut self.udp,
            Via::Tcp { .. } => &mut self.tcp,
            Via::Tls { .. } => &mut self.tls,
        };
        replies.counts[usize::from(sent.rcode) % RCODES] += 1;
        replies.is_counting = true;
        self.truncated += u32::from(sent.truncated);
        self.hot += u32::from(sent.hot);
        if let Some(variant) = sent.routed {
            self.count_routed(variant);
        }
    }

    fn count_routed(&mut self, variant: Variant) {
        let place = variant.pool_place();
        if self.routed.len() <= place {
            self.routed.resize(place + 1, 0);
        }
        if self.routed[place] == 0 {
            self.routed_places.push(place);
        }
        self.routed[place] += 1;
    }

    /// Counts a reply that the rate limit refuses; `is_dropped` if nothing is sent in its place.
    pub(crate) fn count_limited(&mut self, kind: LimitKind, action: LimitAction, is_dropped: bool) {
        self.limited[kind as usize][action as usize] += 1;
        self.is_limiting = true;
        self.dropped += u32::from(is_dropped);
    }

    /// Adds the counts to the metrics, and begins again at zero.
    pub(crate) fn tell(&mut self, metrics: &Metrics) {
        if self.is_limiting {
            self.tell_limited(metrics);
        }
        let counters = metrics.pool_counters();
        for place in self.routed_places.drain(..) {
            let count = std::mem::take(&mut self.routed[place]);
            if let Some(counter) = counters.get(place) {
                counter.inc_by(count.into());
            }
        }
        self.udp.tell(Transport::Udp, metrics);
        self.tcp.tell(Transport::Tcp, metrics);
        self.tls.tell(Transport::Tls, metrics);
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

impl Tally {
    fn tell_limited(&mut self, metrics: &Metrics) {
        for (kind, counts) in LimitKind::ALL.into_iter().zip(&mut self.limited) {
            for (action, count) in LimitAction::ALL.into_iter().zip(counts) {
                if *count > 0 {
                    let limited = metrics
                        .rate_limited
                        .get_or_create(&RateLimited { kind, action });
                    limited.inc_by(std::mem::take(count).into());
                }
            }
        }
        let reason = DropReason::RateLimited;
        let dropped = metrics.dns_dropped.get_or_create(&DnsDrop { reason });
        dropped.inc_by(std::mem::take(&mut self.dropped).into());
        self.is_limiting = false;
    }
}

impl Replies {
    fn tell(&mut self, transport: Transport, metrics: &Metrics) {
        if !std::mem::take(&mut self.is_counting) {
            return;
        }
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

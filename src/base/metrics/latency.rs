//! How long replies take, counted without a lock. The library's histogram has a lock, for which UDP workers would
//! wait.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::labels::{Transport, TransportLabel};

/// The upper ends of the buckets, in nanoseconds: from the time of a hot answer to the time limit of a query.
const BOUNDS: [u64; 16] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_500_000_000,
];
/// One more than there are bounds, for longer times.
const BUCKETS: usize = BOUNDS.len() + 1;
const NANOS_PER_SECOND: f64 = 1e9;
/// How many batches a worker counts by itself before it adds them to the shared counters.
const MAX_BATCHES: u32 = 32;

/// How long replies took, by transport.
#[derive(Debug, Default)]
pub struct ResponseTimes {
    udp: Times,
    tcp: Times,
    tls: Times,
}

/// How long some replies took.
#[derive(Debug)]
pub struct Times {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// The times that one thread has counted and not yet added to the shared [`Times`].
#[derive(Debug, Default)]
pub struct LocalTimes {
    buckets: [u32; BUCKETS],
    nanos: u64,
    batches: u32,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            nanos: AtomicU64::new(0),
        }
    }
}

impl ResponseTimes {
    /// The times of one transport.
    pub fn of(&self, transport: Transport) -> &Times {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
            Transport::Tls => &self.tls,
        }
    }
}

impl Times {
    /// Counts replies that took `took` each.
    pub fn add(&self, replies: u64, took: Duration) {
        let nanos = nanos(took);
        self.buckets[bucket(nanos)].fetch_add(replies, Ordering::Relaxed);
        self.nanos
            .fetch_add(nanos.saturating_mul(replies), Ordering::Relaxed);
    }
}

impl LocalTimes {
    /// Counts the replies of a batch, which took `took` each.
    pub fn add(&mut self, replies: u32, took: Duration) {
        let nanos = nanos(took);
        self.buckets[bucket(nanos)] += replies;
        let all = nanos.saturating_mul(replies.into());
        self.nanos = self.nanos.saturating_add(all);
        self.batches += 1;
    }

    /// Whether it is time to call [`LocalTimes::tell`].
    pub fn is_full(&self) -> bool {
        self.batches >= MAX_BATCHES
    }

    /// Adds the counts to the shared ones, and begins at zero again.
    pub fn tell(&mut self, times: &Times) {
        if self.batches == 0 {
            return;
        }
        let counts = self.buckets.iter().zip(&times.buckets);
        for (count, bucket) in counts.filter(|(count, _)| **count > 0) {
            bucket.fetch_add((*count).into(), Ordering::Relaxed);
        }
        times.nanos.fetch_add(self.nanos, Ordering::Relaxed);
        *self = Self::default();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(nanos: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < nanos)
}

impl Collector for ResponseTimes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "dns_response_seconds",
            "How long replies took, from reading the query to handing over the reply, by transport",
            None,
            MetricType::Histogram,
        )?;
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let times = self.of(transport);
            let ends = BOUNDS.iter().map(|bound| *bound as f64 / NANOS_PER_SECOND);
            let counts = times.buckets.iter();
            let counts = counts.map(|count| count.load(Ordering::Relaxed));
            let buckets: Vec<(f64, u64)> = ends.chain([f64::INFINITY]).zip(counts).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = times.nanos.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND;
            family
                .encode_family(&TransportLabel { transport })?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn shown(times: ResponseTimes) -> String {
        let mut registry = Registry::with_prefix("tinyns");
        registry.register_collector(Box::new(times));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn local_times_are_added_once() {
        let times = ResponseTimes::default();
        let mut local = LocalTimes::default();
        local.tell(times.of(Transport::Udp));
        local.add(3, Duration::from_micros(10));
        local.add(2, Duration::from_micros(11));
        assert!(!local.is_full());
        local.tell(times.of(Transport::Udp));
        local.tell(times.of(Transport::Udp));
        times.of(Transport::Tls).add(1, Duration::from_secs(2));
        let text = shown(times);
        for line in [
            "# TYPE tinyns_dns_response_seconds histogram",
            "tinyns_dns_response_seconds_count{transport=\"Udp\"} 5",
            "tinyns_dns_response_seconds_sum{transport=\"Udp\"} 0.000052",
            "tinyns_dns_response_seconds_bucket{le=\"0.00001\",transport=\"Udp\"} 3",
            "tinyns_dns_response_seconds_bucket{le=\"0.000025\",transport=\"Udp\"} 5",
            "tinyns_dns_response_seconds_bucket{le=\"+Inf\",transport=\"Udp\"} 5",
            "tinyns_dns_response_seconds_count{transport=\"Tcp\"} 0",
            "tinyns_dns_response_seconds_bucket{le=\"1.5\",transport=\"Tls\"} 0",
            "tinyns_dns_response_seconds_bucket{le=\"+Inf\",transport=\"Tls\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn local_times_are_full_after_the_largest_number_of_batches() {
        let mut local = LocalTimes::default();
        for _ in 0..MAX_BATCHES {
            assert!(!local.is_full());
            local.add(1, Duration::ZERO);
        }
        assert!(local.is_full());
    }
}

//! Log lines about connection limits that are reached. Anybody on the internet can cause these lines, so their
//! number has a bound: one a minute about clients that reach their own limit, and one a minute about all
//! connections. Each line names the client's network, and how often the same has happened since the line before.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::prefix::Prefix;

/// The least time between two lines about one kind of limit.
const LOG_TIME: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Journal {
    client: Line,
    all: Line,
}

/// When a kind of limit was last logged, and how often it was reached since.
#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    unlogged: u64,
}

/// A line to be logged after the lock is released.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A client has all connections that it may have.
    Client {
        network: Prefix,
        limit: u32,
        before: u64,
    },
    /// All connections are taken.
    All {
        /// The network with the most connections, and their number.
        most: Option<(Prefix, usize)>,
        limit: u32,
        before: u64,
    },
}

impl Line {
    /// How often the same has happened since the last line, if a line is due.
    fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now - last < LOG_TIME) {
            self.unlogged = self.unlogged.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl Journal {
    pub(super) fn client_limit(
        &mut self,
        network: Prefix,
        limit: u32,
        now: Instant,
    ) -> Option<Notice> {
        let before = self.client.is_due(now)?;
        Some(Notice::Client {
            network,
            limit,
            before,
        })
    }

    /// Calls `most` only if a line is due.
    pub(super) fn limit(
        &mut self,
        most: impl FnOnce() -> Option<(Prefix, usize)>,
        limit: u32,
        now: Instant,
    ) -> Option<Notice> {
        let before = self.all.is_due(now)?;
        Some(Notice::All {
            most: most(),
            limit,
            before,
        })
    }
}

impl Notice {
    /// Logs the line, for connections to this service.
    pub(super) fn log(self, service: &'static str) {
        match self {
            Self::Client {
                network,
                limit,
                before,
            } => tracing::warn!(
                service,
                %network,
                connections_per_client = limit,
                before,
                "one network has reached connections_per_client; its connection that has waited longest is \
                 closed for each new one"
            ),
            Self::All {
                most,
                limit,
                before,
            } => {
                let network = most.map(|(network, _)| tracing::field::display(network));
                tracing::warn!(
                    service,
                    connections = limit,
                    most_by = network,
                    most = most.map(|(_, number)| number),
                    before,
                    "all connections are taken; the one that has waited longest for its client is closed for \
                     each new one"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_a_minute_of_each_kind() {
        let mut journal = Journal::default();
        let begin = Instant::now();
        let network = Prefix::of("192.0.2.1".parse().unwrap(), 32, 56);
        let mut logged = Vec::new();
        for second in 0..150 {
            let now = begin + Duration::from_secs(second);
            if let Some(Notice::Client { before, .. }) = journal.client_limit(network, 8, now) {
                logged.push((second, before));
            }
            // The two kinds do not wait for each other.
            let line = journal.limit(|| Some((network, 8)), 100, now);
            assert_eq!(line.is_some(), second % 60 == 0, "{second}");
        }
        assert_eq!(logged, [(0, 0), (60, 59), (120, 59)]);
    }
}

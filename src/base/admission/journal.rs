//! What the log says of limits that are reached. Strangers cause these lines, so there is a bound on them: one a
//! minute about clients that reach their own limit, and one about all connections. Each names the network that
//! it is about, and says how often the same has happened since the line before it.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::prefix::Prefix;

/// How often the log speaks of one kind of limit.
const LOG_TIME: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Journal {
    client: Line,
    all: Line,
}

/// When a kind of limit was logged last, and how often it was reached since.
#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    untold: u64,
}

/// A line that is to be logged, once no lock is held.
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
        /// The network that has most of them, and how many those are.
        most: Option<(Prefix, usize)>,
        limit: u32,
        before: u64,
    },
}

impl Line {
    /// How often the same has happened since the last line, if there is to be a line now.
    fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now - last < LOG_TIME) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
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

    /// `most` is asked only where there is to be a line.
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
    /// Logs it, about connections to this service.
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
        let mut told = Vec::new();
        for second in 0..150 {
            let now = begin + Duration::from_secs(second);
            if let Some(Notice::Client { before, .. }) = journal.client_limit(network, 8, now) {
                told.push((second, before));
            }
            // The other kind does not wait for this one.
            let line = journal.limit(|| Some((network, 8)), 100, now);
            assert_eq!(line.is_some(), second % 60 == 0, "{second}");
        }
        assert_eq!(told, [(0, 0), (60, 59), (120, 59)]);
    }
}

//! Statistics of the past, put into the SQLite file of a server.

use tinyns::base::clock::{Clock, UnixTime};
use tinyns::link::LinkName;
use tinyns::store::servers::Label;
use tinyns::store::statistics::{Added, Batch, Counter, Row, Unit};
use tinyns::store::{SqliteStore, Store};

use super::Server;

/// A count of a link: its full name, how many hours ago, what was counted, and how often.
pub type Count<'a> = (&'a str, u64, &'a str, u64);

/// Stops a server, adds counts to its file, and starts it again. Its clock must be the system's.
pub fn with_counts(server: Server, counts: &[Count<'_>]) -> Server {
    server.restart_after(|data| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let clock = Clock::default();
            let now = clock.now();
            let store = SqliteStore::open(&data.join("links.sqlite"), clock).unwrap();
            let rows = counts.iter().map(|(name, ago, counter, count)| Row {
                name: LinkName::parse(name).unwrap(),
                hour: Unit::Hour.start_of(UnixTime(now.0 - ago * 3_600)),
                counter: Counter::parse(counter).unwrap(),
                count: *count,
            });
            let batch = Batch {
                server: Label::new("past").unwrap(),
                number: 1,
                rows: rows.collect(),
            };
            let sums = store.statistics().unwrap();
            assert_eq!(sums.add(&batch, now).await.unwrap(), Added::Now);
            while sums.rank().await.unwrap() {}
            store.close().await;
        });
    })
}

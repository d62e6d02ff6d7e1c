//! Statistics: how often links were looked up by DNS and clicked by HTTP.
//!
//! ```text
//!   DNS workers ── tables of look-ups ──┐
//!                                       ├─> buffer ── flusher ── numbered batches ──> store
//!   redirect host ── clicks ────────────┘
//! ```
//!
//! Nothing is counted twice: the flusher numbers its batches, and the store adds each number once, so a batch whose reply was
//! lost is sent again as it is. What a server counted since its last batch is lost if the server is killed: some seconds. While the
//! store is away, counts wait in the buffer. What the buffer cannot take is dropped and counted as dropped.
//!
//! What is counted of a request by HTTP is decided in `clicks`, by the user agent ([`agents`]), the referring page and the
//! country of the client's address ([`Countries`]). None of these texts and addresses is kept or logged: only the class, the
//! referring host and the country go on to the buffer.

pub mod agents;
mod buffer;
mod clicks;
mod countries;
mod flush;
mod referrer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter as Metric;
use tokio_util::sync::CancellationToken;

pub use self::clicks::{Clicks, Visit, is_prefetch};
pub use self::countries::{Countries, CountriesError};
use self::flush::Flusher;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{ClickLabel, LookupLabel, Metrics};
use crate::link::LinkName;
use crate::store::servers::Label;
use crate::store::statistics::{
    Click, Counter, Keeping, Lookup, MAX_REFERRER_LEN, StatisticsStore, Unit,
};
use crate::store::{Effect, Trouble};
use buffer::Buffer;

/// How many links the buffer takes, some 100 MB. All of them exist, so a server of fewer links needs less.
const MAX_LINKS: usize = 1_000_000;
/// From this size on the buffer is flushed at once.
const MANY_LINKS: usize = MAX_LINKS / 2;
/// How often the log says that counts are dropped.
const DROPS_LOGGED: Duration = Duration::from_secs(600);

/// A request by HTTP that was sent to a link's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clicked<'a> {
    /// Who has sent it.
    pub class: Click,
    /// The host of the page that the client came from, in lower case, without port and last dot; none if unknown.
    pub referrer: Option<&'a str>,
    /// The client's country in two letters in upper case; none if unknown. The outer option is none if countries are not
    /// counted at all.
    pub country: Option<Option<[u8; 2]>>,
}

/// Counts, or does nothing where statistics are off. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Statistics(Option<Arc<Counting>>);

#[derive(Debug)]
struct Counting {
    buffer: Buffer,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The metrics of the kinds and classes, so that a click need not search for its own.
    lookups: [Metric; Lookup::ALL.len()],
    clicks: [Metric; Click::ALL.len()],
    flusher: Flusher,
    /// When the log last said that counts are dropped.
    drops_logged: Mutex<Option<Instant>>,
}

impl Statistics {
    /// Counts nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Counts for this store. `server` is the id of this process, new at each start.
    pub fn new(
        store: Arc<dyn StatisticsStore>,
        (server, keeping): (Label, Keeping),
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self::with_room(store, (server, keeping), clock, metrics, MAX_LINKS)
    }

    fn with_room(
        store: Arc<dyn StatisticsStore>,
        (server, keeping): (Label, Keeping),
        clock: Clock,
        metrics: Arc<Metrics>,
        max_links: usize,
    ) -> Self {
        let lookups = Lookup::ALL.map(|lookup| {
            let kind = lookup.as_str();
            let lookups = &metrics.statistics_lookups;
            lookups.get_or_create_owned(&LookupLabel { kind })
        });
        let clicks = Click::ALL.map(|click| {
            let class = click.as_str();
            let clicks = &metrics.statistics_clicks;
            clicks.get_or_create_owned(&ClickLabel { class })
        });
        Self(Some(Arc::new(Counting {
            buffer: Buffer::new(max_links),
            lookups,
            clicks,
            flusher: Flusher::new(store, server, keeping),
            clock,
            metrics,
            drops_logged: Mutex::new(None),
        })))
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts look-ups by DNS.
    pub fn add_lookups(&self, lookups: impl IntoIterator<Item = (LinkName, Lookup, u32)>) {
        let Some(counting) = &self.0 else { return };
        let hour = counting.hour();
        let mut sums = [0_u64; Lookup::ALL.len()];
        for (name, lookup, count) in lookups {
            sums[lookup as usize] += u64::from(count);
            counting.add(name, hour, [(Counter::Lookup(lookup), count)], count);
        }
        for (metric, sum) in counting.lookups.iter().zip(sums) {
            metric.inc_by(sum);
        }
        counting.flush_if_many();
    }

    /// Counts a request by HTTP. Referrer and country count for persons only.
    pub fn add_click(&self, name: &LinkName, clicked: &Clicked<'_>) {
        let Some(counting) = &self.0 else { return };
        let class = clicked.class;
        counting.clicks[class as usize].inc();
        let is_person = class == Click::Person;
        let referrer = clicked
            .referrer
            .filter(|host| is_person && (1..=MAX_REFERRER_LEN).contains(&host.len()));
        let referrer = referrer.map(|host| Counter::Referrer(host.into()));
        let country = clicked.country.filter(|_| is_person).map(Counter::Country);
        let counters = [Some(Counter::Click(class)), referrer, country];
        let counters = counters.into_iter().flatten().map(|counter| (counter, 1));
        counting.add(name.clone(), counting.hour(), counters, 1);
        counting.flush_if_many();
    }

    /// Counts what was dropped elsewhere before it could be added.
    pub fn add_dropped(&self, count: u64) {
        if let Some(counting) = &self.0 {
            counting.dropped(count);
        }
    }

    /// Brings the counts to the store until `shutdown`, and then what is left.
    pub async fn run(self, shutdown: CancellationToken) {
        if let Some(counting) = &self.0 {
            counting.flusher.run(counting, shutdown).await;
        }
    }

    /// What an operator should know.
    pub fn troubles(&self) -> Vec<Trouble> {
        let Some(Counting { flusher, .. }) = self.0.as_deref() else {
            return Vec::new();
        };
        let in_memory = "the link store does not take statistics; counts wait in memory";
        let in_redis = "the table of statistics takes no counts; they wait in Redis";
        let reasons = [
            flusher.has_failed_for_long().then_some(in_memory),
            flusher.cannot_write().then_some(in_redis),
        ];
        let troubles = reasons.into_iter().flatten();
        troubles
            .map(|reason| Trouble::new(Effect::Degraded, reason))
            .collect()
    }
}

impl Counting {
    fn hour(&self) -> UnixTime {
        Unit::Hour.start_of(self.clock.now())
    }

    /// `count` is what is dropped if there is no room.
    fn add(
        &self,
        name: LinkName,
        hour: UnixTime,
        counters: impl IntoIterator<Item = (Counter, u32)>,
        count: u32,
    ) {
        if !self.buffer.add(name, hour, counters) {
            self.dropped(count.into());
        }
    }

    fn dropped(&self, count: u64) {
        if count == 0 {
            return;
        }
        self.metrics.statistics_dropped.inc_by(count);
        let mut logged = self
            .drops_logged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= DROPS_LOGGED) {
            *logged = Some(Instant::now());
            tracing::error!(
                "statistics: memory has no room for more counts, so some are dropped; tinyns_statistics_dropped_total says how many"
            );
        }
    }

    fn flush_if_many(&self) {
        if self.buffer.len() >= MANY_LINKS {
            self.flusher.hurry();
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

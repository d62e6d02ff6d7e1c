//! Statistics: how often links were looked up by DNS and clicked by HTTP, by hour, day and month, and in total.
//!
//! Servers count in memory and [add](StatisticsStore::add) batches of [rows](Row). A row counts for one hour. The store adds
//! it to the sums of that hour, of its day, of its month and of all time, for the link and for its zone. All times are UTC.
//!
//! # Invariants
//!
//! * A batch is added whole or not at all, and once: each server numbers its batches, and the store knows the last number
//!   that it has added for each server. So a batch whose reply was lost may be sent again.
//! * A row of a link that does not exist counts for the zone and not for the link. The sums of a link go with the link, unless
//!   the store keeps them ([`Keeping::deleted`]).
//! * Rankings follow the sums: they show what was added after the next [`StatisticsStore::rank`].
//! * The sums of an hour are kept for [`HOURS_KEPT`], those of a day for [`DAYS_KEPT`], those of months and of all time for
//!   ever.
//! * For each link or zone and unit of time there are at most [`MAX_REFERRERS`] referrers, so that clients cannot fill the store
//!   with hosts that they invent. The heaviest ones stay; [`heaviest`](super::heaviest) says which, and how exact their counts
//!   are. The rest is added to [`Counter::OTHER_REFERRER`].

pub mod gathering;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::gathering::Gatherer;
use super::servers::Label;
use super::{Adopted, StoreError};
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};

/// How long the sums of hours are kept, in seconds: seven days.
pub const HOURS_KEPT: u64 = 7 * DAY;
/// How long the sums of days are kept, in seconds: 90 days.
pub const DAYS_KEPT: u64 = 90 * DAY;
/// The most referring hosts of a link in an hour, a day, a month, or in total. "Other" is one more.
pub const MAX_REFERRERS: usize = 100;
/// The most rows of a batch.
pub const MAX_ROWS: usize = 500;
/// The most sums that one read returns.
pub const MAX_SUMS: usize = 100_000;
/// How long the number of a server's last batch is kept, in seconds.
pub const NUMBERS_KEPT: u64 = 7 * DAY;
/// The longest name of a referring host, in bytes.
pub const MAX_REFERRER_LEN: usize = 253;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// How a link was looked up by DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookup {
    /// A, AAAA, CNAME or HTTPS: what a browser asks for.
    Address,
    /// TXT: the destination as text.
    Txt,
    /// URI (RFC 7553).
    Uri,
    /// Any other type.
    Other,
}

/// Who has sent a request for a link by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Click {
    /// A browser, as far as one can tell.
    Person,
    /// A robot.
    Bot,
    /// A program that makes a preview of a link in a message.
    Preview,
    /// A request for the head alone.
    Head,
    /// A browser that prefetches, before a person has decided (`Sec-Purpose`).
    Prefetch,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// Look-ups by DNS that this server has answered.
    Lookup(Lookup),
    /// Requests by HTTP.
    Click(Click),
    /// Clicks of persons who came from a page of this host: a domain name in lower case without the last dot, or an IP address.
    Referrer(Box<str>),
    /// Clicks of persons from this country: two letters in upper case (ISO 3166-1 alpha-2), or none if unknown.
    Country(Option<[u8; 2]>),
}

impl Lookup {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Address, Self::Txt, Self::Uri, Self::Other];

    /// Its name in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Txt => "txt",
            Self::Uri => "uri",
            Self::Other => "other",
        }
    }
}

impl Click {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Person,
        Self::Bot,
        Self::Preview,
        Self::Head,
        Self::Prefetch,
    ];

    /// Its name in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Bot => "bot",
            Self::Preview => "preview",
            Self::Head => "head",
            Self::Prefetch => "prefetch",
        }
    }
}

impl Counter {
    /// All clicks with a referrer that are not in the count of a host.
    pub const OTHER_REFERRER: &'static str = "other";

    /// Whether it is a referrer with a name, and not [`Counter::OTHER_REFERRER`].
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Referrer(host) if **host != *Self::OTHER_REFERRER)
    }

    /// Whether each count is a look-up or a click of its own. Referrers and countries are about clicks that are counted already.
    pub fn is_an_event(&self) -> bool {
        matches!(self, Self::Lookup(_) | Self::Click(_))
    }

    /// Reads the text that [`Counter`] is shown as; none for another text.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        match kind {
            "lookup" => {
                let found = Lookup::ALL.into_iter().find(|it| it.as_str() == value);
                found.map(Self::Lookup)
            }
            "click" => {
                let found = Click::ALL.into_iter().find(|it| it.as_str() == value);
                found.map(Self::Click)
            }
            "referrer" => {
                let is_right = (1..=MAX_REFERRER_LEN).contains(&value.len());
                is_right.then(|| Self::Referrer(value.into()))
            }
            "country" => match value.as_bytes() {
                b"unknown" => Some(Self::Country(None)),
                &[a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => {
                    Some(Self::Country(Some([a, b])))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// As the stores write it: `lookup:txt`, `click:person`, `referrer:example.org`, `country:DE`, `country:unknown`.
impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(lookup) => write!(f, "lookup:{}", lookup.as_str()),
            Self::Click(click) => write!(f, "click:{}", click.as_str()),
            Self::Referrer(host) => write!(f, "referrer:{host}"),
            Self::Country(None) => f.write_str("country:unknown"),
            Self::Country(Some(letters)) => {
                write!(f, "country:{}", String::from_utf8_lossy(letters))
            }
        }
    }
}

/// A unit of time in which is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// All time. Its only start is 0.
    Total,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Month, Self::Total];

    /// The start of the unit that this time is in.
    pub fn start_of(self, time: UnixTime) -> UnixTime {
        match self {
            Self::Hour => UnixTime(time.0 - time.0 % HOUR),
            Self::Day => UnixTime(time.0 - time.0 % DAY),
            Self::Month => start_of_month(time),
            Self::Total => UnixTime(0),
        }
    }

    /// Sums that start before this time are no longer kept; none if they are kept for ever.
    pub fn kept_from(self, now: UnixTime) -> Option<UnixTime> {
        let kept = match self {
            Self::Hour => HOURS_KEPT,
            Self::Day => DAYS_KEPT,
            Self::Month | Self::Total => return None,
        };
        Some(self.start_of(UnixTime(now.0.saturating_sub(kept))))
    }
}

fn start_of_month(time: UnixTime) -> UnixTime {
    let seconds = i64::try_from(time.min(UnixTime::MAX).0).unwrap_or(0);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let days = u64::from(date.day()) - 1;
    Unit::Day.start_of(UnixTime(time.0.saturating_sub(days * DAY)))
}

/// One count of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The link.
    pub name: LinkName,
    /// The start of the hour.
    pub hour: UnixTime,
    /// What was counted.
    pub counter: Counter,
    /// How often; at least 1.
    pub count: u64,
}

/// Rows that a server adds at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The id of the server, which is new at each start.
    pub server: Label,
    /// 1, 2, 3 and so on. A server adds its batches in this order.
    pub number: u64,
    /// At most [`MAX_ROWS`], no two of the same link, hour and counter.
    pub rows: Vec<Row>,
}

impl Batch {
    /// How many look-ups and clicks it has.
    pub(crate) fn events(&self) -> u64 {
        events(&self.rows)
    }
}

/// How many look-ups and clicks are in the rows: other counters are about a look-up or click that counts already.
pub(crate) fn events(rows: &[Row]) -> u64 {
    let rows = rows.iter().filter(|row| row.counter.is_an_event());
    rows.map(|row| row.count).sum()
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The batch was added now.
    Now,
    /// The batch had been added before, so nothing was changed.
    Before,
    /// The batch cannot be added any more, and [`Unwritten::lost`] has its counts.
    Lost,
}

/// What a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Whether the sums of a link stay when the link is deleted.
    pub deleted: bool,
}

/// A sum of one counter in one unit of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The start of the unit.
    pub start: UnixTime,
    /// What was counted.
    pub counter: Counter,
    /// How often.
    pub count: u64,
}

/// The units from one start to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which units.
    pub unit: Unit,
    /// The start of the first one.
    pub from: UnixTime,
    /// The units start before this time.
    pub to: UnixTime,
}

/// By what links are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// Clicks of persons.
    Clicks,
    /// Look-ups of all kinds.
    Lookups,
}

/// A link and how often it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The link.
    pub name: LinkName,
    /// How often.
    pub count: u64,
}

/// All-time sums of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Look-ups of all kinds.
    pub lookups: u64,
    /// Clicks of persons.
    pub clicks: u64,
}

/// What sums are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A link, which may no longer exist.
    Link(LinkName),
    /// All links of a zone.
    Zone(Origin),
}

/// All sums of a link or of a zone in one unit of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The link or the zone.
    pub subject: Subject,
    /// The unit.
    pub unit: Unit,
    /// The start of the unit.
    pub start: UnixTime,
    /// The sums, in the order of their counters, of which no two are the same. None of them is 0.
    pub sums: Vec<(Counter, u64)>,
}

impl Usage {
    /// The link; none for a zone.
    pub fn name(&self) -> Option<&LinkName> {
        match &self.subject {
            Subject::Link(name) => Some(name),
            Subject::Zone(_) => None,
        }
    }
}

/// The place of a [`Usage`] in the order of all sums: how far a walk over them has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsagePlace {
    pub(super) origin: Box<str>,
    /// Empty for the zone itself.
    pub(super) code: Box<str>,
    /// 0 for hours to 3 for all time.
    pub(super) unit: i16,
    /// Hours since 1970.
    pub(super) start: i32,
}

/// A page of all sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePage {
    /// The sums. There may be none although more pages follow.
    pub usages: Vec<Usage>,
    /// What is wrong with the items that cannot be read, one line for each.
    pub faults: Vec<String>,
    /// The start of the next page; none if this is the last one.
    pub next: Option<UsagePlace>,
}

/// Counts that a store has taken and not written yet, because it [gathers](gathering) them first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// How many sums.
    pub sums: u64,
    /// For how long the first of them have waited.
    pub since: Duration,
    /// How many look-ups and clicks of this server were lost before they were written, since its start; an upper bound.
    pub lost: u64,
    /// Whether they cannot be written.
    pub is_failing: bool,
}

/// The statistics of a store; see the [module](self).
#[async_trait]
pub trait StatisticsStore: Send + Sync + fmt::Debug {
    /// Gathers batches there, if the store needs that; returns whether it does. Only the first call counts.
    fn gather_with(&self, _gatherer: Arc<dyn Gatherer>) -> bool {
        false
    }

    /// Whether batches can be added. False if the store needs a [`Gatherer`] and has none.
    fn takes_batches(&self) -> bool {
        true
    }

    /// Does the work beside the calls until `shutdown`, if there is any.
    async fn run(&self, _shutdown: CancellationToken) {}

    /// Writes what was added up to now, if it is only gathered yet. True if nothing of that is left; false if another server is
    /// writing it.
    async fn flush(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// What was added and is not written yet, as of the last seconds. Makes no call.
    fn unwritten(&self) -> Unwritten {
        Unwritten::default()
    }

    /// Sets what the store keeps from now on, for all servers that share it.
    async fn keep(&self, keeping: Keeping) -> Result<(), StoreError>;

    /// Adds a batch, once.
    async fn add(&self, batch: &Batch, now: UnixTime) -> Result<Added, StoreError>;

    /// The sums of a link, in the order of their starts; at most [`MAX_SUMS`].
    async fn of_link(&self, name: &LinkName, range: Range) -> Result<Vec<Sum>, StoreError>;

    /// The sums of all links of a zone, also of those that no longer exist, in the order of their starts; at most
    /// [`MAX_SUMS`].
    async fn of_zone(&self, origin: &Origin, range: Range) -> Result<Vec<Sum>, StoreError>;

    /// The most used links of a zone in one unit of time, the first one first; at most `limit`. After `after`, if that is given:
    /// the last link of the page before. Hours have no ranking. The counts are those by which the links are ranked, see
    /// [`StatisticsStore::rank`].
    async fn ranking(
        &self,
        origin: &Origin,
        by: Ranking,
        (unit, start): (Unit, UnixTime),
        after: Option<&Ranked>,
        limit: usize,
    ) -> Result<Vec<Ranked>, StoreError>;

    /// The all-time sums of these links, in their order.
    async fn totals(&self, names: &[LinkName]) -> Result<Vec<Totals>, StoreError>;

    /// Brings the rankings of some links that were counted up to date. True if more links wait. Some stores rank at once.
    async fn rank(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Goes on with a walk over all sums, and removes those that are no longer kept. True if the walk is not over.
    async fn sweep(&self, now: UnixTime) -> Result<bool, StoreError>;

    /// All sums, for a copy or a check, at most `limit` items after `after`. The order is the same in all stores: by zone, code,
    /// unit and start; the zone itself comes before its links.
    async fn usages(
        &self,
        _after: Option<&UsagePlace>,
        _limit: usize,
    ) -> Result<UsagePage, StoreError> {
        Err(StoreError::Unavailable(
            "it does not list statistics".into(),
        ))
    }

    /// Takes sums over from another store; at most [`MAX_ROWS`] items. The results are in their order. Of two sums of one
    /// counter the higher one stays, and of the referrers all those of the store that has counted more of them, so that taking
    /// the same sums over again changes nothing. Sums of a link that does not exist are [`Adopted::Newer`], unless the store
    /// keeps those of deleted links.
    async fn adopt(&self, _usages: &[Usage]) -> Result<Vec<Adopted>, StoreError> {
        Err(StoreError::Unavailable(
            "it takes no statistics over".into(),
        ))
    }
}

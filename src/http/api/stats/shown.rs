//! Statistics as the API shows them: JSON, lines of JSON, and comma-separated values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::period::{Period, name};
use crate::base::clock::UnixTime;
use crate::store::heaviest::Reduction;
use crate::store::statistics::{Click, Counter, Lookup, Ranked, Sum, Totals};

/// The most referring hosts in a reply. Clicks from further ones are in their sum.
const MAX_REFERRERS: usize = 100;
/// The most referring hosts that are summed up at a time. Each zone and unit may have a hundred others.
const MAX_HOSTS: usize = 20_000;

/// The header of comma-separated values. Lines have a time and numbers, so that no program reads a field as a formula.
const CSV_HEADER: &str = "start,lookups,lookups_address,lookups_txt,lookups_uri,lookups_other,clicks_person,clicks_bot,\
    clicks_preview,clicks_head,clicks_prefetch\r\n";

/// Counts of look-ups by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lookups {
    all: u64,
    address: u64,
    txt: u64,
    uri: u64,
    other: u64,
}

/// Counts of clicks by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Clicks {
    person: u64,
    bot: u64,
    preview: u64,
    head: u64,
    prefetch: u64,
}

/// What was counted in one unit, or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    lookups: Lookups,
    clicks: Clicks,
}

impl Tally {
    fn add(&mut self, counter: &Counter, count: u64) {
        let (lookups, clicks) = (&mut self.lookups, &mut self.clicks);
        let sum = match counter {
            Counter::Lookup(lookup) => {
                lookups.all = lookups.all.saturating_add(count);
                match lookup {
                    Lookup::Address => &mut lookups.address,
                    Lookup::Txt => &mut lookups.txt,
                    Lookup::Uri => &mut lookups.uri,
                    Lookup::Other => &mut lookups.other,
                }
            }
            Counter::Click(click) => match click {
                Click::Person => &mut clicks.person,
                Click::Bot => &mut clicks.bot,
                Click::Preview => &mut clicks.preview,
                Click::Head => &mut clicks.head,
                Click::Prefetch => &mut clicks.prefetch,
            },
            Counter::Referrer(_) | Counter::Country(_) => return,
        };
        *sum = sum.saturating_add(count);
    }
}

/// A unit of the series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct UnitJson {
    start: String,
    lookups: Lookups,
    clicks: Clicks,
}

/// What a reply is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum About {
    Link { code: String, zone: String },
    Zones { zones: Vec<String> },
}

/// All-time sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AllTime {
    lookups: u64,
    clicks: u64,
}

impl From<Totals> for AllTime {
    fn from(totals: Totals) -> Self {
        Self {
            lookups: totals.lookups,
            clicks: totals.clicks,
        }
    }
}

/// The most used links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MostUsed {
    /// `day`, `month` or `total`: the time that these counts are of.
    pub(super) unit: &'static str,
    pub(super) by_clicks: Vec<RankedJson>,
    pub(super) by_lookups: Vec<RankedJson>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RankedJson {
    code: String,
    zone: String,
    count: u64,
}

impl RankedJson {
    pub(super) fn new(ranked: &Ranked) -> Self {
        Self {
            code: ranked.name.code().to_owned(),
            zone: ranked.name.origin().to_owned(),
            count: ranked.count,
        }
    }
}

#[derive(Serialize)]
struct ReferrerJson<'a> {
    host: &'a str,
    clicks: u64,
}

#[derive(Serialize)]
struct CountryJson {
    country: Option<String>,
    clicks: u64,
}

/// What the store has counted in a period.
#[derive(Debug)]
pub(super) struct Report {
    period: Period,
    units: BTreeMap<UnixTime, Tally>,
    all: Tally,
    referrers: BTreeMap<Box<str>, u64>,
    countries: BTreeMap<Option<[u8; 2]>, u64>,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(period: Period) -> Self {
        Self {
            period,
            units: BTreeMap::new(),
            all: Tally::default(),
            referrers: BTreeMap::new(),
            countries: BTreeMap::new(),
        }
    }

    /// Adds the sums of a link or of a zone in the period.
    pub(super) fn add(&mut self, sums: impl IntoIterator<Item = Sum>) {
        for Sum {
            start,
            counter,
            count,
        } in sums
        {
            self.units.entry(start).or_default().add(&counter, count);
            self.all.add(&counter, count);
            match counter {
                Counter::Referrer(host) => self.add_host(host, count),
                Counter::Country(country) => {
                    let sum = self.countries.entry(country).or_default();
                    *sum = sum.saturating_add(count);
                }
                Counter::Lookup(_) | Counter::Click(_) => {}
            }
        }
    }

    fn add_host(&mut self, host: Box<str>, count: u64) {
        if self.referrers.len() >= MAX_HOSTS && !self.referrers.contains_key(&host) {
            self.keep_the_heaviest();
        }
        let sum = self.referrers.entry(host).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Makes room for other hosts, as the stores do; see [`crate::store::heaviest`].
    fn keep_the_heaviest(&mut self) {
        let other = self.referrers.remove(Counter::OTHER_REFERRER).unwrap_or(0);
        let mut reduction = Reduction::to(MAX_HOSTS / 2, self.referrers.values().copied());
        self.referrers.retain(|_, count| reduction.take_from(count));
        let other = other.saturating_add(reduction.taken());
        self.referrers.insert(Counter::OTHER_REFERRER.into(), other);
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// All units, also those in which nothing was counted.
    fn series(&self) -> impl Iterator<Item = UnitJson> {
        let first = self.units.keys().next().copied();
        self.period.units(first).map(|start| {
            let tally = self.units.get(&start).copied().unwrap_or_default();
            UnitJson {
                start: start.rfc3339(),
                lookups: tally.lookups,
                clicks: tally.clicks,
            }
        })
    }

    /// The whole reply as JSON.
    pub(super) fn json(
        &self,
        about: About,
        all_time: Option<AllTime>,
        most_used: Option<MostUsed>,
    ) -> String {
        #[derive(Serialize)]
        struct Reply<'a> {
            #[serde(flatten)]
            about: About,
            by: &'static str,
            from: String,
            to: String,
            lookups: Lookups,
            clicks: Clicks,
            #[serde(skip_serializing_if = "Option::is_none")]
            all_time: Option<AllTime>,
            #[serde(skip_serializing_if = "Option::is_none")]
            most_used: Option<MostUsed>,
            referrers: Vec<ReferrerJson<'a>>,
            other_referrers: u64,
            countries: Vec<CountryJson>,
            series: Vec<UnitJson>,
        }
        let first = self.units.keys().next().copied();
        let (referrers, other_referrers) = self.referrers();
        let reply = Reply {
            about,
            by: name(self.period.unit),
            from: self.period.start(first).rfc3339(),
            to: self.period.to.rfc3339(),
            lookups: self.all.lookups,
            clicks: self.all.clicks,
            all_time,
            most_used,
            referrers,
            other_referrers,
            countries: self.countries(),
            series: self.series().collect(),
        };
        // Texts and numbers always serialise.
        json!(reply).to_string()
    }

    /// A line of JSON for each unit.
    pub(super) fn lines(&self) -> String {
        let lines = self.series().map(|unit| json!(unit).to_string() + "\n");
        lines.collect()
    }

    /// A line of comma-separated values for each unit (RFC 4180).
    pub(super) fn csv(&self) -> String {
        let mut text = CSV_HEADER.to_owned();
        for UnitJson {
            start,
            lookups: l,
            clicks: c,
        } in self.series()
        {
            // Writing to a string does not fail.
            let _infallible = write!(
                text,
                "{start},{},{},{},{},{},{},{},{},{},{}\r\n",
                l.all,
                l.address,
                l.txt,
                l.uri,
                l.other,
                c.person,
                c.bot,
                c.preview,
                c.head,
                c.prefetch
            );
        }
        text
    }

    /// The hosts with the most clicks, and the clicks from all others.
    fn referrers(&self) -> (Vec<ReferrerJson<'_>>, u64) {
        let named = self.referrers.iter();
        let named = named.filter(|(host, _)| ***host != *Counter::OTHER_REFERRER);
        let mut named: Vec<_> = named.collect();
        named.sort_by_key(|(_, clicks)| std::cmp::Reverse(**clicks));
        let rest = named.iter().skip(MAX_REFERRERS).map(|(_, clicks)| **clicks);
        let others = self.referrers.get(Counter::OTHER_REFERRER);
        let others = others.into_iter().copied().chain(rest);
        let others = others.fold(0, u64::saturating_add);
        let shown = named.into_iter().take(MAX_REFERRERS);
        let shown = shown.map(|(host, clicks)| ReferrerJson {
            host,
            clicks: *clicks,
        });
        (shown.collect(), others)
    }

    /// All countries, that with the most clicks first.
    fn countries(&self) -> Vec<CountryJson> {
        let mut countries: Vec<_> = self.countries.iter().collect();
        countries.sort_by_key(|(_, clicks)| std::cmp::Reverse(**clicks));
        let shown = countries.into_iter().map(|(country, clicks)| CountryJson {
            country: country.map(|letters| letters.map(char::from).iter().collect()),
            clicks: *clicks,
        });
        shown.collect()
    }
}

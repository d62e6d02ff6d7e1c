//! The rows of statistics, as all stores have them; see [`crate::store::statistics`]. In DynamoDB a row is an item.
//!
//! A row has all sums of a link, or of a zone, in one unit of time: one row and not one for each counter, so that an hour of a
//! link takes some thirty bytes, and a year of a link is some hundred rows that lie beside each other. Two sums have columns
//! of their own, by which links are ranked: look-ups of all kinds, and clicks of persons. The [others](Others) are a JSON
//! object (in DynamoDB a map), which operators can read: `{"click:bot":2,"country:DE":5}`. Most rows have none. Look-ups of
//! addresses are what the other kinds leave of the column.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::StoreError;
use super::columns::{self, integer};
use super::heaviest::Reduction;
use super::statistics::{
    Batch, Click, Counter, Lookup, MAX_REFERRERS, MAX_ROWS, Row, Subject, Sum, Totals, Unit, Usage,
};
use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};

/// The key of a row. Rows are in this order.
pub(super) use super::statistics::UsagePlace as Key;

const HOUR: u64 = 60 * 60;

/// The sums of a row, or what is to be added to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Look-ups of all kinds.
    pub(super) lookups: u64,
    /// Clicks of persons.
    pub(super) clicks: u64,
    pub(super) others: Others,
}

/// The sums that have no column of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others(BTreeMap<Counter, u64>);

/// A unit as a column: 0 for hours to 3 for all time.
pub(super) fn unit_column(unit: Unit) -> i16 {
    match unit {
        Unit::Hour => 0,
        Unit::Day => 1,
        Unit::Month => 2,
        Unit::Total => 3,
    }
}

/// The unit in a column; none if it is no unit.
pub(super) fn unit_of(column: i16) -> Option<Unit> {
    Unit::ALL.into_iter().find(|it| unit_column(*it) == column)
}

/// The hour of a time as a column: hours since 1970, rounded down.
pub(super) fn hour_column(time: UnixTime) -> i32 {
    i32::try_from(time.0 / HOUR).unwrap_or(i32::MAX)
}

/// The same, rounded up: what starts before the time starts before this hour.
pub(super) fn hour_column_up(time: UnixTime) -> i32 {
    i32::try_from(time.0.div_ceil(HOUR)).unwrap_or(i32::MAX)
}

/// The time in a column; none if it is no hour since 1970.
pub(super) fn time_of(hour: i32) -> Option<UnixTime> {
    Some(UnixTime(u64::try_from(hour).ok()? * HOUR))
}

/// The error of a ranking by this unit, if there is none.
///
/// # Errors
/// The unit is an hour.
pub(super) fn check_ranked(unit: Unit) -> Result<(), StoreError> {
    match unit {
        Unit::Hour => Err(StoreError::Refused("hours have no ranking".into())),
        Unit::Day | Unit::Month | Unit::Total => Ok(()),
    }
}

/// Whether so many sums can be taken over at once.
///
/// # Errors
/// They are too many.
pub(super) fn check_adopted(usages: &[Usage]) -> Result<(), StoreError> {
    match usages.len() {
        ..=MAX_ROWS => Ok(()),
        rows => Err(StoreError::Refused(format!(
            "{rows} items of statistics are too many; at most {MAX_ROWS} are taken over at once"
        ))),
    }
}

/// Of what a row has and of sums from another store, the higher one for each counter. Counts of referring hosts may fall, as
/// they move to "other", so the referrers come whole from the side that has counted more of them.
pub(super) fn highest(stored: Option<&Record>, theirs: &[(Counter, u64)]) -> Record {
    let is_referrer = |(counter, _): &(Counter, u64)| matches!(counter, Counter::Referrer(_));
    let total = |referrers: &[(Counter, u64)]| {
        let counts = referrers.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    };
    let stored = stored.map(Record::sums).unwrap_or_default();
    let (ours, stored): (Vec<_>, Vec<_>) = stored.into_iter().partition(is_referrer);
    let (new, theirs): (Vec<_>, Vec<_>) = theirs.iter().cloned().partition(is_referrer);
    let mut highest: BTreeMap<Counter, u64> = stored.into_iter().collect();
    for (counter, count) in theirs {
        let sum = highest.entry(counter).or_default();
        *sum = (*sum).max(count);
    }
    highest.extend(if total(&new) > total(&ours) {
        new
    } else {
        ours
    });
    let mut record = Record::of(&highest.into_iter().collect::<Vec<_>>());
    record.others.keep_the_heaviest();
    record
}

/// The names in a batch.
///
/// # Errors
/// The batch has too many rows.
pub(super) fn names(batch: &Batch) -> Result<Vec<LinkName>, StoreError> {
    let rows = batch.rows.len();
    if rows > MAX_ROWS {
        let text = format!("a batch has {rows} rows; at most {MAX_ROWS} are added at once");
        return Err(StoreError::Refused(text));
    }
    let names: BTreeSet<&LinkName> = batch.rows.iter().map(|row| &row.name).collect();
    Ok(names.into_iter().cloned().collect())
}

/// What a batch adds to which rows, in their order. Links that are not in `kept` count for their zones only.
pub(super) fn additions(batch: &Batch, kept: &HashSet<LinkName>) -> BTreeMap<Key, Record> {
    additions_of(&batch.rows, kept)
}

/// The same of any rows.
pub(super) fn additions_of<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    kept: &HashSet<LinkName>,
) -> BTreeMap<Key, Record> {
    let mut records: BTreeMap<Key, Record> = BTreeMap::new();
    for row in rows {
        let link = kept.contains(&row.name).then_some(row.name.code());
        for code in [Some(""), link].into_iter().flatten() {
            for unit in Unit::ALL {
                let key = Key::new(row.name.origin(), code, unit, row.hour);
                let record = records.entry(key).or_default();
                record.add(&row.counter, row.count);
            }
        }
    }
    records
}

impl Key {
    pub(super) fn new(origin: &str, code: &str, unit: Unit, time: UnixTime) -> Self {
        Self {
            origin: origin.into(),
            code: code.into(),
            unit: unit_column(unit),
            start: hour_column(unit.start_of(time)),
        }
    }

    /// What comes before all rows of a zone.
    pub(super) fn before_all(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            code: "".into(),
            unit: -1,
            start: 0,
        }
    }

    /// The key of the row of a link or a zone.
    pub(super) fn of(usage: &Usage) -> Self {
        let (origin, code) = match &usage.subject {
            Subject::Link(name) => (name.origin(), name.code()),
            Subject::Zone(origin) => (origin.as_str(), ""),
        };
        Self::new(origin, code, usage.unit, usage.start)
    }

    /// What the row is about; the error says what is wrong with the key.
    pub(super) fn parse(&self) -> Result<(Subject, Unit, UnixTime), String> {
        let subject = match &*self.code {
            "" => Subject::Zone(Origin::parse(&self.origin).map_err(|e| e.to_string())?),
            code => Subject::Link(columns::name(&self.origin, code)?),
        };
        let unit = unit_of(self.unit).ok_or_else(|| format!("{} is no unit", self.unit))?;
        let start = time_of(self.start).ok_or_else(|| "start is negative".to_owned())?;
        Ok((subject, unit, start))
    }

    /// Its text for messages.
    pub(super) fn text(&self) -> String {
        let Self {
            origin,
            code,
            unit,
            start,
        } = self;
        format!("the statistics of {code}.{origin}, unit {unit}, hour {start}")
    }
}

impl Usage {
    /// Its place in the order of all sums.
    pub fn place(&self) -> Key {
        Key::of(self)
    }
}

impl Record {
    /// The sums in the columns of a row.
    ///
    /// # Errors
    /// What is wrong with a column.
    pub(super) fn parse(lookups: i64, clicks: i64, others: Option<&str>) -> Result<Self, String> {
        let number = |name: &str, value: i64| {
            u64::try_from(value).map_err(|_| format!("{name} is negative: {value}"))
        };
        Ok(Self {
            lookups: number("lookups", lookups)?,
            clicks: number("clicks", clicks)?,
            others: Others::parse(others)?,
        })
    }

    /// The columns of a row.
    ///
    /// # Errors
    /// A sum is too large for a column.
    pub(super) fn columns(&self) -> Result<(i64, i64, Option<String>), StoreError> {
        Ok((
            integer(self.lookups)?,
            integer(self.clicks)?,
            self.others.text(),
        ))
    }

    pub(super) fn add(&mut self, counter: &Counter, count: u64) {
        match counter {
            Counter::Lookup(kind) => {
                self.lookups = self.lookups.saturating_add(count);
                if *kind != Lookup::Address {
                    self.others.add(counter, count);
                }
            }
            Counter::Click(Click::Person) => self.clicks = self.clicks.saturating_add(count),
            Counter::Click(_) | Counter::Referrer(_) | Counter::Country(_) => {
                self.others.add(counter, count);
            }
        }
    }

    /// All sums, in the order of their counters.
    pub(super) fn sums(&self) -> Vec<(Counter, u64)> {
        let kinds = self.others.0.iter();
        let kinds = kinds.filter(|(counter, _)| matches!(counter, Counter::Lookup(_)));
        let kinds: u64 = kinds.map(|(_, count)| count).sum();
        let own = [
            (
                Counter::Lookup(Lookup::Address),
                self.lookups.saturating_sub(kinds),
            ),
            (Counter::Click(Click::Person), self.clicks),
        ];
        let own = own.into_iter().filter(|(_, count)| *count > 0);
        let others = self.others.0.iter();
        let others = others.map(|(counter, count)| (counter.clone(), *count));
        let mut sums: Vec<_> = own.chain(others).collect();
        sums.sort_unstable();
        sums
    }

    /// The record with these sums.
    pub(super) fn of(sums: &[(Counter, u64)]) -> Self {
        let mut record = Self::default();
        for (counter, count) in sums {
            record.add(counter, *count);
        }
        record
    }

    /// The sums after an addition, with a bound on the referrers.
    #[cfg(feature = "dynamodb")]
    pub(super) fn after(self, addition: &Self) -> Self {
        Self {
            lookups: self.lookups.saturating_add(addition.lookups),
            clicks: self.clicks.saturating_add(addition.clicks),
            others: self.others.after(&addition.others),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            lookups: self.lookups,
            clicks: self.clicks,
        }
    }

    pub(super) fn push_to(&self, start: UnixTime, sums: &mut Vec<Sum>) {
        sums.extend(self.sums().into_iter().map(|(counter, count)| Sum {
            start,
            counter,
            count,
        }));
    }
}

impl FromIterator<(Counter, u64)> for Others {
    fn from_iter<T: IntoIterator<Item = (Counter, u64)>>(sums: T) -> Self {
        Self(sums.into_iter().collect())
    }
}

impl Others {
    /// The sums in the column of a row.
    ///
    /// # Errors
    /// What is wrong with the column.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let sums: BTreeMap<&str, u64> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let mut others = BTreeMap::new();
        for (name, count) in sums {
            let counter = Counter::parse(name).ok_or_else(|| format!("{name:?} is no counter"))?;
            others.insert(counter, count);
        }
        Ok(Self(others))
    }

    /// The column of a row; none if there are no such sums.
    pub(super) fn text(&self) -> Option<String> {
        let sums = self.0.iter();
        let sums: BTreeMap<String, u64> = sums.map(|(c, count)| (c.to_string(), *count)).collect();
        let is_empty = sums.is_empty();
        (!is_empty)
            .then(|| serde_json::to_string(&sums).ok())
            .flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(feature = "dynamodb")]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Counter, u64)> {
        self.0.iter().map(|(counter, count)| (counter, *count))
    }

    fn add(&mut self, counter: &Counter, count: u64) {
        let sum = self.0.entry(counter.clone()).or_default();
        *sum = sum.saturating_add(count);
    }

    /// The sums of a row after an addition, with the [`MAX_REFERRERS`] heaviest referrers.
    pub(super) fn after(mut self, addition: &Self) -> Self {
        for (counter, count) in &addition.0 {
            self.add(counter, *count);
        }
        self.keep_the_heaviest();
        self
    }

    /// Moves counts of hosts to [`Counter::OTHER_REFERRER`] until there are at most [`MAX_REFERRERS`]; see [`super::heaviest`].
    fn keep_the_heaviest(&mut self) {
        let hosts = self.0.iter().filter(|(counter, _)| counter.is_host());
        let mut reduction = Reduction::to(MAX_REFERRERS, hosts.map(|(_, count)| *count));
        self.0
            .retain(|counter, count| !counter.is_host() || reduction.take_from(count));
        if reduction.taken() > 0 {
            let other = Counter::Referrer(Counter::OTHER_REFERRER.into());
            self.add(&other, reduction.taken());
        }
    }
}

/// The sums of a row after an addition. A row that another program has damaged does not keep the server from counting: what
/// cannot be read of it is lost.
pub(super) fn others_after(stored: Option<&str>, addition: &Others, key: &Key) -> Others {
    let stored = Others::parse(stored).unwrap_or_else(|reason| {
        let row = key.text();
        tracing::warn!(%row, %reason, "damaged sums are replaced by those of new counts");
        Others::default()
    });
    stored.after(addition)
}

/// A row that is not valid, for callers.
pub(super) fn damaged(key: &Key, reason: String) -> StoreError {
    StoreError::Corrupt {
        name: key.text(),
        reason,
    }
}

/// The content of a row, for a copy; the error is one line about the row.
pub(super) fn usage(key: &Key, record: Result<Record, String>) -> Result<Usage, String> {
    let parsed = key.parse().and_then(|key| Ok((key, record?)));
    let ((subject, unit, start), record) =
        parsed.map_err(|reason| format!("{}: {reason}", key.text()))?;
    Ok(Usage {
        subject,
        unit,
        start,
        sums: record.sums(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        let sums = text.split_whitespace().map(|part| {
            let (counter, count) = part.split_once('=').unwrap();
            (Counter::parse(counter).unwrap(), count.parse().unwrap())
        });
        Record::of(&sums.collect::<Vec<_>>())
    }

    #[test]
    fn a_row_has_all_sums_and_comes_back() {
        let check = |text: &str, lookups: i64, clicks: i64, others: Option<&str>| {
            let record = record(text);
            let columns = record.columns().unwrap();
            assert_eq!(
                columns,
                (lookups, clicks, others.map(str::to_owned)),
                "{text}"
            );
            let parsed = Record::parse(columns.0, columns.1, columns.2.as_deref());
            assert_eq!(parsed, Ok(record.clone()), "{text}");
            assert_eq!(Record::of(&record.sums()), record, "{text}");
        };
        check("", 0, 0, None);
        check("lookup:address=7", 7, 0, None);
        check(
            "lookup:address=7 lookup:txt=2 click:person=3 country:unknown=3",
            9,
            3,
            Some(r#"{"country:unknown":3,"lookup:txt":2}"#),
        );
        check(
            "click:bot=1 referrer:a.example=4",
            0,
            0,
            Some(r#"{"click:bot":1,"referrer:a.example":4}"#),
        );
    }

    #[test]
    fn damaged_columns_are_errors() {
        let check = |lookups, clicks, others, expected: &str| {
            let error = Record::parse(lookups, clicks, others).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(-1, 0, None, "lookups is negative");
        check(0, -1, None, "clicks is negative");
        check(0, 0, Some("["), "invalid type");
        check(0, 0, Some(r#"{"sum":1}"#), "\"sum\" is no counter");
        check(0, 0, Some(r#"{"lookup:txt":-1}"#), "invalid value");
        // Counting goes on.
        let added = record("click:bot=2").others;
        let key = Key::new("s.x", "a", Unit::Day, UnixTime(0));
        assert_eq!(others_after(Some("["), &added, &key), added);
    }

    fn of_host(sums: &Others, host: &str) -> u64 {
        let sum = sums.0.get(&Counter::Referrer(host.into()));
        sum.copied().unwrap_or_default()
    }

    #[test]
    fn the_same_number_is_taken_from_all_hosts_when_there_are_too_many() {
        let mut sums = record("click:bot=1 country:DE=1").others;
        for number in 0..MAX_REFERRERS - 1 {
            sums = sums.after(&record(&format!("referrer:h{number}.example=1")).others);
        }
        assert_eq!(of_host(&sums, Counter::OTHER_REFERRER), 0);
        let more = record("referrer:a.example=2 referrer:b.example=5 referrer:h0.example=7").others;
        let sums = sums.after(&more);
        let expected = "click:bot=1 country:DE=1 referrer:a.example=1 referrer:b.example=4 referrer:h0.example=7 \
            referrer:other=101";
        assert_eq!(sums, record(expected).others);
    }

    /// Invented hosts, which have come first and go on coming, do not keep out the one host that people come from.
    #[test]
    fn invented_hosts_do_not_keep_out_real_ones() {
        let mut sums = Others::default();
        let mut invented = 0;
        let mut invent = |count: u64| {
            invented += 1;
            format!("referrer:i{invented}.example={count} ")
        };
        let flood: String = (0..MAX_REFERRERS).map(|_| invent(1_000)).collect();
        sums = sums.after(&record(&flood).others);
        for _ in 0..10_000 {
            let addition = format!("{} {} referrer:real.example=1", invent(1), invent(1));
            sums = sums.after(&record(&addition).others);
        }
        // 130,000 clicks, of which 10,000 are from the real host.
        let real = of_host(&sums, "real.example");
        assert!((8_700..=10_000).contains(&real), "{real}");
    }

    /// Whatever comes in whichever batches, and however sums are added to sums: no click is lost or counted twice, and no
    /// count is further from the truth than documented.
    #[test]
    fn sums_are_exact_and_counts_of_hosts_have_a_known_error() {
        let mut random = fastrand::Rng::with_seed(17);
        for round in 0..60 {
            let hosts = [90, 101, 150, 3_000][round % 4];
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            let mut parts = vec![Others::default(); 3];
            for _ in 0..random.usize(50..150) {
                let mut addition = Others::default();
                for _ in 0..random.usize(1..300) {
                    // Few hosts have many clicks.
                    let host = (random.f64().powi(4) * f64::from(hosts)) as u32;
                    let (host, count) = (format!("h{host}.example"), random.u64(1..4));
                    addition.add(&Counter::Referrer(host.as_str().into()), count);
                    *truth.entry(host).or_default() += count;
                }
                let part = random.usize(..parts.len());
                parts[part] = std::mem::take(&mut parts[part]).after(&addition);
            }
            let sums = parts.iter().fold(Others::default(), Others::after);
            assert!(sums.0.len() <= MAX_REFERRERS + 1);
            let total: u64 = sums.0.values().sum();
            assert_eq!(total, truth.values().sum::<u64>());
            let other = of_host(&sums, Counter::OTHER_REFERRER);
            assert_eq!(other > 0, truth.len() > MAX_REFERRERS, "{other}");
            for (host, count) in truth {
                let shown = of_host(&sums, &host);
                let error = other / (MAX_REFERRERS as u64 + 1);
                assert!(
                    shown <= count && count <= shown + error,
                    "{host}: {shown} of {count}"
                );
            }
        }
    }

    #[test]
    fn the_higher_sum_of_each_counter_stays() {
        let ours = record("lookup:address=7 lookup:txt=2 click:person=3 country:DE=1");
        let theirs = record("lookup:address=5 lookup:txt=4 click:bot=1 country:DE=2");
        let highest_of = |theirs: &Record| highest(Some(&ours), &theirs.sums());
        let highest = highest_of(&theirs);
        let expected =
            record("lookup:address=7 lookup:txt=4 click:person=3 click:bot=1 country:DE=2");
        assert_eq!(highest, expected);
        assert_eq!(highest_of(&highest), highest);
    }

    #[test]
    fn referrers_come_whole_from_the_side_that_has_more_of_them() {
        let ours = record("click:bot=2 referrer:a.example=5 referrer:b.example=3");
        let check = |theirs: &str, expected: &str| {
            let taken = highest(Some(&ours), &record(theirs).sums());
            assert_eq!(taken, record(expected), "{theirs}");
            assert_eq!(highest(Some(&taken), &record(theirs).sums()), taken);
        };
        let ours = "click:bot=2 referrer:a.example=5 referrer:b.example=3";
        check("referrer:c.example=8", ours);
        check("click:bot=1", ours);
        // Counts of hosts have moved to "other" since.
        check(
            "click:bot=3 referrer:a.example=4 referrer:other=5",
            "click:bot=3 referrer:a.example=4 referrer:other=5",
        );
        // Nor can another store bring too many.
        let many: String = (0..300)
            .map(|n| format!("referrer:h{n}.example=1 "))
            .collect();
        check(&many, "click:bot=2 referrer:other=300");
    }
}

//! The time that a call about statistics is about: `from`, `to` and `by`.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::clock::UnixTime;
use crate::http::problem::{Kind, Problem};
use crate::store::statistics::{DAYS_KEPT, HOURS_KEPT, Range, Unit};

/// The most months of a reply: a century.
const MAX_MONTHS: usize = 1_200;
/// How many hours and days a reply has if the call does not say.
const DEFAULT_HOURS: u64 = 24;
const DEFAULT_DAYS: u64 = 30;
/// Up to this span, in seconds, a call that names no unit gets hours.
const HOURS_CHOSEN: u64 = 2 * DAY;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// Longer than each month, and shorter than two.
const OVER_A_MONTH: u64 = 32 * DAY;

/// Whole units of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Hour, day or month.
    pub(super) unit: Unit,
    /// The start of the first unit. None for all months in which something was counted.
    pub(super) from: Option<UnixTime>,
    /// The end of the last unit.
    pub(super) to: UnixTime,
}

/// The parameters of a call as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
    pub(super) by: Option<&'a str>,
}

impl Period {
    /// Reads the parameters.
    ///
    /// # Errors
    /// One of them is no time or unit, nothing is between `from` and `to`, or the units of that time are no longer kept.
    pub(super) fn read(asked: Asked<'_>, now: UnixTime) -> Result<Self, Problem> {
        let by = asked.by.map(unit).transpose()?;
        let from = asked.from.map(|text| time(text, "from")).transpose()?;
        let to = asked.to.map(|text| time(text, "to")).transpose()?;
        let from = from.map(|(time, _)| time);
        // A date as the end is the last day.
        let to = to.map(|(time, is_date)| time.after(if is_date { DAY } else { 0 }));
        // Nothing was counted after now.
        let end = to.unwrap_or(UnixTime::MAX).min(now.after(1));
        if let Some(from) = from
            && from >= end
        {
            return Err(match from > now {
                true => refused("from", "\"from\" is later than now".into()),
                false => refused("to", "\"to\" is not later than \"from\"".into()),
            });
        }
        let unit = by.unwrap_or_else(|| chosen(from, end, now));
        let last = unit.start_of(UnixTime(end.0.saturating_sub(1)));
        let kept = unit.kept_from(now);
        if let Some(kept) = kept
            && last < kept
        {
            return Err(gone("to", unit, kept));
        }
        let start = match from {
            Some(from) => {
                let start = unit.start_of(from);
                match kept {
                    Some(kept) if start < kept => return Err(gone("from", unit, kept)),
                    _ => Some(start),
                }
            }
            None => default_start(unit, last).max(kept),
        };
        let period = Self {
            unit,
            from: start,
            to: next(unit, last),
        };
        match start.is_some() && period.units(None).count() > MAX_MONTHS {
            true => {
                let detail =
                    format!("\"from\" is too early: a reply has {MAX_MONTHS} months at most");
                Err(refused("from", detail))
            }
            false => Ok(period),
        }
    }

    /// What the store is asked for.
    pub(super) fn range(self) -> Range {
        Range {
            unit: self.unit,
            from: self.from.unwrap_or(UnixTime(0)),
            to: self.to,
        }
    }

    /// The start of the first unit; `first` is the first one in which something was counted.
    pub(super) fn start(self, first: Option<UnixTime>) -> UnixTime {
        let last = UnixTime(self.to.0.saturating_sub(1));
        self.from
            .or(first)
            .unwrap_or_else(|| self.unit.start_of(last))
    }

    /// The starts of all units, one more than [`MAX_MONTHS`] at most.
    pub(super) fn units(self, first: Option<UnixTime>) -> impl Iterator<Item = UnixTime> {
        let units = std::iter::successors(Some(self.start(first)), move |at| {
            Some(next(self.unit, *at))
        });
        units
            .take_while(move |start| *start < self.to)
            .take(MAX_MONTHS + 1)
    }

    /// The one unit that the period has, if links are ranked by it; else all time.
    pub(super) fn ranked(self) -> (Unit, UnixTime) {
        match self.from {
            Some(from) if self.unit != Unit::Hour && next(self.unit, from) == self.to => {
                (self.unit, from)
            }
            _ => (Unit::Total, UnixTime(0)),
        }
    }
}

/// The start of the unit after the one that starts then.
fn next(unit: Unit, start: UnixTime) -> UnixTime {
    match unit {
        Unit::Hour => start.after(HOUR),
        Unit::Day => start.after(DAY),
        Unit::Month => unit.start_of(start.after(OVER_A_MONTH)),
        Unit::Total => UnixTime::MAX,
    }
}

/// The unit for a call that names none: the finest one that is kept and makes no long reply.
fn chosen(from: Option<UnixTime>, end: UnixTime, now: UnixTime) -> Unit {
    let kept = |unit: Unit, from| {
        unit.kept_from(now)
            .is_none_or(|kept| unit.start_of(from) >= kept)
    };
    match from {
        None if kept(Unit::Day, UnixTime(end.0.saturating_sub(1))) => Unit::Day,
        Some(from) if from.until(end) <= HOURS_CHOSEN && kept(Unit::Hour, from) => Unit::Hour,
        Some(from) if kept(Unit::Day, from) => Unit::Day,
        _ => Unit::Month,
    }
}

/// The start of a period that ends with the unit of this start; none for all months.
fn default_start(unit: Unit, last: UnixTime) -> Option<UnixTime> {
    let before = |seconds: u64| Some(UnixTime(last.0.saturating_sub(seconds)));
    match unit {
        Unit::Hour => before((DEFAULT_HOURS - 1) * HOUR),
        Unit::Day => before((DEFAULT_DAYS - 1) * DAY),
        Unit::Month | Unit::Total => None,
    }
}

fn unit(text: &str) -> Result<Unit, Problem> {
    match text {
        "hour" => Ok(Unit::Hour),
        "day" => Ok(Unit::Day),
        "month" => Ok(Unit::Month),
        _ => Err(invalid("by", "\"by\" is hour, day or month".into())),
    }
}

/// The name of a unit in the API.
pub(super) fn name(unit: Unit) -> &'static str {
    match unit {
        Unit::Hour => "hour",
        Unit::Day => "day",
        Unit::Month => "month",
        Unit::Total => "total",
    }
}

/// A time, and whether it was written as a date.
fn time(text: &str, field: &'static str) -> Result<(UnixTime, bool), Problem> {
    let is_date = text.len() == "2026-12-31".len();
    let whole = match is_date {
        true => format!("{text}T00:00:00Z"),
        false => text.to_owned(),
    };
    // Nothing was counted before 1970, so all earlier times are the same.
    let is_earlier = || OffsetDateTime::parse(&whole, &Rfc3339).is_ok();
    let parsed = UnixTime::parse(&whole).or_else(|| is_earlier().then_some(UnixTime(0)));
    parsed.map(|time| (time, is_date)).ok_or_else(|| {
        let detail = format!(
            "{field:?} is a date such as 2026-12-31, or an RFC 3339 time such as 2026-12-31T23:00:00Z; \
             in a URL, + is written %2B"
        );
        invalid(field, detail)
    })
}

/// The problem of units that the store no longer has.
fn gone(field: &'static str, unit: Unit, kept: UnixTime) -> Problem {
    let (unit, days, coarser) = match unit {
        Unit::Hour => ("hours", HOURS_KEPT / DAY, "day\" or \"by=month"),
        Unit::Day | Unit::Month | Unit::Total => ("days", DAYS_KEPT / DAY, "month"),
    };
    let detail = format!(
        "{field:?} is too early: {unit} are kept for {days} days, now from {}; choose a later time or \"by={coarser}\"",
        kept.rfc3339()
    );
    refused(field, detail)
}

/// The problem of a period that is well formed, and that no reply can have.
pub(super) fn refused(field: &'static str, detail: String) -> Problem {
    Problem::new(Kind::PeriodRefused, detail).of(field)
}

fn invalid(field: &'static str, detail: String) -> Problem {
    Problem::new(Kind::InvalidQuery, detail).of(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Tuesday.
    const NOW: &str = "2023-11-14T22:13:20Z";

    fn read(query: &str) -> Result<Period, Problem> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let of = |name| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| &**value)
        };
        let asked = Asked {
            from: of("from"),
            to: of("to"),
            by: of("by"),
        };
        Period::read(asked, UnixTime::parse(NOW).unwrap())
    }

    #[test]
    fn periods_are_whole_units() {
        let check = |query: &str, by: &str, from: Option<&str>, to: &str, count: usize| {
            let period = read(query).unwrap();
            let shown = (
                name(period.unit),
                period.from.map(UnixTime::rfc3339),
                period.to.rfc3339(),
                period.units(None).count(),
            );
            let expected = (by, from.map(str::to_owned), to.to_owned(), count);
            assert_eq!(shown, expected, "{query}");
        };
        let (midnight, month) = ("2023-11-15T00:00:00Z", "2023-12-01T00:00:00Z");
        check("", "day", Some("2023-10-16T00:00:00Z"), midnight, 30);
        check("by=day", "day", Some("2023-10-16T00:00:00Z"), midnight, 30);
        let hours = Some("2023-11-13T23:00:00Z");
        check("by=hour", "hour", hours, "2023-11-14T23:00:00Z", 24);
        check("by=month", "month", None, month, 1);
        // A date as the end is the last day; a time is not in the period.
        let (first, third) = (Some("2023-11-01T00:00:00Z"), "2023-11-03T00:00:00Z");
        check(
            "from=2023-11-01&to=2023-11-02&by=day",
            "day",
            first,
            third,
            2,
        );
        check(
            "from=2023-11-01&to=2023-11-03T00:00:00Z",
            "day",
            first,
            third,
            2,
        );
        check(
            "from=2023-11-01&to=2023-11-02T00:00:01Z",
            "day",
            first,
            third,
            2,
        );
        // Short spans have hours if they are kept.
        check(
            "from=2023-11-13&to=2023-11-13",
            "hour",
            Some("2023-11-13T00:00:00Z"),
            "2023-11-14T00:00:00Z",
            24,
        );
        check(
            "from=2023-11-01&to=2023-11-01",
            "day",
            first,
            "2023-11-02T00:00:00Z",
            1,
        );
        check(
            "from=2023-08-17",
            "day",
            Some("2023-08-17T00:00:00Z"),
            midnight,
            90,
        );
        check(
            "from=2023-08-15",
            "month",
            Some("2023-08-01T00:00:00Z"),
            month,
            4,
        );
        check("to=2023-01-31", "month", None, "2023-02-01T00:00:00Z", 1);
        // 1972 was a leap year, and nothing is later than now.
        check(
            "from=1970-01-01&to=9999-12-31",
            "month",
            Some("1970-01-01T00:00:00Z"),
            month,
            647,
        );
        check(
            "from=2023-11-14T23:30:00%2B02:00&by=hour",
            "hour",
            Some("2023-11-14T21:00:00Z"),
            "2023-11-14T23:00:00Z",
            2,
        );
        // Defaults do not reach beyond what is kept.
        check(
            "by=hour&to=2023-11-08T00:00:00Z",
            "hour",
            Some("2023-11-07T22:00:00Z"),
            "2023-11-08T00:00:00Z",
            2,
        );
    }

    #[test]
    fn all_months_begin_with_the_first_one_that_counts() {
        let period = read("by=month").unwrap();
        let first = UnixTime::parse("2023-09-01T00:00:00Z");
        let starts: Vec<_> = period.units(first).map(UnixTime::rfc3339).collect();
        let expected = [
            "2023-09-01T00:00:00Z",
            "2023-10-01T00:00:00Z",
            "2023-11-01T00:00:00Z",
        ];
        assert_eq!(starts, expected);
    }

    #[test]
    fn links_are_ranked_by_one_unit_or_in_total() {
        let check = |query: &str, expected: Unit| {
            assert_eq!(read(query).unwrap().ranked().0, expected, "{query}");
        };
        check("from=2023-11-01&to=2023-11-01&by=day", Unit::Day);
        check("from=2023-11-01&by=month", Unit::Month);
        check("from=2023-11-14T22:00:00Z&by=hour", Unit::Total);
        check("", Unit::Total);
        check("by=month", Unit::Total);
    }

    #[test]
    fn bad_periods_name_the_parameter_and_the_remedy() {
        let check = |query: &str, field: &str, part: &str| {
            let problem = read(query).unwrap_err();
            assert_eq!(problem.field(), Some(field), "{query}");
            assert!(
                problem.detail().contains(part),
                "{query}: {}",
                problem.detail()
            );
        };
        check("by=week", "by", "hour, day or month");
        check("from=yesterday", "from", "2026-12-31");
        check("from=2023-02-30", "from", "2026-12-31");
        check("from=1969-12-31&by=day", "from", "90 days");
        check("to=2023-11-14T10:00:00+01:00", "to", "%2B");
        check("from=2023-11-15", "from", "later than now");
        check("from=2023-11-14&to=2023-11-13", "to", "not later");
        check(
            "from=2023-11-14T01:00:00Z&to=2023-11-14T01:00:00Z",
            "to",
            "not later",
        );
        check(
            "from=2023-11-01&by=hour",
            "from",
            "7 days, now from 2023-11-07T22:00:00Z",
        );
        check("to=2023-11-01&by=hour", "to", "\"by=day\"");
        check(
            "from=2023-08-01&by=day",
            "from",
            "90 days, now from 2023-08-16T00:00:00Z",
        );
        check("to=2023-08-01&by=day", "to", "\"by=month\"");
    }

    #[test]
    fn a_reply_has_no_more_months_than_a_century() {
        let check = |now: &str, fits: bool| {
            let asked = Asked {
                from: Some("1970-01-01"),
                ..Asked::default()
            };
            let read = Period::read(asked, UnixTime::parse(now).unwrap());
            assert_eq!(read.is_ok(), fits, "{now}");
            assert!(read.is_ok() || read.unwrap_err().field() == Some("from"));
        };
        check("2069-12-31T00:00:00Z", true);
        check("2070-01-01T00:00:00Z", false);
    }
}

//! The items of the table of statistics.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::base::clock::UnixTime;
use crate::link::{LinkName, Origin};
use crate::store::dynamodb::item::{EXPIRES_AT, Item, number, text};
use crate::store::statistics::{Counter, DAYS_KEPT, HOURS_KEPT, Ranked, Ranking, Unit};
use crate::store::sums::{Key, Others, Record, time_of, unit_column, unit_of};

/// The partition key and the sort key.
pub(in crate::store::dynamodb) const ZONE: &str = "zone";
pub(in crate::store::dynamodb) const ID: &str = "id";
/// The indexes for rankings: the name, and the attribute that is the sort key.
pub(in crate::store::dynamodb) const INDEXES: [(&str, &str); 2] =
    [("clicks", BY_CLICKS), ("lookups", BY_LOOKUPS)];
/// The partition key of both indexes.
pub(in crate::store::dynamodb) const RANKED: &str = "ranked";
const BY_CLICKS: &str = "byClicks";
const BY_LOOKUPS: &str = "byLookups";
/// The partition of the items that are no sums. No origin of a zone begins like that.
pub(super) const OWN: &str = "#";
/// The partition that has the zones.
pub(super) const ZONES: &str = "#zones";

const LOOKUPS: &str = "lookups";
const CLICKS: &str = "clicks";
const OTHERS: &str = "others";
const FLUSH: &str = "flush";
pub(super) const REVISION: &str = "revision";

/// Between the parts of a sort key. It sorts before everything that may be in a code.
pub(super) const SEPARATOR: char = '#';
const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The content of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) record: Record,
    /// The id of the last flush that has added to it; 0 for none.
    pub(super) flush: u64,
    /// The number of writes, each of which must follow the one before; 0 if there is no such item.
    pub(super) revision: u64,
}

/// The sort key of all items of a link, or of a zone for an empty code, begins with this.
pub(super) fn prefix(code: &str) -> String {
    format!("{code}{SEPARATOR}")
}

/// The sort key: it sorts by code, unit and start.
pub(super) fn id(key: &Key) -> String {
    sort_key(
        &key.code,
        key.unit,
        time_of(key.start).unwrap_or(UnixTime(0)),
    )
}

/// The sort key of a link, or of a zone for an empty code.
pub(super) fn sort_key(code: &str, unit: i16, start: UnixTime) -> String {
    let start = start.min(UnixTime::MAX).rfc3339();
    format!("{code}{SEPARATOR}{unit}{SEPARATOR}{start}")
}

/// The key of an item of the table.
pub(super) fn table_key(zone: &str, id: &str) -> Item {
    Item::from([(ZONE.into(), text(zone)), (ID.into(), text(id))])
}

pub(super) fn key_item(key: &Key) -> Item {
    table_key(&key.origin, &id(key))
}

/// The key of the sums in an item; the error says what is wrong with it.
pub(super) fn key(item: &Item) -> Result<Key, String> {
    let get = |name: &str| {
        let value = item.get(name).and_then(|value| value.as_s().ok());
        value.ok_or_else(|| format!("{name} is no string"))
    };
    let (zone, id) = (get(ZONE)?, get(ID)?);
    let parsed = || {
        let (code, rest) = id.split_once(SEPARATOR)?;
        let (unit, start) = rest.split_once(SEPARATOR)?;
        let (unit, start) = (unit.parse::<i16>().ok()?, UnixTime::parse(start)?);
        Some(Key::new(zone, code, unit_of(unit)?, start))
    };
    let bad = || format!("{zone} {id:?} is no key of sums");
    let key = parsed().ok_or_else(bad)?;
    match self::id(&key) == *id {
        true => Ok(key),
        false => Err(bad()),
    }
}

/// The partition of both indexes for a zone in one unit of time.
pub(super) fn ranked(origin: &str, unit: Unit, start: UnixTime) -> String {
    let start = unit.start_of(start).min(UnixTime::MAX).rfc3339();
    format!("{origin}{SEPARATOR}{}{SEPARATOR}{start}", unit_column(unit))
}

/// The place of a link in a ranking: higher counts come first, then codes in their order.
pub(super) fn rank(count: u64, code: &str) -> String {
    format!("{:016x}{SEPARATOR}{code}", u64::MAX - count)
}

/// The link at a place of a ranking; none if the item is damaged.
pub(super) fn at_rank(origin: &Origin, by: Ranking, item: &Item) -> Option<Ranked> {
    let rank = item.get(index(by).1)?.as_s().ok()?;
    let (count, code) = rank.split_once(SEPARATOR)?;
    Some(Ranked {
        name: LinkName::parse(&format!("{code}.{origin}")).ok()?,
        count: u64::MAX - u64::from_str_radix(count, 16).ok()?,
    })
}

/// The index of a ranking, and its sort key.
pub(super) fn index(by: Ranking) -> (&'static str, &'static str) {
    match by {
        Ranking::Clicks => INDEXES[0],
        Ranking::Lookups => INDEXES[1],
    }
}

/// From when on the sums are no longer kept, in seconds since the epoch.
fn end(key: &Key) -> Option<u64> {
    let start = time_of(key.start)?.0;
    match key.unit {
        0 => Some(start + HOUR + HOURS_KEPT),
        1 => Some(start + DAY + DAYS_KEPT),
        _ => None,
    }
}

/// The item of sums.
pub(super) fn encode(key: &Key, stored: &Stored) -> Item {
    let Stored {
        record,
        flush,
        revision,
    } = stored;
    let mut item = key_item(key);
    let numbers = [
        (LOOKUPS, record.lookups),
        (CLICKS, record.clicks),
        (FLUSH, *flush),
        (REVISION, *revision),
    ];
    item.extend(numbers.map(|(name, value)| (name.into(), number(value))));
    if !record.others.is_empty() {
        let others = record.others.iter();
        let others: HashMap<_, _> = others
            .map(|(counter, count)| (counter.to_string(), number(count)))
            .collect();
        item.insert(OTHERS.into(), AttributeValue::M(others));
    }
    if let Some(end) = end(key) {
        item.insert(EXPIRES_AT.into(), number(end));
    }
    if let (Some(unit), Some(start)) = (unit_of(key.unit), time_of(key.start))
        && unit != Unit::Hour
        && !key.code.is_empty()
    {
        item.insert(RANKED.into(), text(&ranked(&key.origin, unit, start)));
        for (name, count) in [(BY_CLICKS, record.clicks), (BY_LOOKUPS, record.lookups)] {
            if count > 0 {
                item.insert(name.into(), text(&rank(count, &key.code)));
            }
        }
    }
    item
}

/// The content of an item. A damaged one has its revision all the same, if that can be read, so that it can be replaced.
pub(super) fn decode(item: &Item) -> (Stored, Result<(), String>) {
    let numeric = |name: &str| match item.get(name) {
        Some(AttributeValue::N(text)) => text
            .parse::<u64>()
            .map_err(|_| format!("{name} is no count: {text}")),
        _ => Err(format!("{name} is no number")),
    };
    let others = || match item.get(OTHERS) {
        None => Ok(Others::default()),
        Some(AttributeValue::M(sums)) => sums
            .iter()
            .map(|(name, value)| {
                let counter = Counter::parse(name);
                let count = value.as_n().ok().and_then(|count| count.parse().ok());
                counter
                    .zip(count)
                    .ok_or_else(|| format!("{name:?} is no counter with a count"))
            })
            .collect(),
        Some(_) => Err(format!("{OTHERS} is no map")),
    };
    let record = || {
        Ok(Record {
            lookups: numeric(LOOKUPS)?,
            clicks: numeric(CLICKS)?,
            others: others()?,
        })
    };
    let (record, fault) = match record() {
        Ok(record) => (record, Ok(())),
        Err(reason) => (Record::default(), Err(reason)),
    };
    let stored = Stored {
        record,
        flush: numeric(FLUSH).unwrap_or(0),
        revision: numeric(REVISION).unwrap_or(0),
    };
    (stored, fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        let sums = [
            ("lookup:address", 7),
            ("lookup:txt", 2),
            ("click:person", 3),
            ("country:DE", 3),
        ];
        let sums = sums.map(|(name, count)| (Counter::parse(name).unwrap(), count));
        Stored {
            record: Record::of(&sums),
            flush: 1_767_225_600_000_001,
            revision: 4,
        }
    }

    #[test]
    fn sums_come_back_and_only_some_end_or_are_ranked() {
        let time = UnixTime(1_767_225_600 + 5 * HOUR);
        for (unit, ends, is_ranked) in [
            (Unit::Hour, Some(time.0 + HOUR + HOURS_KEPT), false),
            (Unit::Day, Some(1_767_225_600 + DAY + DAYS_KEPT), true),
            (Unit::Month, None, true),
            (Unit::Total, None, true),
        ] {
            for code in ["a", ""] {
                let key = Key::new("s.example.com", code, unit, time);
                let item = encode(&key, &stored());
                assert_eq!(super::key(&item), Ok(key));
                assert_eq!(decode(&item), (stored(), Ok(())));
                let ended = item.get(EXPIRES_AT).map(|end| end.as_n().unwrap().clone());
                assert_eq!(ended, ends.map(|end| end.to_string()), "{unit:?}");
                let has_rank = item.contains_key(RANKED);
                assert_eq!(has_rank, is_ranked && code == "a", "{unit:?} {code:?}");
            }
        }
    }

    #[test]
    fn sort_keys_are_in_the_order_of_all_stores() {
        let mut keys = Vec::new();
        for code in ["", "-a", "0", "_", "a", "a-b", "ab", "b"] {
            for unit in Unit::ALL {
                for hour in [0, 24 * 40, 24 * 400] {
                    keys.push(Key::new("s.x", code, unit, UnixTime(hour * HOUR)));
                }
            }
        }
        keys.sort();
        assert!(keys.is_sorted_by_key(id));
    }

    #[test]
    fn the_highest_count_is_ranked_first_and_codes_of_one_count_in_their_order() {
        let ranks = [rank(300, "z"), rank(20, "a"), rank(20, "b"), rank(1, "a")];
        assert!(ranks.is_sorted());
    }

    #[test]
    fn damaged_items_are_told_and_can_be_replaced() {
        let key = Key::new("s.x", "a", Unit::Day, UnixTime(0));
        let check = |name: &str, value: AttributeValue, expected: &str| {
            let mut item = encode(&key, &stored());
            item.insert(name.into(), value);
            let (found, fault) = decode(&item);
            assert!(fault.unwrap_err().contains(expected), "{name}");
            assert_eq!((found.record, found.revision), (Record::default(), 4));
        };
        check(LOOKUPS, text("7"), "lookups is no number");
        check(CLICKS, AttributeValue::N("-1".into()), "clicks is no count");
        let others = HashMap::from([("sum".to_owned(), number(1))]);
        check(OTHERS, AttributeValue::M(others), "\"sum\" is no counter");
        for id in [
            "a",
            "a#9#1970-01-01T00:00:00Z",
            "a#1#1970-01-01T07:00:00Z",
            "a#1#x",
        ] {
            assert!(super::key(&table_key("s.x", id)).is_err(), "{id}");
        }
    }
}

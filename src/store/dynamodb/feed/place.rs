//! Positions in a stream: a state for each of its shards.
//!
//! As text: the label of the stream, and for each shard its id and state, such as
//! `2026-11-30T12:00:00.000|shardId-1~E|shardId-2~=1700000000`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::store::feed::Position;

/// How far a shard has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Nothing was read; its oldest record is the next one.
    Start,
    /// Records from before this time, in seconds since the epoch, are left out. No later one was read.
    Since(u64),
    /// Up to the record with this sequence number, a decimal number of any length.
    After(Box<str>),
    /// To its end; the shard is closed.
    Done,
}

impl At {
    fn parse(text: &str) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.split_at_checked(1)? {
            ("T", "") => Some(Self::Start),
            ("E", "") => Some(Self::Done),
            ("@", seconds) => seconds.parse().ok().map(Self::Since),
            ("=", number) if is_number(number) => Some(Self::After(number.into())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Start => "T".into(),
            Self::Since(seconds) => format!("@{seconds}"),
            Self::After(number) => format!("={number}"),
            Self::Done => "E".into(),
        }
    }

    /// Whether all has been read that has been read at `other`, as far as that is certain.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Start) | (Self::Done, _) => true,
            (Self::Since(one), Self::Since(other)) => one >= other,
            (Self::After(one), Self::After(other)) => compare(one, other).is_ge(),
            // What comes after a time was read first.
            (Self::After(_), Self::Since(_)) => true,
            (Self::Start | Self::Since(_) | Self::After(_), _) => false,
        }
    }
}

/// Compares decimal numbers of any length, without leading zeros.
fn compare(one: &str, other: &str) -> Ordering {
    let digits = |text: &str| text.trim_start_matches('0').to_owned();
    let (one, other) = (digits(one), digits(other));
    one.len().cmp(&other.len()).then(one.cmp(&other))
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The label of the stream: a table whose stream is turned off and on has another one.
    pub(super) stream: Box<str>,
    pub(super) shards: BTreeMap<Box<str>, At>,
}

impl Place {
    pub(super) fn parse(position: &Position) -> Option<Self> {
        let mut parts = position.as_str().split('|');
        let stream = parts.next()?.into();
        let shard = |part: &str| {
            let (id, at) = part.split_once('~')?;
            Some((id.into(), At::parse(at)?))
        };
        let shards: Option<BTreeMap<_, _>> = parts.map(shard).collect();
        Some(Self {
            stream,
            shards: shards?,
        })
    }

    /// None if there are more shards than a position has room for.
    pub(super) fn position(&self) -> Option<Position> {
        let mut text = String::from(&*self.stream);
        for (id, at) in &self.shards {
            text.push('|');
            text.push_str(id);
            text.push('~');
            text.push_str(&at.text());
        }
        Position::new(text)
    }

    /// See [`crate::store::feed::Feed::covers`].
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.stream == other.stream
            && other.shards.iter().all(|(id, at)| {
                match self.shards.get(id) {
                    Some(own) => own.covers(at),
                    // A shard is forgotten when it was read to its end and is gone.
                    None => *at == At::Done,
                }
            })
    }
}

/// A shard of the stream, as DynamoDB lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardInfo {
    pub(super) id: Box<str>,
    pub(super) parent: Option<Box<str>>,
}

impl Place {
    /// The place at the end of a stream with these shards at a time, in seconds since the epoch. A shard with children is
    /// closed.
    pub(super) fn end(stream: &str, shards: &[ShardInfo], now: u64) -> Self {
        let has_children = |id: &str| {
            shards
                .iter()
                .any(|other| other.parent.as_deref() == Some(id))
        };
        let at = |shard: &ShardInfo| match has_children(&shard.id) {
            true => At::Done,
            false => At::Since(now),
        };
        Self {
            stream: stream.into(),
            shards: shards.iter().map(|s| (s.id.clone(), at(s))).collect(),
        }
    }

    /// Takes the present list of shards in: new ones begin at their start, and those that were read to their end and are
    /// gone are forgotten. False if a shard is gone that was not read to its end.
    pub(super) fn refresh(&mut self, shards: &[ShardInfo]) -> bool {
        let is_listed = |id: &str| shards.iter().any(|shard| *shard.id == *id);
        if self
            .shards
            .iter()
            .any(|(id, at)| *at != At::Done && !is_listed(id))
        {
            return false;
        }
        self.shards.retain(|id, _| is_listed(id));
        for shard in shards {
            self.shards.entry(shard.id.clone()).or_insert(At::Start);
        }
        true
    }

    /// The shards to read now: those whose parents have been read to the end, because the records of one name are in order
    /// only that way.
    pub(super) fn readable(&self, shards: &[ShardInfo]) -> Vec<Box<str>> {
        let is_done = |id: &str| self.shards.get(id).is_none_or(|at| *at == At::Done);
        let readable = shards
            .iter()
            .filter(|shard| !is_done(&shard.id) && shard.parent.as_deref().is_none_or(is_done));
        readable.map(|shard| shard.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parent: Option<&str>) -> ShardInfo {
        ShardInfo {
            id: id.into(),
            parent: parent.map(Into::into),
        }
    }

    fn place(shards: &[(&str, At)]) -> Place {
        Place {
            stream: "2026-11-30T12:00:00.000".into(),
            shards: shards
                .iter()
                .map(|(id, at)| ((*id).into(), at.clone()))
                .collect(),
        }
    }

    fn after(number: &str) -> At {
        At::After(number.into())
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        let all = [
            ("a-1", At::Start),
            ("b", At::Since(7)),
            ("c", after("17000000000000000000001")),
            ("d", At::Done),
        ];
        let place = place(&all);
        assert_eq!(Place::parse(&place.position().unwrap()), Some(place));
        for bad in [
            "s|a",
            "s|a~",
            "s|a~X",
            "s|a~@x",
            "s|a~=",
            "s|a~=1x",
            "s|a~T1",
            "s|a~\u{e4}",
        ] {
            assert_eq!(
                Position::new(bad).and_then(|p| Place::parse(&p)),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_place_covers_those_before_it() {
        let check = |one: At, other: At, covers| {
            let (one, other) = (place(&[("a", one)]), place(&[("a", other)]));
            assert_eq!(one.covers(&other), covers, "{one:?} {other:?}");
        };
        check(after("100"), after("99"), true);
        check(after("99"), after("100"), false);
        check(after("100"), after("100"), true);
        check(after("1"), At::Since(5), true);
        check(At::Since(5), after("1"), false);
        check(At::Since(5), At::Since(6), false);
        check(At::Done, after("1"), true);
        check(after("1"), At::Done, false);
        check(At::Start, At::Start, true);
        assert!(place(&[]).covers(&place(&[("a", At::Done)])));
        assert!(!place(&[]).covers(&place(&[("a", after("1"))])));
    }

    #[test]
    fn children_are_read_when_their_parents_are_done() {
        let shards = [shard("p", None), shard("q", None)];
        let mut place = Place::end("s", &shards, 9);
        assert_eq!(place.readable(&shards), [Box::from("p"), "q".into()]);
        // The first splits, the second goes on.
        let split = [
            shard("p", None),
            shard("q", None),
            shard("c1", Some("p")),
            shard("c2", Some("p")),
        ];
        assert!(place.refresh(&split));
        assert_eq!(place.readable(&split), [Box::from("p"), "q".into()]);
        place.shards.insert("p".into(), At::Done);
        assert_eq!(
            place.readable(&split),
            [Box::from("q"), "c1".into(), "c2".into()]
        );
        assert_eq!(place.shards.get("c1"), Some(&At::Start));
        // The parent expires. Then the other one does, which was not read to its end.
        let later = [
            shard("q", None),
            shard("c1", Some("p")),
            shard("c2", Some("p")),
        ];
        assert!(place.refresh(&later));
        assert!(!place.shards.contains_key("p"));
        assert_eq!(
            place.readable(&later),
            [Box::from("q"), "c1".into(), "c2".into()]
        );
        assert!(!place.refresh(&later[1..]));
        // At the end of a stream the parents count as read.
        let end = Place::end("s", &split, 9);
        assert_eq!(
            end.readable(&split),
            [Box::from("q"), "c1".into(), "c2".into()]
        );
    }
}

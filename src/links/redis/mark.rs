//! The mark that each value in Redis carries; [`super::store_mark`] explains it.

use std::fmt;

use crate::base::clock::UnixTime;

/// A number that identifies a store and its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// The mark while the store is not known. No value carries it.
    pub(super) const NONE: Self = Self(0);

    /// The mark of the shared store with this id.
    pub(super) fn of(id: u64) -> Self {
        Self(id.max(1))
    }

    /// A new, random mark.
    pub(super) fn draw(now: UnixTime) -> Self {
        Self(getrandom::u64().unwrap_or(now.0).max(1))
    }

    /// The mark with this number; none for 0.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Its number, which is 0 for [`Mark::NONE`] alone.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// Reads the text that [`fmt::Display`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Self::from_number(number)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which values in Redis are valid; see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// When the Redis server started, in seconds since the epoch, or the floor of [`super::fed`] if that is later; 0 if
    /// both are unknown. Older values come from a file, or lack changes, and are not valid.
    pub(super) started: u64,
    /// The mark that valid values carry.
    pub(super) mark: Mark,
}

/// The last argument of every script.
impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.started, self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        let mark = Mark::of(0xdead_beef);
        assert_eq!(mark.to_string(), "00000000deadbeef");
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        for nonsense in [
            "",
            "1",
            "0000000000000000",
            "00000000deadbeefs",
            "+0000000deadbeef",
        ] {
            assert_eq!(Mark::parse(nonsense), None, "{nonsense}");
        }
        assert_ne!(Mark::of(0), Mark::NONE);
    }
}

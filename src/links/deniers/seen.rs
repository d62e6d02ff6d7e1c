//! What this server has seen of the register: which leases may still count, and which entries are abandoned.
//!
//! A lease has no time in it, because clocks differ. It counts until this server has seen the same number for [`OVER`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::store::filters::Register;

/// How long a lease counts after the end of the read that first showed its number. Its holder trusts it for a shorter time
/// after it has begun to write the number; see the [module](super) for the difference.
pub(super) const OVER: Duration = Duration::from_secs(7);
/// After how long an entry that has not changed may be removed: its server is dead, or has forgotten it.
const ABANDONED: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the last read began.
    began: Option<Instant>,
    leases: HashMap<Box<str>, Noted>,
    posts: HashMap<Box<str>, Noted>,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    number: u64,
    /// The end of the read that first showed this number.
    since: Instant,
}

impl Seen {
    /// Notes a read.
    pub(super) fn note(&mut self, began: Instant, ended: Instant, register: &Register) {
        if self.began.is_some_and(|last| last >= began) {
            return;
        }
        self.began = Some(began);
        note(&mut self.leases, &register.leases, ended);
        note(&mut self.posts, &register.posts, ended);
    }

    /// When the last read began.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The servers whose leases counted when the last read began.
    pub(super) fn live(&self) -> impl Iterator<Item = &Box<str>> {
        let unchanged = unchanged_for(&self.leases, self.began, OVER);
        let over: Vec<_> = unchanged.map(|(id, _)| id).collect();
        self.leases.keys().filter(move |id| !over.contains(id))
    }

    /// The leases of servers that are gone, or have forgotten them; with their numbers.
    pub(super) fn abandoned_leases(&self) -> Vec<(Box<str>, u64)> {
        abandoned(&self.leases, self.began)
    }

    /// The same for posts.
    pub(super) fn abandoned_posts(&self) -> Vec<(Box<str>, u64)> {
        abandoned(&self.posts, self.began)
    }
}

fn note(noted: &mut HashMap<Box<str>, Noted>, now: &[(Box<str>, u64)], ended: Instant) {
    let before = std::mem::take(noted);
    *noted = now
        .iter()
        .map(|(id, number)| {
            let same = before.get(id).filter(|before| before.number == *number);
            let since = same.map_or(ended, |before| before.since);
            let number = *number;
            (id.clone(), Noted { number, since })
        })
        .collect();
}

/// The entries that have been the same for so long when a read began.
fn unchanged_for(
    noted: &HashMap<Box<str>, Noted>,
    began: Option<Instant>,
    time: Duration,
) -> impl Iterator<Item = (&Box<str>, u64)> {
    noted.iter().filter_map(move |(id, noted)| {
        let unchanged = began?.saturating_duration_since(noted.since);
        (unchanged >= time).then_some((id, noted.number))
    })
}

fn abandoned(noted: &HashMap<Box<str>, Noted>, began: Option<Instant>) -> Vec<(Box<str>, u64)> {
    let abandoned = unchanged_for(noted, began, ABANDONED);
    abandoned.map(|(id, number)| (id.clone(), number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(leases: &[(&str, u64)]) -> Register {
        let leases = leases.iter().map(|(id, number)| ((*id).into(), *number));
        Register {
            leases: leases.collect(),
            posts: vec![],
        }
    }

    #[test]
    fn a_lease_counts_until_its_number_has_been_the_same_for_long() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut seen = Seen::default();
        let mut check = |millis, leases: &[(&str, u64)], expected: &[&str]| {
            seen.note(at(millis), at(millis + 500), &register(leases));
            let mut live: Vec<_> = seen.live().map(|id| &**id).collect();
            live.sort_unstable();
            assert_eq!(live, expected, "{millis}");
            (
                seen.abandoned_leases().len(),
                seen.began() == Some(at(millis)),
            )
        };
        check(0, &[("a", 1), ("b", 1)], &["a", "b"]);
        // From the end of the read that has shown the number.
        check(7_400, &[("a", 1), ("b", 2)], &["a", "b"]);
        check(7_500, &[("a", 1), ("b", 2)], &["b"]);
        check(8_000, &[("a", 2)], &["a"]);
        let (abandoned, _) = check(60_000, &[("a", 2)], &[]);
        assert_eq!(abandoned, 0);
        let (abandoned, _) = check(70_000, &[("a", 2)], &[]);
        assert_eq!(abandoned, 1);
        // A read that ends after a later one says nothing new.
        let (_, is_last) = check(65_000, &[("c", 1)], &[]);
        assert!(!is_last);
    }
}

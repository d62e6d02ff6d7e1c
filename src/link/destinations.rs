//! Several destinations of one link, each with a priority and a weight, as URI records have them (RFC 7553 §4.2, §4.3).
//!
//! A link has a [`target`](super::Link::target), and all that know one URL use that: TXT records, the fold of a code, earlier
//! versions of tinyns. Here is what a link with several destinations has besides: the rank of the target, and the other
//! URLs with theirs. The target is the preferred one: the first by priority, within a priority by weight, and then in the
//! order in which a caller has named them.
//!
//! The target's URL is not stored a second time. So a server of an earlier version that changes the URL of a link changes
//! the URL of the first destination, and the others stay.

use serde::{Deserialize, Serialize};

use super::TargetUrl;

/// The most destinations of a link.
const MAX: usize = 8;
/// Priority and weight of a destination for which a caller names none, and of the URL of a link with one destination.
const PRIORITY: u16 = 10;
const WEIGHT: u16 = 1;
/// By how many bits weights are shifted in a draw, so that a weight of 0 counts much less than one of 1.
const SHIFT: u32 = 16;

/// Where a destination stands among those of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Clients use the destinations with the lowest number that they can reach.
    pub priority: u16,
    /// How often a destination is drawn among those of the same priority, relative to their sum.
    pub weight: u16,
}

impl Default for Rank {
    fn default() -> Self {
        Self {
            priority: PRIORITY,
            weight: WEIGHT,
        }
    }
}

/// A destination besides the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The URL.
    pub url: TargetUrl,
    /// Its rank.
    pub rank: Rank,
}

/// The destinations of a link that has several: the rank of its target, and the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StoredText", try_from = "StoredText")]
pub struct Destinations {
    /// The rank of the target.
    rank: Rank,
    /// The other destinations, in the order of preference; at most [`Destinations::MAX`] - 1.
    others: Box<[Other]>,
}

/// Why URLs cannot be the destinations of one link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationsError {
    /// There is no destination.
    #[error("a link needs a destination")]
    None,
    /// More than [`Destinations::MAX`].
    #[error("the link has {0} destinations; at most {MAX} are accepted")]
    TooMany(usize),
    /// Two spellings of one URL are the same URL.
    #[error("the destination {0} is there twice; name it once, with the sum of the weights")]
    Twice(TargetUrl),
}

/// A destination as the API, the audit log and exports have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedUrl {
    /// The URL.
    pub url: Box<str>,
    /// See [`Rank::priority`].
    pub priority: u16,
    /// See [`Rank::weight`].
    pub weight: u16,
}

impl Destinations {
    /// The most destinations of a link, with its target.
    pub const MAX: usize = MAX;

    /// The target of a link with these destinations, and what the link has besides; nothing for one destination of the
    /// usual rank.
    ///
    /// # Errors
    /// [`DestinationsError`] says which rule the list breaks.
    pub fn of(
        mut list: Vec<(TargetUrl, Rank)>,
    ) -> Result<(TargetUrl, Option<Box<Self>>), DestinationsError> {
        if list.len() > MAX {
            return Err(DestinationsError::TooMany(list.len()));
        }
        // Stable, so that equals stay in the order of the caller.
        list.sort_by_key(|(_, rank)| (rank.priority, u16::MAX - rank.weight));
        for (at, (url, _)) in list.iter().enumerate() {
            if list[..at].iter().any(|(before, _)| before == url) {
                return Err(DestinationsError::Twice(url.clone()));
            }
        }
        let mut list = list.into_iter();
        let (target, rank) = list.next().ok_or(DestinationsError::None)?;
        let others = list.map(|(url, rank)| Other { url, rank }).collect();
        let destinations = Self { rank, others };
        let besides = destinations.beside(&target);
        Ok((target, besides))
    }

    /// What a link with this target has besides: a URL that has become the target is no other destination any more.
    /// Nothing, if the target is the only destination and has the usual rank.
    pub fn beside(self, target: &TargetUrl) -> Option<Box<Self>> {
        let mut others = self.others.into_vec();
        others.retain(|other| other.url != *target);
        let is_usual = others.is_empty() && self.rank == Rank::default();
        let rank = self.rank;
        (!is_usual).then(|| {
            Box::new(Self {
                rank,
                others: others.into(),
            })
        })
    }

    /// Values that [`Self::rank`] and [`Self::others`] have given; they are not checked again.
    pub(crate) fn of_valid(rank: Rank, others: Vec<Other>) -> Self {
        let others = others.into();
        Self { rank, others }
    }

    /// The rank of the target.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The destinations besides the target.
    pub fn others(&self) -> &[Other] {
        &self.others
    }
}

/// A destination that was drawn for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its place in the list.
    pub at: usize,
    /// Whether another draw may give another one.
    pub may_differ: bool,
}

/// Draws one of the destinations with the lowest priority, by weight, from a random number (RFC 2782, "Weight", which RFC
/// 7553 §4.3 has for URI records).
///
/// The shares are exactly those of the weights; the algorithm of RFC 2782 gives the first in the list a little more. A
/// weight of 0 "should have a very small chance of being selected" beside others: 65,536 times less than a weight of 1.
pub fn draw(ranks: impl Iterator<Item = Rank> + Clone, random: u64) -> Drawn {
    let lowest = ranks.clone().map(|rank| rank.priority).min();
    let candidates = ranks
        .enumerate()
        .filter(|(_, rank)| Some(rank.priority) == lowest)
        .map(|(at, rank)| (at, (u64::from(rank.weight) << SHIFT).max(1)));
    let total: u64 = candidates.clone().map(|(_, share)| share).sum();
    // Below `total`, which has 36 bits at most.
    let mut point = ((u128::from(random) * u128::from(total)) >> u64::BITS) as u64;
    let mut drawn = Drawn {
        at: 0,
        may_differ: candidates.clone().nth(1).is_some(),
    };
    for (at, share) in candidates {
        drawn.at = at;
        if point < share {
            break;
        }
        point -= share;
    }
    drawn
}

/// The text in stores and in Redis.
#[derive(Serialize, Deserialize)]
struct StoredText {
    priority: u16,
    weight: u16,
    others: Vec<RankedUrl>,
}

impl From<Destinations> for StoredText {
    fn from(destinations: Destinations) -> Self {
        let others = destinations.others.iter();
        Self {
            priority: destinations.rank.priority,
            weight: destinations.rank.weight,
            others: others
                .map(|other| RankedUrl::new(&other.url, other.rank))
                .collect(),
        }
    }
}

impl RankedUrl {
    /// A destination as text.
    pub fn new(url: &TargetUrl, rank: Rank) -> Self {
        Self {
            url: url.as_str().into(),
            priority: rank.priority,
            weight: rank.weight,
        }
    }

    /// Its rank.
    pub fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            weight: self.weight,
        }
    }
}

impl TryFrom<StoredText> for Destinations {
    type Error = String;

    fn try_from(text: StoredText) -> Result<Self, Self::Error> {
        if text.others.len() >= MAX {
            return Err(DestinationsError::TooMany(text.others.len() + 1).to_string());
        }
        let other = |text: RankedUrl| {
            let url = TargetUrl::parse_stored(&text.url);
            let rank = text.rank();
            url.map(|url| Other { url, rank })
                .map_err(|error| format!("{:?}: {error}", text.url))
        };
        let rank = Rank {
            priority: text.priority,
            weight: text.weight,
        };
        let others = text.others.into_iter().map(other);
        let others = others.collect::<Result<_, _>>()?;
        Ok(Self { rank, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> TargetUrl {
        TargetUrl::parse(&format!("https://{host}.example/")).unwrap()
    }

    fn list(list: &[(&str, u16, u16)]) -> Vec<(TargetUrl, Rank)> {
        let one = |&(host, priority, weight)| (url(host), Rank { priority, weight });
        list.iter().map(one).collect()
    }

    #[test]
    fn the_target_is_the_preferred_one() {
        let check = |given: &[(&str, u16, u16)], expected: &[&str]| {
            let (target, besides) = Destinations::of(list(given)).unwrap();
            let others = besides.iter().flat_map(|besides| besides.others.iter());
            let all: Vec<_> = [&target]
                .into_iter()
                .chain(others.map(|other| &other.url))
                .cloned()
                .collect();
            let expected: Vec<_> = expected.iter().map(|host| url(host)).collect();
            assert_eq!(all, expected, "{given:?}");
        };
        check(&[("a", 10, 1)], &["a"]);
        check(&[("a", 20, 9), ("b", 10, 0)], &["b", "a"]);
        check(
            &[("a", 10, 1), ("b", 10, 2), ("c", 10, 2), ("d", 0, 0)],
            &["d", "b", "c", "a"],
        );
    }

    #[test]
    fn lists_that_are_refused() {
        let error = |given: &[(&str, u16, u16)]| Destinations::of(list(given)).unwrap_err();
        assert_eq!(error(&[]), DestinationsError::None);
        assert_eq!(
            error(&[("a", 1, 1), ("b", 1, 1), ("a", 2, 1)]),
            DestinationsError::Twice(url("a"))
        );
        let many: Vec<String> = (0..9).map(|n| format!("h{n}")).collect();
        let many: Vec<_> = many.iter().map(|host| (&**host, 1, 1)).collect();
        assert_eq!(error(&many), DestinationsError::TooMany(9));
        assert!(Destinations::of(list(&many[..8])).is_ok());
    }

    #[test]
    fn one_usual_destination_is_nothing_besides() {
        let besides = |given: &[(&str, u16, u16)]| Destinations::of(list(given)).unwrap().1;
        assert_eq!(besides(&[("a", PRIORITY, WEIGHT)]), None);
        assert!(besides(&[("a", 11, WEIGHT)]).is_some());
        // The other one has become the target.
        let two = besides(&[("a", PRIORITY, WEIGHT), ("b", 20, 1)]).unwrap();
        assert_eq!(two.clone().beside(&url("b")), None);
        assert_eq!(two.clone().beside(&url("c")), Some(two));
    }

    #[test]
    fn texts_come_back_and_are_checked() {
        let (_, besides) = Destinations::of(list(&[("a", 1, 2), ("b", 3, 4)])).unwrap();
        let text = serde_json::to_string(&besides).unwrap();
        let expected = r#"{"priority":1,"weight":2,"others":[{"url":"https://b.example/","priority":3,"weight":4}]}"#;
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_str::<Option<Box<Destinations>>>(&text).unwrap(),
            besides
        );
        let bad = |text: &str| serde_json::from_str::<Destinations>(text).unwrap_err();
        bad("{}");
        bad(&text.replace("https:", "ftp:"));
        bad(&text.replace(":4", ":65536"));
        let other = r#"{"url":"https://b.example/","priority":3,"weight":4}"#;
        let many = [other; 8].join(",");
        let text = format!(r#"{{"priority":1,"weight":2,"others":[{many}]}}"#);
        assert!(bad(&text).to_string().contains("9 destinations"));
    }

    #[test]
    fn rfc2782_weight_draws_by_weight_among_the_lowest_priority() {
        let share = |ranks: &[(u16, u16)], at: usize| {
            let ranks = ranks
                .iter()
                .map(|&(priority, weight)| Rank { priority, weight });
            let points = 100_000_u64;
            let step = u64::MAX / points;
            let drawn = (0..points).map(|n| draw(ranks.clone(), n * step));
            drawn.filter(|drawn| drawn.at == at).count() as f64 / points as f64
        };
        let check = |ranks: &[(u16, u16)], shares: &[f64]| {
            for (at, expected) in shares.iter().enumerate() {
                let found = share(ranks, at);
                assert!(
                    (found - expected).abs() < 0.001,
                    "{ranks:?} {at}: {found}, not {expected}"
                );
            }
        };
        check(&[(10, 1)], &[1.0]);
        check(&[(10, 0)], &[1.0]);
        check(&[(10, 1), (10, 1)], &[0.5, 0.5]);
        check(&[(10, 3), (10, 1), (20, 60_000)], &[0.75, 0.25, 0.0]);
        check(&[(20, 1), (10, 2), (10, 2)], &[0.0, 0.5, 0.5]);
        check(&[(10, 0), (10, 0)], &[0.5, 0.5]);
        check(&[(10, 1), (10, 0)], &[1.0, 0.0]);
        check(&[(10, 65_535), (10, 65_535)], &[0.5, 0.5]);
        // A very small chance is not none.
        let ranks = [(10, 0), (10, 1)].map(|(priority, weight)| Rank { priority, weight });
        assert_eq!(draw(ranks.into_iter(), 0).at, 0);
        assert_eq!(draw(ranks.into_iter(), u64::MAX).at, 1);
    }

    #[test]
    fn a_draw_says_whether_another_may_differ() {
        let may_differ = |given: &[(&str, u16, u16)]| {
            let list = list(given);
            draw(list.iter().map(|(_, rank)| *rank), 7).may_differ
        };
        assert!(!may_differ(&[("a", 1, 1)]));
        assert!(!may_differ(&[("a", 1, 1), ("b", 2, 1)]));
        assert!(may_differ(&[("a", 1, 1), ("b", 1, 1), ("c", 2, 1)]));
    }
}

//! A shard: one part of what the memory holds, and how long it may be used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flight::{Known, Landing, Missed, Strip};
use super::packed::PackedLink;
use crate::link::{Link, LinkName};
use crate::links::sieve::{Keyed, Sieve};
use crate::store::StoreError;

/// The size of a link beyond its packed form, in bytes: its places in the map, and what the allocator adds.
/// Measured by the resident size of a process with 1,000,000 links: 61 with the slots nearly full, and some 45
/// more just after the slots have doubled.
const LINK_OVERHEAD: usize = 112;
/// The size of an absent name beyond its text, in bytes; measured: 67.
const ABSENT_OVERHEAD: usize = 96;

/// How long a stale link is used without another look-up after the start of a flight that failed. Without this
/// pause, every query for a link in memory would wait while the store hangs. RFC 8767 §5 proposes 30 s, but here
/// the changes of other servers should show soon after the store is back.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A flight that is refused within this time has not delayed any query.
const AT_ONCE: Duration = Duration::from_millis(20);

/// How long links and absences may be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) fresh_for: Duration,
    pub(super) absent_for: Duration,
    pub(super) stale_for: Duration,
    /// Results of look-ups that began before this must be revalidated.
    pub(super) valid_since: Moment,
    pub(super) began: Instant,
}

impl Rules {
    /// Until when the result of a look-up at `since` may be used without another one.
    pub(super) fn good_until(&self, is_link: bool, since: Moment) -> Moment {
        since.after(match is_link {
            true => self.fresh_for,
            false => self.absent_for,
        })
    }

    pub(super) fn moment(&self, at: Instant) -> Moment {
        Moment::new(self.began, at)
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) links: Sieve<HeldLink>,
    pub(super) absent: Sieve<HeldAbsent>,
    pub(super) flights: HashMap<LinkName, Flight>,
    /// The number of the last flight.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) since: Instant,
    pub(super) strip: Arc<Strip>,
}

#[derive(Debug)]
pub(super) struct HeldLink {
    pub(super) link: PackedLink,
    since: Moment,
    /// How long after `since` the last flight began, if that flight failed.
    pub(super) failed: Lapse,
    /// Whether the link must be looked up again before it is used, because it may have changed.
    pub(super) must_revalidate: bool,
}

#[derive(Debug)]
pub(super) struct HeldAbsent {
    name: LinkName,
    since: Moment,
}

/// A time in nanoseconds since the start of the memory: half the size of an `Instant`, of which there would be
/// many. Earlier times count as the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    pub(super) fn new(began: Instant, at: Instant) -> Self {
        let nanos = at.saturating_duration_since(began).as_nanos();
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    pub(super) fn instant(self, began: Instant) -> Instant {
        let far = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        began + Duration::from_nanos(self.0).min(far)
    }
}

/// A duration in whole milliseconds, up to 49 days, or [`Lapse::NONE`]: a quarter of the size of an
/// `Option<Duration>`. No link is held that long: the longest `refresh` and `serve_stale` together are eight days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lapse(u32);

impl Lapse {
    /// No duration: the event at its end has not happened.
    pub(super) const NONE: Self = Self(u32::MAX);
    const ZERO: Self = Self(0);

    fn between(from: Moment, to: Moment) -> Self {
        let millis = to.0.saturating_sub(from.0) / 1_000_000;
        Self(u32::try_from(millis).unwrap_or(u32::MAX - 1))
    }

    /// The end of the duration if it starts at `from`; none for [`Lapse::NONE`].
    fn after(self, from: Moment) -> Option<Moment> {
        (self != Self::NONE).then(|| from.after(Duration::from_millis(self.0.into())))
    }
}

impl HeldLink {
    /// Whether the link may be used without a look-up.
    fn is_fresh(&self, now: Moment, rules: &Rules) -> bool {
        now < rules.good_until(true, self.since)
            && self.since >= rules.valid_since
            && !self.must_revalidate
    }
}

impl Keyed for HeldLink {
    fn key(&self) -> &[u8] {
        self.link.name()
    }

    fn weight(&self) -> usize {
        LINK_OVERHEAD + self.link.len()
    }
}

impl Keyed for HeldAbsent {
    fn key(&self) -> &[u8] {
        self.name.as_str().as_bytes()
    }

    fn weight(&self) -> usize {
        ABSENT_OVERHEAD + self.name.as_str().len()
    }
}

pub(super) enum Held {
    Fresh(Known, Instant),
    Stale(Arc<Link>),
    /// A stale link whose look-up has failed within [`RETRY_AFTER`].
    Unconfirmed(Arc<Link>),
    Nothing,
}

impl Shard {
    /// An empty shard with these bounds for links and for absent names, in bytes.
    pub(super) fn new(links: usize, absent: usize) -> Self {
        Self {
            links: Sieve::new(links),
            absent: Sieve::new(absent),
            flights: HashMap::new(),
            number: 0,
        }
    }

    pub(super) fn held(&mut self, name: &LinkName, now: Instant, rules: &Rules) -> Held {
        let now = rules.moment(now);
        if let Some(held) = self.links.get(name.as_str()) {
            if held.is_fresh(now, rules) {
                let until = rules.good_until(true, held.since).instant(rules.began);
                return Held::Fresh(Some(held.link.unpack(name)), until);
            }
            if now >= held.since.after(rules.fresh_for + rules.stale_for) {
                return Held::Nothing;
            }
            let link = held.link.unpack(name);
            let failed = held.failed.after(held.since);
            return match failed.is_none_or(|failed| now >= failed.after(RETRY_AFTER)) {
                true => Held::Stale(link),
                false => Held::Unconfirmed(link),
            };
        }
        let Some(held) = self.absent.get(name.as_str()) else {
            return Held::Nothing;
        };
        let until = rules.good_until(false, held.since);
        match now < until && held.since >= rules.valid_since {
            true => Held::Fresh(None, until.instant(rules.began)),
            false => Held::Nothing,
        }
    }

    /// The link of a name, if it may be used without a look-up.
    pub(super) fn fresh_link(
        &mut self,
        name: &LinkName,
        now: Instant,
        rules: &Rules,
    ) -> Option<&PackedLink> {
        let held = self.links.get(name.as_str())?;
        let is_fresh = held.is_fresh(rules.moment(now), rules);
        is_fresh.then_some(&held.link)
    }

    /// Keeps the result of a flight that began at `since`.
    pub(super) fn keep(
        &mut self,
        name: &LinkName,
        landing: &Landing,
        since: Moment,
        began: Instant,
    ) {
        match landing {
            Ok(Some(link)) => {
                self.absent.remove(name.as_str());
                self.links.insert(HeldLink {
                    link: PackedLink::of(link),
                    since,
                    failed: Lapse::NONE,
                    must_revalidate: false,
                });
            }
            Ok(None) => {
                self.links.remove(name.as_str());
                let name = name.clone();
                self.absent.insert(HeldAbsent { name, since });
            }
            Err(missed) => self.keep_missed(name, missed, since, began),
        }
    }

    /// Notes that a flight that began at `since` has failed, so that later queries do not wait for the next one.
    fn keep_missed(&mut self, name: &LinkName, missed: &Missed, since: Moment, began: Instant) {
        // A refusal at once has not delayed any query.
        let took = Instant::now().saturating_duration_since(since.instant(began));
        let was_slow = !matches!(missed.error, StoreError::Overloaded) || took > AT_ONCE;
        if let Some(was) = &missed.was {
            self.raise(name, was);
        }
        if let Some(held) = self.links.get_mut(name.as_str()) {
            if was_slow {
                held.failed = Lapse::between(held.since, since);
            }
        } else if let Some(link) = &missed.was {
            self.absent.remove(name.as_str());
            self.links.insert(HeldLink {
                link: PackedLink::of(link),
                since,
                failed: if was_slow { Lapse::ZERO } else { Lapse::NONE },
                must_revalidate: true,
            });
        }
    }
    /// Notes the result of a flight that does not count any more, because the name may have changed meanwhile. Those who
    /// wait get this result, so later answers must not be older.
    pub(super) fn note(&mut self, name: &LinkName, landing: &Landing) {
        match landing {
            Ok(Some(link)) => self.raise(name, link),
            Ok(None) => {
                let is_unsure = |held: &mut HeldLink| held.must_revalidate;
                if self.links.get_mut(name.as_str()).is_some_and(is_unsure) {
                    self.links.remove(name.as_str());
                }
            }
            Err(missed) => {
                if let Some(was) = &missed.was {
                    self.raise(name, was);
                }
            }
        }
    }

    /// Puts a newer state of a link in the place of the one that is held, to be looked up before it is used. Otherwise, while
    /// look-ups fail, the server would first answer with the newer state and then with the older one.
    fn raise(&mut self, name: &LinkName, newer: &Arc<Link>) {
        if let Some(held) = self.links.get_mut(name.as_str())
            && held.link.version() < newer.version
        {
            // It may be used as a stale link for as long as the older one.
            let HeldLink { since, failed, .. } = *held;
            self.links.insert(HeldLink {
                link: PackedLink::of(newer),
                since,
                failed,
                must_revalidate: true,
            });
        }
    }
}

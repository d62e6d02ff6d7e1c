//! Clicks: what is counted of a request by HTTP that was sent to a link's destination.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::agents::{Agents, MAX_AGENT_BYTES};
use super::countries::Countries;
use super::referrer::host_of;
use super::{Clicked, Statistics};
use crate::link::LinkName;
use crate::store::statistics::Click;

/// How many bytes of `Referer` are looked at: more than a scheme and a name in percent-encoding have.
const MAX_REFERER_BYTES: usize = 1_024;

/// What a request says about itself. It is not kept beyond the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit<'a> {
    /// Whether the request is for the head alone.
    pub is_head: bool,
    /// Whether a browser prefetches; see [`is_prefetch`].
    pub is_prefetch: bool,
    agent: Option<Cow<'a, [u8]>>,
    referer: Option<Cow<'a, [u8]>>,
    address: Option<IpAddr>,
}

impl<'a> Visit<'a> {
    /// A request without any of the headers that are looked at.
    pub fn new(is_head: bool, is_prefetch: bool) -> Self {
        Self {
            is_head,
            is_prefetch,
            ..Self::default()
        }
    }

    /// The same with the first value of `User-Agent`.
    pub fn with_agent(mut self, agent: Option<&'a [u8]>) -> Self {
        self.agent = agent.map(|agent| Cow::Borrowed(cut(agent, MAX_AGENT_BYTES)));
        self
    }

    /// The same with the first value of `Referer`.
    pub fn with_referer(mut self, referer: Option<&'a [u8]>) -> Self {
        self.referer = referer.map(|referer| Cow::Borrowed(cut(referer, MAX_REFERER_BYTES)));
        self
    }

    /// The same with the address of the client.
    pub fn with_address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// The same without the request, for as long as the request waits.
    pub fn into_owned(self) -> Visit<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Visit {
            is_head: self.is_head,
            is_prefetch: self.is_prefetch,
            agent: self.agent.map(own),
            referer: self.referer.map(own),
            address: self.address,
        }
    }
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

/// Whether a value of `Sec-Purpose` or `Purpose` says that a browser prefetches: `prefetch`, `prefetch;prerender`.
pub fn is_prefetch(purpose: &[u8]) -> bool {
    let mut words = purpose.split(|b| b";, ".contains(b));
    words.any(|word| {
        word.eq_ignore_ascii_case(b"prefetch") || word.eq_ignore_ascii_case(b"prerender")
    })
}

/// Counts clicks, or does nothing where statistics are off. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Clicks(Option<Arc<Counting>>);

#[derive(Debug)]
struct Counting {
    statistics: Statistics,
    agents: Arc<Agents>,
    countries: Option<Arc<Countries>>,
}

impl Clicks {
    /// Counts nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Counts clicks by class, and those of persons by country if the countries are known.
    pub fn new(
        statistics: Statistics,
        agents: Arc<Agents>,
        countries: Option<Arc<Countries>>,
    ) -> Self {
        let counting = Counting {
            statistics,
            agents,
            countries,
        };
        Self(Some(Arc::new(counting)))
    }

    /// Whether clicks are counted.
    pub fn are_counted(&self) -> bool {
        self.0.is_some()
    }

    /// Counts a request that was sent to the destination of this link.
    pub fn add(&self, name: &LinkName, visit: &Visit<'_>) {
        let Some(counting) = &self.0 else { return };
        let class = counting.class(visit);
        let mut clicked = Clicked {
            class,
            referrer: None,
            country: None,
        };
        if class != Click::Person {
            return counting.statistics.add_click(name, &clicked);
        }
        let referrer = visit.referer.as_deref().and_then(host_of);
        clicked.referrer = referrer.as_deref();
        let countries = counting.countries.as_deref();
        clicked.country = countries.map(|countries| countries.of(visit.address?));
        counting.statistics.add_click(name, &clicked);
    }
}

impl Counting {
    fn class(&self, visit: &Visit<'_>) -> Click {
        if visit.is_head {
            return Click::Head;
        }
        match self.agents.class(visit.agent.as_deref()) {
            Click::Person if visit.is_prefetch => Click::Prefetch,
            class => class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, UnixTime};
    use crate::base::metrics::Metrics;
    use crate::statistics::testing::{Counted, agents};

    const FIREFOX: &[u8] =
        b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
    const SLACK: &[u8] = b"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)";

    /// What is counted of one request.
    async fn counted(visit: &Visit<'_>, countries: Option<Arc<Countries>>) -> Vec<String> {
        let metrics = Arc::new(Metrics::new());
        let counted = Counted::new(Clock::manual(UnixTime(1_800_000_000)), &metrics);
        let name = LinkName::parse("x.s.example.com").unwrap();
        Clicks::new(counted.statistics.clone(), agents(), countries).add(&name, visit);
        let sums = counted.sums().await.into_iter();
        let counters = sums.map(|((name, counter), count)| {
            assert_eq!((name.as_str(), count), ("x.s.example.com", 1));
            counter
        });
        counters.collect()
    }

    #[tokio::test]
    async fn classes_have_an_order() {
        let check = async |is_head, agent: Option<&[u8]>, is_prefetch, class: &str| {
            let visit = Visit::new(is_head, is_prefetch).with_agent(agent);
            assert_eq!(counted(&visit, None).await, [class], "{visit:?}");
        };
        check(false, Some(FIREFOX), false, "click:person").await;
        check(false, Some(FIREFOX), true, "click:prefetch").await;
        check(false, Some(SLACK), false, "click:preview").await;
        check(false, Some(SLACK), true, "click:preview").await;
        check(false, Some(b"curl/8.14.1"), true, "click:bot").await;
        check(false, None, true, "click:bot").await;
        check(false, Some(b""), false, "click:bot").await;
        for agent in [Some(FIREFOX), Some(SLACK), None] {
            check(true, agent, true, "click:head").await;
        }
    }

    #[test]
    fn purposes() {
        let check = |purpose: &str, expected| {
            assert_eq!(is_prefetch(purpose.as_bytes()), expected, "{purpose}");
        };
        check("prefetch", true);
        check("prefetch;prerender", true);
        check("prefetch;anonymous-client-ip", true);
        check("Prerender", true);
        check("x, prefetch", true);
        check("", false);
        check("prefetching", false);
        check("preview", false);
    }

    #[tokio::test]
    async fn referrers_and_countries_are_those_of_persons() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/countries/GeoLite2-Country-Test.mmdb"
        );
        let countries = Some(Arc::new(Countries::open(file.as_ref()).unwrap()));
        let sweden = Some("89.160.20.112".parse().unwrap());
        let visit = Visit::new(false, false).with_agent(Some(FIREFOX));
        let visit = visit.with_referer(Some(b"https://Example.org:1/a?b"));
        assert_eq!(
            counted(&visit, None).await,
            ["click:person", "referrer:example.org"]
        );
        let from = visit.clone().with_address(sweden);
        let expected = ["click:person", "country:SE", "referrer:example.org"];
        assert_eq!(counted(&from, countries.clone()).await, expected);
        // The same after the request is gone.
        assert_eq!(
            counted(&from.clone().into_owned(), countries.clone()).await,
            expected
        );
        let elsewhere = visit.with_address(Some("127.0.0.1".parse().unwrap()));
        let expected = ["click:person", "country:unknown", "referrer:example.org"];
        assert_eq!(counted(&elsewhere, countries.clone()).await, expected);
        for (others, class) in [
            (from.clone().with_agent(Some(SLACK)), "click:preview"),
            (from.clone().with_agent(None), "click:bot"),
            (
                Visit {
                    is_head: true,
                    ..from.clone()
                },
                "click:head",
            ),
            (
                Visit {
                    is_prefetch: true,
                    ..from
                },
                "click:prefetch",
            ),
        ] {
            assert_eq!(counted(&others, countries.clone()).await, [class]);
        }
    }

    /// A link's page is opened from 10,000 hosts: the click counts, and the hosts take a bounded room.
    #[tokio::test]
    async fn invented_referrers_are_bounded() {
        let metrics = Arc::new(Metrics::new());
        let counted = Counted::new(Clock::manual(UnixTime(1_800_000_000)), &metrics);
        let clicks = Clicks::new(counted.statistics.clone(), agents(), None);
        let name = LinkName::parse("x.s.example.com").unwrap();
        for number in 0..10_000 {
            let referer = format!("https://h{number}.example/");
            let visit = Visit::new(false, false).with_agent(Some(FIREFOX));
            clicks.add(&name, &visit.with_referer(Some(referer.as_bytes())));
        }
        let sums = counted.sums().await;
        let count = |counter: &str| sums.get(&("x.s.example.com".into(), counter.into()));
        assert_eq!(count("click:person"), Some(&10_000));
        assert!(sums.len() < 500, "{}", sums.len());
        assert_eq!(metrics.statistics_dropped.get(), 0);
        let referrers = sums
            .iter()
            .filter(|((_, counter), _)| counter.starts_with("referrer:"));
        assert_eq!(referrers.map(|(_, count)| count).sum::<u64>(), 10_000);
        assert!(count("referrer:other").is_some());
    }
}

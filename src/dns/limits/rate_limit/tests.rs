//! The limiter as a whole: what is counted together, and what is not.

use std::time::Duration;

use super::*;

const NX_DOMAIN: Class = Class {
    kind: LimitKind::NxDomain,
    scope: Scope::Zone(1),
};
const ERROR: Class = Class {
    kind: LimitKind::Error,
    scope: Scope::Kind,
};

/// A burst of two replies of each kind, except for the account of all replies.
fn config() -> RateLimitConfig {
    RateLimitConfig {
        rates: Rates {
            answers: 2,
            nodata: 2,
            nxdomains: 2,
            referrals: 2,
            errors: 2,
            all: 0,
        },
        burst: 1,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        table_bytes: 1 << 16,
        dry_run: false,
    }
}

struct Case {
    limiter: RateLimiter,
    now: Instant,
}

impl Case {
    fn new(config: &RateLimitConfig) -> Self {
        let limiter = RateLimiter::new(config, &Metrics::new());
        let now = limiter.began;
        Self { limiter, now }
    }

    fn charge(&self, client: &str, class: Class, name: &str) -> Option<Refusal> {
        let labels = name.split('.').map(str::as_bytes);
        let wire: Vec<u8> = labels
            .flat_map(|label| [&[label.len() as u8], label].concat())
            .chain([0])
            .collect();
        let name = WireName::read(&wire);
        assert!(name.is_some());
        let client = client.parse().unwrap();
        let name = name.as_ref();
        // The accounts are computed early for some queries, and late for others.
        let accounts = name
            .filter(|name| name.as_bytes().len() % 2 == 0)
            .and_then(|name| self.limiter.accounts_of_answers(client, name));
        let to = Addressee {
            client,
            name,
            accounts,
        };
        self.limiter.charge(class, &to, self.now)
    }

    /// How many of ten replies are sent.
    fn sent(&self, client: &str, class: Class, name: &str) -> usize {
        let refused = (0..10).map(|_| self.charge(client, class, name));
        refused.filter(Option::is_none).count()
    }
}

#[test]
fn networks_are_independent_and_their_clients_are_not() {
    let case = Case::new(&config());
    assert_eq!(case.sent("192.0.2.1", ANSWER, "a.test"), 2);
    assert_eq!(case.sent("192.0.2.255", ANSWER, "a.test"), 0);
    assert_eq!(case.sent("::ffff:192.0.2.3", ANSWER, "a.test"), 0);
    assert_eq!(case.sent("192.0.3.1", ANSWER, "a.test"), 2);
    assert_eq!(case.sent("2001:db8::1", ANSWER, "a.test"), 2);
    assert_eq!(case.sent("2001:db8:0:ff::1", ANSWER, "a.test"), 0);
    assert_eq!(case.sent("2001:db8:0:100::1", ANSWER, "a.test"), 2);
    // An IPv6 address that ends with the bits of the IPv4 address.
    assert_eq!(case.sent("::192.0.2.1", ANSWER, "a.test"), 2);
}

#[test]
fn the_lengths_of_prefixes() {
    let config = RateLimitConfig {
        ipv4_prefix: 32,
        ipv6_prefix: 128,
        ..config()
    };
    let case = Case::new(&config);
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
        assert_eq!(case.sent(client, ANSWER, "a.test"), 2, "{client}");
        assert_eq!(case.sent(client, ANSWER, "a.test"), 0, "{client}");
    }
}

#[test]
fn answers_count_by_name_denials_by_zone_and_errors_alone() {
    let case = Case::new(&config());
    let client = "192.0.2.1";
    for name in ["a.test", "b.test", "c.d.test"] {
        assert_eq!(case.sent(client, ANSWER, name), 2, "{name}");
    }
    assert_eq!(case.sent(client, NX_DOMAIN, "e.test"), 2);
    assert_eq!(case.sent(client, NX_DOMAIN, "f.test"), 0);
    let other = Class {
        scope: Scope::Zone(2),
        ..NX_DOMAIN
    };
    assert_eq!(case.sent(client, other, "f.test"), 2);
    assert_eq!(case.sent(client, ERROR, "e.test"), 2);
    assert_eq!(case.sent(client, ERROR, "f.test"), 0);
    // The kinds do not count together.
    let no_data = Class {
        kind: LimitKind::NoData,
        ..ANSWER
    };
    assert_eq!(case.sent(client, no_data, "a.test"), 2);
    let wildcard = Class {
        scope: Scope::Zone(1),
        ..ANSWER
    };
    assert_eq!(case.sent(client, wildcard, "g.test"), 2);
    assert_eq!(case.sent(client, wildcard, "h.test"), 0);
}

#[test]
fn all_replies_to_a_network_have_a_rate_of_their_own() {
    let mut config = config();
    config.rates.all = 5;
    let mut case = Case::new(&config);
    let client = "192.0.2.1";
    let names = ["a.test", "b.test", "c.test", "d.test"];
    let sent = |case: &Case| names.map(|name| case.sent(client, ANSWER, name));
    assert_eq!(sent(&case), [2, 2, 1, 0]);
    let refusal = case.charge("192.0.2.2", ANSWER, "e.test");
    assert_eq!(refusal.map(|one| one.kind), Some(LimitKind::All));
    assert_eq!(case.sent("192.0.3.2", ANSWER, "e.test"), 2);
    case.now += Duration::from_secs(1);
    assert_eq!(sent(&case).iter().sum::<usize>(), 5);
    // A reply that its kind's account refuses is not charged to the account of all.
    case.now += Duration::from_secs(1);
    for _ in 0..100 {
        case.charge(client, ANSWER, "z.test");
    }
    assert_eq!(sent(&case).iter().sum::<usize>(), 3);
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut config = config();
    config.rates.answers = 0;
    let case = Case::new(&config);
    assert_eq!(case.sent("192.0.2.1", ANSWER, "a.test"), 10);
    assert_eq!(case.sent("192.0.2.1", ERROR, "a.test"), 2);
    // All replies together may still have one.
    config.rates.all = 3;
    let case = Case::new(&config);
    assert_eq!(case.sent("192.0.2.1", ANSWER, "a.test"), 3);
}

#[test]
fn clients_that_are_exempt() {
    let exempt = ["192.0.2.128/25", "2001:db8::/32"].map(|one| one.parse().unwrap());
    let config = RateLimitConfig {
        exempt: exempt.into(),
        ..config()
    };
    let case = Case::new(&config);
    for client in ["192.0.2.200", "::ffff:192.0.2.200", "2001:db8:1::1"] {
        assert_eq!(case.sent(client, ANSWER, "a.test"), 10, "{client}");
    }
    // Their replies do not count for other clients of the network.
    assert_eq!(case.sent("192.0.2.1", ANSWER, "a.test"), 2);
    assert_eq!(case.sent("2001:db9::1", ANSWER, "a.test"), 2);
}

#[test]
fn the_first_refusal_slips() {
    let case = Case::new(&config());
    let slips = (0..6).filter_map(|_| case.charge("192.0.2.1", NX_DOMAIN, "a.test"));
    let slips: Vec<_> = slips.map(|refusal| refusal.slips).collect();
    assert_eq!(slips, [true, false, true, false]);
}

#[test]
fn secrets_differ() {
    let account = |case: &Case| {
        let network = Prefix::of("192.0.2.1".parse().unwrap(), 24, 56);
        case.limiter.account(ERROR, network, None)
    };
    assert_ne!(
        account(&Case::new(&config())),
        account(&Case::new(&config()))
    );
}

#[test]
fn limited_accounts_are_remembered_until_they_are_paid_up() {
    let mut case = Case::new(&config());
    let mut sweep = Sweep::default();
    let mut accounts = |case: &Case| {
        for _ in 0..PARTS {
            case.limiter.tick(&mut sweep, case.now);
        }
        case.limiter.accounts.get()
    };
    assert_eq!(accounts(&case), 0);
    for network in 0..100 {
        case.charge(&format!("192.0.{network}.1"), ERROR, "a.test");
    }
    assert_eq!(accounts(&case), 100);
    case.now += Duration::from_secs(2);
    assert_eq!(accounts(&case), 0);
}

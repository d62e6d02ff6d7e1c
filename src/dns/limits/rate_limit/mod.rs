//! Response rate limiting: bounds the replies of each kind that a network gets by UDP.
//!
//! An attacker that forges a victim's address makes the server send replies to the victim, larger than the
//! attacker's own packets. The victim gets many similar replies, while a resolver does not ask the same question
//! again and again. So replies are counted by the client's network and by what makes them similar, and replies above
//! a rate are not sent (Vixie and Schryver, 2012; as in BIND, NSD and Knot).
//!
//! ```text
//!   reply made ── valid cookie? exempt? ──────────────────────────────┬─ sent
//!                   └─ the account of network and kind ── paid ───────┤
//!                        │    └─ the account of the network ── paid ──┘
//!                        └─ refused ─┬─ slips ─┬─ with a client cookie: BADCOOKIE
//!                                    │         └─ without: truncated
//!                                    └─ dropped
//! ```
//!
//! Replies that are counted together for a network (by default a /24 of IPv4, or a /56 of IPv6):
//!
//! | kind | counted by | because |
//! |---|---|---|
//! | answer, NODATA, referral | query name, if the file or a link has it | a busy resolver asks for thousands of links, each once in a while |
//! | the same, for a name that is made up | zone | a wildcard, a DNAME or a zone cut has an answer for names without end |
//! | NXDOMAIN | zone | random names are all alike |
//! | any other rcode | nothing else | it takes no zone to be refused |
//!
//! The query type does not matter: an attacker could use all types of a name. NSD counts NODATA by zone; here that
//! would limit resolvers that ask for the HTTPS records of links. ANY is no kind of its own, since it gets a single
//! RRset (RFC 8482), and neither are large replies: no reply by UDP is longer than `udp_payload`, by default 1,232
//! bytes. An attacker who knows many names could get the rate many times over; so one more account counts all
//! replies to a network.
//!
//! A slip is a short reply instead of the real one. It lets a resolver through whose address is being forged: a
//! truncated reply makes the resolver ask by TCP. A query with a client cookie gets BADCOOKIE and a server cookie
//! (RFC 7873 §5.2.3); the resolver asks again with it by UDP, and is not limited. An error slips as it is, because
//! it is as short, and TCP would bring the same. No slip is longer than its query by more than a server cookie.
//!
//! The limit is on replies, not on queries, so the server still makes the reply to each query of a flood, which
//! costs little. See `table` for the accounts, and for their accuracy when many threads charge them.

mod journal;
mod signing_budget;
mod table;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::ops::BitXor;
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;

use self::journal::Journal;
pub use self::signing_budget::SignatureLimits;
pub(crate) use self::signing_budget::{Purpose, SignatureLimiter};
use self::table::{Charged, Table, Terms};
use crate::base::metrics::{LimitKind, Metrics};
use crate::base::name::wire::WireName;
use crate::base::prefix::Addresses;
pub use crate::base::prefix::{Prefix, PrefixError};
use crate::zone::Zone;

/// The largest `slip`.
pub const MAX_SLIP: u32 = 10;
const _: () = assert!(MAX_SLIP <= table::MAX_SLIP);
/// The number of parts in which the table is swept, one part each second.
const PARTS: usize = 16;
const MICROS: u64 = 1_000_000;

/// The settings of the rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// The rates, in replies a second.
    pub rates: Rates,
    /// The burst, in seconds of the rate; 1 or more.
    pub burst: u32,
    /// The first refused reply slips, and then one in so many, at most [`MAX_SLIP`]; none if this is 0.
    pub slip: u32,
    /// The prefix length of an IPv4 network; 1 to 32.
    pub ipv4_prefix: u8,
    /// The prefix length of an IPv6 network; 1 to 128.
    pub ipv6_prefix: u8,
    /// Clients that are not limited.
    pub exempt: Vec<Prefix>,
    /// The memory of the accounts, in bytes; eight for each.
    pub table_bytes: usize,
    /// Whether to count and log as usual, but send every reply.
    pub dry_run: bool,
}

/// The replies a second that a network gets; 0 for no limit. The price of a reply is in whole microseconds, so the
/// actual rate is a little lower: by 0.1 % at 999, and by 9 % at 99,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Answers with records, of each name.
    pub answers: u32,
    /// NODATA, of each name.
    pub nodata: u32,
    /// NXDOMAIN, of each zone.
    pub nxdomains: u32,
    /// Referrals, of each zone for names that are made up.
    pub referrals: u32,
    /// All other rcodes.
    pub errors: u32,
    /// All of these together.
    pub all: u32,
}

/// The class of a reply: its kind, and which replies are counted with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: LimitKind,
    pub(crate) scope: Scope,
}

/// Which replies of a kind are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those to queries for the same name.
    Name,
    /// Those of this zone, by a number that no other zone has.
    Zone(usize),
    /// All of them.
    Kind,
}

impl Class {
    /// The class of a reply with this rcode, with or without answers, with or without AA.
    pub(crate) fn of(rcode: u16, has_answers: bool, is_authoritative: bool) -> Self {
        let kind = match rcode {
            // RFC 6672 §2.2: YXDOMAIN comes with its DNAME, so it counts as an answer.
            0 | 6 if has_answers => LimitKind::Answer,
            0 if is_authoritative => LimitKind::NoData,
            0 => LimitKind::Referral,
            3 => LimitKind::NxDomain,
            _ => LimitKind::Error,
        };
        let scope = match kind {
            LimitKind::Error => Scope::Kind,
            _ => Scope::Name,
        };
        Self { kind, scope }
    }

    /// The class of a reply about a made-up name of this zone.
    pub(crate) fn in_zone(self, zone: &Zone) -> Self {
        match self.scope {
            // The address of the zone identifies it until the next reload.
            Scope::Name => self.with(Scope::Zone(std::ptr::from_ref(zone).addr())),
            _ => self,
        }
    }

    /// The same with another scope.
    pub(crate) fn with(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}

/// An answer about an existing name, as most replies are.
const ANSWER: Class = Class {
    kind: LimitKind::Answer,
    scope: Scope::Name,
};

/// All replies to a network.
const ALL: Class = Class {
    kind: LimitKind::All,
    scope: Scope::Kind,
};

/// The addressee of a reply, and its query name.
#[derive(Clone, Copy)]
pub(crate) struct Addressee<'n> {
    pub(crate) client: IpAddr,
    /// The query name, if it has been read.
    pub(crate) name: Option<&'n WireName>,
    /// The result of [`RateLimiter::accounts_of_answers`], if it has been called.
    pub(crate) accounts: Option<[u64; 2]>,
}

/// The refusal of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The kind of which there were too many replies.
    pub(crate) kind: LimitKind,
    /// Whether a slip is sent; otherwise nothing is.
    pub(crate) slips: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct RateLimiter {
    table: Table,
    /// By kind.
    terms: [Option<Terms>; LimitKind::ALL.len()],
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    exempt: Addresses,
    is_dry_run: bool,
    /// For accounts: SipHash with a random key, so an attacker cannot choose whose replies are counted together.
    hasher: RandomState,
    /// For names. An attacker who finds two names with the same hash has one account for both, which is harmless, so
    /// this hasher may be a faster one.
    names: foldhash::quality::RandomState,
    began: Instant,
    journal: Journal,
    accounts: Gauge,
}

/// How far the table has been swept.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    next: usize,
    accounts: [usize; PARTS],
}

impl RateLimiter {
    /// A limiter in which no account owes anything.
    pub(crate) fn new(config: &RateLimitConfig, metrics: &Metrics) -> Self {
        let burst = u64::from(config.burst.max(1));
        let terms = |kind: LimitKind| {
            let rate = config.rates.of(kind).into();
            (rate > 0).then(|| Terms::of(rate, burst, config.slip.min(MAX_SLIP)))
        };
        let evictions = metrics.rate_limit_evictions.clone();
        Self {
            table: Table::new(config.table_bytes, burst * MICROS, evictions),
            terms: LimitKind::ALL.map(terms),
            ipv4_prefix: config.ipv4_prefix,
            ipv6_prefix: config.ipv6_prefix,
            exempt: Addresses::of(&config.exempt),
            is_dry_run: config.dry_run,
            hasher: RandomState::new(),
            names: foldhash::quality::RandomState::default(),
            began: Instant::now(),
            journal: Journal::new(config.dry_run),
            accounts: metrics.rate_limit_accounts.clone(),
        }
    }

    /// Whether refused replies are only counted, and sent all the same.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// The accounts to charge if the reply to a query for this name is an answer, so that they can be fetched early:
    /// the account of the name, and that of all replies. None if the client is exempt.
    pub(crate) fn accounts_of_answers(&self, client: IpAddr, name: &WireName) -> Option<[u64; 2]> {
        if self.exempt.contains(client) {
            return None;
        }
        let network = self.network(client);
        Some([ANSWER, ALL].map(|class| self.account(class, network, Some(name))))
    }

    /// Brings these accounts into the processor's cache, all at once.
    pub(crate) fn fetch(&self, accounts: impl Iterator<Item = u64>) {
        let loaded = accounts.map(|account| self.table.fetch(account));
        std::hint::black_box(loaded.fold(0, BitXor::bitxor));
    }

    /// Counts a reply. Returns the refusal, if the reply is above a rate.
    pub(crate) fn charge(&self, class: Class, to: &Addressee<'_>, now: Instant) -> Option<Refusal> {
        if to.accounts.is_none() && self.exempt.contains(to.client) {
            return None;
        }
        // A refused reply is not sent, so it does not count for the network.
        self.charge_as(class, to, now)
            .or_else(|| self.charge_as(ALL, to, now))
    }

    fn charge_as(&self, class: Class, to: &Addressee<'_>, now: Instant) -> Option<Refusal> {
        let kind = class.kind;
        let terms = self.terms[kind as usize].as_ref()?;
        let account = match to.accounts {
            Some([account, _]) if class == ANSWER => account,
            Some([_, account]) if class == ALL => account,
            _ => self.account(class, self.network(to.client), to.name),
        };
        match self.table.charge(account, terms, self.micros(now)) {
            Charged::Paid => None,
            Charged::Refused { first, slips } => {
                if first {
                    let network = self.network(to.client);
                    self.journal.start(account, network, kind, to.name, now);
                }
                Some(Refusal { kind, slips })
            }
        }
    }

    /// Logs the networks that are no longer limited, and sweeps the next part of the table. Call it each second.
    pub(crate) fn tick(&self, sweep: &mut Sweep, now: Instant) {
        let micros = self.micros(now);
        self.journal
            .tick(now, |account| self.table.debt(account, micros) > 0);
        let part = sweep.next;
        sweep.accounts[part] = self.table.sweep(part, PARTS, micros);
        sweep.next = (part + 1) % PARTS;
        let accounts: usize = sweep.accounts.iter().sum();
        self.accounts
            .set(i64::try_from(accounts).unwrap_or(i64::MAX));
    }

    fn network(&self, client: IpAddr) -> Prefix {
        Prefix::of(client, self.ipv4_prefix, self.ipv6_prefix)
    }

    /// The hash that identifies an account.
    fn account(&self, class: Class, network: Prefix, name: Option<&WireName>) -> u64 {
        let (scope, subject) = match (class.scope, name) {
            (Scope::Name, Some(name)) => (1, self.names.hash_one(name.as_bytes())),
            (Scope::Zone(number), _) => (2, number as u64),
            (Scope::Name | Scope::Kind, _) => (3, 0),
        };
        let mut key = [0; 26];
        key[..16].copy_from_slice(&network.bits().to_be_bytes());
        key[16..24].copy_from_slice(&subject.to_be_bytes());
        key[24..].copy_from_slice(&[scope, class.kind as u8]);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(&key);
        hasher.finish()
    }

    fn micros(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        // Enough for half a million years.
        since.as_micros() as u64
    }
}

impl Terms {
    /// The terms for so many replies a second, with a burst of so many seconds.
    fn of(rate: u64, burst: u64, slip: u32) -> Self {
        let price = MICROS.div_ceil(rate);
        Self {
            price,
            most: price * rate * burst,
            slip,
        }
    }
}

impl Rates {
    fn of(&self, kind: LimitKind) -> u32 {
        match kind {
            LimitKind::Answer => self.answers,
            LimitKind::NoData => self.nodata,
            LimitKind::NxDomain => self.nxdomains,
            LimitKind::Referral => self.referrals,
            LimitKind::Error => self.errors,
            LimitKind::All => self.all,
        }
    }
}

#[cfg(test)]
mod tests;

//! Response rate limiting: how many replies of a kind a network gets by UDP.
//!
//! Whoever forges the address of a victim has us send replies there, larger ones than its own packets. A
//! victim gets many such replies that are alike, and a resolver does not ask for the same thing again and
//! again; so replies are counted by the client's network and by what makes them alike, and what goes
//! beyond a rate is not sent (Vixie and Schryver, 2012; as BIND, NSD and Knot do).
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
//! What is counted together for a network, which is a prefix of 24 bits with IPv4, of 56 with IPv6:
//!
//! | kind | counted by | because |
//! |---|---|---|
//! | answer, NODATA, referral | query name, if the file or a link has it | a busy resolver asks for thousands of links, each once in a while |
//! | the same, for a name that is made up | zone | a wildcard, a DNAME or a zone cut has an answer for names without end |
//! | NXDOMAIN | zone | random names are all alike |
//! | any other rcode | nothing else | it takes no zone to be refused |
//!
//! The query type does not count, for any type of a name gets an answer. NSD counts NODATA by zone; here
//! that would punish resolvers that ask for the HTTPS records of links. There are no kinds of their own for
//! ANY, which gets a single RRset (RFC 8482), nor for large replies: none by UDP is longer than
//! `udp_payload`, which is 1,232 bytes unless the operator has chosen otherwise.
//! So an attacker who knows many names gets the rate many times over, and against that there is one more
//! account for all that a network gets.
//!
//! A slip is no answer, but keeps a resolver from being shut out by those who forge its address. One that
//! is truncated makes it come by TCP. One that bears a client cookie gets BADCOOKIE and a server cookie
//! (RFC 7873 §5.2.3), comes again with that by UDP, and then does not count at all. Errors slip as they
//! are: they are as short, and TCP would get nothing else. No slip is longer than its query by more than a
//! server cookie.
//!
//! The limit is on replies, not on queries, so a flood still costs what it costs to answer it; that is
//! little. See `table` for the accounts, and for what the figures are worth when many threads charge them.

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
/// In so many parts the table is looked through, one part each time; all of it takes that many seconds.
const PARTS: usize = 16;
const MICROS: u64 = 1_000_000;

/// What is limited, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// How many replies a second.
    pub rates: Rates,
    /// How many seconds' worth of them may come at once; 1 or more.
    pub burst: u32,
    /// Of the refused replies the first slips, and then every one in so many, at most [`MAX_SLIP`]; none
    /// if this is 0.
    pub slip: u32,
    /// How many bits of an IPv4 address make a network; 1 to 32.
    pub ipv4_prefix: u8,
    /// How many bits of an IPv6 address make a network; 1 to 128.
    pub ipv6_prefix: u8,
    /// Clients that are not limited.
    pub exempt: Vec<Prefix>,
    /// How much memory the accounts take, in bytes; eight for each.
    pub table_bytes: usize,
    /// Whether all is counted and told as usual, but every reply sent.
    pub dry_run: bool,
}

/// How many replies a second a network gets, 0 for any number. A reply costs whole microseconds, so it is a
/// little less than that: 0.1 % less at 999, and 9 % at 99,999.
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

/// What a reply is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: LimitKind,
    pub(crate) scope: Scope,
}

/// Which replies of a kind are alike.
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
    /// That of a reply with this rcode, with or without answers, with or without AA.
    pub(crate) fn of(rcode: u16, has_answers: bool, is_authoritative: bool) -> Self {
        let kind = match rcode {
            // RFC 6672 §2.2: YXDOMAIN comes with the DNAME that it is of.
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

    /// That of a reply about a name that is made up, as there are any number of in this zone.
    pub(crate) fn in_zone(self, zone: &Zone) -> Self {
        match self.scope {
            // Where it is says which zone it is, until the zones are loaded again.
            Scope::Name => self.with(Scope::Zone(std::ptr::from_ref(zone).addr())),
            _ => self,
        }
    }

    /// The same with another scope.
    pub(crate) fn with(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}

/// An answer to a query for a name that exists, which most replies are.
const ANSWER: Class = Class {
    kind: LimitKind::Answer,
    scope: Scope::Name,
};

/// All that a network gets.
const ALL: Class = Class {
    kind: LimitKind::All,
    scope: Scope::Kind,
};

/// Who gets a reply, and to what.
#[derive(Clone, Copy)]
pub(crate) struct Addressee<'n> {
    pub(crate) client: IpAddr,
    /// The query name, where there is one.
    pub(crate) name: Option<&'n WireName>,
    /// What [`RateLimiter::accounts_of_answers`] gives, where that was asked for.
    pub(crate) accounts: Option<[u64; 2]>,
}

/// That a reply is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of what there were too many.
    pub(crate) kind: LimitKind,
    /// Whether it is to slip, and not just to be dropped.
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
    /// Of accounts: SipHash under a secret that the system gives, so nobody can choose whose replies are
    /// counted together.
    hasher: RandomState,
    /// Of names. Who finds two of the same hash has one account for both of them, so this may be a quicker
    /// one.
    names: foldhash::quality::RandomState,
    began: Instant,
    journal: Journal,
    accounts: Gauge,
}

/// How far a table was looked through.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    next: usize,
    accounts: [usize; PARTS],
}

impl RateLimiter {
    /// A limiter whose accounts are all paid up.
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

    /// Whether what is refused is only counted, and sent all the same.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// The accounts that are charged if the reply to a query for this name is an answer, so that they can be
    /// fetched before: that of the name, and that of all. None if the client is exempt.
    pub(crate) fn accounts_of_answers(&self, client: IpAddr, name: &WireName) -> Option<[u64; 2]> {
        if self.exempt.contains(client) {
            return None;
        }
        let network = self.network(client);
        Some([ANSWER, ALL].map(|class| self.account(class, network, Some(name))))
    }

    /// Has the processor fetch what charges to these accounts will need, side by side.
    pub(crate) fn fetch(&self, accounts: impl Iterator<Item = u64>) {
        let loaded = accounts.map(|account| self.table.fetch(account));
        std::hint::black_box(loaded.fold(0, BitXor::bitxor));
    }

    /// Counts a reply; refused are those that are too many.
    pub(crate) fn charge(&self, class: Class, to: &Addressee<'_>, now: Instant) -> Option<Refusal> {
        if to.accounts.is_none() && self.exempt.contains(to.client) {
            return None;
        }
        // What is refused is not sent, so it does not count as one that the network has got.
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

    /// Tells the log of networks that are limited no longer, and looks through the next part of the table.
    /// To be called each second.
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

    /// The hash of what is counted together.
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
        // Half a million years.
        since.as_micros() as u64
    }
}

impl Terms {
    /// So many replies a second, and as many seconds' worth at once.
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

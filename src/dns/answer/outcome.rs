//! What a decision yields: the answer, or what it needs first.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

use super::records;
use crate::base::name::wire::WireName;
use crate::dnssec::denial::{self, Successor};
use crate::link::{LinkName, Origin};
use crate::routing::{EDITIONS, ListId, Located, MAX_POOLS};
use crate::zone::{LinkPlace, Zone};

/// The outcome of one call of [`answer`](super::decide::answer).
#[derive(Clone, Debug)]
pub enum Step {
    /// The answer.
    Ready(Answer),
    /// The answer depends on this link: look it up and call again.
    NeedsLink(LinkName),
    /// The answer depends on the challenges of the zone of these links: read them and call again.
    NeedsChallenges(Origin),
}

/// An answer, before it is signed and encoded.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rcode; with aliases that of the last name (RFC 6604 §3).
    pub rcode: ResponseCode,
    /// The AA bit; with aliases that of the first name (RFC 1035 §4.1.1).
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section without OPT.
    pub additionals: Vec<Record>,
    /// Whether the answer is useless without its additional section: a reply that drops the glue of a referral from
    /// below the cut has to set TC (RFC 9471 §3.1).
    pub glue_required: bool,
    /// The extended error, where the operator of a resolver would ask why.
    pub error: Option<ExtendedError>,
    /// The full TTLs of RRsets in the answer section whose TTL is cut to the rest of a link's life. Signatures cover the
    /// full TTL. Empty if the client does not want signatures.
    pub full_ttls: Vec<FullTtl>,
    /// What an NSEC record has to prove, if the zone is signed and the client wants proofs.
    pub denial: Option<Box<Denial>>,
    /// Whether the answer has been signed.
    pub signed: bool,
    /// Whether the reply has to be truncated, so that the client asks again by TCP.
    pub cut: bool,
    /// On which list of pools its addresses depend, and what the client gets; none if they are the same for all clients.
    pub route: Option<(ListId, Located)>,
    /// Which name of a link the question is about, if the link exists and is not withheld. Statistics count such answers.
    pub link: Option<LinkPlace>,
}

impl Answer {
    /// The answer about a name that is in none of the server's zones.
    pub fn not_ours() -> Self {
        let error = ExtendedError {
            code: ExtendedError::NOT_AUTHORITATIVE,
            text: "",
        };
        Self::empty(ResponseCode::Refused, Some(error))
    }

    /// The full TTL, in seconds, of the RRset of the answer section that begins with this record.
    pub fn full_ttl(&self, first: &Record) -> u32 {
        let mut cut = self.full_ttls.iter();
        let of = cut.find(|full| full.rtype == first.record_type() && full.owner == first.name);
        of.map_or(first.ttl, |full| full.ttl)
    }

    /// Marks the answer as stale: made of the last known state of a link that cannot be looked up now. Another extended
    /// error stays, because it explains more.
    pub fn mark_stale(&mut self) {
        self.error = self.error.or(Some(ExtendedError::STALE));
    }

    /// In place of an answer that cannot be signed now: the client is to ask again by TCP.
    pub(crate) fn cut() -> Self {
        Self {
            authoritative: true,
            cut: true,
            ..Self::empty(ResponseCode::NoError, None)
        }
    }

    /// An answer without records.
    pub fn empty(rcode: ResponseCode, error: Option<ExtendedError>) -> Self {
        Self {
            rcode,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            glue_required: false,
            error,
            full_ttls: Vec::new(),
            denial: None,
            signed: false,
            cut: false,
            route: None,
            link: None,
        }
    }

    /// Whose addresses it has, if they depend on the client.
    pub(crate) fn variant(&self) -> Option<Variant> {
        self.route.map(|(_, located)| Variant::of(&located))
    }
}

/// Whose addresses an answer has that depends on the client: those of a pool, those of the zone file, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// 0 for the zone file, 1 and so on for pools, [`Variant::CLOSED`] for none.
    source: u16,
    /// Which of its addresses a pool serves.
    edition: u8,
}

impl Variant {
    /// How many bits a number has.
    pub(crate) const BITS: u32 = 13;
    const CLOSED: u16 = (1 << 10) - 1;

    pub(crate) fn of(located: &Located) -> Self {
        let source = match (located.pool, located.closed) {
            (Some(pool), _) => pool + 1,
            (None, false) => 0,
            (None, true) => Self::CLOSED,
        };
        Self {
            source,
            edition: located.served.edition(),
        }
    }

    /// A number of [`Variant::BITS`] bits, different for each.
    pub(crate) fn number(self) -> u32 {
        u32::from(self.source) * u32::from(EDITIONS) + u32::from(self.edition)
    }

    /// The place of the pool, counted from 1; 0 if it has none.
    pub(crate) fn pool_place(self) -> usize {
        match self.source {
            Self::CLOSED => 0,
            source => source.into(),
        }
    }
}

const _: () = assert!(MAX_POOLS < Variant::CLOSED as usize);
const _: () = assert!((Variant::CLOSED as u32 + 1) * EDITIONS as u32 == 1 << Variant::BITS);

/// The full TTL of an RRset that an answer has with a lower TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTtl {
    /// The owner of the RRset.
    pub owner: Name,
    /// Its type.
    pub rtype: RecordType,
    /// In seconds.
    pub ttl: u32,
}

/// What an NSEC record says of the name at which a signed answer ends, or of the zone cut to which it refers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The name.
    pub owner: Name,
    /// The types that it has, besides NSEC and RRSIG.
    pub types: Vec<u16>,
    /// The next name: no name between the two exists.
    pub successor: Successor,
    /// The TTL of the record, in seconds.
    pub ttl: u32,
}

impl Denial {
    /// The NSEC record; none if the owner does not fit a name, which does not happen.
    pub(crate) fn record(&self, zone: &Zone) -> Option<Record> {
        let owner = WireName::from_labels(self.owner.iter())?;
        let apex = zone.apex_key();
        let data = denial::nsec(owner.as_bytes(), apex, self.successor, &self.types);
        let rdata = records::raw(RecordType::NSEC, data);
        Some(Record::from_rdata(self.owner.clone(), self.ttl, rdata))
    }
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT, for people.
    pub text: &'static str,
}

impl ExtendedError {
    /// RFC 8914 §4.1: no other code fits; the text says what is wrong.
    pub const OTHER: u16 = 0;
    /// RFC 8914 §4.4: the link cannot be looked up, and the answer is made of its last known state.
    pub const STALE: Self = Self {
        code: 3,
        text: "the link could not be looked up",
    };
    /// RFC 8914 §4.16: the operator of this server withholds the link.
    pub const BLOCKED: Self = Self {
        code: 15,
        text: "the link is withheld because of abuse",
    };
    /// RFC 8914 §4.17: an authority or another party demands it, and not the operator.
    pub const CENSORED: Self = Self {
        code: 16,
        text: "the link is withheld for legal reasons",
    };
    /// Those of answers that are kept.
    pub(crate) const KEPT: [Self; 3] = [Self::STALE, Self::BLOCKED, Self::CENSORED];
    /// RFC 8914 §4.15: the server is not fully functional at the moment.
    pub const NOT_READY: u16 = 14;
    /// RFC 8914 §4.19: this client, or this kind of query, is not served.
    pub const PROHIBITED: u16 = 18;
    /// RFC 8914 §4.21: not authoritative for the name.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// RFC 8914 §4.22: the server does not support what the query asks for.
    pub const NOT_SUPPORTED: u16 = 21;
    /// RFC 8914 §4.24: a server that is needed for the answer cannot be reached.
    pub const NETWORK_ERROR: u16 = 23;
    /// RFC 9824 §3.5: a type that clients may not ask for.
    pub const INVALID_QUERY_TYPE: u16 = 30;
}

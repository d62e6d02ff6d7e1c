//! What a decision depends on: the question, and what is known of the link or of the challenges.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::{LowerName, Name, RecordType};

use super::outcome::ExtendedError;
use crate::dnssec::keys::ZoneKeys;
use crate::link::Link;
use crate::routing::{Family, ListId, Located, Routing};

/// A question, and the keys of the zone into which it falls.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The query name in the letter case of the query, which the answer repeats.
    pub name: &'a Name,
    /// The same name in lower case.
    pub key: &'a LowerName,
    /// The query type.
    pub qtype: RecordType,
    /// The keys of the zone, if it is signed.
    pub signed: Option<Signed<'a>>,
    /// The client, if any addresses depend on it.
    pub client: Option<Client<'a>>,
}

/// A client, where addresses depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Which names have pools, and which pool is for which client.
    pub routing: &'a Routing,
    /// The address by which it is located: that of the resolver, or the first one of the subnet that it has sent.
    pub address: IpAddr,
}

impl Client<'_> {
    /// The pool of the client for records of this type at names with this list.
    pub(crate) fn locate(&self, list: ListId, rtype: RecordType) -> Located {
        let family = match rtype {
            RecordType::A => Family::Ipv4,
            RecordType::AAAA => Family::Ipv6,
            _ => Family::Any,
        };
        self.routing.locate(list, self.address, family)
    }
}

/// The keys of a signed zone, and whether the client wants signatures.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The keys of the zone.
    pub keys: &'a ZoneKeys,
    /// Whether the client wants signatures, and denials that can be signed (RFC 3225 §3).
    pub wanted: bool,
}

/// What is known of a link, or of the challenges of a zone.
#[derive(Clone, Debug)]
pub enum Known {
    /// The link is live, or withheld: then its destination is in no answer.
    Live(Arc<Link>),
    /// The link does not exist, or has expired.
    Absent,
    /// The values of the challenges.
    Challenges(Vec<Box<str>>),
    /// The look-up failed.
    Unknown(ExtendedError),
}

//! Answers that depend on the client, and hot answers.
//!
//! ```text
//!   hot answer? ── signpost ── locate the client ── hot answer of its pool?
//!        └──────── answer ────────────┬─────────────────────┘
//!                                     └─ complete ── out
//! ```
//!
//! Under the key of a name, type and form lies the answer for all clients, or a signpost: the list of pools by which the
//! client is located. The answers are then kept by pool, not by network, since all clients of a pool get the same records;
//! only the scope differs, and that is in the OPT record of each reply.
//!
//! If all names with pools have the same list, no signpost is needed to know it. Names for which that is likely are first
//! looked up under the key of the client's pool.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;

use super::{Reading, Response};
use crate::dns::answer::outcome::{Answer, Variant};
use crate::dns::answer::question::Client;
use crate::dns::pipeline::handler::Shared;
use crate::dns::pipeline::hot::{Form, HotAnswer, HotAnswers, HotKey};
use crate::dns::pipeline::reuse::Reuse;
use crate::dns::wire::edns::ClientSubnet;
use crate::dns::wire::query::Query;
use crate::dns::wire::reply::{Head, Sent, Signpost};
use crate::routing::Located;

/// Where the answer of a client's pool lies.
pub(crate) struct Routed {
    located: Located,
    /// The hash of its key.
    pub(crate) hash: u64,
}

impl Shared {
    /// Where the answer to a query lies if it depends on the client; none if it probably does not.
    pub(crate) fn routed(&self, query: &Query<'_>, form: Form, from: IpAddr) -> Option<Routed> {
        let routing = self
            .routing()
            .filter(|_| may_depend_on_client(query.qtype))?;
        let list = routing.probable_list(query.name.as_bytes())?;
        let address = address_of(self.subnet_of(query.echo.edns), from);
        let located = Client { routing, address }.locate(list, query.qtype.into());
        let variant = Variant::of(&located);
        let key = self
            .hot
            .routed_key(&query.name, form, query.qtype, variant)?;
        Some(Routed {
            located,
            hash: key.hash(),
        })
    }
}

/// Where the client is, of a query from this address.
fn address_of(subnet: Option<ClientSubnet<'_>>, from: IpAddr) -> IpAddr {
    // RFC 7871 §7.1.2: a client that does not want to be located is taken to be where its resolver is.
    let address = subnet.and_then(|subnet| subnet.address);
    address.unwrap_or(from)
}

/// Whether queries of this type may get addresses, as records or as hints (RFC 9460 §7.3).
fn may_depend_on_client(qtype: u16) -> bool {
    let types = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::HTTPS,
        RecordType::SVCB,
    ];
    types.iter().any(|rtype| u16::from(*rtype) == qtype)
}

impl<'a> Response<'a, '_> {
    /// A reply from the hot answer of the client's pool, if there is one.
    pub(crate) fn routed_reply(&mut self, routed: &Routed) -> Option<Sent> {
        let (name, qtype) = (&self.query.name, self.query.qtype);
        let variant = Variant::of(&routed.located);
        let kind = (qtype, variant);
        let key = HotAnswers::routed_key_with_hash(name, self.form, kind, routed.hash)?;
        let found = self.find_hot(&key)?;
        self.take_route(&routed.located);
        self.complete_hot(&found)
    }

    /// A reply from a hot answer, if there is one.
    pub(crate) fn hot_reply(&mut self, key: &HotKey<'_>) -> Option<Sent> {
        if self.reading == Reading::Odd {
            return None;
        }
        let mut found = self.find_hot(key)?;
        if let Some(Signpost(list)) = Signpost::from_bytes(found.head) {
            let client = self.client()?;
            let (name, qtype) = (&self.query.name, self.query.qtype);
            let located = client.locate(list, qtype.into());
            let hot = &self.shared.hot;
            let key = hot.routed_key(name, self.form, qtype, Variant::of(&located))?;
            found = self.find_hot(&key)?;
            self.take_route(&located);
        }
        self.complete_hot(&found)
    }

    /// None if the answer has to be made anew for this client.
    fn complete_hot(&mut self, found: &HotAnswer) -> Option<Sent> {
        let head = Head::from_bytes(found.head);
        self.scratch
            .reply
            .complete_hot(&self.frame, head, found.len)
    }

    /// Finds a hot answer, and puts its records in their place.
    pub(super) fn find_hot(&mut self, key: &HotKey<'_>) -> Option<HotAnswer> {
        let room = self.frame.room();
        let records = self.scratch.reply.records_mut(&self.query.echo);
        let is_current = |stamp| self.shared.links.is_current(stamp);
        let hot = &self.shared.hot;
        hot.find(key, self.now, is_current, room, records)
    }

    /// The client, if any addresses depend on it.
    pub(super) fn client(&self) -> Option<Client<'a>> {
        let subnet = self.frame.options.subnet.map(|(subnet, _)| subnet);
        Some(Client {
            routing: self.shared.routing()?,
            address: address_of(subnet, self.from.0),
        })
    }

    /// Notes in the frame whose addresses the reply has, and for which clients they are.
    fn take_route(&mut self, located: &Located) {
        self.frame.routed = Some(Variant::of(located));
        if let Some((subnet, scope)) = &mut self.frame.options.subnet {
            // RFC 7871 §7.2.1: 0 in reply to 0, so that the resolver has it for all such queries.
            *scope = subnet.address.map_or(0, |_| located.scope);
        }
    }

    /// The key under which an answer to the query is kept, and how long. For an answer that depends on the client, a
    /// signpost is kept under the key for all clients.
    pub(super) fn place_of<'q>(
        &mut self,
        query: &'q Query<'_>,
        answer: &Answer,
        kept: Option<Reuse>,
    ) -> (HotKey<'q>, Option<Reuse>) {
        let shared = self.shared;
        let (hot, name, qtype) = (&shared.hot, &query.name, query.qtype);
        let key = match self.is_strange {
            true => hot.strange_key(name, self.form),
            false => hot.key(name, self.form, qtype),
        };
        let Some((list, located)) = answer.route else {
            return (key, kept);
        };
        self.take_route(&located);
        let routed = hot.routed_key(name, self.form, qtype, Variant::of(&located));
        let kept = kept.filter(|_| self.reading == Reading::Ordinary);
        match kept.zip(routed) {
            Some((reuse, routed)) => {
                let validity = reuse.validity(answer, self.stamp, self.now);
                shared.keep_signpost(&key, list, validity);
                (routed, kept)
            }
            // Under the key for all clients it would be wrong.
            None => (key, None),
        }
    }
}

//! Records that depend on the client: addresses of pools in place of those of the zone file.
//!
//! The zone file says which types a name has, so that a name exists alike for all clients, and has the addresses for
//! clients that no pool is for, or whose pool has none of the type. While all pools of a client are down, it may get no
//! addresses at all ([`Fail::Closed`](crate::routing::Fail::Closed)).

use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS};
use hickory_proto::rr::{Name, RData, RecordType};

use super::Walk;
use crate::base::name::wire::WireName;
use crate::routing::{ListId, Pool, Served};
use crate::zone::RrSet;

/// The RRset that a client gets.
pub(super) enum ForClient {
    /// That of the zone file, as all clients.
    Common,
    /// This one in place of it.
    Own(RrSet),
    /// None: all pools of the client are down.
    Nothing,
}

/// A pool, and which of its addresses are in answers.
#[derive(Clone, Copy)]
struct Source<'p> {
    pool: &'p Pool,
    served: Served,
}

impl Source<'_> {
    /// Addresses of one family that are served; `first` is the place of the first of them among all addresses.
    fn served<T: Copy>(self, all: &[T], first: usize) -> impl Iterator<Item = T> {
        let places = all.iter().enumerate();
        let served = places.filter(move |(place, _)| self.served.has(first + place));
        served.map(|(_, address)| *address)
    }

    fn ipv4(self) -> Vec<A> {
        self.served(&self.pool.ipv4, 0).map(A).collect()
    }

    fn ipv6(self) -> Vec<AAAA> {
        let first = self.pool.ipv4.len();
        self.served(&self.pool.ipv6, first).map(AAAA).collect()
    }
}

impl Walk<'_> {
    /// The list of pools of a name of the zone file.
    pub(super) fn list_of_name(&self, name: &Name) -> Option<ListId> {
        let client = self.client?;
        // The walk has the letter case of the query.
        client
            .routing
            .of_name(WireName::from_labels(name.iter())?.as_bytes())
    }

    /// The list of pools of the links of the zone.
    pub(super) fn list_of_links(&self) -> Option<ListId> {
        self.client?.routing.of_links(self.zone.apex_key())
    }

    /// The RRset that the client gets in place of this one of the zone file. It has the same type.
    pub(super) fn for_client(
        &mut self,
        list: Option<ListId>,
        owner: &Name,
        rrset: &RrSet,
    ) -> ForClient {
        let (Some(list), Some(client)) = (list, self.client) else {
            return ForClient::Common;
        };
        if !depends_on_client(rrset, owner) {
            return ForClient::Common;
        }
        let located = client.locate(list, self.qtype);
        self.reply.route = Some((list, located));
        let config = client.routing.config();
        if located.closed {
            // RFC 2308 §5: resolvers keep the answer for as long as the SOA record says.
            self.negative_bound = Some(config.ttl);
            return ForClient::Nothing;
        }
        let pool = located
            .pool
            .and_then(|place| config.pools.get(usize::from(place)));
        let served = located.served;
        let own = pool.map(|pool| data_of(Source { pool, served }, owner, rrset));
        ForClient::Own(RrSet {
            rtype: rrset.rtype,
            ttl: rrset.ttl.min(config.ttl),
            rdata: own
                .filter(|own| !own.is_empty())
                .unwrap_or_else(|| rrset.rdata.clone()),
        })
    }
}

/// Whether records are or repeat addresses of their owner.
fn depends_on_client(rrset: &RrSet, owner: &Name) -> bool {
    match rrset.rtype {
        RecordType::A | RecordType::AAAA => true,
        RecordType::HTTPS | RecordType::SVCB => {
            let services = rrset.rdata.iter().filter_map(service);
            services
                .filter(|service| is_about(service, owner))
                .any(|service| {
                    let mut keys = service.svc_params.iter().map(|(key, _)| key);
                    keys.any(|key| matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint))
                })
        }
        _ => false,
    }
}

/// The data of an RRset with the addresses of a pool; empty if the pool serves none of the type.
fn data_of(source: Source<'_>, owner: &Name, rrset: &RrSet) -> Vec<RData> {
    match rrset.rtype {
        RecordType::A => source.ipv4().into_iter().map(RData::A).collect(),
        RecordType::AAAA => source.ipv6().into_iter().map(RData::AAAA).collect(),
        _ => rrset
            .rdata
            .iter()
            .map(|data| with_hints(source, owner, data))
            .collect(),
    }
}

/// RFC 9460 §7.3: hints are the addresses that a query for A or AAAA records of the target would get. Where the pool
/// serves none of a family, these are those of the zone file.
fn with_hints(source: Source<'_>, owner: &Name, data: &RData) -> RData {
    let Some(service) = service(data).filter(|service| is_about(service, owner)) else {
        return data.clone();
    };
    let mut service: SVCB = service.clone();
    let (ipv4, ipv6) = (source.ipv4(), source.ipv6());
    for (_, value) in &mut service.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(IpHint(hints)) if !ipv4.is_empty() => {
                hints.clone_from(&ipv4);
            }
            SvcParamValue::Ipv6Hint(IpHint(hints)) if !ipv6.is_empty() => {
                hints.clone_from(&ipv6);
            }
            _ => {}
        }
    }
    match data {
        RData::HTTPS(_) => RData::HTTPS(HTTPS(service)),
        _ => RData::SVCB(service),
    }
}

fn service(data: &RData) -> Option<&SVCB> {
    match data {
        RData::HTTPS(HTTPS(service)) | RData::SVCB(service) => Some(service),
        _ => None,
    }
}

/// Whether the target of a service is the owner of the record (RFC 9460 §2.5.2).
fn is_about(service: &SVCB, owner: &Name) -> bool {
    service.target_name.is_root() || service.target_name == *owner
}

//! Records that depend on the client: addresses of pools in place of those of the zone file.
//!
//! The zone file says which types a name has, so that a name exists alike for all clients, and has the addresses for
//! clients that no pool is for, or whose pool has none of the type.

use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS};
use hickory_proto::rr::{Name, RData, RecordType};

use super::Walk;
use crate::base::name::wire::WireName;
use crate::routing::{ListId, Pool};
use crate::zone::RrSet;

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

    /// The RRset that the client gets in place of this one, which has the same type; none if it is the same for all
    /// clients.
    pub(super) fn for_client(
        &mut self,
        list: ListId,
        owner: &Name,
        rrset: &RrSet,
    ) -> Option<RrSet> {
        if !depends_on_client(rrset, owner) {
            return None;
        }
        let client = self.client?;
        let located = client.routing.locate(list, client.address);
        self.reply.route = Some((list, located));
        let config = client.routing.config();
        let pool = located
            .pool
            .and_then(|place| config.pools.get(usize::from(place)));
        let own = pool.map(|pool| data_of(pool, owner, rrset));
        Some(RrSet {
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

/// The data of an RRset with the addresses of a pool; empty if the pool has none of the type.
fn data_of(pool: &Pool, owner: &Name, rrset: &RrSet) -> Vec<RData> {
    match rrset.rtype {
        RecordType::A => pool.ipv4.iter().map(|ip| RData::A(A(*ip))).collect(),
        RecordType::AAAA => pool.ipv6.iter().map(|ip| RData::AAAA(AAAA(*ip))).collect(),
        _ => rrset
            .rdata
            .iter()
            .map(|data| with_hints(pool, owner, data))
            .collect(),
    }
}

/// RFC 9460 §7.3: hints are the addresses that a query for A or AAAA records of the target would get. Where the pool has
/// none of a family, these are those of the zone file.
fn with_hints(pool: &Pool, owner: &Name, data: &RData) -> RData {
    let Some(service) = service(data).filter(|service| is_about(service, owner)) else {
        return data.clone();
    };
    let mut service: SVCB = service.clone();
    for (_, value) in &mut service.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(IpHint(hints)) if !pool.ipv4.is_empty() => {
                *hints = pool.ipv4.iter().copied().map(A).collect();
            }
            SvcParamValue::Ipv6Hint(IpHint(hints)) if !pool.ipv6.is_empty() => {
                *hints = pool.ipv6.iter().copied().map(AAAA).collect();
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

//! Additions: what a zone answers beyond its file while HTTPS is on.
//!
//! ```text
//!   _acme-challenge.<origin>      TXT    the challenges of an order, from the store (RFC 8555 §8.4)
//!   <origin>                      CAA    the issuer and the account that may order certificates (RFC 8659, 8657)
//!   *.<redirect_host>.<origin>    HTTPS  the protocols of the redirect host (RFC 9460)
//! ```
//!
//! Additions change while the server runs: an account is registered, a certificate arrives. A changed zone shares
//! the names of its file with the zone before, and has two nodes of its own: the apex and the template of links.
//! The zone file has the last word about CAA and HTTPS records: where it has its own, none are added.

use std::sync::Arc;

use hickory_proto::rr::rdata::svcb::{Alpn, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, NULL};
use hickory_proto::rr::{Name, RData, RecordType};

use super::diagnostic::{Defect, Diagnostic};
use super::master::FileRecord;
use super::tree::{APEX, Node, RrSet};
use super::{CaaAddition, Zone, caa};
use crate::base::name::Shown;

/// The label below the origin at which certificate authorities look for challenges (RFC 8555 §8.4).
pub(crate) const CHALLENGE_LABEL: &[u8] = b"_acme-challenge";
/// The protocols that the HTTPS listeners speak, preferred first (RFC 9460 §7.1).
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];
/// The highest TTL of CAA records, in seconds: certificate authorities may use a cached record for that long after
/// the account has changed.
const MAX_CAA_TTL: u32 = 3_600;
/// What a zone answers beyond its file. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneAdditions {
    /// Whether `_acme-challenge.<origin>` exists, with TXT records from the store.
    pub challenge: bool,
    /// The issuer for the CAA records at the origin.
    pub caa: Option<CaaAddition>,
    /// Whether links have an HTTPS record. They get one only if the template of links has addresses.
    pub https: bool,
}

/// The records of a zone file at names for which there are additions.
#[derive(Debug, Default)]
pub(super) struct OwnRecords {
    /// The first record at `_acme-challenge.<origin>`.
    pub(super) challenge: Option<FileRecord>,
    /// The CAA records at the origin.
    pub(super) caa: Vec<FileRecord>,
}

impl Zone {
    /// Its additions.
    pub fn additions(&self) -> &ZoneAdditions {
        &self.additions
    }

    /// The same zone with these additions, which [`Zone::refusals`] has found possible.
    pub(super) fn with_additions(&self, additions: &ZoneAdditions) -> Self {
        let mut added = Vec::new();
        if let Some(caa) = &additions.caa
            && let Some(node) = with_caa(&self.tree.entry(APEX).node, caa, self.soa_ttl)
        {
            added.push((APEX, node));
        }
        let template = self.redirect_host.and_then(|r| self.tree.wildcard(r));
        if additions.https
            && let Some(place) = template
            && let Some(node) = with_https(&self.tree.entry(place).node)
        {
            added.push((place, node));
        }
        Self {
            additions: additions.clone(),
            added: added.into(),
            ..self.clone()
        }
    }

    /// What in the zone file forbids these additions.
    pub(super) fn refusals(&self, additions: &ZoneAdditions) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let own = self.own.challenge.as_ref().filter(|_| additions.challenge);
        found.extend(own.map(|record| {
            record.diagnose(Defect::ChallengeTaken {
                owner: Box::new(Shown(record.owner.clone())),
                rtype: record.rdata.record_type(),
            })
        }));
        if let Some(caa) = &additions.caa {
            found.extend(caa::refusals(&self.own.caa, &self.origin, caa));
        }
        found
    }

    /// The node of a name of the zone file, with its additions.
    pub(super) fn node(&self, place: usize) -> &Node {
        let mut added = self.added.iter();
        let own = added.find(|(of, _)| *of == place);
        own.map_or(&self.tree.entry(place).node, |(_, node)| node)
    }
}

/// The apex with CAA records; none if it has its own.
fn with_caa(apex: &Node, caa: &CaaAddition, soa_ttl: u32) -> Option<Node> {
    if apex.rrset(RecordType::CAA).is_some() {
        return None;
    }
    let value = caa.issue_value();
    let properties = [caa::ISSUE, caa::ISSUEWILD];
    Some(apex.with(RrSet {
        rtype: RecordType::CAA,
        ttl: soa_ttl.min(MAX_CAA_TTL),
        rdata: properties.map(|tag| caa_data(tag, &value)).into(),
    }))
}

/// The data of a CAA record without flags (RFC 8659 §4.1).
fn caa_data(tag: &str, value: &str) -> RData {
    // Tags of this file have at most nine bytes.
    let head = [0, tag.len() as u8];
    let data = [&head[..], tag.as_bytes(), value.as_bytes()].concat();
    RData::Unknown {
        code: RecordType::CAA,
        rdata: NULL::with(data),
    }
}

/// The template with an HTTPS record in ServiceMode (RFC 9460 §2.4.3), whose target is the link itself; none if
/// it has its own, or no addresses. Its TTL is the lower one of those of the addresses.
fn with_https(template: &Node) -> Option<Node> {
    if template.rrset(RecordType::HTTPS).is_some() {
        return None;
    }
    let addresses = [RecordType::A, RecordType::AAAA];
    let ttls = addresses
        .into_iter()
        .filter_map(|rtype| template.rrset(rtype));
    let ttl = ttls.map(|set| set.ttl).min()?;
    let protocols = PROTOCOLS.map(String::from).into();
    let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(protocols)));
    let service = SVCB::new(1, Name::root(), vec![alpn]);
    Some(template.with(RrSet {
        rtype: RecordType::HTTPS,
        ttl,
        rdata: vec![RData::HTTPS(HTTPS(service))],
    }))
}

/// The parts of a zone that additions change.
pub(super) type Added = Arc<[(usize, Node)]>;

//! From records to a zone: the checks that concern several records.
//!
//! All errors are collected before any is reported. Records at and below zone cuts (RFC 1034 §4.2.1) are sorted
//! out here, once: glue is kept, and other records are dropped with a warning, so the search need not distinguish
//! them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hickory_proto::rr::{LowerName, Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::ZoneConfig;
use super::additions::{CHALLENGE_LABEL, OwnRecords};
use super::diagnostic::{Defect, Diagnostic};
use super::master::FileRecord;
use super::tree::{APEX, Kind, RrSet, Tree};
use crate::base::name::wire::{self, WireName};
use crate::base::name::{MAX_NAME_LEN, Shown};

/// The room that a message has for one RRset: 65,535 bytes (RFC 1035 §4.2.2) without the header, a
/// question and an OPT record.
const MAX_RRSET_LEN: usize = 65_535 - 12 - (MAX_NAME_LEN + 4) - 11;
/// The most names of a zone, including empty non-terminals: one owner with many labels can make a hundred of them.
const MAX_NAMES: usize = 4_000_000;
/// The size of type, class, TTL and RDLENGTH of a record, in bytes.
const RECORD_OVERHEAD: usize = 10;

/// The records of one name and type.
struct Set {
    rtype: RecordType,
    ttl: u32,
    records: Vec<FileRecord>,
}

impl Set {
    fn first(&self) -> &FileRecord {
        // A set is made with its first record.
        &self.records[0]
    }
}

/// The records of one name.
struct Owner {
    /// As the first record spells it.
    name: Box<Shown>,
    lower: LowerName,
    key: Box<[u8]>,
    sets: Vec<Set>,
}

impl Owner {
    fn set(&self, rtype: RecordType) -> Option<&Set> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    fn is_wildcard(&self) -> bool {
        wire::first_label(&self.key) == b"*"
    }
}

/// The name at or above another that takes it away from the zone, by its place in the list of owners.
#[derive(Clone, Copy, PartialEq)]
enum Above {
    Nothing,
    Cut(usize),
    Dname(usize),
}

/// The result of a build.
pub(super) struct Built {
    pub(super) tree: Tree,
    pub(super) redirect_host: Option<usize>,
    pub(super) soa: FileRecord,
    /// The hosts in the zone that records point to; their addresses are checked later.
    pub(super) hosts: Vec<Host>,
    /// The records at names of additions.
    pub(super) own: OwnRecords,
}

/// A host that an NS, MX or SRV record points to.
pub(super) struct Host {
    pub(super) owner: LowerName,
    pub(super) target: LowerName,
    pub(super) record: FileRecord,
}

/// Builds a zone from its records.
pub(super) struct Builder<'c> {
    config: &'c ZoneConfig,
    origin: LowerName,
    origin_key: Box<[u8]>,
    redirect_key: Option<Box<[u8]>>,
    owners: Vec<Owner>,
    by_key: HashMap<Box<[u8]>, usize>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl<'c> Builder<'c> {
    /// A zone without records. `origin_key` and `redirect_key` are the wire forms of the origin and of the
    /// redirect host.
    pub(super) fn new(
        config: &'c ZoneConfig,
        origin: &LowerName,
        origin_key: &[u8],
        redirect_key: Option<&[u8]>,
    ) -> Self {
        Self {
            config,
            origin: origin.clone(),
            origin_key: origin_key.into(),
            redirect_key: redirect_key.map(Into::into),
            owners: Vec::new(),
            by_key: HashMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Checks the records and builds the zone. Errors and warnings are left in the builder; with an error there is
    /// no zone.
    pub(super) fn build(&mut self, records: Vec<FileRecord>) -> Option<Built> {
        for record in records {
            self.add(record);
        }
        self.merge_sets();
        let soa = self.check_apex();
        let above: Vec<Above> = (0..self.owners.len()).map(|i| self.above(i)).collect();
        for (owner, above) in self.owners.iter().zip(&above) {
            self.errors.extend(check_owner(owner, &self.origin_key));
            if let Above::Dname(dname) = *above {
                let dname = self.owners[dname].name.clone();
                self.errors.extend(owner.sets.iter().map(|set| {
                    set.first().diagnose(Defect::BelowDname {
                        owner: owner.name.clone(),
                        dname: dname.clone(),
                    })
                }));
            }
        }
        if self.config.redirect_host.is_some() {
            self.check_links();
        }
        self.warn_of_dnssec(&above);
        self.drop_occluded(&above);
        match soa {
            Some(soa) if self.errors.is_empty() => self.plant(soa),
            _ => None,
        }
    }

    /// Adds a record to the RRset of its name and type.
    fn add(&mut self, record: FileRecord) {
        let key = WireName::from_labels(record.owner.iter());
        let inside =
            key.filter(|key| wire::ancestors(key.as_bytes()).any(|a| *a == *self.origin_key));
        let Some(key) = inside else {
            let defect = Defect::OutOfZone {
                owner: Box::new(record.owner.clone().into()),
                origin: self.config.origin.clone(),
            };
            self.errors.push(record.diagnose(defect));
            return;
        };
        let owners = &mut self.owners;
        let place = *self.by_key.entry(key.as_bytes().into()).or_insert_with(|| {
            owners.push(Owner {
                name: Box::new(record.owner.clone().into()),
                lower: LowerName::new(&record.owner),
                key: key.as_bytes().into(),
                sets: Vec::new(),
            });
            owners.len() - 1
        });
        let sets = &mut owners[place].sets;
        let rtype = record.rdata.record_type();
        match sets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => set.records.push(record),
            None => sets.push(Set {
                rtype,
                ttl: record.ttl,
                records: vec![record],
            }),
        }
    }

    /// Gives every RRset one TTL and drops repeated records.
    fn merge_sets(&mut self) {
        for owner in &mut self.owners {
            for set in &mut owner.sets {
                let (rtype, name) = (set.rtype, &owner.name);
                // RFC 2181 §5.2: "the client should treat the RRs for all purposes as if all TTLs
                // in the RRset had been set to the value of the lowest TTL in the RRset".
                let first = set.ttl;
                let used = set.records.iter().map(|r| r.ttl).min().unwrap_or(first);
                set.ttl = used;
                self.warnings
                    .extend(set.records.iter().filter(|record| record.ttl != first).map(
                        |record| {
                            record.diagnose(Defect::TtlDiffers {
                                owner: name.clone(),
                                rtype,
                                ttl: record.ttl,
                                used,
                            })
                        },
                    ));
                let mut seen = HashSet::new();
                let repeated: Vec<bool> = set
                    .records
                    .iter()
                    .map(|record| !seen.insert(&record.rdata))
                    .collect();
                let mut repeated = repeated.into_iter();
                set.records.retain(|record| {
                    let again = repeated.next().unwrap_or(false);
                    if again {
                        let owner = name.clone();
                        let defect = Defect::Duplicate { owner, rtype };
                        self.warnings.push(record.diagnose(defect));
                    }
                    !again
                });
            }
        }
    }

    /// Checks that the zone has one SOA record, at the apex (RFC 1035 §5.2), and NS records there (RFC 1034
    /// §4.2.1).
    fn check_apex(&mut self) -> Option<FileRecord> {
        for owner in self.owners.iter().filter(|o| o.key != self.origin_key) {
            let soas = owner.set(RecordType::SOA).into_iter();
            self.errors.extend(
                soas.flat_map(|set| &set.records)
                    .map(|record| record.diagnose(Defect::SoaBelowApex(owner.name.clone()))),
            );
        }
        let apex = self.by_key.get(&self.origin_key).map(|&i| &self.owners[i]);
        let soa = apex.and_then(|apex| apex.set(RecordType::SOA));
        if let Some(soa) = soa {
            let others = soa.records.iter().skip(1);
            self.errors
                .extend(others.map(|record| record.diagnose(Defect::SecondSoa)));
        }
        let soa = soa.map(|soa| soa.first().clone());
        let has_ns = apex.is_some_and(|apex| apex.set(RecordType::NS).is_some());
        let origin = || self.config.origin.clone();
        let mut missing = Vec::new();
        if soa.is_none() {
            missing.push(Defect::NoSoa(origin()));
        }
        if !has_ns {
            missing.push(Defect::NoNs(origin()));
        }
        self.errors
            .extend(missing.into_iter().map(|defect| Diagnostic {
                file: Arc::from(&*self.config.file),
                line: None,
                column: None,
                defect,
            }));
        soa
    }

    /// The highest zone cut at or above a name, or DNAME above it.
    fn above(&self, owner: usize) -> Above {
        let key = &self.owners[owner].key;
        let mut found = Above::Nothing;
        // From the name up; the last one found is the highest.
        for ancestor in wire::ancestors(key) {
            let is_apex = *ancestor == *self.origin_key;
            if let Some(&place) = self.by_key.get(ancestor) {
                let node = &self.owners[place];
                if node.set(RecordType::NS).is_some() && !is_apex {
                    found = Above::Cut(place);
                } else if node.set(RecordType::DNAME).is_some() && place != owner {
                    found = Above::Dname(place);
                }
            }
            if is_apex {
                break;
            }
        }
        found
    }

    /// Refuses records that would take names away from links, and warns if browsers could not reach the links.
    fn check_links(&mut self) {
        let Some(redirect_key) = self.redirect_key.clone() else {
            return;
        };
        let template_key = [b"\x01*", &redirect_key[..]].concat();
        let at = |key: &[u8]| self.by_key.get(key).map(|&i| &self.owners[i]);
        let mut errors = Vec::new();
        let mut refuse = |key: &[u8], rtypes: &[RecordType], is_template: bool| {
            let Some(owner) = at(key) else { return };
            for set in rtypes.iter().filter_map(|&rtype| owner.set(rtype)) {
                let (name, rtype) = (owner.name.clone(), set.rtype);
                let defect = match is_template {
                    true => Defect::TemplateType { owner: name, rtype },
                    false => Defect::RedirectHostType { owner: name, rtype },
                };
                errors.push(set.first().diagnose(defect));
            }
        };
        use RecordType as T;
        refuse(&self.origin_key, &[T::CNAME, T::DNAME], false);
        refuse(&redirect_key, &[T::CNAME, T::DNAME, T::NS], false);
        // NS and DNAME are refused at every wildcard.
        let uri = T::from(256);
        refuse(&template_key, &[T::CNAME, T::TXT, uri], true);
        let template = at(&template_key);
        let followed = [T::A, T::AAAA, T::HTTPS];
        if !template.is_some_and(|t| followed.iter().any(|&rtype| t.set(rtype).is_some())) {
            let first = template.and_then(|template| template.sets.first());
            let name = match template {
                Some(template) => template.name.clone(),
                None => {
                    let name = Name::from_labels(wire::labels(&template_key));
                    Box::new(name.unwrap_or_default().into())
                }
            };
            let defect = Defect::NoTemplate(name);
            self.warnings.push(match first {
                Some(set) => set.first().diagnose(defect),
                None => Diagnostic {
                    file: Arc::from(&*self.config.file),
                    line: None,
                    column: None,
                    defect,
                },
            });
        }
        self.errors.extend(errors);
    }

    /// Warns of DNSSEC records that are legal, but have no effect or do harm.
    fn warn_of_dnssec(&mut self, above: &[Above]) {
        for (owner, above) in self.owners.iter().zip(above) {
            // `drop_occluded` warns of records below a cut.
            if matches!(above, Above::Cut(_)) {
                continue;
            }
            let name = || owner.name.clone();
            let warnings = owner.sets.iter().filter_map(|set| {
                let (owner, rtype) = (name(), set.rtype);
                let defect = match rtype {
                    RecordType::DS => Defect::DsWithoutCut(owner),
                    RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY => {
                        Defect::Unsigned { owner, rtype }
                    }
                    _ => return None,
                };
                Some(set.first().diagnose(defect))
            });
            self.warnings.extend(warnings);
        }
    }

    /// Drops the records at and below zone cuts, except for the NS and DS records of the cut and the addresses of
    /// name servers (RFC 1034 §4.2.1).
    fn drop_occluded(&mut self, above: &[Above]) {
        let glue = self.name_servers(above);
        for (place, &above) in above.iter().enumerate() {
            let Above::Cut(cut) = above else { continue };
            let cut_name = self.owners[cut].name.clone();
            let owner = &mut self.owners[place];
            let is_glue = glue.contains(&owner.key);
            let warnings = &mut self.warnings;
            owner.sets.retain(|set| {
                let kept = match set.rtype {
                    RecordType::NS | RecordType::DS => place == cut,
                    RecordType::A | RecordType::AAAA => is_glue,
                    _ => false,
                };
                if !kept {
                    warnings.push(set.first().diagnose(Defect::Occluded {
                        owner: owner.name.clone(),
                        rtype: set.rtype,
                        cut: cut_name.clone(),
                    }));
                }
                kept
            });
        }
    }

    /// The names that NS records of the zone point to.
    fn name_servers(&self, above: &[Above]) -> HashSet<Box<[u8]>> {
        self.owners
            .iter()
            .enumerate()
            .filter(|(place, _)| {
                matches!(above[*place], Above::Nothing) || above[*place] == Above::Cut(*place)
            })
            .filter_map(|(_, owner)| owner.set(RecordType::NS))
            .flat_map(|set| &set.records)
            .filter_map(|record| match &record.rdata {
                RData::NS(ns) => WireName::from_labels(ns.0.iter()),
                _ => None,
            })
            .map(|name| name.as_bytes().into())
            .collect()
    }

    /// Makes the tree of a zone that has no errors; none if it has too many names.
    fn plant(&mut self, soa: FileRecord) -> Option<Built> {
        let mut tree = Tree::new(&self.origin, &self.origin_key, MAX_NAMES);
        let redirect_host = self.redirect_key.as_ref().and_then(|key| {
            let label = wire::first_label(key);
            let name = self.origin.prepend_label(label).unwrap_or_default();
            // Links are below it, so it exists even if the file does not have it.
            tree.ensure(&LowerName::from(name), key)
        });
        let own = self.own_records();
        let mut hosts = Vec::new();
        for owner in self.owners.drain(..).filter(|owner| !owner.sets.is_empty()) {
            let Some(place) = tree.ensure(&owner.lower, &owner.key) else {
                let defect = Defect::TooManyNames(MAX_NAMES);
                let last = owner.sets.first();
                self.errors
                    .extend(last.map(|set| set.first().diagnose(defect)));
                return None;
            };
            let entry = tree.entry_mut(place);
            for set in owner.sets {
                match set.rtype {
                    RecordType::NS if place != APEX => entry.kind = Kind::Cut,
                    RecordType::DNAME => entry.kind = Kind::Dname,
                    _ => {}
                }
                hosts.extend(targets(&self.origin, &owner.lower, &set.records));
                entry.node.insert(RrSet {
                    rtype: set.rtype,
                    ttl: set.ttl,
                    rdata: set.records.into_iter().map(|record| record.rdata).collect(),
                });
            }
        }
        Some(Built {
            tree,
            redirect_host,
            soa,
            hosts,
            own,
        })
    }

    /// The records at names for which there are additions.
    fn own_records(&self) -> OwnRecords {
        let at = |key: &[u8]| self.by_key.get(key).map(|&i| &self.owners[i]);
        let length = [CHALLENGE_LABEL.len() as u8];
        let challenge = [&length, CHALLENGE_LABEL, &self.origin_key].concat();
        let first = at(&challenge).and_then(|owner| owner.sets.first());
        let caa = at(&self.origin_key).and_then(|apex| apex.set(RecordType::CAA));
        OwnRecords {
            challenge: first.map(|set| set.first().clone()),
            caa: caa.map_or_else(Vec::new, |set| set.records.clone()),
        }
    }
}

/// Checks the records of a name against each other.
fn check_owner(owner: &Owner, origin: &[u8]) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let name = || owner.name.clone();
    if let Some(cname) = owner.set(RecordType::CNAME) {
        for other in owner.sets.iter().filter(|s| s.rtype != RecordType::CNAME) {
            // RFC 2181 §10.1. Reported at the later one, which was probably added to the file last.
            let (cname, first) = (cname.first(), other.first());
            let later = match cname.file == first.file && cname.line > first.line {
                true => cname,
                false => first,
            };
            errors.push(later.diagnose(Defect::CnameAndOther {
                owner: name(),
                other: other.rtype,
            }));
        }
    }
    // RFC 4592 §4.1: the apex is not a source of synthesis, even if its first label is `*`.
    let is_wildcard = owner.is_wildcard() && *owner.key != *origin;
    // A wildcard's records get the name of the query as owner.
    let owner_len = match is_wildcard {
        true => MAX_NAME_LEN,
        false => owner.key.len(),
    };
    for set in &owner.sets {
        let rtype = set.rtype;
        if matches!(rtype, RecordType::CNAME | RecordType::DNAME) {
            let more = set.records.iter().skip(1);
            let owner = name();
            errors.extend(more.map(|record| {
                let owner = owner.clone();
                record.diagnose(Defect::Second { owner, rtype })
            }));
        }
        if matches!(rtype, RecordType::NS | RecordType::DNAME) && is_wildcard {
            let owner = name();
            errors.push(set.first().diagnose(Defect::WildcardType { owner, rtype }));
        }
        // Hickory compresses the first 120 names of a message and writes all further ones in full.
        let lens = set
            .records
            .iter()
            .map(|r| owner_len + RECORD_OVERHEAD + data_len(&r.rdata));
        let bytes = lens.sum();
        if bytes > MAX_RRSET_LEN {
            errors.push(set.first().diagnose(Defect::LargeRrset {
                owner: name(),
                rtype,
                bytes,
                max: MAX_RRSET_LEN,
            }));
        }
    }
    errors
}

/// The size of a record's data on the wire, in bytes, names uncompressed.
fn data_len(rdata: &RData) -> usize {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    // The reader accepts only data that can be encoded.
    match rdata.emit(&mut encoder) {
        Ok(()) => wire.len(),
        Err(_) => usize::from(u16::MAX),
    }
}

/// The hosts in the zone that records point to.
fn targets(
    origin: &LowerName,
    owner: &LowerName,
    records: &[FileRecord],
) -> impl Iterator<Item = Host> {
    records.iter().filter_map(|record| {
        let target = match &record.rdata {
            RData::NS(ns) => &ns.0,
            RData::MX(mx) => &mx.exchange,
            RData::SRV(srv) => &srv.target,
            _ => return None,
        };
        let target = LowerName::new(target);
        origin.zone_of(&target).then(|| Host {
            owner: owner.clone(),
            target,
            record: record.clone(),
        })
    })
}

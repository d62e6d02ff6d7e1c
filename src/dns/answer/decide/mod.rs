//! The one place that decides what a reply says.
//!
//! [`answer`] gets a question, its zone and what is known of its link, and returns records and an rcode. It does no
//! I/O and knows no socket, no cache and no clock, so that every rule below can be read and tested as a function. If
//! the answer depends on a link that has not been looked up, it returns [`Step::NeedsLink`]; the caller looks the
//! link up and calls again. The walk through the static names is cheap enough to repeat.
//!
//! The algorithm is that of RFC 1034 §4.3.2, with links as a second source of names between the
//! exact names of the zone file and its wildcards.

mod link;
mod route;

use std::collections::HashSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, HTTPS};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use self::route::ForClient;
use super::outcome::{Answer, Denial, ExtendedError, Step};
use super::question::{Client, Known, Question, Signed};
use super::records;
use crate::base::clock::UnixTime;
use crate::dnssec::denial::{Successor, TYPE_NXNAME};
use crate::link::{Code, LinkName, Origin};
use crate::zone::{Lookup, Node, RrSet, Zone};

/// How many aliases within a zone are followed for one query. A longer chain is a mistake or a loop; the answer has
/// the records found so far, and the resolver goes on from there.
const MAX_ALIASES: usize = 16;

/// Answers a question about a name at or below the zone's origin.
///
/// `known` is what is known of the link that an earlier call with the same zone and question has named, or of the
/// challenges that it has asked for. No TTL reaches beyond a link's expiry, counted from `now`.
pub fn answer(zone: &Zone, question: Question<'_>, known: Option<&Known>, now: UnixTime) -> Step {
    let mut walk = Walk {
        zone,
        qtype: question.qtype,
        signed: question.signed,
        is_first: true,
        is_apex: false,
        is_challenge: false,
        client: question.client,
        negative_bound: None,
        known,
        met: None,
        now,
        reply: Answer {
            authoritative: true,
            ..Answer::empty(ResponseCode::NoError, None)
        },
    };
    let mut owner = question.name.clone();
    let mut key = question.key.clone();
    let mut seen = Vec::new();
    loop {
        walk.is_first = seen.is_empty();
        let next = match walk.name(&owner, &key) {
            Turn::Done => break,
            Turn::NeedsLink(name) => return Step::NeedsLink(name),
            Turn::NeedsChallenges(origin) => return Step::NeedsChallenges(origin),
            Turn::Alias(target) => target,
        };
        // RFC 1034 §4.3.2 step 3a: go on with the canonical name, as far as this zone knows it.
        seen.push(key);
        key = LowerName::new(&next);
        if !zone.origin().zone_of(&key) || seen.len() == MAX_ALIASES || seen.contains(&key) {
            break;
        }
        owner = next;
    }
    Step::Ready(walk.reply)
}

/// The outcome of one name in a chain of aliases.
enum Turn {
    Done,
    Alias(Name),
    NeedsLink(LinkName),
    NeedsChallenges(Origin),
}

/// What `known` is about.
enum Subject {
    Link(Code),
    Challenges,
}

/// An answer in the making.
struct Walk<'a> {
    zone: &'a Zone,
    qtype: RecordType,
    signed: Option<Signed<'a>>,
    /// Whether the walk is at the name of the question.
    is_first: bool,
    /// Whether the walk is at the apex.
    is_apex: bool,
    /// Whether the walk is at the name of challenges.
    is_challenge: bool,
    /// The client, if any addresses depend on it.
    client: Option<Client<'a>>,
    /// The highest TTL of a denial, in seconds, if it is about addresses of pools.
    negative_bound: Option<u32>,
    known: Option<&'a Known>,
    /// The first code on the walk, or the challenges if they come first: `known` is about that.
    met: Option<Subject>,
    now: UnixTime,
    reply: Answer,
}

impl Walk<'_> {
    /// Adds the records of `owner` to the answer; `key` is the same name in lower case.
    fn name(&mut self, owner: &Name, key: &LowerName) -> Turn {
        self.is_apex = key == self.zone.origin();
        let found = self.zone.lookup(key);
        self.is_challenge = matches!(found, Lookup::Challenge);
        match found {
            // RFC 4035 §3.1.4.1: DS is the one type that belongs to the parent's side of a cut.
            Lookup::Delegation { node, at_cut, .. } if at_cut && self.qtype == RecordType::DS => {
                self.delegation_signer(owner, node)
            }
            Lookup::Delegation { cut, node, .. } => self.referral(cut, node),
            Lookup::Dname { owner: above, node } => self.dname(owner, above, node),
            Lookup::Exact(node) | Lookup::Wildcard(node) => self.static_node(owner, node),
            Lookup::Challenge => self.challenge(owner),
            Lookup::Link {
                code,
                place,
                wildcard,
            } => self.link(owner, &code, place, wildcard),
            Lookup::BelowLink { code, wildcard } => self.below_link(owner, &code, wildcard),
            Lookup::NoName => self.name_error(owner),
        }
    }

    /// A name of the zone file, or one synthesised from its wildcard (RFC 4592 §3.3).
    fn static_node(&mut self, owner: &Name, node: &Node) -> Turn {
        let types = || node.rrsets().map(|set| set.rtype.into()).collect();
        if let Some(turn) = self.of_signing(owner, types) {
            return turn;
        }
        // RFC 8482 §4.1: ANY gets one RRset of those that exist.
        let wanted = match self.qtype {
            RecordType::ANY => node.rrsets().find(|set| !self.is_of_keys(set.rtype)),
            qtype => node.rrset(qtype),
        };
        if let Some(rrset) = wanted {
            let list = self.list_of_name(owner);
            match self.for_client(list, owner, rrset) {
                ForClient::Own(rrset) => self.push_rrset(owner, &rrset),
                ForClient::Common => self.push_rrset(owner, rrset),
                ForClient::Nothing => return self.no_data_now(owner, rrset.rtype, types),
            }
            self.push_additionals(owner, rrset);
            return Turn::Done;
        }
        if let Some(cname) = node.rrset(RecordType::CNAME) {
            self.push_rrset(owner, cname);
            if let Some(RData::CNAME(CNAME(target))) = cname.rdata.first() {
                return Turn::Alias(target.clone());
            }
        }
        self.no_data(owner, types)
    }

    /// Whether the records of this type come from the keys of the zone, not from its file.
    fn is_of_keys(&self, rtype: RecordType) -> bool {
        let types = [RecordType::DNSKEY, RecordType::CDS, RecordType::CDNSKEY];
        self.is_apex && self.signed.is_some() && types.contains(&rtype)
    }

    /// Answers a query for types that a name has because its zone is signed: at the apex the types of keys,
    /// everywhere NSEC and RRSIG; none for other types. `types` are those of the file.
    fn of_signing(&mut self, owner: &Name, types: impl FnOnce() -> Vec<u16>) -> Option<Turn> {
        let signed = self.signed?;
        let data = match self.qtype {
            RecordType::DNSKEY if self.is_apex => &signed.keys.dnskeys,
            RecordType::CDS if self.is_apex => &signed.keys.cds,
            RecordType::CDNSKEY if self.is_apex => &signed.keys.cdnskeys,
            // A query for all signatures gets those of the NSEC record alone, as a query for ANY gets one RRset (RFC
            // 8482 §4.1).
            RecordType::NSEC | RecordType::RRSIG => {
                let denial = self.denial(owner, types(), Successor::Below);
                self.push_nsec(denial);
                return Some(Turn::Done);
            }
            _ => return None,
        };
        if data.is_empty() {
            return Some(self.no_data(owner, types));
        }
        let records = data.iter().map(|data| {
            let rdata = records::raw(self.qtype, data.clone());
            Record::from_rdata(owner.clone(), signed.keys.ttl, rdata)
        });
        self.reply.answers.extend(records);
        Some(Turn::Done)
    }

    /// A query for DS at a zone cut.
    fn delegation_signer(&mut self, owner: &Name, node: &Node) -> Turn {
        if let Some(ds) = node.rrset(RecordType::DS) {
            self.push_rrset(owner, ds);
            return Turn::Done;
        }
        self.deny(owner, cut_types(node), Successor::Beside);
        self.push_soa();
        Turn::Done
    }

    /// RFC 1034 §4.3.2 step 3b: other name servers have the name; refer the client to them.
    fn referral(&mut self, cut: &LowerName, node: &Node) -> Turn {
        // After an alias the answer section has records of this zone, so AA stays set.
        self.reply.authoritative = !self.reply.answers.is_empty();
        let Some(ns) = node.rrset(RecordType::NS) else {
            return Turn::Done;
        };
        for rdata in &ns.rdata {
            let record = Record::from_rdata(cut.into(), ns.ttl, rdata.clone());
            self.reply.authorities.push(record);
            if let RData::NS(target) = rdata {
                self.reply.glue_required |= cut.zone_of(&LowerName::new(&target.0));
            }
        }
        self.push_additionals(&cut.into(), ns);
        // RFC 4035 §3.1.4: the DS records, or the proof that there are none.
        if self.signed.is_some_and(|signed| signed.wanted) {
            match node.rrset(RecordType::DS) {
                Some(ds) => {
                    let records = ds.rdata.iter();
                    let records =
                        records.map(|data| Record::from_rdata(cut.into(), ds.ttl, data.clone()));
                    self.reply.authorities.extend(records);
                }
                None => self.deny(&cut.into(), cut_types(node), Successor::Beside),
            }
        }
        Turn::Done
    }

    /// RFC 6672 §3.1 and §3.2: the DNAME, and the CNAME that is synthesised from it.
    fn dname(&mut self, owner: &Name, above: &LowerName, node: &Node) -> Turn {
        let Some((dname, target)) = records::dname_target(node) else {
            return self.no_data(owner, Vec::new);
        };
        let source = Name::from(above);
        self.push_rrset(&source, dname);
        // `num_labels` would not count a leading `*`.
        let kept = owner.iter().len() - source.iter().len();
        match records::replace_suffix(owner, kept, &target) {
            Some(target) => {
                let rdata = RData::CNAME(CNAME(target.clone()));
                let cname = Record::from_rdata(owner.clone(), dname.ttl, rdata);
                self.reply.answers.push(cname);
                // A query for CNAME asks for the alias itself. A query for ANY follows it, as in Knot, NSD and BIND:
                // RFC 6672 §3.2 makes no exception for ANY.
                match self.qtype {
                    RecordType::CNAME => Turn::Done,
                    _ => Turn::Alias(target),
                }
            }
            // RFC 6672 §2.2: the new name is too long.
            None => {
                self.reply.rcode = ResponseCode::YXDomain;
                Turn::Done
            }
        }
    }

    /// The name at which certificate authorities look for the challenges of an order (RFC 8555 §8.4). It exists
    /// also while there are none. Nobody may keep what the server says of it, since the values change from second to
    /// second: the TTL of the records is 0, and so are those of denials. A resolver that has asked too early would
    /// otherwise deny them for as long as the SOA record says (RFC 2308 §5), or, by an NSEC record, also for types
    /// that it has not asked for (RFC 8198).
    fn challenge(&mut self, owner: &Name) -> Turn {
        let is_value = matches!(self.qtype, RecordType::TXT | RecordType::ANY);
        let is_proof = matches!(self.qtype, RecordType::NSEC | RecordType::RRSIG);
        let is_proved = |signed: Signed<'_>| signed.wanted || is_proof;
        if !is_value && !self.signed.is_some_and(is_proved) {
            return self.no_data(owner, Vec::new);
        }
        let is_first = matches!(self.met, None | Some(Subject::Challenges));
        self.met.get_or_insert(Subject::Challenges);
        let values = match (is_first, self.known) {
            (true, Some(Known::Challenges(values))) => values,
            (true, Some(Known::Unknown(error))) => return self.failure(*error),
            (true, None) => {
                let origin = self.zone.link_origin();
                return origin.map_or(Turn::Done, |of| Turn::NeedsChallenges(of.clone()));
            }
            // The alias of a link has led here; the resolver goes on.
            (_, Some(Known::Live(_) | Known::Absent)) | (false, _) => return Turn::Done,
        };
        let types = || match values.is_empty() {
            true => Vec::new(),
            false => vec![RecordType::TXT.into()],
        };
        if let Some(turn) = self.of_signing(owner, types) {
            return turn;
        }
        if !is_value || values.is_empty() {
            return self.no_data(owner, types);
        }
        let data = values.iter().map(|value| records::challenge(value));
        let records = data.map(|data| Record::from_rdata(owner.clone(), 0, data));
        self.reply.answers.extend(records);
        Turn::Done
    }

    /// RFC 2308 §2.2: the name exists with these types, but not with the query type.
    fn no_data(&mut self, owner: &Name, types: impl FnOnce() -> Vec<u16>) -> Turn {
        if self.signed.is_some_and(|signed| signed.wanted) {
            self.deny(owner, types(), Successor::Below);
        }
        self.push_soa();
        Turn::Done
    }

    /// The name has no records of this type for the client while all pools of it are down.
    fn no_data_now(
        &mut self,
        owner: &Name,
        rtype: RecordType,
        types: impl FnOnce() -> Vec<u16>,
    ) -> Turn {
        self.no_data(owner, || {
            let mut types = types();
            // RFC 4035 §3.1.3.1: the NSEC record that proves it does not list the type.
            types.retain(|other| *other != u16::from(rtype));
            types
        })
    }

    /// RFC 2308 §2.1: there is no such name.
    fn name_error(&mut self, owner: &Name) -> Turn {
        let wanted = self.signed.is_some_and(|signed| signed.wanted);
        if wanted && matches!(self.qtype, RecordType::NSEC | RecordType::RRSIG) {
            // The proof would contain the type that it denies, so the proof is the answer.
            let types = vec![TYPE_NXNAME];
            let (owner, successor) = (owner.clone(), Successor::Below);
            self.push_nsec(Denial {
                owner,
                types,
                successor,
                ttl: self.negative_ttl(),
            });
            return Turn::Done;
        }
        self.reply.rcode = ResponseCode::NXDomain;
        self.deny(owner, vec![TYPE_NXNAME], Successor::Below);
        self.push_soa();
        Turn::Done
    }

    /// Asks for a proof that a name has these types and no others, if the client wants proofs.
    fn deny(&mut self, owner: &Name, types: Vec<u16>, successor: Successor) {
        if self.signed.is_some_and(|signed| signed.wanted) {
            self.reply.denial = Some(Box::new(self.denial(owner, types, successor)));
        }
    }

    /// The denial for a name with these types of the file, and the types of keys at the apex.
    fn denial(&self, owner: &Name, mut types: Vec<u16>, successor: Successor) -> Denial {
        if let Some(Signed { keys, .. }) = self.signed.filter(|_| self.is_apex) {
            let own = [
                (RecordType::DNSKEY, &keys.dnskeys),
                (RecordType::CDS, &keys.cds),
                (RecordType::CDNSKEY, &keys.cdnskeys),
            ];
            types.retain(|rtype| own.iter().all(|(own, _)| u16::from(*own) != *rtype));
            let own = own.iter().filter(|(_, data)| !data.is_empty());
            types.extend(own.map(|(rtype, _)| u16::from(*rtype)));
        }
        Denial {
            owner: owner.clone(),
            types,
            successor,
            ttl: self.negative_ttl(),
        }
    }

    /// The TTL of denials, in seconds: of the SOA record (RFC 2308 §5) and of NSEC records (RFC 9077 §3).
    fn negative_ttl(&self) -> u32 {
        match self.is_challenge {
            true => 0,
            false => {
                let ttl = self.zone.negative_soa().ttl;
                self.negative_bound.map_or(ttl, |bound| ttl.min(bound))
            }
        }
    }

    fn push_nsec(&mut self, denial: Denial) {
        self.reply.answers.extend(denial.record(self.zone));
    }

    /// The look-up failed, so the server does not know whether the link exists. Resolvers would cache any other
    /// answer than SERVFAIL.
    fn failure(&mut self, error: ExtendedError) -> Turn {
        self.reply = Answer::empty(ResponseCode::ServFail, Some(error));
        Turn::Done
    }

    fn push_soa(&mut self) {
        let mut soa = self.zone.negative_soa().clone();
        soa.ttl = self.negative_ttl();
        self.reply.authorities.push(soa);
    }

    /// Aliases can lead to the same DNAME again. RFC 2181 §5: its records are in the answer once.
    fn push_rrset(&mut self, owner: &Name, rrset: &RrSet) {
        let again = |r: &Record| r.record_type() == rrset.rtype && r.name == *owner;
        if !self.reply.answers.iter().any(again) {
            self.push_rrset_with_ttl(owner, rrset, rrset.ttl);
        }
    }

    fn push_rrset_with_ttl(&mut self, owner: &Name, rrset: &RrSet, ttl: u32) {
        let records = rrset
            .rdata
            .iter()
            .map(|rdata| Record::from_rdata(owner.clone(), ttl, rdata.clone()));
        self.reply.answers.extend(records);
    }

    /// RFC 1034 §4.3.2 step 6, RFC 1035 §3.3.9 and §3.3.11, RFC 2782 and RFC 9460 §4.1: addresses of the hosts in
    /// the records, where this zone has them.
    fn push_additionals(&mut self, owner: &Name, rrset: &RrSet) {
        // RFC 2181 §5: no record twice, even if several records have the same host.
        let mut named = HashSet::new();
        for rdata in &rrset.rdata {
            let host = match rdata {
                RData::NS(ns) => &ns.0,
                RData::MX(mx) => &mx.exchange,
                RData::SRV(srv) => &srv.target,
                RData::SVCB(svcb) | RData::HTTPS(HTTPS(svcb)) => match svcb.svc_priority {
                    // RFC 9460 §2.5.2: a dot stands for the owner, except in AliasMode.
                    1.. if svcb.target_name.is_root() => owner,
                    _ => &svcb.target_name,
                },
                _ => continue,
            };
            let key = LowerName::new(host);
            // Addresses of this host depend on the client. A resolver that needs them asks for them, but for glue: it cannot
            // ask the child zone without that.
            if !self.reply.glue_required && self.list_of_name(host).is_some() {
                continue;
            }
            let Some(node) = self.zone.addresses(&key) else {
                continue;
            };
            if !named.insert(key) {
                continue;
            }
            for qtype in [RecordType::A, RecordType::AAAA] {
                let Some(addresses) = node.rrset(qtype) else {
                    continue;
                };
                let records = addresses
                    .rdata
                    .iter()
                    .map(|rdata| Record::from_rdata(host.clone(), addresses.ttl, rdata.clone()));
                self.reply.additionals.extend(records);
            }
        }
    }
}

/// The types of a zone cut that belong to the parent (RFC 4035 §2.3).
fn cut_types(node: &Node) -> Vec<u16> {
    let types = node.rrsets().map(|set| set.rtype);
    let own = types.filter(|rtype| matches!(*rtype, RecordType::NS | RecordType::DS));
    own.map(u16::from).collect()
}

#[cfg(test)]
mod tests;

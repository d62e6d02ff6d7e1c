//! The names of links: which of them exist, and what records they have.

use std::sync::Arc;

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::route::ForClient;
use super::{Subject, Turn, Walk};
use crate::dns::answer::outcome::{ExtendedError, FullTtl};
use crate::dns::answer::question::Known;
use crate::dns::answer::records;
use crate::link::{Code, Grounds, Link, LinkName};
use crate::zone::{Layout, LinkPlace, Node, RrSet};

impl Walk<'_> {
    /// A name that belongs to a link, if the link exists.
    pub(super) fn link(
        &mut self,
        owner: &Name,
        code: &Code,
        place: LinkPlace,
        wildcard: Option<&Node>,
    ) -> Turn {
        match self.resolved(code) {
            Err(turn) => turn,
            Ok(Some(link)) => {
                if self.is_first && link.withheld.is_none() {
                    self.reply.link = Some(place);
                }
                self.live_link(owner, &link, place)
            }
            Ok(None) => match wildcard {
                Some(node) => self.static_node(owner, node),
                None => self.name_error(owner),
            },
        }
    }

    /// A live link, at its short name or at its name below the redirect host.
    fn live_link(&mut self, owner: &Name, link: &Link, place: LinkPlace) -> Turn {
        match (place, self.zone.layout()) {
            // A name with a CNAME has nothing else (RFC 1034 §3.6.2), so TXT and URI are at the alias' target, where
            // caches that hold the CNAME find them.
            (LinkPlace::Short, Layout::Cname) => {
                let types = || vec![RecordType::CNAME.into()];
                if let Some(turn) = self.of_signing(owner, types) {
                    return turn;
                }
                let Some(target) = self.zone.target_name(link.name.code()) else {
                    return self.no_data(owner, types);
                };
                let full_ttl = link.full_ttl(self.zone.link_ttl());
                let ttl = self.cut_ttl(owner, RecordType::CNAME, link, full_ttl);
                let rdata = RData::CNAME(CNAME(target.clone()));
                let cname = Record::from_rdata(owner.clone(), ttl, rdata);
                self.reply.answers.push(cname);
                match self.qtype {
                    // RFC 8482 §4.1 for ANY.
                    RecordType::CNAME | RecordType::ANY => Turn::Done,
                    // Through the zone again, not to the link's data: the file may own the target name.
                    _ => Turn::Alias(target),
                }
            }
            (LinkPlace::Short, Layout::Direct) | (LinkPlace::Target, _) => {
                self.link_data(owner, link)
            }
        }
    }

    /// The link's own records and those of the companion host, at `owner`.
    fn link_data(&mut self, owner: &Name, link: &Link) -> Turn {
        if let Some(withheld) = link.withheld.as_deref() {
            return self.withheld_data(owner, link, &withheld.grounds);
        }
        let template = self.zone.link_template();
        let types = || {
            let more = template.into_iter().flat_map(Node::rrsets);
            let own = [RecordType::TXT, records::URI];
            own.into_iter()
                .chain(more.map(|set| set.rtype))
                .map(u16::from)
                .collect()
        };
        if let Some(turn) = self.of_signing(owner, types) {
            return turn;
        }
        let rdata = match self.qtype {
            // RFC 8482 §4.1: for ANY the one RRset that every link has.
            RecordType::TXT | RecordType::ANY => vec![records::txt(&link.target)],
            records::URI => records::uris(link).collect(),
            _ => Vec::new(),
        };
        if let Some(rtype) = rdata.first().map(RData::record_type) {
            let full_ttl = link.full_ttl(self.zone.link_ttl());
            let ttl = self.cut_ttl(owner, rtype, link, full_ttl);
            let record = |rdata| Record::from_rdata(owner.clone(), ttl, rdata);
            self.reply.answers.extend(rdata.into_iter().map(record));
            return Turn::Done;
        }
        let rrset = template.and_then(|node| node.rrset(self.qtype));
        self.template_data(owner, link, rrset, types)
    }

    /// The records of a link that is withheld: those of the companion host, which tells browsers why, and none that has
    /// the destination.
    fn withheld_data(&mut self, owner: &Name, link: &Link, grounds: &Grounds) -> Turn {
        let template = self.zone.link_template();
        let rrsets = || template.into_iter().flat_map(Node::rrsets);
        let types = || rrsets().map(|set| set.rtype.into()).collect();
        if let Some(turn) = self.of_signing(owner, types) {
            return turn;
        }
        let rrset = match self.qtype {
            // RFC 8482 §4.1: one RRset of those that exist.
            RecordType::ANY => rrsets().next(),
            qtype => template.and_then(|node| node.rrset(qtype)),
        };
        // RFC 8914 §4.16 and §4.17: why the records are missing that every other link has.
        let is_missed = matches!(self.qtype, RecordType::TXT | records::URI | RecordType::ANY);
        if is_missed && rrset.is_none() {
            self.reply.error = Some(match grounds {
                Grounds::Abuse => ExtendedError::BLOCKED,
                Grounds::Legal(_) => ExtendedError::CENSORED,
            });
        }
        self.template_data(owner, link, rrset, types)
    }

    /// An RRset of the companion host, with the TTL of a link; NODATA without one.
    fn template_data(
        &mut self,
        owner: &Name,
        link: &Link,
        rrset: Option<&RrSet>,
        types: impl FnOnce() -> Vec<u16>,
    ) -> Turn {
        let Some(rrset) = rrset else {
            return self.no_data(owner, types);
        };
        let list = self.list_of_links();
        let own = match self.for_client(list, owner, rrset) {
            ForClient::Own(own) => Some(own),
            ForClient::Common => None,
            ForClient::Nothing => return self.no_data_now(owner, rrset.rtype, types),
        };
        let rrset = own.as_ref().unwrap_or(rrset);
        let ttl = self.cut_ttl(owner, rrset.rtype, link, rrset.ttl);
        self.push_rrset_with_ttl(owner, rrset, ttl);
        Turn::Done
    }

    /// The TTL of an RRset of a link, cut to the rest of the link's life.
    fn cut_ttl(&mut self, owner: &Name, rtype: RecordType, link: &Link, ttl: u32) -> u32 {
        let cut = link.cap_ttl(ttl, self.now);
        // Signatures cover the full TTL.
        if cut < ttl && self.signed.is_some_and(|signed| signed.wanted) {
            self.reply.full_ttls.push(FullTtl {
                owner: owner.clone(),
                rtype,
                ttl,
            });
        }
        cut
    }

    /// A name below a code. It does not exist, unless there is no such link and a wildcard of the whole zone matches
    /// (RFC 4592 §2.2.1).
    pub(super) fn below_link(&mut self, owner: &Name, code: &Code, wildcard: &Node) -> Turn {
        match self.resolved(code) {
            Err(turn) => turn,
            Ok(Some(_)) => self.name_error(owner),
            Ok(None) => self.static_node(owner, wildcard),
        }
    }

    /// The link of a code, or none if it does not exist. If that is not known, the error is the outcome of the name.
    fn resolved(&mut self, code: &Code) -> Result<Option<Arc<Link>>, Turn> {
        // An alias (of the wildcard, or of a static name in a link's place) can lead from one code to another.
        // `known` is not about the second code; the resolver goes on from there.
        let subject = || Subject::Link(code.clone());
        match self.met.get_or_insert_with(subject) {
            Subject::Link(met) if met == code => {}
            Subject::Link(_) | Subject::Challenges => return Err(Turn::Done),
        }
        match self.known {
            None => Err(self.needs_link(code)),
            Some(Known::Unknown(error)) => Err(self.failure(*error)),
            // Not about a link.
            Some(Known::Challenges(_)) => Err(Turn::Done),
            Some(Known::Absent) => Ok(None),
            Some(Known::Live(link)) => Ok(Some(Arc::clone(link))),
        }
    }

    fn needs_link(&self, code: &Code) -> Turn {
        match self.zone.link_origin() {
            Some(origin) => Turn::NeedsLink(LinkName::new(code, origin)),
            // Unreachable: only zones with an origin for links have names of links.
            None => Turn::Done,
        }
    }
}

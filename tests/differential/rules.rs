//! What the RFCs leave open, so that correct servers may differ.

use std::collections::BTreeSet;

use super::message::{AA, ANY, CNAME, DNAME, NS, Record, Reply, TC};
use super::queries::{Query, Way};
use super::servers::{Client, Other};
use super::{ask, must_ask};

/// How many aliases tinyns follows.
const MAX_ALIASES: usize = 16;
/// The length of an OPT record without options, in bytes.
const OPT_LEN: usize = 11;

/// Records that a server reads as another one than is written.
pub fn misread(program: &str, record: &str) -> bool {
    match program {
        // NSD 4.6 takes the value of a key by its number for text of the key's own form, where it is
        // the bytes as they are (RFC 9460 §2.1).
        "nsd" => (0..7).any(|key| record.contains(&format!("key{key}="))),
        _ => false,
    }
}

/// Two servers with the same zones.
pub struct Rules<'a> {
    pub origins: &'a [Vec<u8>],
    pub us: &'a Client,
    pub them: &'a Other,
}

impl Rules<'_> {
    /// The difference between tinyns' reply and the other server's, unless the RFCs leave it open.
    pub fn difference(&self, query: &Query, ours: &Reply, theirs: &Reply) -> Option<String> {
        // Knot 3.2 repeats the aliases of a loop.
        if let Some(record) = &ours.repeated {
            return Some(format!("twice: {record}"));
        }
        if ours.has(TC) || theirs.has(TC) {
            return self.truncated(query, ours, theirs);
        }
        if ours.flags != theirs.flags {
            return Some("flags".into());
        }
        if ours.edns != theirs.edns {
            return Some("EDNS".into());
        }
        if self.stops_early(query, ours, theirs) {
            return None;
        }
        if ours.rcode != theirs.rcode {
            return Some(format!("rcode {}, not {}", ours.rcode, theirs.rcode));
        }
        if query.qtype == ANY && !ours.answer.is_empty() {
            return self.any(ours);
        }
        if ours.answer != theirs.answer {
            return Some("answer".into());
        }
        if ours.authority != theirs.authority {
            return Some("authority".into());
        }
        // RFC 1034 §4.3.2 step 6 is about what "may be useful", and NSD with minimal responses sends
        // none of it. What of ours is more must be true. What of theirs is more must be neither glue
        // (RFC 9471 §3.1) nor the zone's own data; Knot adds what is below a cut and no glue, too.
        let is_referral = ours.authority.iter().any(|record| record.rtype == NS);
        let is_needed = |record: &&Record| is_referral || self.is_own(record);
        let mut missing = theirs.additional.difference(&ours.additional);
        if let Some(record) = missing.find(is_needed) {
            return Some(format!("without {record}"));
        }
        let more = ours.additional.difference(&theirs.additional);
        self.untrue(more)
            .map(|record| format!("additional: {record}"))
    }

    /// RFC 2181 §9: a reply with TC is not to be used, so what is in it is left open, and when it is
    /// needed depends on how well names are compressed. We send nothing in it, and it must have been
    /// needed; the replies by TCP must agree.
    fn truncated(&self, query: &Query, ours: &Reply, theirs: &Reply) -> Option<String> {
        let by_tcp = Query {
            way: Way::Tcp,
            ..query.clone()
        };
        let full = must_ask("tinyns", self.us, &by_tcp);
        if ours.has(TC) {
            // The reply by TCP always has EDNS.
            let len = full.bytes.len() - if ours.edns.is_none() { OPT_LEN } else { 0 };
            if len <= query.limit() {
                return Some("it is truncated without need".into());
            }
        }
        if (ours.has(TC) && ours.rcode != full.rcode) || full.has(TC) {
            return Some("the rcode with TC, or TC by TCP".into());
        }
        let name = self.them.name;
        let theirs = match theirs.has(TC) || ours.has(TC) {
            true => must_ask(name, &self.them.client, &by_tcp),
            false => theirs.clone(),
        };
        self.difference(&by_tcp, &full, &theirs)
    }

    /// RFC 8482 §4.1: to a query for ANY one RRset is enough. Each record must be true, and its RRset
    /// whole.
    fn any(&self, ours: &Reply) -> Option<String> {
        let part = |record: &&Record| {
            let theirs = self.all_of(record);
            let same = |other: &&Record| other.owner == record.owner && other.rtype == record.rtype;
            !theirs.contains(record) || !theirs.iter().filter(same).all(|r| ours.answer.contains(r))
        };
        let part = ours.answer.iter().find(part);
        part.map(|record| format!("ANY: {record}"))
    }

    /// RFC 1034 §3.6.2: a resolver follows aliases, a server may. It is left open where it stops: Knot
    /// and NSD after a few, NSD also at a DNAME that it has met, tinyns and Knot at the end of the zone;
    /// the one that stops tells part of what the other does, and nothing of how it ends.
    fn stops_early(&self, query: &Query, ours: &Reply, theirs: &Reply) -> bool {
        let is_alias = |record: &Record| matches!(record.rtype, CNAME | DNAME);
        let all_aliases =
            |answer: &BTreeSet<Record>| !answer.is_empty() && answer.iter().all(is_alias);
        let they_stop = all_aliases(&theirs.answer)
            && theirs.authority.is_empty()
            && theirs.rcode == 0
            && theirs.answer.is_subset(&ours.answer)
            && theirs.answer.len() < ours.answer.len();
        // Where we end at the same or a later name, how it ends is held against the other server's
        // answer about that name.
        if they_stop {
            let (last, _) = last_name(&query.name, &ours.answer);
            let of_last = Query::by_tcp(last.clone(), query.qtype);
            let Ok(theirs) = ask(&self.them.client, &of_last) else {
                return false;
            };
            let rest: BTreeSet<_> = ours.answer.iter().filter(|r| !is_alias(r)).collect();
            let is_here = self.zone_of(&last) == self.zone_of(&query.name);
            let ends_alike = theirs.rcode == ours.rcode
                && (!rest.is_empty() || theirs.authority == ours.authority);
            if is_here && !ends_alike {
                return false;
            }
            return theirs
                .answer
                .iter()
                .all(|r| is_alias(r) || rest.contains(r))
                && (rest.is_empty() || theirs.answer.iter().any(|r| rest.contains(r)));
        }
        let (last, aliases) = last_name(&query.name, &ours.answer);
        let elsewhere = self.zone_of(&last) != self.zone_of(&query.name);
        let we_stop = all_aliases(&ours.answer)
            && ours.rcode == 0
            && ours.answer.is_subset(&theirs.answer)
            && (elsewhere || aliases >= MAX_ALIASES);
        we_stop && (ours.answer.len() < theirs.answer.len() || ours.authority != theirs.authority)
    }

    fn zone_of(&self, name: &[u8]) -> Option<&Vec<u8>> {
        let name = name.to_ascii_lowercase();
        let above = self.origins.iter().filter(|origin| is_below(&name, origin));
        above.max_by_key(|origin| origin.len())
    }

    /// The first of these records that the other server does not have.
    fn untrue<'r>(&self, records: impl IntoIterator<Item = &'r Record>) -> Option<&'r Record> {
        records
            .into_iter()
            .find(|record| !self.all_of(record).contains(record))
    }

    /// Whether a record's name is in the zone, and not below a cut.
    fn is_own(&self, record: &Record) -> bool {
        let query = Query::by_tcp(record.owner.clone(), record.rtype);
        must_ask(self.them.name, &self.them.client, &query).has(AA)
    }

    /// The records of the other server for a record's name and type.
    fn all_of(&self, record: &Record) -> BTreeSet<Record> {
        let query = Query::by_tcp(record.owner.clone(), record.rtype);
        let reply = must_ask(self.them.name, &self.them.client, &query);
        let sections = [reply.answer, reply.authority, reply.additional];
        sections.into_iter().flatten().collect()
    }
}

/// Where aliases lead from a name, and how many there are on the way.
fn last_name(name: &[u8], answer: &BTreeSet<Record>) -> (Vec<u8>, usize) {
    let mut last = name.to_ascii_lowercase();
    for step in 0..=answer.len() {
        let alias = answer.iter().find(|r| r.rtype == CNAME && r.owner == last);
        match alias {
            Some(alias) => last = alias.rdata.clone(),
            None => return (last, step),
        }
    }
    (last, MAX_ALIASES)
}

fn is_below(mut name: &[u8], origin: &[u8]) -> bool {
    loop {
        match name {
            _ if name == origin => return true,
            [] | [0] => return false,
            [len, rest @ ..] => name = &rest[usize::from(*len)..],
        }
    }
}

//! The names of a zone, each with its records.
//!
//! A hash table maps the wire form of a name to its node. Every name between a node and the apex has a node as
//! well; it is empty if the file has no records for it (an empty non-terminal, RFC 4592 §2.2.2). So a search from
//! the apex down ends at the first missing name. A sorted map would find the closest encloser in one step, but
//! compares whole names log n times, and most names are a single label below the apex.

use std::collections::{BTreeSet, HashMap, HashSet};

use hickory_proto::rr::{LowerName, RData, RecordType};

use crate::base::name::wire;

/// The records of one type that a name has (RFC 2181 §5).
#[derive(Clone, Debug, PartialEq)]
pub struct RrSet {
    /// Their type.
    pub rtype: RecordType,
    /// The TTL of all of them, in seconds.
    pub ttl: u32,
    /// Their data, in the order of the file, each once; never empty.
    pub rdata: Vec<RData>,
}

impl RrSet {
    fn has_same_records(&self, other: &Self) -> bool {
        if self.rtype != other.rtype || self.ttl != other.ttl {
            return false;
        }
        if let ([RData::SOA(a)], [RData::SOA(b)]) = (&*self.rdata, &*other.rdata) {
            let mut b = b.clone();
            b.serial = a.serial;
            return *a == b;
        }
        // An RRset has each record once.
        let records: HashSet<&RData> = other.rdata.iter().collect();
        self.rdata.len() == records.len() && self.rdata.iter().all(|data| records.contains(data))
    }
}

/// All records of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// By type code.
    rrsets: Vec<RrSet>,
}

impl Node {
    /// The records of a type.
    pub fn rrset(&self, rtype: RecordType) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }

    /// All of them, by type code; none at an empty non-terminal.
    pub fn rrsets(&self) -> impl Iterator<Item = &RrSet> {
        self.rrsets.iter()
    }

    /// Whether it has A or AAAA records.
    pub(crate) fn has_addresses(&self) -> bool {
        self.rrset(RecordType::A).is_some() || self.rrset(RecordType::AAAA).is_some()
    }

    fn has_same_records(&self, other: &Self) -> bool {
        let pairs = || self.rrsets.iter().zip(&other.rrsets);
        self.rrsets.len() == other.rrsets.len() && pairs().all(|(a, b)| a.has_same_records(b))
    }

    /// The same node with one more RRset, of a type that it does not have.
    pub(super) fn with(&self, set: RrSet) -> Self {
        let mut node = self.clone();
        node.insert(set);
        node
    }

    pub(super) fn insert(&mut self, set: RrSet) {
        let code = |rtype: RecordType| u16::from(rtype);
        let place = self
            .rrsets
            .partition_point(|other| code(other.rtype) < code(set.rtype));
        self.rrsets.insert(place, set);
    }
}

/// How a search goes on at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes on to names below.
    Plain,
    /// It stops: the name and all names below it are delegated.
    Cut,
    /// It stops if it is for a name below.
    Dname,
}

/// A name of the zone.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: LowerName,
    pub(super) node: Node,
    pub(super) kind: Kind,
    /// The place of `*` below this name.
    wildcard: Option<usize>,
}

/// All names of a zone; the first is the apex.
#[derive(Debug)]
pub(super) struct Tree {
    /// How many names it may have.
    max_names: usize,
    places: HashMap<Box<[u8]>, usize>,
    entries: Vec<Entry>,
}

/// The place of the apex.
pub(super) const APEX: usize = 0;

impl Tree {
    /// A tree with an empty apex; `key` is its wire form.
    pub(super) fn new(apex: &LowerName, key: &[u8], max_names: usize) -> Self {
        let mut tree = Self {
            max_names,
            places: HashMap::new(),
            entries: Vec::new(),
        };
        tree.push(apex, key);
        tree
    }

    /// The place of a name at or below the apex. If the name or a name between is missing, it is added. None if
    /// the tree would have too many names.
    pub(super) fn ensure(&mut self, name: &LowerName, key: &[u8]) -> Option<usize> {
        if let Some(&place) = self.places.get(key) {
            return Some(place);
        }
        let mut missing = Vec::new();
        let mut above = None;
        let mut name = name.clone();
        for ancestor in wire::ancestors(key) {
            above = self.places.get(ancestor).copied();
            if above.is_some() {
                break;
            }
            let parent = name.base_name();
            missing.push((std::mem::replace(&mut name, parent), ancestor));
        }
        if self.entries.len() + missing.len() > self.max_names {
            return None;
        }
        let mut above = above.unwrap_or(APEX);
        for (name, key) in missing.into_iter().rev() {
            let place = self.push(&name, key);
            if wire::first_label(key) == b"*" {
                self.entries[above].wildcard = Some(place);
            }
            above = place;
        }
        Some(above)
    }

    fn push(&mut self, name: &LowerName, key: &[u8]) -> usize {
        let place = self.entries.len();
        self.places.insert(key.into(), place);
        self.entries.push(Entry {
            name: name.clone(),
            node: Node::default(),
            kind: Kind::Plain,
            wildcard: None,
        });
        place
    }

    pub(super) fn entry_mut(&mut self, place: usize) -> &mut Entry {
        &mut self.entries[place]
    }

    pub(super) fn entry(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// All names, including empty non-terminals.
    pub(super) fn names(&self) -> impl Iterator<Item = &LowerName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// Whether another tree has the same names and records, in any order. The serial of the SOA record is ignored.
    pub(super) fn has_same_records(&self, other: &Self) -> bool {
        let mut places = self.places.iter();
        self.entries.len() == other.entries.len()
            && places.all(|(key, &place)| {
                let there = other.get(key);
                there.is_some_and(|there| self.entry(place).node.has_same_records(&there.node))
            })
    }

    /// The largest TTL of all records, in seconds.
    pub(super) fn max_ttl(&self) -> u32 {
        let nodes = self.entries.iter().map(|entry| &entry.node);
        let ttls = nodes.flat_map(Node::rrsets).map(|set| set.ttl);
        ttls.max().unwrap_or(0)
    }

    /// The types of all records, from type `first` upwards, sorted.
    pub(super) fn types_from(&self, first: u16) -> Box<[u16]> {
        let nodes = self.entries.iter().map(|entry| &entry.node);
        let types = nodes.flat_map(Node::rrsets);
        let types = types.map(|set| u16::from(set.rtype));
        let types: BTreeSet<u16> = types.filter(|rtype| *rtype >= first).collect();
        types.into_iter().collect()
    }

    /// The place of a name.
    pub(super) fn place(&self, key: &[u8]) -> Option<usize> {
        self.places.get(key).copied()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.place(key).map(|place| self.entry(place))
    }

    /// The place of `*` below a name.
    pub(super) fn wildcard(&self, place: usize) -> Option<usize> {
        self.entries[place].wildcard
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn empty_non_terminals_count_as_names() {
        let name = |text: &str| LowerName::from(Name::from_ascii(text).unwrap());
        let mut tree = Tree::new(&name("example."), b"\x07example\0", 4);
        let place = tree.ensure(&name("c.b.a.example."), b"\x01c\x01b\x01a\x07example\0");
        assert_eq!(place, Some(3));
        assert_eq!(
            tree.ensure(&name("d.example."), b"\x01d\x07example\0"),
            None
        );
        assert_eq!(
            tree.ensure(&name("a.example."), b"\x01a\x07example\0"),
            Some(1)
        );
    }
}

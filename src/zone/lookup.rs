//! The search for a name in a zone (RFC 1034 §4.3.2 step 3, RFC 4592, RFC 6672), and the names in it that belong
//! to links.
//!
//! The search does not look at types: the caller asks the node for them. A zone does not know which links exist.
//! Where a link could own a name, the result says so, and also what the answer is if there is no such link.

use hickory_proto::rr::{LowerName, Name, RecordType};

use super::Zone;
use super::additions::CHALLENGE_LABEL;
use super::tree::{APEX, Entry, Kind, Node};
use crate::base::name::wire::WireName;
use crate::link::Code;

/// Which of the two names of a link a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkPlace {
    /// `<code>.<origin>`
    Short,
    /// `<code>.<redirect_host>.<origin>`
    Target,
}

/// What a zone says about a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup<'z> {
    /// The name is delegated (RFC 1034 §4.3.2 step 3b).
    Delegation {
        /// The zone cut, the highest one on the way.
        cut: &'z LowerName,
        /// Its NS records, and DS records if there are any. Its address records, if any, are glue.
        node: &'z Node,
        /// Whether the name is the cut itself: a query for DS is answered here (RFC 4035 §3.1.4.1).
        at_cut: bool,
    },
    /// The name is below the owner of a DNAME (RFC 6672 §3.2).
    Dname {
        /// The owner.
        owner: &'z LowerName,
        /// Its records.
        node: &'z Node,
    },
    /// The name is in the zone; without records it is an empty non-terminal.
    Exact(&'z Node),
    /// The name of challenges, which are in the store (see [`ZoneAdditions`](super::ZoneAdditions)).
    Challenge,
    /// The name is that of a link, if there is a link with this code.
    Link {
        /// The code.
        code: Code,
        /// Which of its two names it is.
        place: LinkPlace,
        /// The wildcard that answers if there is no such link. Without one the name then does not exist.
        wildcard: Option<&'z Node>,
    },
    /// The name is below that of a link, and so does not exist if there is a link with this code.
    BelowLink {
        /// The code.
        code: Code,
        /// The wildcard that answers if there is no such link.
        wildcard: &'z Node,
    },
    /// The wildcard below the closest encloser covers the name (RFC 4592 §3.3.1).
    Wildcard(&'z Node),
    /// There is no such name.
    NoName,
}

impl Zone {
    /// Searches for a name at or below the origin.
    pub fn lookup(&self, name: &LowerName) -> Lookup<'_> {
        match WireName::from_labels(name.iter()) {
            Some(name) => self.search(&name),
            None => Lookup::NoName,
        }
    }

    /// The same as [`Zone::lookup`], for a name in wire form.
    pub(crate) fn search(&self, name: &WireName) -> Lookup<'_> {
        if name.labels() < self.apex_labels || name.suffix(self.apex_labels) != &*self.apex_key {
            return Lookup::NoName;
        }
        let tree = &self.tree;
        let apex = tree.entry(APEX);
        if apex.kind == Kind::Dname && name.labels() > self.apex_labels {
            return Lookup::Dname {
                owner: &apex.name,
                node: &apex.node,
            };
        }
        if name.labels() == self.apex_labels + 1 && self.is_challenge(name) {
            return Lookup::Challenge;
        }
        let mut encloser = APEX;
        for depth in self.apex_labels + 1..=name.labels() {
            let Some(place) = tree.place(name.suffix(depth)) else {
                return self.missing(name, depth, encloser);
            };
            let is_name = depth == name.labels();
            let Entry {
                name, node, kind, ..
            } = tree.entry(place);
            match kind {
                // RFC 1034 §4.3.2 step 3b
                Kind::Cut => {
                    return Lookup::Delegation {
                        cut: name,
                        node,
                        at_cut: is_name,
                    };
                }
                // RFC 6672 §3.2 step 3c: the DNAME's owner itself is not renamed.
                Kind::Dname if !is_name => return Lookup::Dname { owner: name, node },
                Kind::Dname | Kind::Plain => encloser = place,
            }
        }
        Lookup::Exact(self.node(encloser))
    }

    /// Whether a name below the origin is the name of challenges, or is below it.
    fn is_challenge(&self, name: &WireName) -> bool {
        self.additions.challenge && name.label(self.apex_labels + 1) == CHALLENGE_LABEL
    }

    /// Whether the name exists without regard to links: the zone file has it or names below it, or it is the name of
    /// challenges.
    pub(crate) fn has_name(&self, name: &WireName) -> bool {
        self.tree.place(name.as_bytes()).is_some() || matches!(self.search(name), Lookup::Challenge)
    }

    /// The code of the link that alone decides whether a name exists: the code for which [`Zone::search`] returns
    /// a link without a wildcard. This is the fast path, which allocates nothing.
    pub(crate) fn link_at<'n>(&self, name: &'n WireName) -> Option<&'n str> {
        let redirect_host = self.redirect_host?;
        let below_apex = self.apex_labels + 1;
        let is_below = name.labels() >= below_apex
            && name.suffix(self.apex_labels) == &*self.apex_key
            && self.tree.entry(APEX).kind != Kind::Dname;
        if !is_below {
            return None;
        }
        let is_link = match self.tree.place(name.suffix(below_apex)) {
            None => name.labels() == below_apex && self.tree.wildcard(APEX).is_none(),
            Some(place) => {
                place == redirect_host
                    && name.labels() == below_apex + 1
                    && self.tree.entry(place).kind == Kind::Plain
                    && self.tree.place(name.as_bytes()).is_none()
            }
        };
        let code = std::str::from_utf8(name.label(name.labels())).ok()?;
        (is_link && Code::check(code).is_ok()).then_some(code)
    }

    /// The result for a name that does not exist. `encloser` is its closest encloser, and `depth` the number of
    /// labels of the next name, which does not exist.
    fn missing(&self, name: &WireName, depth: usize, encloser: usize) -> Lookup<'_> {
        let wildcard = self.tree.wildcard(encloser);
        let wildcard = wildcard.map(|place| self.node(place));
        let is_next = depth == name.labels();
        if let Some(redirect_host) = self.redirect_host {
            let code = || code_of(name.label(depth));
            if encloser == redirect_host {
                // `*` below the redirect host is the template for links, not a wildcard.
                return match code() {
                    Some(code) if is_next => Lookup::Link {
                        code,
                        place: LinkPlace::Target,
                        wildcard: None,
                    },
                    _ => Lookup::NoName,
                };
            }
            if encloser == APEX
                && let Some(code) = code()
            {
                return match wildcard {
                    wildcard if is_next => Lookup::Link {
                        code,
                        place: LinkPlace::Short,
                        wildcard,
                    },
                    Some(wildcard) => Lookup::BelowLink { code, wildcard },
                    None => Lookup::NoName,
                };
            }
        }
        // The name of challenges exists, so it is the closest encloser.
        if encloser == APEX && self.is_challenge(name) {
            return Lookup::NoName;
        }
        // RFC 4592 §3.3.1: the wildcard below the closest encloser, and no other.
        wildcard.map_or(Lookup::NoName, Lookup::Wildcard)
    }

    /// Whether a name is at or below a zone cut. Its address records are glue.
    pub(crate) fn is_glue(&self, name: &Name) -> bool {
        matches!(
            self.lookup(&LowerName::new(name)),
            Lookup::Delegation { .. }
        )
    }

    /// The node with the addresses of a name, for the additional section of replies whose records point to it. The
    /// addresses are data of this zone, or glue, which [`Zone::lookup`] does not find.
    pub fn addresses(&self, name: &LowerName) -> Option<&Node> {
        let name = WireName::from_labels(name.iter())?;
        let node = match self.search(&name) {
            Lookup::Exact(node) | Lookup::Wildcard(node) => node,
            Lookup::Delegation { .. } => &self.tree.get(name.as_bytes())?.node,
            _ => return None,
        };
        node.has_addresses().then_some(node)
    }

    /// The records that the target name of every link has beside those made from the link: the node
    /// `*.<redirect_host>`.
    pub fn link_template(&self) -> Option<&Node> {
        let place = self.tree.wildcard(self.redirect_host?)?;
        Some(self.node(place))
    }

    /// Whether the zone file decides about a name, so that no link can have it.
    pub(super) fn has_static(&self, name: &WireName) -> bool {
        !matches!(
            self.search(name),
            Lookup::Link { .. } | Lookup::BelowLink { .. } | Lookup::Wildcard(_) | Lookup::NoName
        )
    }

    /// Whether resolvers can find an address for the name server `name`, which serves `cut`: the zone's own origin
    /// or a delegation. `found` is the result of the search for `name`. An alias has no address (RFC 2181 §10.3).
    pub(super) fn can_find_address(
        &self,
        found: Lookup<'_>,
        name: &LowerName,
        cut: &LowerName,
    ) -> bool {
        match found {
            Lookup::Exact(node) | Lookup::Wildcard(node) => node.has_addresses(),
            // RFC 9471 §3: below its own cut it needs glue. Below another, the servers of that zone know its
            // address.
            Lookup::Delegation { cut: other, .. } => other != cut || self.addresses(name).is_some(),
            Lookup::Link { wildcard, .. } => wildcard.is_some_and(Node::has_addresses),
            Lookup::BelowLink { wildcard, .. } => wildcard.has_addresses(),
            Lookup::Dname { .. } | Lookup::Challenge | Lookup::NoName => false,
        }
    }
}

/// Whether the name that was searched for has a CNAME record in the zone file.
pub(super) fn is_alias(found: &Lookup<'_>) -> bool {
    match found {
        Lookup::Exact(node) | Lookup::Wildcard(node) => node.rrset(RecordType::CNAME).is_some(),
        _ => false,
    }
}

fn code_of(label: &[u8]) -> Option<Code> {
    Code::parse(std::str::from_utf8(label).ok()?).ok()
}

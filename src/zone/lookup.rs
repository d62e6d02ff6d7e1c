//! The search for a name in a zone (RFC 1034 §4.3.2 step 3, RFC 4592, RFC 6672), and the places in
//! it that belong to links.
//!
//! The search tells what a zone says about a name and leaves out types, for which the caller asks
//! the node. Whether a link owns a name is not the zone's to know: where one could, the search says
//! so and adds what holds if there is none.

use hickory_proto::rr::{LowerName, Name, RecordType};

use super::Zone;
use super::tree::{APEX, Entry, Kind, Node};
use crate::base::name::wire::WireName;
use crate::link::Code;

/// Where the name of a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        /// Its NS records, and DS if there are any. Its addresses, if it has them, are glue.
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
    /// The name is that of a link, if there is a link with this code.
    Link {
        /// The code.
        code: Code,
        /// Which of its two names it is.
        place: LinkPlace,
        /// What holds if there is no such link; without it the name does not exist.
        wildcard: Option<&'z Node>,
    },
    /// The name is below that of a link, and so does not exist if there is a link with this code.
    BelowLink {
        /// The code.
        code: Code,
        /// What holds if there is no such link.
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

    /// What [`Zone::lookup`] gives, for a name in wire form.
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
        Lookup::Exact(&tree.entry(encloser).node)
    }

    /// Whether a name is one of the file's own, rather than one that was synthesised or is somebody else's.
    pub(crate) fn has_name(&self, name: &WireName) -> bool {
        self.tree.place(name.as_bytes()).is_some()
    }

    /// The code of the link that alone decides about a name: what [`Zone::search`] calls a link without
    /// a wildcard. For the common case, and without allocating anything.
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

    /// What holds for a name of which no more than the closest encloser exists; `depth` is the
    /// number of labels of the first name that does not.
    fn missing(&self, name: &WireName, depth: usize, encloser: usize) -> Lookup<'_> {
        let wildcard = self.tree.wildcard(encloser);
        let is_next = depth == name.labels();
        if let Some(redirect_host) = self.redirect_host {
            let code = || code_of(name.label(depth));
            if encloser == redirect_host {
                // `*` below the redirect host is a template for links and no wildcard.
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
        // RFC 4592 §3.3.1: the wildcard below the closest encloser, and no other.
        wildcard.map_or(Lookup::NoName, Lookup::Wildcard)
    }

    /// Whether a name is below a zone cut, or at one: its addresses are another's.
    pub(crate) fn is_glue(&self, name: &Name) -> bool {
        matches!(
            self.lookup(&LowerName::new(name)),
            Lookup::Delegation { .. }
        )
    }

    /// The node that has addresses of a name, to be sent along with records that point to it: data
    /// of this zone, or glue, which no query finds.
    pub fn addresses(&self, name: &LowerName) -> Option<&Node> {
        let name = WireName::from_labels(name.iter())?;
        let node = match self.search(&name) {
            Lookup::Exact(node) | Lookup::Wildcard(node) => node,
            Lookup::Delegation { .. } => &self.tree.get(name.as_bytes())?.node,
            _ => return None,
        };
        node.has_addresses().then_some(node)
    }

    /// The records that every link's own name below the redirect host has beside those made from the
    /// link: the node `*.<redirect_host>`.
    pub fn link_template(&self) -> Option<&Node> {
        self.tree.wildcard(self.redirect_host?)
    }

    /// Whether the file has a name that leaves no room for a link of this code.
    pub(super) fn has_static(&self, name: &WireName) -> bool {
        !matches!(
            self.search(name),
            Lookup::Link { .. } | Lookup::BelowLink { .. } | Lookup::Wildcard(_) | Lookup::NoName
        )
    }

    /// Whether an address can be found for a name server of this zone that serves `cut`, which is
    /// the zone's own origin or a delegation, given what the zone says of its name. An alias has none (RFC 2181
    /// §10.3).
    pub(super) fn can_find_address(
        &self,
        found: Lookup<'_>,
        name: &LowerName,
        cut: &LowerName,
    ) -> bool {
        match found {
            Lookup::Exact(node) | Lookup::Wildcard(node) => node.has_addresses(),
            // Below its own cut it needs glue; below another, that one's servers know (RFC 9471 §3).
            Lookup::Delegation { cut: other, .. } => other != cut || self.addresses(name).is_some(),
            Lookup::Link { wildcard, .. } => wildcard.is_some_and(Node::has_addresses),
            Lookup::BelowLink { wildcard, .. } => wildcard.has_addresses(),
            Lookup::Dname { .. } | Lookup::NoName => false,
        }
    }
}

/// Whether the file says that the name that was looked for is an alias by itself.
pub(super) fn is_alias(found: &Lookup<'_>) -> bool {
    match found {
        Lookup::Exact(node) | Lookup::Wildcard(node) => node.rrset(RecordType::CNAME).is_some(),
        _ => false,
    }
}

fn code_of(label: &[u8]) -> Option<Code> {
    Code::parse(std::str::from_utf8(label).ok()?).ok()
}

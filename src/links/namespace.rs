//! What links have to know of the served zones: the zones implement [`Namespace`], so that links need not know DNS.

use std::fmt;

use crate::link::{LinkName, Origin};

/// What the served zones say about names. The zones implement it, so that links need not know DNS.
pub trait Namespace: Send + Sync + fmt::Debug {
    /// The origins of the zones that hold links, in the order of the configuration; the first is
    /// the default. Never empty in a running server, and never changed by a reload.
    fn origins(&self) -> Vec<Origin>;

    /// Whether the zone's own static names forbid a link of this name.
    fn is_reserved(&self, name: &LinkName) -> bool;

    /// What a host name is to us. Case does not matter, nor does one last dot.
    fn classify_host(&self, host: &str) -> Host;

    /// The TTL of links in the zone of this name that have none of their own, in seconds.
    fn link_ttl(&self, name: &LinkName) -> u32;
}

/// What a host name is to the served zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name that a link has, or could have: `<code>.<origin>` or its redirect host's form.
    Link(LinkName),
    /// The origin itself of a zone that holds links.
    Origin(Origin),
    /// Any other name in a zone served here.
    Inside,
    /// Not ours.
    Foreign,
}

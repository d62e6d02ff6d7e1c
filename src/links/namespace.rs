//! The names in the served zones, as far as links depend on them.

use std::fmt;

use crate::link::{LinkName, Origin};

/// The names in the served zones. `zone` implements it, so that `links` need not know DNS.
pub trait Namespace: Send + Sync + fmt::Debug {
    /// The origins of the zones with links, in the order of the configuration; the first one is the default. Never
    /// empty in a running server. A reload does not change them.
    fn origins(&self) -> Vec<Origin>;

    /// Whether the zone has a static name that forbids a link of this name.
    fn is_reserved(&self, name: &LinkName) -> bool;

    /// The kind of a host name. Ignores case and one dot at the end.
    fn classify_host(&self, host: &str) -> Host;

    /// The TTL in seconds of links without one of their own, in the zone of this name.
    fn link_ttl(&self, name: &LinkName) -> u32;

    /// How long resolvers may keep the answer that there is no such name, in seconds, in the zone of this origin of links.
    fn negative_ttl(&self, origin: &str) -> u32;
}

/// The kind of a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The name of a possible link: `<code>.<origin>`, or the same below the redirect host.
    Link(LinkName),
    /// The origin of a zone with links.
    Origin(Origin),
    /// Another name in a served zone.
    Inside,
    /// A name outside of the served zones.
    Foreign,
}

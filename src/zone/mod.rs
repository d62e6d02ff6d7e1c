//! What the configuration says about one zone.

use std::path::PathBuf;

use crate::link::Origin;

/// One zone of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The zone's apex.
    pub origin: Origin,
    /// Its master file.
    pub file: PathBuf,
    /// The label below the apex whose wildcard holds the addresses of the redirect host; a zone
    /// without it holds no links.
    pub redirect_host: Option<Box<str>>,
    /// Where the records of a link sit.
    pub layout: Layout,
    /// The TTL of a link's records, in seconds.
    pub link_ttl: u32,
}

/// Where the records of a link sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Below the redirect host, with a CNAME from the code.
    Cname,
    /// At the code itself.
    Direct,
}

//! `connections`, `connections_per_client` and `exempt`, which several sections have.

use super::prefixes::prefixes;
use super::section::Section;
use crate::base::admission::SeatLimits;

/// More than most systems have descriptors for, but a typing mistake hardly stays below it.
pub(super) const MAX_CONNECTIONS: u32 = 1_000_000;

/// How many HTTP connections a section allows.
pub(super) fn connections(section: &Section<'_>, default: &SeatLimits) -> SeatLimits {
    let number = |key, default| section.number(key, 1..=MAX_CONNECTIONS, "", default);
    SeatLimits {
        connections: number("connections", default.connections),
        connections_per_client: number("connections_per_client", default.connections_per_client),
        exempt: prefixes(section, "exempt"),
    }
}

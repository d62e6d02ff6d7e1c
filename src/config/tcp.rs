//! `[dns.tcp]`: how many TCP connections there may be, and how long they may last.

use super::connections::MAX_CONNECTIONS;
use super::section::{DAY, HOUR, Section};
use crate::dns::transport::tcp::TcpLimits;

/// In seconds; RFC 7828 §3.1 has room for 6,553.
const MAX_IDLE: u32 = HOUR;
/// In seconds.
const MAX_LIFETIME: u32 = 7 * DAY;

pub(super) fn tcp(section: &Section<'_>) -> TcpLimits {
    let number = |key, default| section.number(key, 1..=MAX_CONNECTIONS, "", default);
    let default = TcpLimits::default();
    TcpLimits {
        connections: number("connections", default.connections),
        connections_per_client: number("connections_per_client", default.connections_per_client),
        idle: section
            .seconds("idle", 1..=MAX_IDLE)
            .unwrap_or(default.idle),
        lifetime: match section.seconds("lifetime", 0..=MAX_LIFETIME) {
            None => default.lifetime,
            Some(lifetime) => Some(lifetime).filter(|lifetime| !lifetime.is_zero()),
        },
    }
}

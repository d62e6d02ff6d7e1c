//! `[dns.tcp]`: how many TCP connections there may be, and how long they may last.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::raw::RawNumber;
use super::reader::ConfigReader;
use super::{DAY, HOUR};
use crate::dns::transport::tcp::TcpLimits;

/// More than most systems have descriptors for, but a number that a typing mistake does not exceed by
/// accident.
pub(super) const MAX_CONNECTIONS: u32 = 1_000_000;
/// In seconds; RFC 7828 §3.1 has room for 6,553.
const MAX_IDLE: u32 = HOUR;
/// In seconds.
const MAX_LIFETIME: u32 = 7 * DAY;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [dns.tcp]")]
pub(super) struct RawTcp {
    connections: Option<Spanned<RawNumber>>,
    connections_per_client: Option<Spanned<RawNumber>>,
    idle: Option<Spanned<RawNumber>>,
    lifetime: Option<Spanned<RawNumber>>,
}

impl ConfigReader<'_> {
    pub(super) fn tcp(&self, raw: RawTcp) -> TcpLimits {
        let mut limits = TcpLimits::default();
        let all = (1, MAX_CONNECTIONS);
        let key = "dns.tcp.connections";
        limits.connections = self.number(raw.connections, key, all, "", limits.connections);
        let (key, own) = (
            "dns.tcp.connections_per_client",
            limits.connections_per_client,
        );
        limits.connections_per_client = self.number(raw.connections_per_client, key, all, "", own);
        let read = |raw, key, range| self.optional_number::<u32>(raw, key, range, " seconds");
        if let Some(idle) = read(raw.idle, "dns.tcp.idle", (1, MAX_IDLE)) {
            limits.idle = Duration::from_secs(idle.into());
        }
        if let Some(lifetime) = read(raw.lifetime, "dns.tcp.lifetime", (0, MAX_LIFETIME)) {
            limits.lifetime = (lifetime > 0).then(|| Duration::from_secs(lifetime.into()));
        }
        limits
    }
}

//! `connections`, `connections_per_client` and `exempt` of `[admin]` and `[redirect]`.

use toml::Spanned;

use super::raw::{RawNumber, RawPrefixes};
use super::reader::ConfigReader;
use super::tcp::MAX_CONNECTIONS;
use crate::base::admission::SeatLimits;

/// The three values as they are written.
pub(super) struct RawConnections {
    pub(super) connections: Option<Spanned<RawNumber>>,
    pub(super) connections_per_client: Option<Spanned<RawNumber>>,
    pub(super) exempt: Option<Spanned<RawPrefixes>>,
}

/// The names of the three keys.
pub(super) struct ConnectionKeys {
    connections: &'static str,
    connections_per_client: &'static str,
    exempt: &'static str,
}

pub(super) const ADMIN: ConnectionKeys = ConnectionKeys {
    connections: "admin.connections",
    connections_per_client: "admin.connections_per_client",
    exempt: "admin.exempt",
};
pub(super) const REDIRECT: ConnectionKeys = ConnectionKeys {
    connections: "redirect.connections",
    connections_per_client: "redirect.connections_per_client",
    exempt: "redirect.exempt",
};

/// Programs of the operator's, and few of them; most often all at one address.
pub(super) fn admin_default() -> SeatLimits {
    SeatLimits {
        connections: 256,
        connections_per_client: 128,
        exempt: Vec::new(),
    }
}

/// Browsers: each opens one connection or two, and many may be behind one address.
pub(super) fn redirect_default() -> SeatLimits {
    SeatLimits {
        connections: 1_024,
        connections_per_client: 64,
        exempt: Vec::new(),
    }
}

impl ConfigReader<'_> {
    pub(super) fn connections(
        &self,
        raw: RawConnections,
        keys: &ConnectionKeys,
        default: &SeatLimits,
    ) -> SeatLimits {
        let number = |raw, key, default| self.number(raw, key, (1, MAX_CONNECTIONS), "", default);
        SeatLimits {
            connections: number(raw.connections, keys.connections, default.connections),
            connections_per_client: number(
                raw.connections_per_client,
                keys.connections_per_client,
                default.connections_per_client,
            ),
            exempt: self.prefixes(raw.exempt, keys.exempt),
        }
    }
}

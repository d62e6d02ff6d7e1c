//! `[admin]`: where the admin API listens, and where its token is.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::connections::connections;
use super::listen::{Claimed, listen};
use super::section::Section;
use crate::base::admission::SeatLimits;

const DEFAULT_LISTEN: &str = "127.0.0.1:8053";
const DEFAULT_TOKEN_FILE: &str = "data/admin.token";

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// The file that holds its token.
    pub token_file: PathBuf,
    /// How many connections there may be.
    pub connections: SeatLimits,
}

/// For a few programs of the operator, most often all at one address.
pub(super) fn default_connections() -> SeatLimits {
    SeatLimits {
        connections: 256,
        connections_per_client: 128,
        exempt: Vec::new(),
    }
}

pub(super) fn admin(section: &Section<'_>, claimed: &mut Claimed) -> AdminConfig {
    AdminConfig {
        listen: listen(section, DEFAULT_LISTEN, claimed),
        token_file: section.file("token_file", DEFAULT_TOKEN_FILE),
        connections: connections(section, &default_connections()),
    }
}

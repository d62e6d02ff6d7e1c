//! `[redirect]`: where the redirect host listens, and how short URLs are written.

use std::net::SocketAddr;

use super::connections::connections;
use super::listen::{Claimed, listen};
use super::problem::ConfigProblem;
use super::section::Section;
use crate::base::admission::SeatLimits;
use crate::http::{AbuseContact, Scheme, ShortUrls};

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// The redirect host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// How short URLs are written: with `https` if there is an `[https]` section, or where a proxy in front of the
    /// redirect host ends TLS, and with a port that is not the scheme's own.
    pub short_urls: ShortUrls,
    /// Where people report links that lead to fraud or malware; the pages name it.
    pub abuse_contact: Option<AbuseContact>,
    /// How many connections there may be.
    pub connections: SeatLimits,
}

/// For browsers: each opens one or two connections, and many may be behind one address.
pub(super) fn default_connections() -> SeatLimits {
    SeatLimits {
        connections: 1_024,
        connections_per_client: 64,
        exempt: Vec::new(),
    }
}

/// None if something was noted.
pub(super) fn redirect(
    section: &Section<'_>,
    has_https: bool,
    claimed: &mut Claimed,
) -> Option<RedirectConfig> {
    let listen = listen(section, DEFAULT_LISTEN, claimed);
    let mut schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    // The first is the default.
    if has_https {
        schemes.reverse();
    }
    let scheme = section.choice("short_url_scheme", &schemes);
    let port = section.optional_number("short_url_port", 1..=u16::MAX, "");
    let abuse_contact = section.parsed("abuse_contact", |text| {
        AbuseContact::parse(text).ok_or_else(|| ConfigProblem::AbuseContact(text.into()))
    });
    let connections = connections(section, &default_connections());
    let scheme = scheme?;
    Some(RedirectConfig {
        listen,
        short_urls: ShortUrls { scheme, port },
        abuse_contact,
        connections,
    })
}

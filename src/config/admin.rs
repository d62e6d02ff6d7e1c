//! `[admin]`: where the admin API listens, where its token is, and its rules for callers.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::connections::connections;
use super::listen::{Claimed, listen};
use super::problem::ConfigProblem;
use super::section::Section;
use crate::access::Rate;
use crate::base::admission::SeatLimits;
use crate::http::ApiRules;

const DEFAULT_LISTEN: &str = "127.0.0.1:8053";
const DEFAULT_TOKEN_FILE: &str = "data/admin.token";
/// The most origins in `[admin.cors]`.
const MAX_ORIGINS: usize = 64;
const DEFAULT_RATE: u32 = 50;

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; without an address it is off.
    pub listen: Vec<SocketAddr>,
    /// The file that holds its token.
    pub token_file: PathBuf,
    /// How many connections there may be.
    pub connections: SeatLimits,
    /// The rules for callers.
    pub rules: ApiRules,
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
        rules: ApiRules {
            origins: section.section("cors", origins),
            require_if_match: section.flag("require_if_match", false),
            rate: section.optional("rate", rate),
            // `[statistics]` says that.
            statistics_off: false,
        },
    }
}

/// `[admin.cors]`
fn origins(section: &Section<'_>) -> Vec<Box<str>> {
    let key = "origins";
    let expected = "a list of origins, such as [\"https://page.example\"]";
    let texts = section.texts(key, expected).unwrap_or_default();
    if texts.len() > MAX_ORIGINS {
        let (count, max) = (texts.len(), MAX_ORIGINS);
        section.note(key, ConfigProblem::TooManyOrigins { count, max });
    }
    for text in &texts {
        if !is_origin(text.get_ref()) {
            let problem = ConfigProblem::CorsOrigin((*text.get_ref()).into());
            section.note_at(text.span(), key, problem);
        }
    }
    texts.iter().map(|text| (*text.get_ref()).into()).collect()
}

/// Whether a text is an origin as browsers write it (RFC 6454 §6.2), with which it is compared byte by byte.
fn is_origin(text: &str) -> bool {
    let url = url::Url::parse(text);
    url.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

/// `[admin.rate]`
fn rate(section: &Section<'_>) -> Rate {
    let unit = "requests a second";
    let per_second = section.number("requests_per_second", Rate::RANGE, unit, DEFAULT_RATE);
    let burst = Rate::default_burst(per_second);
    Rate {
        per_second,
        burst: section.number("burst", Rate::RANGE, "requests", burst),
    }
}

//! `listen`: the addresses of a section. The whole file names each address once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::problem::ConfigProblem;
use super::section::Section;

const KEY: &str = "listen";
/// The most addresses of one section.
const MAX_LISTEN: usize = 64;

/// The addresses of the sections that were read, with their places.
pub(super) type Claimed = HashMap<SocketAddr, ListenSource>;

/// Where an address comes from.
#[derive(Clone)]
pub(super) struct ListenSource {
    /// The key with the names of its tables.
    key: String,
    /// None for a default, which has no place in the file.
    span: Option<Range<usize>>,
}

/// The addresses of a section; none are needed.
pub(super) fn listen(
    section: &Section<'_>,
    default: &str,
    claimed: &mut Claimed,
) -> Vec<SocketAddr> {
    addresses(section, Some(default), claimed)
}

/// The addresses of a section, which needs at least one.
pub(super) fn listen_somewhere(
    section: &Section<'_>,
    default: &str,
    claimed: &mut Claimed,
) -> Vec<SocketAddr> {
    note_if_empty(section);
    listen(section, default, claimed)
}

/// The addresses of a section that needs at least one and has no default.
pub(super) fn required_listen(section: &Section<'_>, claimed: &mut Claimed) -> Vec<SocketAddr> {
    section.note_missing(KEY);
    note_if_empty(section);
    addresses(section, None, claimed)
}

fn note_if_empty(section: &Section<'_>) {
    if section.is_empty_list(KEY) {
        section.note(KEY, ConfigProblem::NoAddress);
    }
}

fn addresses(
    section: &Section<'_>,
    default: Option<&str>,
    claimed: &mut Claimed,
) -> Vec<SocketAddr> {
    let texts = section.texts(KEY, "an address or a list of addresses, as strings");
    let Some(texts) = texts else {
        // An address that was meant to replace the default does replace it, even if it is bad.
        let default = default.filter(|_| !section.mentions(KEY));
        let address = default.and_then(|default| default.parse().ok());
        if let Some(address) = address {
            claim(section, address, None, claimed);
        }
        return Vec::from_iter(address);
    };
    if texts.len() > MAX_LISTEN {
        section.note(
            KEY,
            ConfigProblem::too_many(texts.len(), "addresses", MAX_LISTEN),
        );
        return Vec::new();
    }
    let address = |text: Spanned<&str>| {
        let Ok(address) = text.get_ref().parse() else {
            let problem = ConfigProblem::Address((*text.get_ref()).into());
            section.note_at(text.span(), KEY, problem);
            return None;
        };
        claim(section, address, Some(text.span()), claimed);
        Some(address)
    };
    texts.into_iter().filter_map(address).collect()
}

/// Notes an address that was listed before. Port 0 (the system chooses) may occur more than once, since each use
/// of it gets a port of its own.
fn claim(
    section: &Section<'_>,
    address: SocketAddr,
    span: Option<Range<usize>>,
    claimed: &mut Claimed,
) {
    if address.port() == 0 {
        return;
    }
    let key = section.full(KEY);
    let new = ListenSource { key, span };
    let Some(old) = claimed.insert(address, new.clone()) else {
        return;
    };
    // The complaint goes to the address that is in the file, since the operator can change only that one.
    let (at, key, problem) = match (old.span, new.span) {
        (Some(old), Some(span)) => {
            let line = section.line_at(&old);
            (
                span,
                new.key,
                ConfigProblem::DuplicateAddress { address, line },
            )
        }
        (Some(span), None) => {
            let key = new.key;
            (
                span,
                old.key,
                ConfigProblem::DefaultAddress { address, key },
            )
        }
        (None, span) => {
            let (span, key) = (span.unwrap_or(0..0), old.key);
            (
                span,
                new.key,
                ConfigProblem::DefaultAddress { address, key },
            )
        }
    };
    section.note_elsewhere(at, &key, problem);
}

//! `[[zone]]`: the zones, and where links fit into them.

use std::collections::HashMap;

use super::dnssec::dnssec;
use super::problem::ConfigProblem;
use super::routing::Routes;
use super::section::Section;
use crate::base::name::ZoneName;
use crate::link::{Code, Origin, Ttl};
use crate::zone::{Layout, ZoneConfig};

const ORIGIN: &str = "origin";
const REDIRECT_HOST: &str = "redirect_host";

/// The longest name in text form without the last dot (RFC 1035 §2.3.4).
const MAX_NAME_LEN: usize = 253;
/// The longest code and the dot after it.
const CODE_ROOM: usize = 64;

const DEFAULT_ORIGIN: &str = "s.example.com";
const DEFAULT_ZONE_FILE: &str = "zones/s.example.com.zone";
const DEFAULT_REDIRECT_HOST: &str = "r";
/// In seconds.
const DEFAULT_LINK_TTL: u32 = 300;

/// The zones of the file, or the default zone. `routes` gets the names whose addresses depend on the client.
pub(super) fn zones(file: &Section<'_>, routes: &mut Routes<'_>) -> Vec<ZoneConfig> {
    let key = "zone";
    let mut lines = HashMap::new();
    let zones = file.each(key, |section| zone(section, &mut lines, routes));
    let Some(zones) = zones else {
        return Vec::from_iter(default_zone());
    };
    if zones.is_empty() {
        file.note(key, ConfigProblem::NoZone);
    } else if !zones
        .iter()
        .any(|zone| zone.as_ref().is_none_or(|zone| zone.has_links))
    {
        file.note(key, ConfigProblem::NoLinkZone);
    }
    zones
        .into_iter()
        .flatten()
        .filter_map(|zone| zone.config)
        .collect()
}

/// A `[[zone]]` of the file.
struct ReadZone {
    /// Whether it has a redirect host, good or bad.
    has_links: bool,
    /// None if something was noted.
    config: Option<ZoneConfig>,
}

/// The zone of a configuration that names none.
fn default_zone() -> Option<ZoneConfig> {
    Some(ZoneConfig {
        origin: ZoneName::parse(DEFAULT_ORIGIN).ok()?,
        file: DEFAULT_ZONE_FILE.into(),
        redirect_host: Some(DEFAULT_REDIRECT_HOST.into()),
        layout: Layout::Cname,
        link_ttl: DEFAULT_LINK_TTL,
        dnssec: None,
    })
}

/// Reads one zone. Its origin, file and redirect host have no defaults: those of the default zone would be wrong
/// for any other. `lines` has the origins of the zones before it, with their lines.
fn zone(
    section: &Section<'_>,
    lines: &mut HashMap<ZoneName, usize>,
    routes: &mut Routes<'_>,
) -> ReadZone {
    let origin = section.parsed(ORIGIN, |text| {
        ZoneName::parse(text).map_err(ConfigProblem::Origin)
    });
    if origin.is_none() {
        section.note_missing(ORIGIN);
    }
    let file = section.required_file("file");
    let redirect_host = redirect_host(section, origin.as_ref());
    let layouts = [("cname", Layout::Cname), ("direct", Layout::Direct)];
    let layout = section.choice("layout", &layouts);
    let link_ttl = section.number("link_ttl", 0..=Ttl::MAX, "seconds", DEFAULT_LINK_TTL);
    let dnssec = section.optional("dnssec", dnssec);
    routes.read(section, origin.as_ref(), REDIRECT_HOST);
    let config = origin.zip(layout).map(|(origin, layout)| ZoneConfig {
        origin,
        file,
        redirect_host,
        layout,
        link_ttl,
        dnssec,
    });
    ReadZone {
        has_links: section.mentions(REDIRECT_HOST),
        config: config.filter(|zone| is_new(section, &zone.origin, lines)),
    }
}

/// Notes an origin that another zone has.
fn is_new(section: &Section<'_>, origin: &ZoneName, lines: &mut HashMap<ZoneName, usize>) -> bool {
    let old = lines.insert(origin.clone(), section.line_of(ORIGIN));
    if let Some(line) = old {
        let origin = origin.clone();
        section.note(ORIGIN, ConfigProblem::DuplicateOrigin { origin, line });
    }
    old.is_none()
}

/// The label of the redirect host. Browsers put it into URLs, so it follows the rule of codes, and the origin has
/// to be one that can stand in URLs.
fn redirect_host(section: &Section<'_>, zone: Option<&ZoneName>) -> Option<Box<str>> {
    let mut origin_len = 0;
    if let Some(zone) = zone.filter(|_| section.has(REDIRECT_HOST)) {
        match Origin::parse(zone.as_str()) {
            Ok(origin) => origin_len = origin.as_str().len(),
            Err(why) => section.note(ORIGIN, ConfigProblem::LinkOrigin(why)),
        }
    }
    section.parsed(REDIRECT_HOST, |text| {
        let label = Code::parse(text).map_err(|_| ConfigProblem::RedirectHost(text.into()))?;
        if CODE_ROOM + text.len() + 1 + origin_len > MAX_NAME_LEN {
            return Err(ConfigProblem::RedirectHostTooLong(text.into()));
        }
        Ok(label.as_str().into())
    })
}

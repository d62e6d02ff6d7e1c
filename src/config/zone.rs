//! `[[zone]]`: which zones there are, and where their links fit.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;

use super::problem::Problem;
use super::raw::{RawZone, RawZones};
use super::reader::ConfigReader;
use crate::base::name::ZoneName;
use crate::link::{Code, Origin, Ttl};
use crate::zone::{Layout, ZoneConfig};

/// The longest name in text form without the last dot (RFC 1035 §2.3.4).
const MAX_NAME_LEN: usize = 253;
/// The longest code and the dot behind it.
const CODE_ROOM: usize = 64;

const DEFAULT_ORIGIN: &str = "s.example.com";
const DEFAULT_ZONE_FILE: &str = "zones/s.example.com.zone";
const DEFAULT_REDIRECT_HOST: &str = "r";
/// In seconds.
const DEFAULT_LINK_TTL: u32 = 300;

impl ConfigReader<'_> {
    pub(super) fn zones(&self, raw: Option<Spanned<RawZones>>) -> Vec<ZoneConfig> {
        let Some(raw) = raw else {
            return Vec::from_iter(self.default_zone());
        };
        let span = raw.span();
        let raw_zones = raw.into_inner().0;
        if raw_zones.is_empty() {
            self.note(span, "zone", Problem::NoZone);
            return Vec::new();
        }
        // A misspelt redirect_host is complained of by its own name.
        let has_links = |raw: &Spanned<RawZone>| {
            let is_struck = self.is_struck_in(raw.span(), "redirect_host");
            is_struck || raw.get_ref().redirect_host.is_some()
        };
        if !raw_zones.iter().any(has_links) {
            self.note(span, "zone", Problem::NoLinkZone);
        }
        let mut lines = HashMap::new();
        let mut zones = Vec::new();
        for raw in raw_zones {
            let origin_span = raw.get_ref().origin.as_ref().map_or(0..0, Spanned::span);
            let Some(zone) = self.zone(raw) else { continue };
            let line = self.line(origin_span.start);
            if let Some(line) = lines.insert(zone.origin.clone(), line) {
                let origin = zone.origin;
                let problem = Problem::DuplicateOrigin { origin, line };
                self.note(origin_span, "zone.origin", problem);
                continue;
            }
            zones.push(zone);
        }
        zones
    }

    fn default_zone(&self) -> Option<ZoneConfig> {
        Some(ZoneConfig {
            origin: self.origin(Spanned::new(0..0, DEFAULT_ORIGIN.into()))?,
            file: DEFAULT_ZONE_FILE.into(),
            redirect_host: Some(DEFAULT_REDIRECT_HOST.into()),
            layout: Layout::Cname,
            link_ttl: DEFAULT_LINK_TTL,
            dnssec: None,
        })
    }

    /// A zone that is written out. Its origin, file and redirect host have no defaults: those of
    /// the example zone would be wrong for every other. None where its origin is not known.
    fn zone(&self, raw: Spanned<RawZone>) -> Option<ZoneConfig> {
        let span = raw.span();
        let raw = raw.into_inner();
        for (is_there, key) in [
            (raw.origin.is_some(), "origin"),
            (raw.file.is_some(), "file"),
        ] {
            if !is_there {
                self.note_missing(span.clone(), "zone", "a [[zone]]", key);
            }
        }
        let origin_span = raw.origin.as_ref().map_or(0..0, Spanned::span);
        let origin = raw.origin.and_then(|origin| self.origin(origin));
        let redirect_host = raw.redirect_host.and_then(|host| {
            let links = origin.as_ref();
            let links = links.and_then(|origin| self.link_origin(origin, origin_span));
            self.redirect_host(host, links.as_ref())
        });
        let (key, range) = ("zone.link_ttl", (0, Ttl::MAX));
        let file = self.file(raw.file, "zone.file", "");
        let layout = self.layout(raw.layout);
        let link_ttl = self.number(raw.link_ttl, key, range, " seconds", DEFAULT_LINK_TTL);
        let dnssec = raw.dnssec.map(|raw| self.dnssec(raw));
        Some(ZoneConfig {
            origin: origin?,
            file,
            redirect_host,
            layout: layout?,
            link_ttl,
            dnssec,
        })
    }

    fn origin(&self, text: Spanned<String>) -> Option<ZoneName> {
        let read = ZoneName::parse(text.get_ref());
        read.map_err(|e| self.note(text.span(), "zone.origin", Problem::Origin(e)))
            .ok()
    }

    /// The origin of links in a zone of this name.
    fn link_origin(&self, name: &ZoneName, span: Range<usize>) -> Option<Origin> {
        let read = Origin::parse(name.as_str());
        read.map_err(|why| self.note(span, "zone.origin", Problem::LinkOrigin(why)))
            .ok()
    }

    /// The label of the redirect host. Browsers put it into URLs, so it follows the rule of codes.
    fn redirect_host(&self, raw: Spanned<String>, origin: Option<&Origin>) -> Option<Box<str>> {
        let span = raw.span();
        let text = raw.into_inner();
        let key = "zone.redirect_host";
        let Ok(label) = Code::parse(&text) else {
            self.note(span, key, Problem::RedirectHost(text));
            return None;
        };
        let origin_len = origin.map_or(0, |origin| origin.as_str().len());
        if CODE_ROOM + text.len() + 1 + origin_len > MAX_NAME_LEN {
            self.note(span, key, Problem::RedirectHostTooLong(text));
        }
        Some(label.as_str().into())
    }

    fn layout(&self, raw: Option<Spanned<String>>) -> Option<Layout> {
        let known = "\"cname\" or \"direct\"";
        self.choice(raw, "zone.layout", known, |word| match word {
            None | Some("cname") => Some(Layout::Cname),
            Some("direct") => Some(Layout::Direct),
            Some(_) => None,
        })
    }
}

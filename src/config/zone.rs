//! `[[zone]]`: which zones there are, and where their links fit.

use std::collections::HashMap;

use toml::Spanned;

use super::problem::{ConfigError, Problem};
use super::raw::{RawZone, RawZones};
use super::reader::Reader;
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

impl Reader<'_> {
    pub(super) fn zones(
        &self,
        raw: Option<Spanned<RawZones>>,
    ) -> Result<Vec<ZoneConfig>, ConfigError> {
        let Some(raw) = raw else {
            return Ok(vec![self.default_zone()?]);
        };
        let span = raw.span();
        let mut lines = HashMap::new();
        let mut zones = Vec::new();
        for raw in raw.into_inner().0 {
            let origin_span = raw.get_ref().origin.as_ref().map_or(0..0, Spanned::span);
            let zone = self.zone(raw)?;
            let line = self.line(origin_span.start);
            if let Some(line) = lines.insert(zone.origin.clone(), line) {
                let origin = zone.origin;
                let problem = Problem::DuplicateOrigin { origin, line };
                return Err(self.error(origin_span, "zone.origin", problem));
            }
            zones.push(zone);
        }
        if zones.is_empty() {
            return Err(self.error(span, "zone", Problem::NoZone));
        }
        if zones.iter().all(|zone| zone.redirect_host.is_none()) {
            return Err(self.error(span, "zone", Problem::NoLinkZone));
        }
        Ok(zones)
    }

    fn default_zone(&self) -> Result<ZoneConfig, ConfigError> {
        Ok(ZoneConfig {
            origin: self.origin(Spanned::new(0..0, DEFAULT_ORIGIN.into()))?,
            file: DEFAULT_ZONE_FILE.into(),
            redirect_host: Some(DEFAULT_REDIRECT_HOST.into()),
            layout: Layout::Cname,
            link_ttl: DEFAULT_LINK_TTL,
            dnssec: None,
        })
    }

    /// A zone that is written out. Its origin, file and redirect host have no defaults: those of
    /// the example zone would be wrong for every other.
    fn zone(&self, raw: Spanned<RawZone>) -> Result<ZoneConfig, ConfigError> {
        let span = raw.span();
        let raw = raw.into_inner();
        let part = "a [[zone]]";
        let missing = |key| self.error(span.clone(), "zone", Problem::Missing { part, key });
        let origin = self.origin(raw.origin.ok_or_else(|| missing("origin"))?)?;
        let file = raw.file.ok_or_else(|| missing("file"))?;
        let redirect_host = match raw.redirect_host {
            Some(host) => Some(self.redirect_host(host, &origin)?),
            None => None,
        };
        Ok(ZoneConfig {
            origin,
            file: self.file(Some(file), "zone.file", "")?,
            redirect_host,
            layout: self.layout(raw.layout)?,
            link_ttl: match raw.link_ttl {
                Some(ttl) => self.number(ttl, "zone.link_ttl", 0, Ttl::MAX, " seconds")?,
                None => DEFAULT_LINK_TTL,
            },
            dnssec: raw.dnssec.map(|raw| self.dnssec(raw)).transpose()?,
        })
    }

    fn origin(&self, text: Spanned<String>) -> Result<Origin, ConfigError> {
        Origin::parse(text.get_ref())
            .map_err(|e| self.error(text.span(), "zone.origin", Problem::Origin(e)))
    }

    /// The label of the redirect host. Browsers put it into URLs, so it follows the rule of codes.
    fn redirect_host(
        &self,
        raw: Spanned<String>,
        origin: &Origin,
    ) -> Result<Box<str>, ConfigError> {
        let span = raw.span();
        let text = raw.into_inner();
        let fail = |problem| self.error(span, "zone.redirect_host", problem);
        let Ok(label) = Code::parse(&text) else {
            return Err(fail(Problem::RedirectHost(text)));
        };
        if CODE_ROOM + text.len() + 1 + origin.as_str().len() > MAX_NAME_LEN {
            return Err(fail(Problem::RedirectHostTooLong(text)));
        }
        Ok(label.as_str().into())
    }

    fn layout(&self, raw: Option<Spanned<String>>) -> Result<Layout, ConfigError> {
        let known = "\"cname\" or \"direct\"";
        self.choice(raw, "zone.layout", known, |word| match word {
            None | Some("cname") => Some(Layout::Cname),
            Some("direct") => Some(Layout::Direct),
            Some(_) => None,
        })
    }
}

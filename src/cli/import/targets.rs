//! Turns the key of a link in a source into its name here: a zone and a code.
//!
//! Sources have keys of three forms: bare codes, in most tables; full names, in the tables and exports of
//! tinyns; and short URLs, with or without a scheme, which is what people have bookmarked. DNS ignores case, so
//! codes are folded to lower case. A key that is not a DNS label, such as `resume.pdf`, cannot be a code; its
//! link gets a code derived from the URL, and the report says so.

use url::{Host, Url};

use super::record::Called;
use crate::link::{Code, Origin};

/// The zones that an import puts links into.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// The zone of bare codes.
    default: Origin,
    /// The zones that full names may be in.
    zones: Vec<Origin>,
}

/// The zone and the code of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) zone: Origin,
    /// Its code, or why it cannot have the code of its record.
    pub(super) code: Result<Code, String>,
}

/// Why there are no [`Targets`].
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("the server has no zone {0} with links; its zones with links are {list}", list = list(.1))]
    NoSuchZone(Origin, Vec<Origin>),
    #[error("the server has no zone with links; set redirect_host in one of its zones")]
    NoZones,
}

impl Targets {
    /// The zone of `--zone`, or all zones of the server, of which the first is the default.
    pub(super) fn new(zones: Vec<Origin>, asked: Option<&Origin>) -> Result<Self, TargetError> {
        match asked {
            Some(asked) if zones.contains(asked) => Ok(Self {
                default: asked.clone(),
                zones: vec![asked.clone()],
            }),
            Some(asked) => Err(TargetError::NoSuchZone(asked.clone(), zones)),
            None => Ok(Self {
                default: zones.first().cloned().ok_or(TargetError::NoZones)?,
                zones,
            }),
        }
    }

    /// The zone of bare codes.
    pub(super) fn default(&self) -> &Origin {
        &self.default
    }

    /// The destination of the link with this key.
    ///
    /// # Errors
    /// The name is in another zone, or the key is a URL that cannot be a short URL.
    pub(super) fn place(&self, key: &str, called: Called) -> Result<Destination, String> {
        let key = key.trim();
        let lower = key.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            let url = Url::parse(key).map_err(|e| format!("its key is not a URL: {e}"))?;
            return self.place_url(&url);
        }
        if let Some(url) = without_scheme(key) {
            return self.place_url(&url);
        }
        // A key with a dot is a name only if the part after the dot is a zone, or if the member holds names only.
        match self.zone_of(key) {
            Some((code, zone)) => Ok(place(zone, code)),
            None if called == Called::Name && key.contains('.') => Err(self.elsewhere(key)),
            None => Ok(self.place_code(key)),
        }
    }

    fn place_code(&self, code: &str) -> Destination {
        place(&self.default, code)
    }

    /// A URL: the last segment of its path is the code; without a path its host is the name.
    fn place_url(&self, url: &Url) -> Result<Destination, String> {
        let mut segments = url.path_segments().into_iter().flatten();
        if let Some(code) = segments.rfind(|segment| !segment.is_empty()) {
            return Ok(self.place_code(code));
        }
        let name = url.host_str().unwrap_or_default();
        let (code, zone) = self.zone_of(name).ok_or_else(|| self.elsewhere(name))?;
        Ok(place(zone, code))
    }

    /// The code and the zone of a full name, with or without its last dot.
    fn zone_of<'a>(&self, name: &'a str) -> Option<(&'a str, &Origin)> {
        let (code, rest) = split(name)?;
        let mut zones = self.zones.iter();
        let zone = zones.find(|zone| zone.as_str().eq_ignore_ascii_case(rest))?;
        Some((code, zone))
    }

    /// The message for a name in another zone.
    fn elsewhere(&self, name: &str) -> String {
        let (_, rest) = split(name).unwrap_or((name, ""));
        let zones = list(&self.zones);
        format!("the name is in the zone {rest:?}, and links go into {zones}")
    }
}

fn place(zone: &Origin, code: &str) -> Destination {
    Destination {
        zone: zone.clone(),
        code: Code::parse(code).map_err(|e| e.to_string()),
    }
}

/// The first label of a name, and the rest without its last dot.
fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix('.').unwrap_or(name).split_once('.')
}

/// A short URL without its scheme, such as `short.example/abc`: the part before the first slash has a dot and
/// can be a host. Codes may have slashes too, but none with a dot before.
fn without_scheme(key: &str) -> Option<Url> {
    let (host, _) = key.split_once('/')?;
    let url = Url::parse(&format!("http://{key}")).ok()?;
    let is_name = matches!(url.host(), Some(Host::Domain(_)));
    (host.contains('.') && is_name).then_some(url)
}

/// The zones, for a message.
fn list(zones: &[Origin]) -> String {
    let zones: Vec<_> = zones.iter().map(Origin::as_str).collect();
    zones.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Vec<Origin> {
        let parse = |text| Origin::parse(text).unwrap();
        vec![parse("s.example.com"), parse("t.example.net")]
    }

    /// The code and its zone, or the fault of the code and the zone, or the fault.
    fn shown_as(called: Called, asked: Option<&str>, key: &str) -> String {
        let asked = asked.map(|asked| Origin::parse(asked).unwrap());
        let targets = Targets::new(zones(), asked.as_ref()).unwrap();
        match targets.place(key, called) {
            Ok(Destination { zone, code }) => match code {
                Ok(code) => format!("{code} in {zone}"),
                Err(reason) => format!("{reason}, in {zone}"),
            },
            Err(reason) => reason,
        }
    }

    fn shown(asked: Option<&str>, key: &str) -> String {
        shown_as(Called::Name, asked, key)
    }

    fn check(key: &str, expected: &str) {
        assert_eq!(shown(None, key), expected, "{key}");
    }

    #[test]
    fn bare_codes_lose_their_case() {
        check("aB3xY9zQ", "ab3xy9zq in s.example.com");
        check(" sale ", "sale in s.example.com");
        check("x-1", "x-1 in s.example.com");
        let t = shown(Some("t.example.net"), "aB3xY9zQ");
        assert_eq!(t, "ab3xy9zq in t.example.net");
    }

    #[test]
    fn keys_that_are_not_labels_have_no_code() {
        let no = |key: &str, reason: &str| check(key, &format!("{reason}, in s.example.com"));
        no(
            "a_b",
            "a code has only letters, digits and hyphens; this one has '_'",
        );
        no("-ab", "a code neither begins nor ends with a hyphen");
        no(
            &"a".repeat(64),
            "a code has at most 63 characters; this one has 64",
        );
        no("", "a code needs at least one character");
        check(
            "a_b.t.example.net",
            "a code has only letters, digits and hyphens; this one has '_', in t.example.net",
        );
    }

    #[test]
    fn full_names_contain_a_zone() {
        check("aB3xY9zQ.s.example.com", "ab3xy9zq in s.example.com");
        check("aB3xY9zQ.S.Example.COM.", "ab3xy9zq in s.example.com");
        check("x.t.example.net", "x in t.example.net");
        let elsewhere = |key: &str, rest: &str| {
            let zones = "links go into s.example.com, t.example.net";
            check(
                key,
                &format!("the name is in the zone {rest:?}, and {zones}"),
            );
        };
        elsewhere("x.example.org", "example.org");
        elsewhere("x.y.s.example.com", "y.s.example.com");
        elsewhere("s.example.com", "example.com");
        elsewhere("v1.2", "2");
        elsewhere("x.", "");
        // With --zone, every other zone is refused.
        assert_eq!(
            shown(Some("s.example.com"), "x.t.example.net"),
            "the name is in the zone \"t.example.net\", and links go into s.example.com"
        );
    }

    #[test]
    fn urls_have_the_code_in_host_or_path() {
        check("http://aB3.s.example.com", "ab3 in s.example.com");
        check("HTTPS://aB3.t.example.net:8080/", "ab3 in t.example.net");
        check("https://tiny.example/aB3", "ab3 in s.example.com");
        check("https://tiny.example/u/aB3/?x=y#z", "ab3 in s.example.com");
        check("https://s.example.com/aB3", "ab3 in s.example.com");
        check(
            "https://tiny.example/",
            "the name is in the zone \"example\", and links go into s.example.com, t.example.net",
        );
        check(
            "http://192.0.2.1/",
            "the name is in the zone \"0.2.1\", and links go into s.example.com, t.example.net",
        );
        check("https://", "its key is not a URL: empty host");
        check(
            "https://tiny.example/a%20b",
            "a code has only letters, digits and hyphens; this one has '%', in s.example.com",
        );
    }

    #[test]
    fn codes_with_dots_are_names_only_in_a_zone() {
        let check = |key: &str, expected: &str| {
            assert_eq!(shown_as(Called::Code, None, key), expected, "{key}");
        };
        for code in [
            "resume.pdf",
            "v1.2",
            "a.tar.gz",
            "x.other.example",
            ".",
            "a..b",
        ] {
            let dot = "a code has only letters, digits and hyphens; this one has '.'";
            check(code, &format!("{dot}, in s.example.com"));
        }
        check("aB3.s.example.com", "ab3 in s.example.com");
        check("aB3.T.example.net.", "ab3 in t.example.net");
        check(
            "https://tiny.example/resume.pdf",
            "a code has only letters, digits and hyphens; \
             this one has '.', in s.example.com",
        );
    }

    #[test]
    fn short_urls_may_have_no_scheme() {
        for called in [Called::Code, Called::Name] {
            let check = |key: &str, expected: &str| {
                assert_eq!(shown_as(called, None, key), expected, "{key}");
            };
            check("short.example/aB3", "ab3 in s.example.com");
            check("bit.ly/aB3/", "ab3 in s.example.com");
            check("short.example:8080/u/aB3?x", "ab3 in s.example.com");
            check("aB3.t.example.net/", "ab3 in t.example.net");
            // Codes of several segments, and texts that are not hosts.
            let slash = "a code has only letters, digits and hyphens; this one has";
            check("docs/api", &format!("{slash} '/', in s.example.com"));
        }
        let shown = shown_as(Called::Code, None, "v1.2/x");
        assert!(
            shown.ends_with("this one has '.', in s.example.com"),
            "{shown}"
        );
    }

    #[test]
    fn unknown_zones_are_refused() {
        let asked = Origin::parse("example.org").unwrap();
        assert_eq!(
            Targets::new(zones(), Some(&asked)).unwrap_err().to_string(),
            "the server has no zone example.org with links; its zones with links are s.example.com, \
             t.example.net"
        );
        assert!(Targets::new(Vec::new(), None).is_err());
    }
}

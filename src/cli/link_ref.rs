//! A link on the command line, in any form that `add` printed: its code, its full name with or without the last
//! dot, or its short URL. Names and URLs contain the zone; a bare code is in the zone of `--zone`, or in the
//! first zone of the server.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use crate::link::{Code, CodeError, Origin, OriginError};

/// The path at which the redirect host shows the destination of a link instead of redirecting.
const PREVIEW: &str = "/+";

/// A link: its code and, if given, its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkRef {
    pub(super) code: Code,
    zone: Option<Origin>,
}

/// Why a text is not a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkRefError {
    #[error("{0}")]
    Code(#[from] CodeError),
    #[error("{0}")]
    Zone(#[from] OriginError),
    #[error("not a short URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("a short URL begins with http:// or https://")]
    Scheme,
    #[error("the code of a short URL is in its host, and {0} is an address")]
    Address(String),
    #[error(
        "the code of a short URL is in its host, and it has no path; this URL has the path {0}"
    )]
    Path(String),
}

/// The link contains a zone, and `--zone` names another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link is in the zone {named}, and --zone is {asked}")]
pub(super) struct OtherZone {
    named: Origin,
    asked: Origin,
}

impl FromStr for LinkRef {
    type Err = LinkRefError;

    fn from_str(text: &str) -> Result<Self, LinkRefError> {
        let text = text.trim();
        if text.contains("://") {
            return of_url(text);
        }
        match (text.contains('/'), text.split_once('.')) {
            // A URL without its scheme, as browsers show it.
            (true, _) => of_url(&format!("http://{text}")),
            (false, Some((code, zone))) => of_name(code, zone),
            (false, None) => Ok(Self {
                code: Code::parse(text)?,
                zone: None,
            }),
        }
    }
}

/// Its name if it has a zone, or its code.
impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}.{zone}", self.code),
            None => write!(f, "{}", self.code),
        }
    }
}

impl LinkRef {
    /// The zone of the link; `asked` is that of `--zone`.
    ///
    /// # Errors
    /// The link is in another zone than `--zone`.
    pub(super) fn zone(&self, asked: Option<Origin>) -> Result<Option<Origin>, OtherZone> {
        match (self.zone.clone(), asked) {
            (Some(named), Some(asked)) if named != asked => Err(OtherZone { named, asked }),
            (named, asked) => Ok(named.or(asked)),
        }
    }
}

fn of_name(code: &str, zone: &str) -> Result<LinkRef, LinkRefError> {
    Ok(LinkRef {
        code: Code::parse(code)?,
        zone: Some(Origin::parse(zone)?),
    })
}

fn of_url(text: &str) -> Result<LinkRef, LinkRefError> {
    let url = Url::parse(text)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(LinkRefError::Scheme);
    }
    if !matches!(url.path(), "/" | PREVIEW) {
        return Err(LinkRefError::Path(url.path().into()));
    }
    match url.host() {
        Some(Host::Domain(name)) => {
            let (code, zone) = name.split_once('.').unwrap_or((name, ""));
            of_name(code, zone)
        }
        Some(address) => Err(LinkRefError::Address(address.to_string())),
        None => Err(url::ParseError::EmptyHost.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    #[test]
    fn every_line_that_add_prints_names_the_link() {
        for text in [
            "sale.s.example.com",
            "sale.s.example.com.",
            "SALE.S.example.COM",
            "http://sale.s.example.com/",
            "https://sale.s.example.com",
            "http://Sale.s.example.com:8080/",
            "http://sale.s.example.com./",
            "https://sale.s.example.com/+",
            "sale.s.example.com/",
            " sale.s.example.com:8080/ ",
        ] {
            let named: LinkRef = text.parse().unwrap();
            assert_eq!(named.code.as_str(), "sale", "{text}");
            assert_eq!(named.zone, Some(origin("s.example.com")), "{text}");
            assert_eq!(named.to_string(), "sale.s.example.com");
        }
        let bare: LinkRef = "Sale".parse().unwrap();
        assert_eq!((bare.code.as_str(), &bare.zone), ("sale", &None));
    }

    #[test]
    fn bad_links_say_why() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<LinkRef>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        };
        check("", "a code needs at least one character");
        check("sale.", "an origin needs at least one label");
        check(
            "a_b.s.example.com",
            "a code has only letters, digits and hyphens; this one has '_'",
        );
        check(
            "ftp://sale.s.example.com/",
            "a short URL begins with http:// or https://",
        );
        check(
            "https://s.example.com/sale",
            "the code of a short URL is in its host, and it has no path; this URL has the path /sale",
        );
        check(
            "http://127.0.0.1:8053/",
            "the code of a short URL is in its host, and 127.0.0.1 is an address",
        );
        check("http://localhost/", "an origin needs at least one label");
    }

    #[test]
    fn the_zone_of_a_link() {
        let check = |text: &str, asked: Option<&str>, expected: Result<Option<&str>, &str>| {
            let named: LinkRef = text.parse().unwrap();
            let zone = named.zone(asked.map(origin)).map_err(|e| e.to_string());
            let expected = expected.map(|zone| zone.map(origin)).map_err(Into::into);
            assert_eq!(zone, expected, "{text}");
        };
        check("a", None, Ok(None));
        check("a", Some("b.c"), Ok(Some("b.c")));
        check("a.b.c", None, Ok(Some("b.c")));
        check("a.b.c", Some("B.C."), Ok(Some("b.c")));
        check(
            "a.b.c",
            Some("d.e"),
            Err("the link is in the zone b.c, and --zone is d.e"),
        );
    }
}

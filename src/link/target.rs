//! Where a link leads: an absolute `http` or `https` URL.
//!
//! The `url` crate parses and serialises it as browsers do (WHATWG URL), before it is hashed and
//! stored. Two spellings of one address then fold to one code, and what we hand out in TXT, URI and
//! `Location` is plain ASCII without control characters or spaces, whatever was sent to us.

use std::fmt;

use url::{Host, Url};

/// A destination that links may lead to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetUrl(Box<str>);

/// Why a text is not accepted as a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetUrlError {
    /// Over [`TargetUrl::MAX_LEN`], as sent or once serialised.
    #[error("the URL has {0} bytes; at most {max} are accepted", max = TargetUrl::MAX_LEN)]
    TooLong(usize),
    /// A C0 control, DEL or C1 control character.
    #[error("the URL has the control character U+{0:04X} at byte {1}")]
    ControlCharacter(u32, usize),
    /// Not an absolute URL at all.
    #[error("not an absolute URL: {0}")]
    Invalid(url::ParseError),
    /// `javascript:`, `data:`, `ftp:` and all others.
    #[error("the scheme {0:?} is not accepted; only http and https are")]
    Scheme(String),
    /// A name or password in front of the host.
    #[error("the URL has user info (a name or password before the host)")]
    UserInfo,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
}

impl TargetUrl {
    /// The longest URL, in bytes.
    pub const MAX_LEN: usize = 2_048;

    /// Parses and serialises a URL.
    ///
    /// # Errors
    /// [`TargetUrlError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, TargetUrlError> {
        if text.len() > Self::MAX_LEN {
            return Err(TargetUrlError::TooLong(text.len()));
        }
        // The WHATWG parser drops tabs and line ends in silence; such a text is a mistake or an
        // attack, and either way not what its sender believes it to be.
        if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(TargetUrlError::ControlCharacter(c.into(), at));
        }
        let url = Url::parse(text).map_err(|e| match e {
            url::ParseError::EmptyHost => TargetUrlError::NoHost,
            other => TargetUrlError::Invalid(other),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetUrlError::Scheme(url.scheme().into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetUrlError::UserInfo);
        }
        if url.host().is_none() {
            return Err(TargetUrlError::NoHost);
        }
        let text = url.as_str();
        if text.len() > Self::MAX_LEN {
            return Err(TargetUrlError::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The URL, serialised: ASCII without spaces or control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, if it is a domain name: lower case, in its ASCII form, without a last dot.
    pub fn domain(&self) -> Option<String> {
        let url = Url::parse(&self.0).ok()?;
        match url.host()? {
            Host::Domain(name) => Some(name.trim_end_matches('.').to_owned()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepted_urls_are_normalised() {
        let ok = |text: &str| TargetUrl::parse(text).unwrap().to_string();
        assert_eq!(ok("https://example.net"), "https://example.net/");
        assert_eq!(ok("HTTPS://Example.NET:443/a"), "https://example.net/a");
        assert_eq!(ok("http://example.net:8080/"), "http://example.net:8080/");
        assert_eq!(ok("https://example.net/a/../b"), "https://example.net/b");
        assert_eq!(
            ok("https://bücher.example/ä"),
            "https://xn--bcher-kva.example/%C3%A4"
        );
        assert_eq!(
            ok("https://example.net/a b\"c"),
            "https://example.net/a%20b%22c"
        );
        assert_eq!(ok("http://[2001:DB8::1]/"), "http://[2001:db8::1]/");
        assert_eq!(
            ok("https://example.net/?q=1#top"),
            "https://example.net/?q=1#top"
        );
    }

    #[test]
    fn refused_urls_say_why() {
        let err = |text: &str| TargetUrl::parse(text).unwrap_err();
        let scheme = |s: &str| TargetUrlError::Scheme(s.into());
        assert_eq!(err("javascript:alert(1)"), scheme("javascript"));
        assert_eq!(err("ftp://example.net/"), scheme("ftp"));
        assert_eq!(err("data:text/html,x"), scheme("data"));
        assert_eq!(err("mailto:a@example.net"), scheme("mailto"));
        assert_eq!(err("https://"), TargetUrlError::NoHost);
        assert_eq!(err("http://?a"), TargetUrlError::NoHost);
        assert_eq!(err("https://user@example.net/"), TargetUrlError::UserInfo);
        assert_eq!(err("https://:pw@example.net/"), TargetUrlError::UserInfo);
        assert!(matches!(err("/relative"), TargetUrlError::Invalid(_)));
        assert!(matches!(err("//example.net/"), TargetUrlError::Invalid(_)));
        assert!(matches!(err(""), TargetUrlError::Invalid(_)));
        assert!(matches!(
            err("https://exa mple.net/"),
            TargetUrlError::Invalid(_)
        ));
        assert_eq!(
            err("https://a/\r\nX: y"),
            TargetUrlError::ControlCharacter(0x0D, 10)
        );
        assert_eq!(
            err("\thttps://a/"),
            TargetUrlError::ControlCharacter(0x09, 0)
        );
        assert_eq!(
            err("https://a/\u{7f}"),
            TargetUrlError::ControlCharacter(0x7F, 10)
        );
        assert_eq!(
            err("https://a/\u{85}"),
            TargetUrlError::ControlCharacter(0x85, 10)
        );
    }

    #[test]
    fn length_is_bounded_as_sent_and_as_stored() {
        let sized = |len: usize| format!("https://a.example/{}", "x".repeat(len - 18));
        assert!(TargetUrl::parse(&sized(2_048)).is_ok());
        assert_eq!(
            TargetUrl::parse(&sized(2_049)),
            Err(TargetUrlError::TooLong(2_049))
        );
        // Every 'ä' becomes six bytes when it is serialised.
        let grows = format!("https://a.example/{}", "ä".repeat(1_000));
        assert_eq!(
            TargetUrl::parse(&grows),
            Err(TargetUrlError::TooLong(6_018))
        );
    }

    #[test]
    fn domain_is_what_dns_would_look_up() {
        let domain = |text: &str| TargetUrl::parse(text).unwrap().domain();
        assert_eq!(
            domain("https://A.Example.net./x").as_deref(),
            Some("a.example.net")
        );
        assert_eq!(domain("https://192.0.2.1/"), None);
        assert_eq!(domain("https://[2001:db8::1]/"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_safe_to_hand_out(text in "https?://[a-z]{1,9}\\.net/\\PC{0,80}") {
            if let Ok(url) = TargetUrl::parse(&text) {
                prop_assert!(url.as_str().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(url.as_str().len() <= TargetUrl::MAX_LEN);
                prop_assert_eq!(TargetUrl::parse(url.as_str()).unwrap(), url);
            }
        }

        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = TargetUrl::parse(&text);
        }
    }
}

//! Whom people tell about links that lead to fraud or malware.

use std::fmt;

use url::Url;

const MAILTO: &str = "mailto:";

/// A contact for reports of abuse: a `mailto:`, `https:` or `http:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseContact(Box<str>);

impl AbuseContact {
    /// The longest contact, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Reads an e-mail address with or without `mailto:`, or the URL of a page; anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() <= Self::MAX_LEN && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain {
            return None;
        }
        if let Ok(url) = Url::parse(text)
            && matches!(url.scheme(), "http" | "https")
        {
            return Some(Self(url.as_str().into()));
        }
        // RFC 6068 §2: one address, without header fields.
        let address = text.strip_prefix(MAILTO).unwrap_or(text);
        let (user, host) = address.split_once('@')?;
        let is_one = !address.contains([',', '?', ':', '/', '<', '>', '"']);
        let is_address = is_one && !user.is_empty() && !host.is_empty() && !host.contains('@');
        is_address.then(|| Self(format!("{MAILTO}{address}").into()))
    }

    /// The contact as a URL.
    pub fn url(&self) -> &str {
        &self.0
    }
}

/// As people write it: an address without `mailto:`.
impl fmt::Display for AbuseContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_prefix(MAILTO).unwrap_or(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts() {
        let check = |text: &str, url: Option<&str>| {
            let contact = AbuseContact::parse(text);
            assert_eq!(contact.as_ref().map(AbuseContact::url), url, "{text}");
        };
        check("abuse@example.com", Some("mailto:abuse@example.com"));
        check("mailto:abuse@example.com", Some("mailto:abuse@example.com"));
        check(
            "https://example.com/report?to=us",
            Some("https://example.com/report?to=us"),
        );
        check("HTTP://Example.com", Some("http://example.com/"));
        let long = format!("https://example.com/{}", "a".repeat(AbuseContact::MAX_LEN));
        for bad in [
            "",
            "abuse",
            "@example.com",
            "abuse@",
            "a@b@c",
            "a@b.example,c@d.example",
            "mailto:abuse@example.com?bcc=x@example.org",
            "javascript:alert(1)//@example.com",
            "javascript:alert@example.com",
            "data:text/html,x@example.com",
            "https://",
            "abuse @example.com",
            "\"><img>@example.com",
            &long,
        ] {
            check(bad, None);
        }
    }
}

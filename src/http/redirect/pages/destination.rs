//! A destination in parts, so that a page can emphasise the part that says whose site it is.
//!
//! Anyone may put `paypal.com` in front of a name of their own, as in `paypal.com.example.net`. The registrable domain
//! (the public suffix and one label) says who has registered the name. The public suffixes are those of
//! <https://publicsuffix.org>, which is part of the program.

use structured_public_domains::lookup;

use crate::link::TargetUrl;

/// How a label that is not ASCII begins in DNS (RFC 5890 §2.3.2.5).
const PUNYCODE: &str = "xn--";

/// A destination in parts, whose concatenation is the URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination<'a> {
    /// The scheme and the labels of the host that its owner has chosen.
    pub(super) before: &'a str,
    /// The registrable domain. A host that has none stands here as a whole, and an address with its port.
    pub(super) domain: &'a str,
    /// The port, the path, the query and the fragment.
    pub(super) after: &'a str,
    /// The domain in Unicode, if it has letters beyond ASCII.
    pub(super) unicode: Option<String>,
}

impl<'a> Destination<'a> {
    pub(super) fn of(target: &'a TargetUrl) -> Self {
        let url = target.as_str();
        let start = url.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = url.split_at(start);
        let Some(host) = target.domain() else {
            // An IPv6 address has colons in brackets, and no slash.
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            return Self {
                before: scheme,
                domain: &rest[..end],
                after: &rest[end..],
                unicode: None,
            };
        };
        let (unicode, is_valid) = match idna::domain_to_unicode(host) {
            (unicode, Ok(())) => (unicode, true),
            (_, Err(_)) => (host.to_owned(), false),
        };
        let domain = registrable(host, &unicode);
        let at = start + host.len() - domain.len();
        let has_other_letters = is_valid && domain.contains(PUNYCODE);
        Self {
            before: &url[..at],
            domain,
            after: &url[start + host.len()..],
            unicode: has_other_letters.then(|| last_labels(&unicode, labels(domain)).to_owned()),
        }
    }
}

/// The registrable domain of a host, in the form that the host has. `unicode` is the host in Unicode, as the list of
/// public suffixes has its names.
fn registrable<'a>(host: &'a str, unicode: &str) -> &'a str {
    let found = lookup(unicode).and_then(|info| info.registrable_domain().map(labels));
    match found {
        Some(count) if labels(host) == labels(unicode) => last_labels(host, count),
        _ => host,
    }
}

/// How many labels a name has.
fn labels(name: &str) -> usize {
    name.split('.').count()
}

/// The last labels of a name.
fn last_labels(name: &str, count: usize) -> &str {
    let dot = name.rmatch_indices('.').nth(count.saturating_sub(1));
    dot.map_or(name, |(at, _)| &name[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_says_whose_site_it_is() {
        let check = |url: &str, before: &str, domain: &str, after: &str| {
            let target = TargetUrl::parse(url).unwrap();
            let destination = Destination::of(&target);
            assert_eq!(
                (destination.before, destination.domain, destination.after),
                (before, domain, after),
                "{url}"
            );
            assert_eq!(format!("{before}{domain}{after}"), target.as_str());
        };
        check("https://example.net/", "https://", "example.net", "/");
        check(
            "https://paypal.com.example.net:8443/a?b#c",
            "https://paypal.com.",
            "example.net",
            ":8443/a?b#c",
        );
        check(
            "http://www.example.co.uk/a.b/",
            "http://www.",
            "example.co.uk",
            "/a.b/",
        );
        // Everyone may have a page there.
        check(
            "https://x.somebody.github.io/",
            "https://x.",
            "somebody.github.io",
            "/",
        );
        // A wildcard of the list, and an exception to it.
        check("https://a.b.c.kobe.jp/", "https://a.", "b.c.kobe.jp", "/");
        check(
            "https://www.city.kobe.jp/",
            "https://www.",
            "city.kobe.jp",
            "/",
        );
        // A suffix alone, a name without a dot, and a suffix that the list does not have.
        check("https://co.uk/", "https://", "co.uk", "/");
        check("http://intranet/x", "http://", "intranet", "/x");
        check("http://a.b.corp/", "http://a.", "b.corp", "/");
        check(
            "https://www.example.com./",
            "https://www.",
            "example.com",
            "./",
        );
        // Addresses.
        check("http://192.0.2.1:8080/x", "http://", "192.0.2.1:8080", "/x");
        check("http://[2001:db8::1]:8/", "http://", "[2001:db8::1]:8", "/");
    }

    #[test]
    fn letters_beyond_ascii_are_shown_in_both_forms() {
        let check = |url: &str, domain: &str, unicode: Option<&str>| {
            let target = TargetUrl::parse(url).unwrap();
            let destination = Destination::of(&target);
            let found = (destination.domain, destination.unicode.as_deref());
            assert_eq!(found, (domain, unicode), "{url}");
        };
        check(
            "https://www.bücher.example/",
            "xn--bcher-kva.example",
            Some("bücher.example"),
        );
        // A suffix that the list has in Unicode: the domain is 食狮.公司.cn.
        check(
            "https://www.食狮.公司.cn/",
            "xn--85x722f.xn--55qx5d.cn",
            Some("食狮.公司.cn"),
        );
        // Cyrillic letters that look like Latin ones.
        check(
            "https://аррӏе.com/",
            "xn--80ak6aa92e.com",
            Some("аррӏе.com"),
        );
        // Only the labels in front have other letters, and those say nothing about the owner.
        check("https://bücher.example.com/", "example.com", None);
        check("https://example.com/", "example.com", None);
    }
}

//! The host of the page that a client came from.
//!
//! Only the host of `Referer` (RFC 9110 §10.1.3) is kept: no path, which may tell what a person has read, and no port. Hosts
//! are compared as text, so each has one form: lower case, internationalised names as A-labels (RFC 5890), without the last
//! dot. What no browser sends gives no host: other schemes than `http` and `https`, user information, a name that DNS
//! cannot have.

use std::borrow::Cow;

use url::Host;

use crate::store::statistics::MAX_REFERRER_LEN;

/// The longest label of a name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// The host of a value of `Referer`; none if it is malformed.
pub(super) fn host_of(referer: &[u8]) -> Option<Cow<'_, str>> {
    let host = without_port(authority_of(referer)?)?;
    if let Some(name) = plain_name(host) {
        return Some(Cow::Borrowed(name));
    }
    let host = match Host::parse(std::str::from_utf8(host).ok()?).ok()? {
        Host::Domain(name) => plain_name(name.as_bytes())?.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_canonical().to_string(),
    };
    Some(Cow::Owned(host))
}

/// The authority of an `http` or `https` URL.
fn authority_of(url: &[u8]) -> Option<&[u8]> {
    let colon = url.iter().take("https:".len()).position(|&b| b == b':')?;
    let (scheme, rest) = url.split_at(colon);
    let is_web = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
    let rest = rest.strip_prefix(b"://").filter(|_| is_web)?;
    let end = rest.iter().position(|b| b"/?#".contains(b));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The host of an authority; none if the port is not one.
fn without_port(authority: &[u8]) -> Option<&[u8]> {
    let colon = authority.iter().rposition(|&b| b == b':');
    let (host, port) = match colon {
        // The colons of an IPv6 address are in brackets.
        Some(colon) if !authority.ends_with(b"]") => authority.split_at(colon),
        _ => return Some(authority),
    };
    let port = std::str::from_utf8(&port[1..]).ok()?;
    let is_port = port.bytes().all(|b| b.is_ascii_digit());
    let is_port = is_port && (port.is_empty() || port.parse::<u16>().is_ok());
    is_port.then_some(host)
}

/// A name without the last dot, if it is a name of DNS that is already in its one form.
fn plain_name(host: &[u8]) -> Option<&str> {
    let name = host.strip_suffix(b".").unwrap_or(host);
    if name.len() > MAX_REFERRER_LEN {
        return None;
    }
    let is_plain = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_label =
        |label: &[u8]| (1..=MAX_LABEL_LEN).contains(&label.len()) && label.iter().all(is_plain);
    let labels = || name.split(|&b| b == b'.');
    // A last label that begins with a digit may be part of an IPv4 address in one of its many forms.
    let ends_plainly = labels()
        .next_back()
        .is_some_and(|last| !last.first().is_some_and(u8::is_ascii_digit));
    if !ends_plainly || !labels().all(is_label) {
        return None;
    }
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(referer: &str, expected: Option<&str>) {
        assert_eq!(
            host_of(referer.as_bytes()).as_deref(),
            expected,
            "{referer}"
        );
    }

    #[test]
    fn only_the_host_is_taken() {
        let host = Some("www.example.org");
        check("https://www.example.org", host);
        check("https://www.example.org/a/b?c=d#e", host);
        check("http://www.example.org:8080/", host);
        check("HTTPS://WWW.Example.ORG./", host);
        check("https://www.example.org:/", host);
        check("https://www.example.org?q", host);
        check("https://www.example.org#f", host);
        check("https://intranet/wiki", Some("intranet"));
        check("https://my_host.example.org/", Some("my_host.example.org"));
        check("https://4chan.example/", Some("4chan.example"));
    }

    #[test]
    fn international_names_are_a_labels() {
        check(
            "https://b\u{fc}cher.example/",
            Some("xn--bcher-kva.example"),
        );
        check(
            "https://B\u{dc}CHER.example/",
            Some("xn--bcher-kva.example"),
        );
        check(
            "https://b%C3%BCcher.example/",
            Some("xn--bcher-kva.example"),
        );
        check(
            "https://XN--Bcher-kva.example/",
            Some("xn--bcher-kva.example"),
        );
        check(
            "https://b\u{fc}cher\u{3002}example/",
            Some("xn--bcher-kva.example"),
        );
    }

    #[test]
    fn addresses_have_one_form() {
        check("http://192.0.2.1:8080/", Some("192.0.2.1"));
        check("http://0xC0000201/", Some("192.0.2.1"));
        check("http://[2001:DB8:0::1]:80/a", Some("2001:db8::1"));
        check("http://[::ffff:192.0.2.1]", Some("192.0.2.1"));
        check("http://192.0.2.256/", None);
        check("http://[::1", None);
        check("http://[::1]x/", None);
    }

    #[test]
    fn malformed_values_and_other_schemes_have_no_host() {
        let label = "a".repeat(64);
        let long = ["abcdefgh"; 32].join(".");
        for referer in [
            "",
            "/",
            "about:blank",
            "null",
            "example.org",
            "//example.org/",
            "https:example.org",
            "https:/example.org",
            "https://",
            "https:///a",
            "https://./",
            "https://a..b/",
            "https://.example.org/",
            "https://user@example.org/",
            "https://user:password@example.org/",
            "https://example.org:http/",
            "https://example.org:65536/",
            "https://example.org:-1/",
            "https://exa mple.org/",
            "https://example.org\\a/",
            "https://a,b/",
            "https://<script>/",
            "https://a\t.example/",
            "https://%00.example/",
            "https://%/",
            "android-app://com.example.app/",
            "ftp://example.org/",
            "httpsx://example.org/",
            "file:///etc/passwd",
            &format!("https://{label}.example/"),
            &format!("https://{long}/"),
        ] {
            check(referer, None);
        }
        assert_eq!(host_of(b"https://\xff\xfe.example/"), None);
        assert_eq!(host_of(b"\xff"), None);
    }

    /// Whatever bytes come, a host is one that the store may have as the name of a counter.
    #[test]
    fn any_bytes() {
        let mut random = fastrand::Rng::with_seed(17);
        let mut hosts = 0;
        for _ in 0..20_000 {
            let mut referer = b"https://www.b\xc3\xbccher.example:80/".to_vec();
            for _ in 0..random.usize(..4) {
                let at = random.usize(8..referer.len());
                referer[at] = random.u8(..);
            }
            let Some(host) = host_of(&referer) else {
                continue;
            };
            hosts += 1;
            assert!((1..=MAX_REFERRER_LEN).contains(&host.len()));
            let is_usual =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:".contains(&b);
            assert!(host.bytes().all(is_usual), "{host}");
            assert!(!host.ends_with('.') && !host.starts_with('.'), "{host}");
        }
        assert!(hosts > 5_000, "{hosts}");
    }
}

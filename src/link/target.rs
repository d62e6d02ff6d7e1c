//! The destination of a link: an absolute `http` or `https` URL.
//!
//! The `url` crate parses and serialises the URL as browsers do (WHATWG URL), before it is hashed and stored.
//! So two spellings of one URL get one code, and TXT, URI and `Location` contain plain ASCII without control
//! characters or spaces, whatever the client sent.

use std::fmt;

use url::{Host, Url};

/// The longest label of a name in DNS, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL_LEN: usize = 63;
/// The longest name in DNS as text without its last dot, in bytes: 255 on the wire (RFC 1035 §2.3.4).
const MAX_HOST_LEN: usize = 253;
/// The most characters of a host that a message shows.
const MAX_SHOWN: usize = 100;

/// A valid destination.
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
    /// No scheme, or a host in its place. The hint is the URL that was probably meant, if it would be accepted.
    #[error("the URL has no scheme: it has to begin with https:// or http://{hint}", hint = hint(.0))]
    NoScheme(Option<String>),
    /// Not an absolute URL.
    #[error("not an absolute URL: {0}")]
    Invalid(url::ParseError),
    /// A host with a character that no host name has.
    #[error("the host {0:?} has the character {1:?}, which no host name has")]
    HostCharacter(String, char),
    /// A host with two dots in a row, or a dot at its start. Here and below, messages show only a part of a
    /// long host.
    #[error("the host {0:?} has an empty label, which no DNS name has; remove the extra dot")]
    EmptyLabel(String),
    /// A label of the host is over 63 bytes, in its ASCII form.
    #[error(
        "the host has the label {0:?} of {1} bytes; a label in DNS has at most {MAX_LABEL_LEN}"
    )]
    LongLabel(String, usize),
    /// The host is over 253 bytes, in its ASCII form.
    #[error("the host has {0} bytes; a name in DNS has at most {MAX_HOST_LEN}")]
    LongHost(usize),
    /// `javascript:`, `data:`, `ftp:` and all others.
    #[error("the scheme {0:?} is not accepted; only http and https are")]
    Scheme(String),
    /// A user name or password before the host.
    #[error("the URL has user info (a name or password before the host)")]
    UserInfo,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
}

impl TargetUrl {
    /// The longest URL, in bytes.
    pub const MAX_LEN: usize = 2_048;

    /// Parses and serialises the URL of a new link.
    ///
    /// # Errors
    /// [`TargetUrlError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, TargetUrlError> {
        let url = read(text)?;
        if let Some(Host::Domain(name)) = url.host() {
            check_name(name)?;
        }
        Ok(Self(url.as_str().into()))
    }

    /// Parses and serialises the URL of a link from a store or a cache. [`Self::parse`] may refuse its host:
    /// earlier versions accepted such links, and other programs write them; they are not damaged.
    ///
    /// # Errors
    /// [`TargetUrlError`] says which rule the text breaks.
    pub fn parse_stored(text: &str) -> Result<Self, TargetUrlError> {
        // Most stored URLs, and a query that is answered from Redis or the store parses one.
        if is_plain(text) {
            return Ok(Self(text.into()));
        }
        Ok(Self(read(text)?.as_str().into()))
    }

    /// The URL of a text that [`Self::as_str`] has given; it is not checked again.
    pub(crate) fn of_valid(text: &str) -> Self {
        Self(text.into())
    }

    /// The URL, serialised: ASCII without spaces or control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host: a domain name in its ASCII form without last dots, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        // The URL is serialised and has no user info, so the host follows the scheme.
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let end = match rest.strip_prefix('[') {
            Some(_) => rest.find(']').map(|end| end + 1),
            None => rest.find(['/', '?', '#', ':']),
        };
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
    }

    /// The host that a text names, in the form of [`TargetUrl::host`]; none if it is no host.
    pub fn host_of(text: &str) -> Option<String> {
        let plain = text.trim().trim_end_matches('.');
        let is_plain = !plain.is_empty() && !plain.contains(['/', '?', '#', '@', '\\']);
        let url = is_plain.then(|| Self::parse_stored(&format!("https://{plain}/")).ok())??;
        // A port would have been read as one.
        let has_port = url.as_str().len() != "https:///".len() + url.host().len();
        (!has_port).then(|| url.host().to_owned())
    }

    /// The host, if it is a domain name: lower case, in its ASCII form, without last dots.
    pub fn domain(&self) -> Option<&str> {
        Self::domain_of(&self.0)
    }

    /// The same for the text of a URL.
    pub(super) fn domain_of(url: &str) -> Option<&str> {
        // The URL is serialised and has no user info, so the host follows the scheme.
        let (_, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#', ':']).unwrap_or(rest.len());
        let host = rest[..end].trim_end_matches('.');
        // A host whose last label is a number is an IPv4 address (WHATWG URL, "ends in a number"), and only one with a
        // bracket is an IPv6 address.
        let last = host.rsplit('.').next()?;
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        (!is_number && !host.starts_with('[')).then_some(host)
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text certainly is an accepted URL that is serialised as it stands: it has a usual domain name without a
/// port, a path, and only characters that are never changed. Others may be accepted as well.
fn is_plain(text: &str) -> bool {
    let scheme = ["https://", "http://"];
    let rest = scheme.iter().find_map(|scheme| text.strip_prefix(scheme));
    let Some((host, rest)) = rest.and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    // A last label of letters alone is no number, so the host is no IPv4 address (WHATWG URL, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default();
    text.len() <= TargetUrl::MAX_LEN
        && last.bytes().all(|byte| byte.is_ascii_lowercase())
        && host.len() <= MAX_HOST_LEN
        && host.split('.').all(is_plain_label)
        && has_plain_path(rest.as_bytes())
}

/// Whether a label of a host is plain ASCII, in lower case, and no A-label, which may be invalid (UTS #46).
fn is_plain_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_LEN).contains(&label.len())
        && label.bytes().all(is_plain)
        && !label.starts_with("xn--")
}

/// Whether a path after its first slash, with or without a query, has only characters that the parser keeps as they are
/// (WHATWG URL, "path percent-encode set" and "special-query percent-encode set"), and no segment that may be `.` or
/// `..` in one of their spellings.
fn has_plain_path(path: &[u8]) -> bool {
    let mut before = b'/';
    let mut is_query = false;
    path.iter().all(|&byte| {
        let begins_segment = before == b'/' && !is_query;
        before = byte;
        is_query |= byte == b'?';
        match byte {
            b'.' | b'%' => !begins_segment,
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'(' | b')' | b'*' | b'+' | b',' | b';'
            | b'=' | b':' | b'@' | b'/' | b'?' => true,
            byte => byte.is_ascii_alphanumeric(),
        }
    })
}

/// Applies all rules except those for the names of hosts.
fn read(text: &str) -> Result<Url, TargetUrlError> {
    if text.len() > TargetUrl::MAX_LEN {
        return Err(TargetUrlError::TooLong(text.len()));
    }
    // The WHATWG parser silently drops tabs and line ends. A text with them is a mistake or an attack; in both
    // cases it is not the URL that its sender sees.
    if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
        return Err(TargetUrlError::ControlCharacter(c.into(), at));
    }
    if lacks_scheme(text) {
        return Err(TargetUrlError::NoScheme(with_scheme(text)));
    }
    let url = Url::parse(text).map_err(|e| match e {
        url::ParseError::EmptyHost => TargetUrlError::NoHost,
        other => bad_host(text).unwrap_or(TargetUrlError::Invalid(other)),
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
    let len = url.as_str().len();
    if len > TargetUrl::MAX_LEN {
        return Err(TargetUrlError::TooLong(len));
    }
    Ok(url)
}

/// Whether a text is a URL without its scheme: `example.com/path`, and also `localhost:80` and
/// `example.com:80`, which parse as URLs of the schemes `localhost` and `example.com`.
pub(crate) fn lacks_scheme(text: &str) -> bool {
    if text.starts_with("https://") || text.starts_with("http://") {
        return false;
    }
    match Url::parse(text) {
        Err(url::ParseError::RelativeUrlWithoutBase) => true,
        Ok(url) => url.scheme() == "localhost" || url.scheme().contains('.'),
        Err(_) => false,
    }
}

/// The URL that a text without a scheme probably means, if it would be accepted.
fn with_scheme(text: &str) -> Option<String> {
    let rest = text.strip_prefix("//").unwrap_or(text);
    let meant = format!("https://{rest}");
    (!rest.starts_with('/') && TargetUrl::parse(&meant).is_ok()).then_some(meant)
}

/// The end of the message: the URL that was probably meant.
fn hint(meant: &Option<String>) -> String {
    meant
        .as_ref()
        .map_or_else(String::new, |meant| format!(", as in {meant}"))
}

/// The bad character in the host of a text that is not a URL, if there is one.
fn bad_host(text: &str) -> Option<TargetUrlError> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    if host.starts_with('[') {
        return None;
    }
    let host = host.split(':').next()?;
    // The forbidden domain code points of the WHATWG URL standard that can occur here.
    let bad = host.chars().find(|c| " \"<>[]^`|{}".contains(*c))?;
    Some(TargetUrlError::HostCharacter(shortened(host), bad))
}

/// Refuses a host that cannot be a DNS name. The host is in its ASCII form, with or without a last dot.
fn check_name(host: &str) -> Result<(), TargetUrlError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return Err(TargetUrlError::EmptyLabel(shortened(host)));
    }
    if let Some(label) = name.split('.').find(|label| label.len() > MAX_LABEL_LEN) {
        return Err(TargetUrlError::LongLabel(shortened(label), label.len()));
    }
    match name.len() {
        len if len > MAX_HOST_LEN => Err(TargetUrlError::LongHost(len)),
        _ => Ok(()),
    }
}

/// The beginning of a text, for a message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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
        assert!(matches!(
            err("https://a.example:x/"),
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

    fn check_message(text: &str, expected: &str) {
        let error = TargetUrl::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn a_missing_scheme_is_called_that() {
        let check = |text: &str, hint: &str| {
            let must = "the URL has no scheme: it has to begin with https:// or http://";
            check_message(text, &format!("{must}{hint}"));
        };
        check("example.com/path", ", as in https://example.com/path");
        check("//example.net/?a", ", as in https://example.net/?a");
        check("example.com:8080/x", ", as in https://example.com:8080/x");
        check("localhost:8080", ", as in https://localhost:8080");
        check("bücher.example", ", as in https://bücher.example");
        // A text that is not a host gets no hint with a scheme before it.
        check("/relative", "");
        check("", "");
        check("a b", "");
        check("user@example.com/", "");
    }

    #[test]
    fn rfc1035_2_3_4_hosts_are_names_in_dns() {
        let empty = |host: &str| {
            let why = "has an empty label, which no DNS name has; remove the extra dot";
            check_message(
                &format!("http://{host}/"),
                &format!("the host {host:?} {why}"),
            );
        };
        for host in [
            ".example.com",
            "example..com",
            "example.com..",
            ".",
            "..",
            "a...b.",
        ] {
            empty(host);
        }
        let label = |len: usize| "a".repeat(len);
        let check = |host: &str, expected: Result<(), TargetUrlError>| {
            let url = format!("https://{host}/x");
            assert_eq!(TargetUrl::parse(&url).map(drop), expected, "{url}");
            let stored = TargetUrl::parse_stored(&url).unwrap();
            assert_eq!(stored.as_str(), url);
        };
        check("example.com.", Ok(()));
        check("localhost", Ok(()));
        check("_x.example.com", Ok(()));
        check("192.0.2.1", Ok(()));
        check("[2001:db8::1]", Ok(()));
        check(&format!("{}.com", label(63)), Ok(()));
        let long = TargetUrlError::LongLabel(label(64), 64);
        check(&format!("{}.com", label(64)), Err(long));
        let name = |last: usize| [label(63), label(63), label(63), label(last)].join(".");
        check(&name(61), Ok(()));
        check(&format!("{}.", name(61)), Ok(()));
        check(&name(62), Err(TargetUrlError::LongHost(254)));
        check_message(
            &format!("http://{}/", name(62)),
            "the host has 254 bytes; a name in DNS has at most 253",
        );
        // The limit holds for the ASCII form of names in other scripts: 60 letters, and 63 bytes or more.
        let letters = format!("ü{}", label(59));
        let error = TargetUrl::parse(&format!("http://{letters}.example/")).unwrap_err();
        let TargetUrlError::LongLabel(ascii, len) = &error else {
            panic!("{error}");
        };
        assert!(ascii.starts_with("xn--") && *len > 63, "{ascii}");
        assert!(TargetUrl::parse(&format!("http://ü{}.example/", label(50))).is_ok());
    }

    #[test]
    fn characters_that_no_host_has_are_named() {
        check_message(
            "http://exam ple.com/",
            "the host \"exam ple.com\" has the character ' ', which no host name has",
        );
        check_message(
            "https://a|b.example:80/x y",
            "the host \"a|b.example\" has the character '|', which no host name has",
        );
        check_message("https://[::1/", "not an absolute URL: invalid IPv6 address");
        check_message(
            "https://1.2.3.256/",
            "not an absolute URL: invalid IPv4 address",
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
        let check = |text: &str, domain: Option<&str>| {
            let url = TargetUrl::parse(text).unwrap();
            assert_eq!(url.domain(), domain, "{text}");
        };
        check("https://A.Example.net./x", Some("a.example.net"));
        check("http://a.example.net:8080", Some("a.example.net"));
        check("http://a.example.net?x:y", Some("a.example.net"));
        check("http://a.example.net#x/", Some("a.example.net"));
        check("https://münchen.example/", Some("xn--mnchen-3ya.example"));
        check("https://192.0.2.1/", None);
        check("https://192.0.2.1./", None);
        check("https://0x7f.1:80/", None);
        check("https://[2001:db8::1]/", None);
        check("https://[2001:db8::1]:8080/", None);
        check("https://192.0.2.1.example/", Some("192.0.2.1.example"));
    }

    #[test]
    fn hosts_are_in_one_form() {
        let check = |url: &str, host: &str| {
            assert_eq!(TargetUrl::parse_stored(url).unwrap().host(), host, "{url}");
            assert_eq!(TargetUrl::host_of(host).as_deref(), Some(host));
        };
        check("https://EXAMPLE.net:8443/a", "example.net");
        check("https://example.net./?q", "example.net");
        check("http://bücher.example", "xn--bcher-kva.example");
        check("http://192.0.2.1:80/", "192.0.2.1");
        check("http://[2001:db8::1]:8080/:x", "[2001:db8::1]");
        assert_eq!(
            TargetUrl::host_of("Bücher.example."),
            Some("xn--bcher-kva.example".into())
        );
        for bad in [
            "",
            "a b",
            "https://example.net/",
            "example.net:8443",
            "u@example.net",
        ] {
            assert_eq!(TargetUrl::host_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn usual_urls_are_plain_and_those_that_the_parser_may_change_are_not() {
        let check = |text: &str, expected: bool| assert_eq!(is_plain(text), expected, "{text}");
        check("https://example.net/", true);
        check("https://example.net/a/b-c_d~e.html?q=1&r=%C3%A4/../x", true);
        check("http://a-1.example.net/a..b/c.%2e", true);
        check("https://example.net", false);
        check("https://example.net:8443/", false);
        check("https://example.net./", false);
        check("https://.example.net/", false);
        check("https://EXAMPLE.net/", false);
        check("https://xn--bcher-kva.example/", false);
        check("https://192.0.2.1/", false);
        check("https://example.0x7f/", false);
        check("https://user@example.net/", false);
        check("https://example.net/a/../b", false);
        check("https://example.net/a/%2E%2e", false);
        check("https://example.net/.", false);
        check("https://example.net/a b", false);
        check("https://example.net/\\a", false);
        check("https://example.net/ä", false);
        check("https://example.net/#top", false);
        check("https:///a", false);
        check("ftp://example.net/", false);
        let sized = |len: usize| format!("https://a.example/{}", "x".repeat(len - 18));
        check(&sized(2_048), true);
        check(&sized(2_049), false);
    }

    /// What the parser says about a host.
    fn parsed_domain(text: &str) -> Option<String> {
        match Url::parse(text).unwrap().host()? {
            Host::Domain(name) => Some(name.trim_end_matches('.').to_owned()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    proptest! {
        #[test]
        fn the_domain_is_that_of_the_parser(text in "https?://([a-z0-9x]{1,4}\\.){0,3}[a-z0-9]{1,3}\\.?(:[0-9]{1,4})?[/?#]?\\PC{0,20}") {
            if let Ok(url) = TargetUrl::parse(&text) {
                let parsed = parsed_domain(url.as_str());
                prop_assert_eq!(url.domain(), parsed.as_deref());
            }
        }

        #[test]
        fn a_plain_url_is_what_the_parser_makes_of_it(text in "https?://([a-zx0-9-]{1,4}\\.){0,2}[a-z0-9]{1,3}[.]?[/:]([a-zA-Z0-9/.%2eE?&=_~!$()*+,;:@'#^|-]{0,9}/?){0,3}") {
            if is_plain(&text) {
                let parsed = Url::parse(&text).unwrap();
                prop_assert_eq!(parsed.as_str(), &text);
                prop_assert!(read(&text).is_ok());
            }
        }

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

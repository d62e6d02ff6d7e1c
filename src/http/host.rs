//! Which host a request is for (RFC 9112 §3.2, RFC 9113 §8.3.1).
//!
//! hyper does not check `Host`. This module refuses requests whose `Host` is missing, doubled or malformed, as the
//! RFC demands. Otherwise an attacker could make a proxy, which reads another host from the same request, store our
//! response under a wrong name.

use std::net::Ipv6Addr;

use axum::http::header::{HOST, HeaderMap};
use axum::http::{Uri, Version};

/// The longest host name in text form with its last dot (RFC 1035 §2.3.4).
const MAX_HOST_LEN: usize = 254;
/// The digits of 65535.
const MAX_PORT_DIGITS: usize = 5;

/// Why the host of a request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostError {
    #[error("the request names no host")]
    Missing,
    #[error("the request names more than one host")]
    Ambiguous,
    #[error("the request's host is not a host name with or without a port")]
    Malformed,
}

/// The host without its port, as it was sent.
pub(super) fn requested<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<&'a str, HostError> {
    let mut values = headers.get_all(HOST).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| HostError::Malformed)?),
        (Some(_), Some(_)) => return Err(HostError::Ambiguous),
    };
    let authority = uri.authority().map(|a| a.as_str());
    match (authority, header) {
        // RFC 9113 §8.3.1: if both are present, they must agree.
        (Some(authority), Some(header)) if version >= Version::HTTP_2 => {
            if authority.eq_ignore_ascii_case(header) {
                host_of(authority)
            } else {
                Err(HostError::Ambiguous)
            }
        }
        (Some(authority), None) if version >= Version::HTTP_2 => host_of(authority),
        // RFC 9112 §3.2: an HTTP/1.1 request without Host is refused, whatever its target says.
        (_, None) if version == Version::HTTP_11 => Err(HostError::Missing),
        // RFC 9112 §3.2.2: a target in absolute form takes precedence over Host, which must be valid all the same.
        (Some(authority), Some(header)) => host_of(header).and_then(|_| host_of(authority)),
        (Some(text), None) | (None, Some(text)) => host_of(text),
        (None, None) => Err(HostError::Missing),
    }
}

/// The host in `host[:port]` (RFC 3986 §3.2, without user info).
pub(super) fn host_of(text: &str) -> Result<&str, HostError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HostError::Malformed)?;
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(HostError::Malformed);
        }
        (address, port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > MAX_HOST_LEN || !host.bytes().all(legal) {
            return Err(HostError::Malformed);
        }
        (host, port)
    };
    // RFC 3986 §3.2.3: there may be no digits after the colon.
    let digits = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => "",
        None => return Err(HostError::Malformed),
    };
    if digits.len() > MAX_PORT_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostError::Malformed);
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(host_of(text).ok(), expected, "{text:?}");
        };
        check("a.s.example.com", Some("a.s.example.com"));
        check("A.s.Example.com.", Some("A.s.Example.com."));
        check("a.s.example.com:8080", Some("a.s.example.com"));
        check("a.s.example.com:", Some("a.s.example.com"));
        check("127.0.0.1:80", Some("127.0.0.1"));
        check("[::1]:80", Some("::1"));
        check("[::1]", Some("::1"));
        check("", None);
        check(":80", None);
        check("a:b", None);
        check("a:80:80", None);
        check("a:+80", None);
        check("a:123456", None);
        check("user@a.s.example.com", None);
        check("a.s.example.com/", None);
        check("a b", None);
        check("a,b", None);
        check("[::1", None);
        check("[::1]80", None);
        check("[x]", None);
        check("a%2es.example.com", None);
        check(&"a".repeat(255), None);
    }

    #[test]
    fn rfc_9112_3_2_and_rfc_9113_8_3_1() {
        let check = |version, uri: &str, hosts: &[&str], expected: Result<&str, HostError>| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_str(host).unwrap());
            }
            let target = uri.parse().unwrap();
            let found = requested(version, &target, &headers);
            assert_eq!(found, expected, "{version:?} {uri} {hosts:?}");
        };
        let (h10, h11, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        check(h11, "/", &["a"], Ok("a"));
        check(h11, "/", &[], Err(HostError::Missing));
        check(h11, "/", &["a", "a"], Err(HostError::Ambiguous));
        check(h11, "/", &["a", "b"], Err(HostError::Ambiguous));
        check(h11, "/", &["a b"], Err(HostError::Malformed));
        check(h11, "http://b/", &["a"], Ok("b"));
        check(h11, "http://b/", &[], Err(HostError::Missing));
        check(h11, "http://b/", &["a b"], Err(HostError::Malformed));
        check(h10, "/", &[], Err(HostError::Missing));
        check(h10, "/", &["a"], Ok("a"));
        check(h10, "http://b/", &[], Ok("b"));
        check(h2, "http://b:8080/", &[], Ok("b"));
        check(h2, "http://b/", &["b"], Ok("b"));
        check(h2, "http://b/", &["a"], Err(HostError::Ambiguous));
        check(h2, "/", &["a"], Ok("a"));
        check(h2, "/", &[], Err(HostError::Missing));
    }
}

//! The cookie of a session.
//!
//! By HTTPS its name begins with `__Host-`: then browsers take it from this host alone, and never by plain HTTP. Without
//! HTTPS browsers refuse such cookies, except for some of them and addresses of the own machine, so the name is another
//! one.

use axum::http::header::{COOKIE, HeaderMap, HeaderValue};

use crate::access::SESSION_SECS;

const SECURE_NAME: &str = "__Host-tinyns";
const PLAIN_NAME: &str = "tinyns";

/// The header that sets the cookie. `value` has visible ASCII characters only.
pub(super) fn set(value: &str, is_secure: bool) -> Option<HeaderValue> {
    with_age(value, SESSION_SECS, is_secure)
}

/// The headers that remove the cookie.
pub(super) fn remove() -> [Option<HeaderValue>; 2] {
    [true, false].map(|is_secure| with_age("", 0, is_secure))
}

fn with_age(value: &str, seconds: u64, is_secure: bool) -> Option<HeaderValue> {
    let (name, secure) = match is_secure {
        true => (SECURE_NAME, "; Secure"),
        false => (PLAIN_NAME, ""),
    };
    let text =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).ok()
}

/// The value that the browser sent. Where browsers use HTTPS, the cookie of plain HTTP does not count: another host
/// could have set it.
pub(super) fn value(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    let find = |wanted: &str| {
        let lines = headers.get_all(COOKIE).iter();
        let texts = lines.filter_map(|line| line.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';'));
        pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.trim() == wanted).then(|| value.trim())
        })
    };
    find(SECURE_NAME).or_else(|| match is_secure {
        true => None,
        false => find(PLAIN_NAME),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        let check = |lines: &[&str], is_secure, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(value(&headers, is_secure), expected, "{lines:?}");
        };
        check(&["a=b; tinyns=1; c=d"], false, Some("1"));
        check(&["a=b", "tinyns=1"], false, Some("1"));
        check(&["tinyns=1; __Host-tinyns=2"], false, Some("2"));
        check(&["tinyns=1"], true, None);
        check(&["__Host-tinyns=2"], true, Some("2"));
        check(&["xtinyns=1; tinyns2=1; tinyns"], false, None);
        check(&[], false, None);
    }

    #[test]
    fn attributes() {
        let text = |secure| set("v", secure).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(true),
            "__Host-tinyns=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            text(false),
            "tinyns=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
        );
    }
}

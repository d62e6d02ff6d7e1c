//! Plain requests: the form that nearly all requests for links have.
//!
//! A plain request is a GET in HTTP/1.1 with one `Host`, without a body, and without a header that changes how the
//! connection goes on. Nothing else is judged here: whatever is not plain, well-formed or not, is left to hyper, which
//! reads the same bytes again. Both read heads by `httparse`, so both find the end of a head at the same byte.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status};

use crate::statistics::is_prefetch;

/// How many headers a plain request has at most. Browsers send fewer than 20.
const MAX_HEADERS: usize = 32;

/// A plain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The path of the target, which begins with a slash and has only characters of RFC 3986 §3.3.
    pub(crate) path: &'a str,
    /// The value of `Host`, in ASCII.
    pub(crate) host: &'a str,
    /// The value of `X-Request-Id`.
    pub(crate) id: Option<&'a [u8]>,
    /// The first value of `User-Agent`.
    pub(crate) agent: Option<&'a [u8]>,
    /// The first value of `Referer`.
    pub(crate) referer: Option<&'a [u8]>,
    /// Whether `Sec-Purpose` or `Purpose` says that a browser prefetches.
    pub(crate) is_prefetch: bool,
}

impl<'a> Plain<'a> {
    /// The request at the beginning of `bytes`, and the length of its head; none if it is not there in whole, or not
    /// plain.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut headers = [MaybeUninit::<Header<'_>>::uninit(); MAX_HEADERS];
        let mut head = Request::new(&mut []);
        let parsed = head.parse_with_uninit_headers(bytes, &mut headers);
        let Ok(Status::Complete(len)) = parsed else {
            return None;
        };
        if head.version != Some(1) || head.method != Some("GET") {
            return None;
        }
        let path = path_of(head.path?)?;
        let mut fields = Fields::default();
        for header in &*head.headers {
            fields.take(header)?;
        }
        let plain = Self {
            path,
            host: fields.host?,
            id: fields.id,
            agent: fields.agent,
            referer: fields.referer,
            is_prefetch: fields.is_prefetch,
        };
        Some((plain, len))
    }
}

/// The path of a target in origin form (RFC 9112 §3.2.1) that has no unusual characters.
fn path_of(target: &str) -> Option<&str> {
    // pchar, "/" and "?" (RFC 3986 §3.3, §3.4).
    let is_usual =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/?-._~%!$&'()*+,;=:@".contains(&byte);
    if !target.starts_with('/') || !target.bytes().all(is_usual) {
        return None;
    }
    target.split('?').next()
}

/// The headers that matter.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    id: Option<&'a [u8]>,
    agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    is_prefetch: bool,
}

impl<'a> Fields<'a> {
    /// Notes a header; none if no plain request has it.
    fn take(&mut self, header: &Header<'a>) -> Option<()> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // The length tells these names apart, and most others from them.
        match header.name.len() {
            4 if is("host") => {
                let host = std::str::from_utf8(header.value).ok();
                let host = host.filter(|host| host.is_ascii())?;
                // RFC 9112 §3.2: more than one is an error.
                self.host.replace(host).is_none().then_some(())
            }
            12 if is("x-request-id") => self.id.replace(header.value).is_none().then_some(()),
            // RFC 9112 §9.3: the connection is kept without this value, too.
            10 if is("connection") => header
                .value
                .eq_ignore_ascii_case(b"keep-alive")
                .then_some(()),
            10 if is("user-agent") => {
                self.agent.get_or_insert(header.value);
                Some(())
            }
            7 if is("referer") => {
                self.referer.get_or_insert(header.value);
                Some(())
            }
            7 | 11 if is("purpose") || is("sec-purpose") => {
                self.is_prefetch |= is_prefetch(header.value);
                Some(())
            }
            6 if is("expect") => None,
            7 if is("upgrade") => None,
            // RFC 9112 §6: a body, whose end others may see elsewhere.
            14 if is("content-length") => None,
            17 if is("transfer-encoding") => None,
            _ => Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Option<(Plain<'_>, usize)> {
        Plain::parse(head.as_bytes())
    }

    #[test]
    fn what_browsers_send_is_plain() {
        let head = "GET /?utm=1 HTTP/1.1\r\nHost: x.s.example.com:80\r\nConnection: Keep-Alive\r\n\
                    Accept: */*\r\nX-Request-ID: a\r\nCookie: a=b; c=\"d\"\r\n\r\n";
        let plain = Plain {
            path: "/",
            host: "x.s.example.com:80",
            id: Some(b"a"),
            agent: None,
            referer: None,
            is_prefetch: false,
        };
        assert_eq!(parse(head), Some((plain, head.len())));
        let two = format!("{head}{head}");
        assert_eq!(parse(&two), Some((plain, head.len())));
        for end in 0..head.len() {
            assert_eq!(parse(&head[..end]), None, "{end}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        let check = |head: &str| assert_eq!(parse(head), None, "{head:?}");
        for line in [
            "HEAD / HTTP/1.1",
            "POST / HTTP/1.1",
            "get / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET / HTTP/2.0",
            "GET  / HTTP/1.1",
            "GET * HTTP/1.1",
            "GET http://a/ HTTP/1.1",
            "GET /# HTTP/1.1",
            "GET /\u{e4} HTTP/1.1",
            "GET /\\ HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            check(&format!("{line}\r\nHost: a\r\n\r\n"));
        }
        for header in [
            "Host: b",
            "Content-Length: 0",
            "content-length: 5",
            "Transfer-Encoding: chunked",
            "TRANSFER-ENCODING: x",
            "Transfer-Encoding : chunked",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Connection: close",
            "Connection: keep-alive, close",
            "Connection: upgrade",
            "X-Request-Id: a\r\nX-Request-Id: a",
            " folded",
            "no colon",
            "a b: c",
            ": c",
            "A: \u{1}",
            "A: b\rc",
        ] {
            check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"));
        }
        check("GET / HTTP/1.1\r\n\r\n");
        check("GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n");
        let many = "A: b\r\n".repeat(MAX_HEADERS);
        check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
    }
}

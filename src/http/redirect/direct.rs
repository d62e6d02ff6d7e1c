//! Redirects that are answered without hyper.
//!
//! The response has the same bytes as the one that hyper makes: the headers of [`go`](super::go) and
//! [`Observer::finish`](crate::http::serve::request_log::Observer::finish) in the same order, then those that hyper adds.

use axum::http::StatusCode;

use super::{MAX_AGE, MAX_AGE_CACHE, NO_CACHE, NOINDEX, Redirect, visit};
use crate::http::host::host_of;
use crate::http::serve::request_log::{Line, RequestId};
use crate::http::serve::{Client, Plain, push_date};
use crate::link::Destination;
use crate::links::Host;

/// How long a response is beyond the destination, in bytes, at most in the usual case.
const USUAL_BYTES: usize = 320;

impl Redirect {
    /// Appends the redirect if the request is for a link in memory. Otherwise it returns none and has had no effect.
    pub(super) fn go_directly(
        &self,
        request: &Plain<'_>,
        client: &Client,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let line = Line::of_plain(self.observer.part, request, &client.text);
        if request.path != "/" {
            return None;
        }
        let host = host_of(request.host).ok()?;
        let Host::Link(name) = self.links.namespace().classify_host(host) else {
            return None;
        };
        if !client.may_ask_for(host) {
            return None;
        }
        let now = self.links.now();
        let id = RequestId::choose(request.id);
        let go = |destination: Destination<'_>| {
            // A TargetUrl is visible ASCII. Anything else could end the header.
            let is_header = destination.url.bytes().all(|b| b.is_ascii_graphic());
            if !is_header || self.leads_to_us(&destination) {
                return None;
            }
            let age = self.age(&name, &destination, now);
            self.push(destination.url, age, &id, out);
            Some(())
        };
        self.links.with_live(&name, line.started, now, go)?;
        push_date(out, now);
        out.extend_from_slice(b"\r\n\r\n");
        if self.clicks.are_counted() {
            self.clicks.add(&name, &visit::of_plain(request, client));
        }
        line.log(&id, Some(StatusCode::FOUND));
        self.observer.count(StatusCode::FOUND);
        Some(())
    }

    /// Appends the response up to the value of `Date`.
    fn push(&self, target: &str, age: Option<u32>, id: &RequestId, out: &mut Vec<u8>) {
        out.reserve(USUAL_BYTES + target.len());
        let mut push = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        };
        push(&["HTTP/1.1 302 Found\r\nlocation: ", target]);
        match age {
            None => push(&["\r\ncache-control: ", NO_CACHE]),
            Some(MAX_AGE) => push(&["\r\ncache-control: ", MAX_AGE_CACHE]),
            Some(age) => push(&["\r\ncache-control: public, max-age=", &age.to_string()]),
        }
        push(&["\r\nx-robots-tag: ", NOINDEX]);
        if let Some(hsts) = &self.hsts {
            push(&[
                "\r\nstrict-transport-security: ",
                hsts.to_str().unwrap_or_default(),
            ]);
        }
        push(&[
            "\r\nx-request-id: ",
            id.as_str(),
            "\r\ncontent-length: 0\r\ndate: ",
        ]);
    }
}

//! Addresses to listen on: each one once in the whole file.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::problem::Problem;
use super::raw::RawListen;
use super::reader::ConfigReader;

/// The most addresses that one part listens on.
pub(super) const MAX_LISTEN: usize = 64;

/// The addresses met so far.
pub(super) type Seen = HashMap<SocketAddr, ListenSource>;

/// Where an address stands.
#[derive(Clone)]
pub(super) struct ListenSource {
    key: &'static str,
    /// None for a default, which stands nowhere in the file.
    span: Option<Range<usize>>,
}

impl ConfigReader<'_> {
    /// The addresses of one part, which has to have one.
    pub(super) fn listen_somewhere(
        &self,
        raw: Option<Spanned<RawListen>>,
        key: &'static str,
        default: &str,
        seen: &mut Seen,
    ) -> Vec<SocketAddr> {
        if let Some(raw) = &raw
            && raw.get_ref().0.is_empty()
        {
            self.note(raw.span(), key, Problem::NoAddress);
        }
        self.listen(raw, key, default, seen)
    }

    /// The addresses of one part.
    pub(super) fn listen(
        &self,
        raw: Option<Spanned<RawListen>>,
        key: &'static str,
        default: &str,
        seen: &mut Seen,
    ) -> Vec<SocketAddr> {
        let (span, texts) = match raw.map(|raw| (raw.span(), raw.into_inner().0)) {
            // What it is instead of the default is not known.
            None if self.is_struck(key) => return Vec::new(),
            None => (0..0, vec![(None, default.to_owned())]),
            Some((span, texts)) => {
                let located = |text: Spanned<String>| (Some(text.span()), text.into_inner());
                let texts = texts.into_list(&span);
                (span, texts.into_iter().map(located).collect())
            }
        };
        if texts.len() > MAX_LISTEN {
            self.note(span, key, Problem::TooManyAddresses(texts.len()));
            return Vec::new();
        }
        let mut addresses = Vec::with_capacity(texts.len());
        for (span, text) in texts {
            match text.parse::<SocketAddr>() {
                Ok(address) => {
                    self.claim(address, ListenSource { key, span }, seen);
                    addresses.push(address);
                }
                Err(_) => self.note(span.unwrap_or(0..0), key, Problem::Address(text)),
            }
        }
        addresses
    }

    /// Sees to it that an address is listened on once. Port 0 (the system chooses) may come again,
    /// since every use of it gets a port of its own.
    fn claim(&self, address: SocketAddr, new: ListenSource, seen: &mut Seen) {
        if address.port() == 0 {
            return;
        }
        let Some(old) = seen.insert(address, new.clone()) else {
            return;
        };
        // The complaint goes to an address that the file has, since only that can be changed.
        let (place, problem) = match (old.span, new.span) {
            (Some(old), Some(new_span)) => {
                let line = self.line(old.start);
                let problem = Problem::DuplicateAddress { address, line };
                ((new_span, new.key), problem)
            }
            (Some(span), None) => {
                let problem = Problem::DefaultAddress {
                    address,
                    key: new.key,
                };
                ((span, old.key), problem)
            }
            (None, span) => {
                let problem = Problem::DefaultAddress {
                    address,
                    key: old.key,
                };
                ((span.unwrap_or(0..0), new.key), problem)
            }
        };
        self.note(place.0, place.1, problem);
    }
}

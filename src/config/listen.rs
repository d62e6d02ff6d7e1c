//! Addresses to listen on: each one once in the whole file.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::problem::{ConfigError, Problem};
use super::raw::RawListen;
use super::reader::Reader;

/// The most addresses that one part listens on.
pub(super) const MAX_LISTEN: usize = 64;

/// The addresses met so far.
pub(super) type Seen = HashMap<SocketAddr, Place>;

/// Where an address stands.
#[derive(Clone)]
pub(super) struct Place {
    key: &'static str,
    /// None for a default, which stands nowhere in the file.
    span: Option<Range<usize>>,
}

impl Reader<'_> {
    /// The addresses of one part.
    pub(super) fn listen(
        &self,
        raw: Option<Spanned<RawListen>>,
        key: &'static str,
        default: &str,
        seen: &mut Seen,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        let (span, texts) = match raw.map(|raw| (raw.span(), raw.into_inner().0)) {
            None => (0..0, vec![(None, default.to_owned())]),
            Some((span, texts)) => {
                let located = |text: Spanned<String>| (Some(text.span()), text.into_inner());
                let texts = texts.into_list(&span);
                (span, texts.into_iter().map(located).collect())
            }
        };
        if texts.len() > MAX_LISTEN {
            return Err(self.error(span, key, Problem::TooManyAddresses(texts.len())));
        }
        let mut addresses = Vec::with_capacity(texts.len());
        for (span, text) in texts {
            let Ok(address) = text.parse::<SocketAddr>() else {
                let span = span.unwrap_or(0..0);
                return Err(self.error(span, key, Problem::Address(text)));
            };
            self.claim(address, Place { key, span }, seen)?;
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Sees to it that an address is listened on once. Port 0 (the system chooses) may come again,
    /// since every use of it gets a port of its own.
    fn claim(&self, address: SocketAddr, new: Place, seen: &mut Seen) -> Result<(), ConfigError> {
        if address.port() == 0 {
            return Ok(());
        }
        let Some(old) = seen.insert(address, new.clone()) else {
            return Ok(());
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
        Err(self.error(place.0, place.1, problem))
    }
}

//! `[dns]`: where the name server listens, and what it tells of itself.

use toml::Spanned;

use super::DnsConfig;
use super::listen::Seen;
use super::problem::Problem;
use super::raw::RawDns;
use super::reader::ConfigReader;
use crate::dns::wire::edns::{DEFAULT_UDP_PAYLOAD, MAX_NSID, MAX_UDP_PAYLOAD, MIN_UDP_PAYLOAD};
use crate::dns::{Identity, MAX_IDENTITY_TEXT, Settings};

const DEFAULT_LISTEN: &str = "127.0.0.1:5300";

impl ConfigReader<'_> {
    pub(super) fn dns(&self, raw: RawDns, seen: &mut Seen) -> DnsConfig {
        let listen = self.listen_somewhere(raw.listen, "dns.listen", DEFAULT_LISTEN, seen);
        let udp_payload = self.number(
            raw.udp_payload,
            "dns.udp_payload",
            (MIN_UDP_PAYLOAD, MAX_UDP_PAYLOAD),
            " bytes",
            DEFAULT_UDP_PAYLOAD,
        );
        let identity = Identity {
            version: self.short_text(raw.version, "dns.version", MAX_IDENTITY_TEXT),
            id: self.short_text(raw.identity, "dns.identity", MAX_IDENTITY_TEXT),
        };
        let settings = Settings {
            udp_payload,
            nsid: raw.nsid.and_then(|raw| self.nsid(&raw)),
            identity,
            // What other sections decide is not here.
            ..Settings::default()
        };
        DnsConfig {
            listen,
            settings,
            tcp: self.tcp(raw.tcp),
            tls: raw.tls.map(|raw| self.tls(raw, seen)),
        }
    }

    /// A text as it is, or bytes in hexadecimal behind `0x`: RFC 5001 §2.3 leaves open what is in it.
    fn nsid(&self, raw: &Spanned<String>) -> Option<Box<[u8]>> {
        let text = raw.get_ref();
        let bytes = match text.strip_prefix("0x") {
            Some(digits) => from_hex(digits),
            None => Some(text.as_bytes().into()),
        };
        let problem = match bytes {
            None => Problem::Hex(text.clone()),
            Some(bytes) if bytes.is_empty() || bytes.len() > MAX_NSID => {
                Problem::Length { max: MAX_NSID }
            }
            Some(bytes) => return Some(bytes),
        };
        self.note(raw.span(), "dns.nsid", problem);
        None
    }

    /// A text of 1 to `max` bytes.
    fn short_text(&self, raw: Option<Spanned<String>>, key: &str, max: usize) -> Option<String> {
        let raw = raw?;
        if (1..=max).contains(&raw.get_ref().len()) {
            return Some(raw.into_inner());
        }
        self.note(raw.span(), key, Problem::Length { max });
        None
    }
}

fn from_hex(digits: &str) -> Option<Box<[u8]>> {
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes = (0..digits.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

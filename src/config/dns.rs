//! `[dns]`: where the name server listens, and what it says about itself.

use std::net::SocketAddr;

use super::listen::{Claimed, listen_somewhere};
use super::problem::ConfigProblem;
use super::section::Section;
use super::tcp::tcp;
use super::tls::{TlsConfig, tls};
use crate::dns::transport::tcp::TcpLimits;
use crate::dns::wire::edns::{DEFAULT_UDP_PAYLOAD, MAX_NSID, MAX_UDP_PAYLOAD, MIN_UDP_PAYLOAD};
use crate::dns::{Identity, MAX_IDENTITY_TEXT, Settings};

const DEFAULT_LISTEN: &str = "127.0.0.1:5300";

/// The name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where it listens, on UDP and on TCP; at least one address.
    pub listen: Vec<SocketAddr>,
    /// What replies are like.
    pub settings: Settings,
    /// `[dns.tcp]`
    pub tcp: TcpLimits,
    /// `[dns.tls]`, if it is there.
    pub tls: Option<TlsConfig>,
}

pub(super) fn dns(section: &Section<'_>, claimed: &mut Claimed) -> DnsConfig {
    let payload = MIN_UDP_PAYLOAD..=MAX_UDP_PAYLOAD;
    DnsConfig {
        listen: listen_somewhere(section, DEFAULT_LISTEN, claimed),
        settings: Settings {
            udp_payload: section.number("udp_payload", payload, "bytes", DEFAULT_UDP_PAYLOAD),
            nsid: section.parsed("nsid", nsid),
            identity: Identity {
                version: section.parsed("version", identity_text),
                id: section.parsed("identity", identity_text),
            },
            // Other sections set the other fields.
            ..Settings::default()
        },
        tcp: section.section("tcp", tcp),
        tls: section.optional("tls", |section| tls(section, claimed)),
    }
}

/// A text as it is, or bytes in hexadecimal after `0x`: RFC 5001 §2.3 leaves the contents open.
fn nsid(text: &str) -> Result<Box<[u8]>, ConfigProblem> {
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => from_hex(digits).ok_or_else(|| ConfigProblem::Hex(text.into()))?,
        None => text.as_bytes().into(),
    };
    if (1..=MAX_NSID).contains(&bytes.len()) {
        return Ok(bytes);
    }
    Err(ConfigProblem::Length { max: MAX_NSID })
}

fn identity_text(text: &str) -> Result<String, ConfigProblem> {
    if (1..=MAX_IDENTITY_TEXT).contains(&text.len()) {
        return Ok(text.into());
    }
    let max = MAX_IDENTITY_TEXT;
    Err(ConfigProblem::Length { max })
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

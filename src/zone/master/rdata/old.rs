//! Obsolete types that zone files still have: RFC 1035 (WKS), RFC 1183 (X25), RFC 1706 (NSAP), and DOA, which
//! did not become an RFC.

use super::RdataError;
use super::fields::{Field, Fields, Own, Wire, decimal};

/// RFC 1183 §3.1: "a character string of decimal digits, beginning with the 4 digit DNIC".
pub(super) const X25: Own = Own {
    read: x25,
    take: |wire| {
        let len = wire.byte()?;
        wire.take(len.into()).map(drop)
    },
};
/// RFC 1706 §5: "0x" and hexadecimal digits, with dots between them for readability.
pub(super) const NSAP: Own = Own {
    read: nsap,
    take: rest,
};
/// RFC 1035 §3.4.2: address, protocol, ports.
pub(super) const WKS: Own = Own {
    read: wks,
    take: take_wks,
};
/// Bytes in base 64, or a hyphen for none.
pub(super) const DOA_DATA: Own = Own {
    read: doa_data,
    take: |wire| {
        wire.0 = &[];
        Some(())
    },
};

/// The protocols that have ports, by their names in RFC 1035 §3.4.2, with their numbers.
const PROTOCOLS: [(&str, u8); 2] = [("tcp", 6), ("udp", 17)];
/// The services of RFC 1010 that are still known, with their ports. Zone files write others as numbers.
const SERVICES: [(&str, u16); 24] = [
    ("echo", 7),
    ("discard", 9),
    ("systat", 11),
    ("daytime", 13),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("whois", 43),
    ("domain", 53),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("nntp", 119),
    ("ntp", 123),
    ("imap2", 143),
    ("https", 443),
];
/// The length of a bitmap of all ports, in bytes.
const MAX_BITMAP_LEN: usize = 65_536 / 8;

fn rest(wire: &mut Wire<'_>) -> Option<()> {
    let len = wire.0.len();
    (len > 0).then(|| wire.take(len)).map(drop)
}

fn x25(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let token = fields.peek();
    fields.text("address")?;
    let digits = fields.wire.get(1..).unwrap_or_default();
    match token {
        Some(token) if digits.len() < 4 || !digits.iter().all(u8::is_ascii_digit) => {
            Err(fields.bad(token, "the address must consist of four or more digits"))
        }
        _ => Ok(()),
    }
}

fn nsap(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let mut token = *fields.take("address")?;
    let text = token.text();
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let digits = digits.ok_or_else(|| fields.bad(&token, "the address must begin with 0x"))?;
    let digits = digits.replace('.', "");
    token.raw = digits.as_bytes();
    fields.hex("address", std::slice::from_ref(&token))
}

fn wks(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    fields.ipv4("address")?;
    let protocol = fields.take("protocol")?;
    let text = protocol.text().to_ascii_lowercase();
    let number = PROTOCOLS.iter().find(|(name, _)| *name == text);
    let number = number.map(|(_, number)| u64::from(*number));
    let number = number.or_else(|| decimal(protocol.raw));
    let number = number.filter(|number| *number <= u8::MAX.into());
    let number = number.ok_or_else(|| {
        fields.bad(
            protocol,
            "the protocol must be tcp, udp or a number up to 255",
        )
    })?;
    fields.put(number, 1);
    let mut bits = vec![0_u8; MAX_BITMAP_LEN];
    let mut len = 0;
    while let Some(token) = fields.peek() {
        let text = token.text().to_ascii_lowercase();
        let service = SERVICES.iter().find(|(name, _)| *name == text);
        let port = service.map(|(_, port)| *port);
        let port = port.or_else(|| u16::try_from(decimal(token.raw)?).ok());
        let port = port.ok_or_else(|| {
            let shown = token.shown();
            let why = format!("unknown service {shown:?}; write its port number, up to 65535");
            fields.bad(token, &why)
        })?;
        let port = usize::from(port);
        bits[port / 8] |= 0x80 >> (port % 8);
        len = len.max(port / 8 + 1);
        fields.take("port")?;
    }
    fields.wire.extend_from_slice(&bits[..len]);
    Ok(())
}

fn take_wks(wire: &mut Wire<'_>) -> Option<()> {
    wire.take(5)?;
    let len = wire.0.len();
    (len <= MAX_BITMAP_LEN).then(|| wire.take(len)).map(drop)
}

fn doa_data(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    match fields.peek() {
        Some(token) if token.raw == b"-" => fields.take("data").map(drop),
        _ => fields.field(&Field::Base64("data")),
    }
}

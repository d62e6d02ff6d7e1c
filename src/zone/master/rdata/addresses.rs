//! Identifiers and addresses of hosts and services: RFC 6742 (NID, L32, L64), RFC 7043 (EUI48, EUI64),
//! RFC 8005 (HIP), RFC 8777 (AMTRELAY), RFC 7553 (URI).

use super::super::unquote;
use super::RdataError;
use super::fields::{Fields, Own, Wire, bad_escape, decimal};

/// RFC 6742 §2.2.1: an IPv4 address.
pub(super) const IPV4: Own = Own {
    read: |fields| fields.ipv4("locator"),
    take: |wire| wire.take(4).map(drop),
};
/// RFC 6742 §2.1.1 and §2.3.1: 64 bits, in four groups of hexadecimal digits.
pub(super) const GROUPS: Own = Own {
    read: groups,
    take: |wire| wire.take(8).map(drop),
};
/// RFC 7043 §3.2.
pub(super) const EUI48: Own = Own {
    read: |fields| eui(fields, 6),
    take: |wire| wire.take(6).map(drop),
};
/// RFC 7043 §4.2.
pub(super) const EUI64: Own = Own {
    read: |fields| eui(fields, 8),
    take: |wire| wire.take(8).map(drop),
};
/// RFC 8005 §5 and §6: algorithm, host identity tag, public key, rendezvous servers.
pub(super) const HIP: Own = Own {
    read: hip,
    take: take_hip,
};
/// RFC 8777 §4.2 and §4.3: precedence, discovery bit, type, relay.
pub(super) const AMTRELAY: Own = Own {
    read: relay,
    take: take_relay,
};
/// RFC 7553 §4.3 and §4.4: the target; in quotes in text, without a length before it on the wire.
pub(super) const URI: Own = Own {
    read: uri,
    take: |wire| {
        let len = wire.0.len();
        (len > 0).then(|| wire.take(len)).map(drop)
    },
};

/// The discovery bit of AMTRELAY (RFC 8777 §4.2.2).
const DISCOVERY: u8 = 0x80;

fn groups(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let token = fields.take("identifier")?;
    let text = token.text();
    let number = |group: &str| {
        let is_group = (1..=4).contains(&group.len()) && is_hex(group);
        is_group
            .then(|| u16::from_str_radix(group, 16).ok())
            .flatten()
    };
    let all: Option<Vec<u16>> = text.split(':').map(number).collect();
    let all = all.filter(|all| all.len() == 4).ok_or_else(|| {
        let why =
            "the identifier must be four groups of up to four hexadecimal digits, such as 0:0:0:1";
        fields.bad(token, why)
    })?;
    for group in all {
        fields.put(group.into(), 2);
    }
    Ok(())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn eui(fields: &mut Fields<'_, '_>, len: usize) -> Result<(), RdataError> {
    let token = fields.take("address")?;
    let text = token.text();
    let number = |pair: &str| {
        let is_pair = pair.len() == 2 && is_hex(pair);
        is_pair.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    let all: Option<Vec<u8>> = text.split('-').map(number).collect();
    let all = all.filter(|all| all.len() == len).ok_or_else(|| {
        let why =
            format!("the address must be {len} pairs of hexadecimal digits, joined by hyphens");
        fields.bad(token, &why)
    })?;
    fields.wire.extend(all);
    Ok(())
}

fn hip(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let algorithm = fields.take("public key algorithm")?;
    let number = decimal(algorithm.raw).filter(|number| *number <= u8::MAX.into());
    let number = number.ok_or_else(|| {
        let why = "the public key algorithm must be a number up to 255";
        fields.bad(algorithm, why)
    })?;
    // On the wire the lengths of both come before the data.
    let tag = fields.take("host identity tag")?;
    let key = fields.take("public key")?;
    fields.hex("host identity tag", std::slice::from_ref(tag))?;
    let tag_len = fields.wire.len();
    fields.base64("public key", std::slice::from_ref(key))?;
    let key_len = fields.wire.len() - tag_len;
    if tag_len > u8::MAX.into() {
        return Err(fields.bad(tag, "the host identity tag has more than 255 bytes"));
    }
    if key_len > u16::MAX.into() {
        return Err(fields.bad(key, "the public key has more than 65535 bytes"));
    }
    let data = std::mem::take(&mut fields.wire);
    fields.put(tag_len as u64, 1);
    fields.put(number, 1);
    fields.put(key_len as u64, 2);
    fields.wire.extend(data);
    while fields.peek().is_some() {
        fields.name("rendezvous server")?;
    }
    Ok(())
}

fn take_hip(wire: &mut Wire<'_>) -> Option<()> {
    let tag_len = wire.byte()?;
    wire.byte()?;
    let key_len = u16::from_be_bytes(wire.take(2)?.try_into().ok()?);
    if tag_len == 0 || key_len == 0 {
        return None;
    }
    wire.take(tag_len.into())?;
    wire.take(key_len.into())?;
    while !wire.0.is_empty() {
        wire.name()?;
    }
    Some(())
}

fn relay(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    fields.number("precedence", 1)?;
    let discovery = fields.take("discovery bit")?;
    let is_optional = match discovery.raw {
        b"0" => 0,
        b"1" => DISCOVERY,
        _ => return Err(fields.bad(discovery, "the discovery bit must be 0 or 1")),
    };
    let kind = fields.take("relay type")?;
    let number = match kind.raw {
        b"0" => 0,
        b"1" => 1,
        b"2" => 2,
        b"3" => 3,
        _ => {
            let why = "the relay type must be 0 (none), 1 (IPv4), 2 (IPv6) or 3 (name)";
            return Err(fields.bad(kind, why));
        }
    };
    fields.put((is_optional | number).into(), 1);
    match number {
        1 => fields.ipv4("relay"),
        2 => fields.ipv6("relay"),
        3 => fields.name("relay"),
        _ => {
            // RFC 8777 §4.3.1: a dot stands for no relay.
            let relay = fields.take("relay")?;
            match relay.raw {
                b"." => Ok(()),
                _ => Err(fields.bad(relay, "the relay of type 0 must be a dot")),
            }
        }
    }
}

fn take_relay(wire: &mut Wire<'_>) -> Option<()> {
    wire.byte()?;
    match wire.byte()? & !DISCOVERY {
        0 => Some(()),
        1 => wire.take(4).map(drop),
        2 => wire.take(16).map(drop),
        3 => wire.name(),
        // The lengths of future types are not known.
        _ => {
            wire.0 = &[];
            Some(())
        }
    }
}

fn uri(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let target = fields.take("target")?;
    if !target.is_quoted() {
        return Err(fields.bad(target, "the target must be in quotes"));
    }
    let bytes = unquote(target).ok_or_else(|| bad_escape(target))?;
    if bytes.is_empty() {
        return Err(fields.bad(target, "the target is empty"));
    }
    fields.wire.extend(bytes);
    Ok(())
}

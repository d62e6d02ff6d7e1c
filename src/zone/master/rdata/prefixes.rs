//! APL: lists of address prefixes (RFC 3123).

use std::net::IpAddr;
use std::str::FromStr;

use super::RdataError;
use super::fields::{Fields, Own, Wire, decimal};

/// RFC 3123 §4 and §5: zero or more prefixes.
pub(super) const APL: Own = Own { read, take };

/// The address families that have a text form (RFC 3123 §4), with the lengths of their addresses in bits.
const FAMILIES: [(u16, u8); 2] = [(1, 32), (2, 128)];

fn read(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    while let Some(token) = fields.peek() {
        let text = token.text();
        let item = prefix(&text).ok_or_else(|| {
            fields.bad(
                token,
                "a prefix must be [!]1:IPv4/length or [!]2:IPv6/length (RFC 3123 §5)",
            )
        })?;
        fields.take("prefix")?;
        fields.wire.extend(item);
    }
    Ok(())
}

/// Turns `[!]family:address/length` into wire form, which leaves out the zeros at the end of the address.
fn prefix(text: &str) -> Option<Vec<u8>> {
    let (negated, text) = match text.strip_prefix('!') {
        Some(text) => (0x80, text),
        None => (0, text),
    };
    let (family, text) = text.split_once(':')?;
    let (address, length) = text.split_once('/')?;
    let address = IpAddr::from_str(address).ok()?;
    let (number, bytes) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let bits = 8 * bytes.len() as u64;
    let length = decimal(length.as_bytes()).filter(|length| *length <= bits)?;
    if decimal(family.as_bytes()) != Some(number) {
        return None;
    }
    let used = bytes.iter().rposition(|byte| *byte != 0);
    let used = &bytes[..used.map_or(0, |last| last + 1)];
    let mut wire = vec![0, number as u8, length as u8, negated | used.len() as u8];
    wire.extend_from_slice(used);
    Some(wire)
}

fn take(wire: &mut Wire<'_>) -> Option<()> {
    while !wire.0.is_empty() {
        let family = u16::from_be_bytes(wire.take(2)?.try_into().ok()?);
        let length = wire.byte()?;
        let address = wire.byte()? & 0x7F;
        let address = wire.take(address.into())?;
        let bits = FAMILIES.iter().find(|(number, _)| *number == family);
        let is_legal =
            bits.is_none_or(|&(_, bits)| length <= bits && address.len() <= usize::from(bits / 8));
        // RFC 3123 §4: no zeros at the end.
        if !is_legal || address.last() == Some(&0) {
            return None;
        }
    }
    Some(())
}

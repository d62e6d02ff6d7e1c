//! What this server tells of itself in class CH, as BIND began it and others do (RFC 4892 §2).
//!
//! Off unless the operator has said what to tell: which version runs here is of more use to an attacker
//! than to anybody else.

use crate::base::name::wire::WireName;

const TYPE_TXT: u16 = 16;
const TYPE_ANY: u16 = 255;
/// The class CH (RFC 1035 §3.2.4).
pub(crate) const CLASS_CHAOS: u16 = 3;
/// The longest text, in bytes: that of a character-string (RFC 1035 §3.3).
pub const MAX_TEXT: usize = 255;

/// What the server tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// To who asks for `version.bind` or `version.server`; at most [`MAX_TEXT`] bytes.
    pub version: Option<String>,
    /// To who asks for `id.server` or `hostname.bind` (RFC 4892 §2); at most [`MAX_TEXT`] bytes.
    pub id: Option<String>,
}

/// The record that answers a question of class CH, its owner being a pointer to the question; none if it
/// is not to be answered.
pub(crate) fn answer(name: &WireName, qtype: u16, identity: &Identity) -> Option<Vec<u8>> {
    if !matches!(qtype, TYPE_TXT | TYPE_ANY) {
        return None;
    }
    let text = match name.as_bytes() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => identity.version.as_deref()?,
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => identity.id.as_deref()?,
        _ => return None,
    };
    let len = u8::try_from(text.len()).ok()?;
    let mut record = vec![0xC0, 12];
    record.extend(TYPE_TXT.to_be_bytes());
    record.extend(CLASS_CHAOS.to_be_bytes());
    // Not to be kept by anybody.
    record.extend([0; 4]);
    record.extend((u16::from(len) + 1).to_be_bytes());
    record.push(len);
    record.extend(text.as_bytes());
    Some(record)
}

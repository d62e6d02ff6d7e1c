//! The fields that the data of records consists of: how each kind is read from text, and what it must be on the
//! wire, which is checked where data is given in the form of RFC 3597.
//!
//! Messages name the field: "the key tag must be a number up to 65535".

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use domain::base::iana::Rtype;
use domain::utils::{base16, base64};

use super::super::super::diagnostic::Defect;
use super::super::lexer::{Position, Token};
use super::super::{name, ttl, types, unquote};
use super::{MORE_FIELDS, RdataError, rdata_defect};
use crate::base::name::wire::WireName;

/// The longest character-string, in bytes (RFC 1035 §3.3).
const MAX_STRING_LEN: usize = 255;
/// The most bytes of a window of a type bitmap (RFC 4034 §4.1.2).
const MAX_WINDOW_LEN: usize = 32;

/// A field, with its name for messages. A field that takes the rest of the record comes last.
pub(super) enum Field {
    /// A number of 1, 2 or 4 bytes.
    Number(&'static str, usize),
    /// A number that can also be written as one of these words.
    Coded(&'static str, usize, Words),
    /// The number of a type, written as the type's name.
    Type(&'static str),
    /// A time in seconds, in 4 bytes; units are allowed.
    Time(&'static str),
    /// A domain name, never compressed (RFC 3597 §4).
    Name(&'static str),
    /// A character-string.
    Text(&'static str),
    /// A character-string that may be left out.
    MaybeText(&'static str),
    /// The rest: one or more character-strings.
    Texts(&'static str),
    /// The rest: bytes in base 64.
    Base64(&'static str),
    /// The rest: bytes in base 64, or none.
    MaybeBase64(&'static str),
    /// The rest: bytes in hexadecimal digits.
    Hex(&'static str),
    /// The rest: types, if any, as a bitmap (RFC 4034 §4.1.2).
    Types,
    /// One or more fields in a form that only this type has.
    Own(&'static Own),
}

/// Words with the numbers that they stand for; in any letter case.
pub(super) type Words = &'static [(&'static str, u8)];

/// Fields in a form that only one type has.
pub(super) struct Own {
    /// Reads them from text.
    pub(super) read: fn(&mut Fields<'_, '_>) -> Result<(), RdataError>,
    /// Takes them from the wire; none if the bytes are something else.
    pub(super) take: fn(&mut Wire<'_>) -> Option<()>,
}

/// The data of one record while it is being read.
pub(super) struct Fields<'e, 't> {
    rtype: Rtype,
    tokens: &'e [Token<'t>],
    next: usize,
    origin: &'e [u8],
    /// The fields that have been read, in wire form.
    pub(super) wire: Vec<u8>,
}

impl<'e, 't> Fields<'e, 't> {
    pub(super) fn new(rtype: Rtype, tokens: &'e [Token<'t>], origin: &'e [u8]) -> Self {
        Self {
            rtype,
            tokens,
            next: 0,
            origin,
            wire: Vec::new(),
        }
    }

    /// Reads all fields. The record must have no others.
    pub(super) fn read(mut self, fields: &[Field]) -> Result<Vec<u8>, RdataError> {
        for field in fields {
            self.field(field)?;
        }
        match self.peek() {
            None => Ok(self.wire),
            Some(extra) => Err(self.bad(extra, MORE_FIELDS)),
        }
    }

    pub(super) fn field(&mut self, field: &Field) -> Result<(), RdataError> {
        match field {
            Field::Number(what, len) => self.number(what, *len),
            Field::Coded(what, len, words) => self.coded(what, *len, words),
            Field::Type(what) => self.rtype(what),
            Field::Time(what) => self.time(what),
            Field::Name(what) => self.name(what),
            Field::Text(what) => self.text(what),
            Field::MaybeText(what) => match self.peek() {
                Some(_) => self.text(what),
                None => Ok(()),
            },
            Field::Texts(what) => {
                self.text(what)?;
                while self.peek().is_some() {
                    self.text(what)?;
                }
                Ok(())
            }
            Field::Base64(what) => {
                let tokens = self.rest(what)?;
                self.base64(what, tokens)
            }
            Field::MaybeBase64(what) => match self.peek() {
                Some(_) => self.field(&Field::Base64(what)),
                None => Ok(()),
            },
            Field::Hex(what) => {
                let tokens = self.rest(what)?;
                self.hex(what, tokens)
            }
            Field::Types => self.types(),
            Field::Own(own) => (own.read)(self),
        }
    }

    /// The next token, if there is one.
    pub(super) fn peek(&self) -> Option<&'e Token<'t>> {
        self.tokens.get(self.next)
    }

    /// The next token, which holds `what`.
    pub(super) fn take(&mut self, what: &str) -> Result<&'e Token<'t>, RdataError> {
        let token = self.peek();
        self.next += 1;
        token.ok_or_else(|| self.lacks(what))
    }

    /// All remaining tokens, at least one.
    fn rest(&mut self, what: &str) -> Result<&'e [Token<'t>], RdataError> {
        let tokens = self.tokens.get(self.next..).unwrap_or_default();
        self.next = self.tokens.len();
        match tokens {
            [] => Err(self.lacks(what)),
            _ => Ok(tokens),
        }
    }

    fn lacks(&self, what: &str) -> RdataError {
        (
            None,
            rdata_defect(self.rtype, &format!("the {what} is missing")),
        )
    }

    /// The error for a wrong token.
    pub(super) fn bad(&self, token: &Token<'_>, why: &str) -> RdataError {
        (Some(token.place), rdata_defect(self.rtype, why))
    }

    /// Writes the low-order `len` bytes of a number.
    pub(super) fn put(&mut self, number: u64, len: usize) {
        let bytes = number.to_be_bytes();
        self.wire.extend_from_slice(&bytes[bytes.len() - len..]);
    }

    /// Reads a number of this many bytes.
    pub(super) fn number(&mut self, what: &str, len: usize) -> Result<(), RdataError> {
        self.coded(what, len, &[])
    }

    fn coded(&mut self, what: &str, len: usize, words: Words) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let max = u64::MAX >> (64 - 8 * len);
        let word = words
            .iter()
            .find(|(word, _)| token.raw.eq_ignore_ascii_case(word.as_bytes()));
        let number = match word {
            Some((_, number)) => Some(u64::from(*number)),
            None => decimal(token.raw).filter(|number| *number <= max),
        };
        let number = number.ok_or_else(|| {
            let known = if words.is_empty() {
                ""
            } else {
                " or one of its names"
            };
            self.bad(
                token,
                &format!("the {what} must be a number up to {max}{known}"),
            )
        })?;
        self.put(number, len);
        Ok(())
    }

    fn rtype(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let rtype = types::parse(&token.text());
        let rtype = rtype.ok_or_else(|| self.bad(token, &format!("the {what} is not a type")))?;
        self.put(rtype.to_int().into(), 2);
        Ok(())
    }

    /// Reads a time in seconds, with or without units.
    fn time(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let seconds = ttl::parse(token.raw)
            .ok_or_else(|| (Some(token.place), Defect::BadTtl(token.shown())))?;
        self.put(seconds.into(), 4);
        Ok(())
    }

    /// Reads a name; a relative one is completed with the origin.
    pub(super) fn name(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let wire = name::parse(token.raw, self.origin)
            .map_err(|why| (Some(token.place), Defect::Name(token.shown(), why)))?;
        self.wire.extend_from_slice(&wire);
        Ok(())
    }

    /// Reads a character-string.
    pub(super) fn text(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let text = unquote(token).ok_or_else(|| bad_escape(token))?;
        if text.len() > MAX_STRING_LEN {
            return Err(self.bad(token, &format!("the {what} has more than 255 bytes")));
        }
        self.put(text.len() as u64, 1);
        self.wire.extend_from_slice(&text);
        Ok(())
    }

    /// Reads an IPv4 address.
    pub(super) fn ipv4(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let address = Ipv4Addr::from_str(&token.text());
        let why = || format!("the {what} is not an IPv4 address");
        let address = address.map_err(|_| self.bad(token, &why()))?;
        self.wire.extend(address.octets());
        Ok(())
    }

    /// Reads an IPv6 address.
    pub(super) fn ipv6(&mut self, what: &str) -> Result<(), RdataError> {
        let token = self.take(what)?;
        let address = Ipv6Addr::from_str(&token.text());
        let why = || format!("the {what} is not an IPv6 address");
        let address = address.map_err(|_| self.bad(token, &why()))?;
        self.wire.extend(address.octets());
        Ok(())
    }

    /// Reads bytes in base 64, in one token or several (RFC 4648 §4).
    pub(super) fn base64(&mut self, what: &str, tokens: &[Token<'_>]) -> Result<(), RdataError> {
        let bytes = base64::decode::<Vec<u8>>(&joined(tokens));
        self.encoded(what, tokens, "in base 64", bytes.ok())
    }

    /// Reads bytes in hexadecimal digits, in one token or several.
    pub(super) fn hex(&mut self, what: &str, tokens: &[Token<'_>]) -> Result<(), RdataError> {
        let bytes = base16::decode::<Vec<u8>>(&joined(tokens));
        self.encoded(
            what,
            tokens,
            "in hexadecimal digits, two a byte",
            bytes.ok(),
        )
    }

    fn encoded(
        &mut self,
        what: &str,
        tokens: &[Token<'_>],
        how: &str,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), RdataError> {
        match bytes.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => {
                self.wire.extend(bytes);
                Ok(())
            }
            None => {
                let place = tokens.first().map(|token| token.place);
                let why = format!("the {what} is not {how}");
                Err((place, rdata_defect(self.rtype, &why)))
            }
        }
    }

    /// Reads all remaining tokens as types.
    fn types(&mut self) -> Result<(), RdataError> {
        let mut all = Vec::new();
        while let Some(token) = self.peek() {
            let rtype = types::parse(&token.text());
            let why = || format!("{:?} is not a type", token.shown());
            all.push(rtype.ok_or_else(|| self.bad(token, &why()))?.to_int());
            self.next += 1;
        }
        self.wire.extend(bitmap(all));
        Ok(())
    }
}

pub(super) fn bad_escape(token: &Token<'_>) -> (Option<Position>, Defect) {
    (Some(token.place), Defect::BadEscape)
}

/// A number without a sign.
pub(super) fn decimal(raw: &[u8]) -> Option<u64> {
    let is_number = !raw.is_empty() && raw.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(raw).ok()?.parse().ok())
        .flatten()
}

fn joined(tokens: &[Token<'_>]) -> String {
    tokens.iter().map(Token::text).collect()
}

/// Types as a bitmap: windows of 256 types, each only as long as its last type needs (RFC 4034 §4.1.2).
fn bitmap(mut types: Vec<u16>) -> Vec<u8> {
    types.sort_unstable();
    let mut wire = Vec::new();
    for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0_u8; MAX_WINDOW_LEN];
        let mut len = 0;
        for rtype in window {
            let low = usize::from(rtype & 0xFF);
            bits[low / 8] |= 0x80 >> (low % 8);
            len = low / 8 + 1;
        }
        wire.push((window[0] >> 8) as u8);
        wire.push(len as u8);
        wire.extend_from_slice(&bits[..len]);
    }
    wire
}

/// The part of data in wire form that has not been checked yet.
pub(super) struct Wire<'w>(pub(super) &'w [u8]);

impl<'w> Wire<'w> {
    /// Whether the data is these fields and nothing else.
    pub(super) fn holds(mut self, fields: &[Field]) -> bool {
        let all = fields.iter().try_for_each(|field| self.field(field));
        all.is_some() && self.0.is_empty()
    }

    fn field(&mut self, field: &Field) -> Option<()> {
        match field {
            Field::Number(_, len) | Field::Coded(_, len, _) => self.take(*len).map(drop),
            Field::Type(_) => self.take(2).map(drop),
            Field::Time(_) => self.take(4).map(drop),
            Field::Name(_) => self.name(),
            Field::Text(_) => self.text(),
            Field::MaybeText(_) if self.0.is_empty() => Some(()),
            Field::MaybeText(_) => self.text(),
            Field::Texts(_) => {
                self.text()?;
                while !self.0.is_empty() {
                    self.text()?;
                }
                Some(())
            }
            Field::Base64(_) | Field::Hex(_) if self.0.is_empty() => None,
            Field::Base64(_) | Field::MaybeBase64(_) | Field::Hex(_) => {
                self.0 = &[];
                Some(())
            }
            Field::Types => self.types(),
            Field::Own(own) => (own.take)(self),
        }
    }

    /// The next bytes.
    pub(super) fn take(&mut self, len: usize) -> Option<&'w [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Takes a name that is not compressed: there is no message to point into.
    pub(super) fn name(&mut self) -> Option<()> {
        let len = WireName::read(self.0)?.as_bytes().len();
        self.take(len).map(drop)
    }

    fn text(&mut self) -> Option<()> {
        let len = self.byte()?;
        self.take(len.into()).map(drop)
    }

    fn types(&mut self) -> Option<()> {
        let mut last = None;
        while !self.0.is_empty() {
            let window = self.byte()?;
            let len = self.byte()?;
            let bits = self.take(len.into())?;
            // RFC 4034 §4.1.2: windows in order, and no zero byte at the end of one.
            let is_next = last.is_none_or(|last| last < window);
            let fits = bits.len() <= MAX_WINDOW_LEN && bits.last().is_some_and(|last| *last != 0);
            if !is_next || !fits {
                return None;
            }
            last = Some(window);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4034_4_1_2_bitmaps() {
        // The example of §4.3.
        let types = vec![1, 15, 46, 47, 1234];
        let mut expected = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(bitmap(types), expected);
        assert!(Wire(&expected).holds(&[Field::Types]));
        assert!(Wire(&[]).holds(&[Field::Types]));
        for bad in [
            &[0][..],
            &[0, 0],
            &[0, 1],
            &[0, 1, 0],
            &[0, 2, 1, 0],
            &[1, 1, 1, 0, 1, 1],
            &[0, 1, 1, 0, 1, 1],
            &[[0, 33].as_slice(), &[1; 33]].concat(),
        ] {
            assert!(!Wire(bad).holds(&[Field::Types]), "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_no_sign() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        for bad in ["", "+1", "-1", "1 ", "0x1", "99999999999999999999"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }
}

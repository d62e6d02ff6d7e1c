//! Text in UTF-16, as spreadsheets save it, becomes UTF-8 while it is read.
//!
//! A byte order mark says that a file is in UTF-16; any other file is read as UTF-8. A unit that is not a
//! character in UTF-16 becomes a byte that is not valid in UTF-8, so the import refuses the record that
//! contains it and does not replace the character.

use std::io::{self, BufRead, BufReader, Cursor, Read};

/// How much is read at once, in bytes.
const BUFFER_LEN: usize = 256 * 1024;
/// Replaces a unit that is not a character.
const NO_CHARACTER: u8 = 0xFF;

/// The order of the two bytes of a unit of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// The text of a file, in UTF-8.
pub(super) type Text<'a> = BufReader<Box<dyn Read + 'a>>;

/// Reads a text from its beginning.
///
/// # Errors
/// The input's own.
pub(super) fn text<'a>(mut input: impl Read + 'a) -> io::Result<Text<'a>> {
    let mut first = Vec::new();
    input.by_ref().take(2).read_to_end(&mut first)?;
    let input: Box<dyn Read> = match order(&first) {
        Some(order) => Box::new(Utf16::new(
            BufReader::with_capacity(BUFFER_LEN, input),
            order,
        )),
        None => Box::new(Cursor::new(first).chain(input)),
    };
    Ok(BufReader::with_capacity(BUFFER_LEN, input))
}

/// Whether a text that begins like this is in UTF-16.
pub(super) fn is_utf_16(beginning: &[u8]) -> bool {
    order(beginning).is_some()
}

fn order(beginning: &[u8]) -> Option<Order> {
    match beginning {
        [0xFF, 0xFE, ..] => Some(Order::Little),
        [0xFE, 0xFF, ..] => Some(Order::Big),
        _ => None,
    }
}

/// A reader of UTF-16 without its byte order mark, as UTF-8.
struct Utf16<R> {
    input: R,
    order: Order,
    /// The first byte of a unit whose second is still to come.
    half: Option<u8>,
    /// The first surrogate of a pair whose second is still to come.
    high: Option<u16>,
    /// The decoded bytes; those before `start` were read already.
    decoded: Vec<u8>,
    start: usize,
}

impl<R: BufRead> Utf16<R> {
    fn new(input: R, order: Order) -> Self {
        Self {
            input,
            order,
            half: None,
            high: None,
            decoded: Vec::new(),
            start: 0,
        }
    }

    /// Decodes some more bytes; at the end of the input none.
    fn decode(&mut self) -> io::Result<()> {
        self.decoded.clear();
        self.start = 0;
        while self.decoded.is_empty() {
            let bytes = self.input.fill_buf()?;
            let len = bytes.len();
            if len == 0 {
                if self.half.take().is_some() || self.high.take().is_some() {
                    self.decoded.push(NO_CHARACTER);
                }
                return Ok(());
            }
            let mut units = Vec::with_capacity(len / 2 + 1);
            for byte in bytes {
                match self.half.take() {
                    None => self.half = Some(*byte),
                    Some(first) => units.push(match self.order {
                        Order::Little => u16::from_le_bytes([first, *byte]),
                        Order::Big => u16::from_be_bytes([first, *byte]),
                    }),
                }
            }
            self.input.consume(len);
            units.into_iter().for_each(|unit| self.take(unit));
        }
        Ok(())
    }

    fn take(&mut self, unit: u16) {
        let high = self.high.take();
        match (high, unit) {
            (Some(high), 0xDC00..=0xDFFF) => {
                let (high, low) = (u32::from(high) - 0xD800, u32::from(unit) - 0xDC00);
                self.push(char::from_u32(0x10000 + (high << 10) + low));
            }
            (_, 0xD800..=0xDBFF) => {
                self.high = Some(unit);
                if high.is_some() {
                    self.push(None);
                }
            }
            (high, unit) => {
                if high.is_some() {
                    self.push(None);
                }
                self.push(char::from_u32(u32::from(unit)));
            }
        }
    }

    fn push(&mut self, character: Option<char>) {
        match character {
            Some(c) => {
                let text = &mut [0; 4];
                self.decoded
                    .extend_from_slice(c.encode_utf8(text).as_bytes());
            }
            None => self.decoded.push(NO_CHARACTER),
        }
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.decoded.len() {
            self.decode()?;
        }
        let rest = &self.decoded[self.start..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.start += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in UTF-16, with a byte order mark.
    fn encoded(text: &str, order: Order) -> Vec<u8> {
        let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        let bytes = units.map(|unit| match order {
            Order::Little => unit.to_le_bytes(),
            Order::Big => unit.to_be_bytes(),
        });
        bytes.flatten().collect()
    }

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        text(bytes).unwrap().read_to_end(&mut found).unwrap();
        // The input may arrive in pieces of any size.
        for size in [1, 2, 3, 5] {
            if let Some(order) = order(bytes) {
                let input = BufReader::with_capacity(size, &bytes[2..]);
                let mut again = Vec::new();
                Utf16::new(input, order).read_to_end(&mut again).unwrap();
                assert_eq!(again, found, "pieces of {size}");
            }
        }
        found
    }

    #[test]
    fn utf_16_becomes_utf_8() {
        for written in ["", "code,url\r\nx,https://example.net/ä\r\n", "€ and 😀\n"] {
            for order in [Order::Little, Order::Big] {
                let bytes = encoded(written, order);
                assert!(is_utf_16(&bytes));
                assert_eq!(read(&bytes), written.as_bytes(), "{order:?}");
            }
            assert!(!is_utf_16(written.as_bytes()));
            assert_eq!(read(written.as_bytes()), written.as_bytes());
        }
        assert_eq!(read(b"a"), b"a");
    }

    #[test]
    fn invalid_utf_16_is_not_text() {
        let check = |units: &[u16], rest: &[u8], expected: &[u8]| {
            let units = units.iter().flat_map(|unit| unit.to_be_bytes());
            let bytes: Vec<u8> = [0xFE, 0xFF].into_iter().chain(units).collect();
            assert_eq!(read(&[&bytes, rest].concat()), expected);
        };
        check(&[0x61, 0xDC00, 0x62], &[], b"a\xFFb");
        check(&[0xD800, 0x62], &[], b"\xFFb");
        check(&[0xD800, 0xD83D, 0xDE00], &[], b"\xFF\xF0\x9F\x98\x80");
        check(&[0x61, 0xD800], &[], b"a\xFF");
        check(&[0x61], &[0], b"a\xFF");
    }
}

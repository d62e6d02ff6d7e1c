//! Lines and rows out of a file, with a bound for each: the file may be anything.
//!
//! A row is one of CSV as RFC 4180 has it, which may go over several lines where a field is quoted.
//! What is too long is passed over as a whole and told of, so that what follows is read all the
//! same. It is read here and not by a library, since those that there are keep a row however long
//! it is: one quote that is never closed would put the rest of the file into memory.

use std::io::{self, BufRead};

/// The longest line or row, in bytes. A URL has at most 2,048; the rest is room for whatever else a
/// program has written beside it.
pub(super) const MAX_LEN: usize = 64 * 1024;
/// What some programs put before the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The fields of a row.
pub(super) type Fields = Vec<Vec<u8>>;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    Whole(T),
    /// It has more than [`MAX_LEN`] bytes.
    TooLong,
    /// The file ends within a quoted field that begins in this row.
    NotClosed,
}

/// A reader that knows where it is.
#[derive(Debug)]
pub(super) struct Rows<R> {
    input: R,
    /// How many bytes were read.
    offset: u64,
    /// The number of the line that is read next; the first is 1.
    line: u64,
}

/// Where a byte of a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the beginning of a field.
    Begin,
    /// In a field without quotes, or behind the quotes of one.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote within quotes: the field ends, or it was the first of two.
    Quote,
}

/// A row as it grows.
#[derive(Debug, Default)]
struct Row {
    fields: Fields,
    field: Vec<u8>,
    /// How long all of it is.
    len: usize,
}

impl<R: BufRead> Rows<R> {
    /// Reads from a place in the file; the first byte is at 0, in line 1.
    pub(super) fn new(input: R, offset: u64, line: u64) -> Self {
        Self {
            input,
            offset,
            line,
        }
    }

    /// How many bytes of the file were read, and the number of the next line.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.offset, self.line)
    }

    /// Passes over a byte order mark.
    fn skip_mark(&mut self) -> io::Result<()> {
        if self.offset == 0 && self.input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    fn consume(&mut self, len: usize) {
        self.input.consume(len);
        self.offset += len as u64;
    }

    /// The next line that is not blank, without its end, and its number.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, Read<Vec<u8>>)>> {
        self.skip_mark()?;
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let buffer = self.input.fill_buf()?;
            let (part, ended) = match buffer.iter().position(|b| *b == b'\n') {
                Some(end) => (&buffer[..end], true),
                None => (buffer, false),
            };
            let at_end = buffer.is_empty();
            too_long |= line.len() + part.len() > MAX_LEN;
            if too_long {
                line = Vec::new();
            } else {
                line.extend_from_slice(part);
            }
            let len = part.len() + usize::from(ended);
            self.consume(len);
            if !ended && !at_end {
                continue;
            }
            let number = self.line;
            self.line += u64::from(ended);
            if too_long {
                return Ok(Some((number, Read::TooLong)));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((number, Read::Whole(line))));
            }
            if at_end {
                return Ok(None);
            }
            line.clear();
        }
    }

    /// The next row that is not blank, as its fields, and the number of its first line.
    pub(super) fn next_row(&mut self) -> io::Result<Option<(u64, Read<Fields>)>> {
        self.skip_mark()?;
        loop {
            let (number, offset) = (self.line, self.offset);
            let row = self.read_row()?;
            if self.offset == offset {
                return Ok(None);
            }
            match row {
                Read::Whole(fields) if is_blank(&fields) => {}
                row => return Ok(Some((number, row))),
            }
        }
    }

    fn read_row(&mut self) -> io::Result<Read<Fields>> {
        let mut row = Row::default();
        let mut at = At::Begin;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(match at {
                    At::Quoted => Read::NotClosed,
                    _ => row.end(),
                });
            }
            let mut used = 0;
            let mut lines = 0;
            let mut ended = false;
            for byte in buffer {
                used += 1;
                lines += u64::from(*byte == b'\n');
                (at, ended) = row.take(at, *byte);
                if ended {
                    break;
                }
            }
            self.consume(used);
            self.line += lines;
            if ended {
                return Ok(row.end());
            }
        }
    }
}

impl Row {
    /// Takes a byte; gives where the next one stands, and whether the row is over.
    fn take(&mut self, at: At, byte: u8) -> (At, bool) {
        match (at, byte) {
            (At::Begin, b'"') => (At::Quoted, false),
            (At::Quoted, b'"') => (At::Quote, false),
            (At::Quoted, byte) => {
                self.push(byte);
                (At::Quoted, false)
            }
            // RFC 4180 §2, 7: two quotes are one.
            (At::Quote, b'"') => {
                self.push(b'"');
                (At::Quoted, false)
            }
            (_, b',') => {
                self.end_field();
                (At::Begin, false)
            }
            (_, b'\n') => (At::Begin, true),
            // What stands behind a closing quote is taken as part of the field, as others do.
            (_, byte) => {
                self.push(byte);
                (At::Plain, false)
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.len += 1;
        if self.len <= MAX_LEN {
            self.field.push(byte);
        }
    }

    fn end_field(&mut self) {
        // Empty fields take memory, too.
        self.len += 1;
        if self.len <= MAX_LEN {
            self.fields.push(std::mem::take(&mut self.field));
        }
    }

    fn end(mut self) -> Read<Fields> {
        // The first half of a line's end, or of none. A carriage return that ends a quoted field
        // goes as well, which no URL has.
        if self.field.last() == Some(&b'\r') {
            self.field.pop();
            self.len = self.len.saturating_sub(1);
        }
        self.end_field();
        match self.len <= MAX_LEN {
            true => Read::Whole(self.fields),
            false => Read::TooLong,
        }
    }
}

fn is_blank(fields: &[Vec<u8>]) -> bool {
    matches!(fields, [only] if only.iter().all(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Everything in a text, whatever the size of the reader's buffer.
    fn check_rows(text: &str, expected: &[(u64, &[&str])]) {
        for size in [1, 2, 3, 7, 8_192] {
            let mut rows = Rows::new(BufReader::with_capacity(size.max(3), text.as_bytes()), 0, 1);
            let mut found = Vec::new();
            while let Some((line, row)) = rows.next_row().unwrap() {
                let Read::Whole(fields) = row else {
                    panic!("{text:?}: {row:?}");
                };
                let fields = fields.into_iter().map(|f| String::from_utf8(f).unwrap());
                found.push((line, fields.collect::<Vec<_>>()));
            }
            let expected: Vec<(u64, Vec<String>)> = expected
                .iter()
                .map(|(line, fields)| (*line, fields.iter().map(|f| (*f).into()).collect()))
                .collect();
            assert_eq!(found, expected, "{text:?} in pieces of {size}");
            assert_eq!(rows.position().0, text.len() as u64, "{text:?}");
        }
    }

    #[test]
    fn rfc_4180_2_rows() {
        check_rows("", &[]);
        check_rows("a,b\r\nc,d\r\n", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check_rows("a,b\nc,d", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check_rows("a,,\n", &[(1, &["a", "", ""])]);
        check_rows("\"a,b\",\"c\"\n", &[(1, &["a,b", "c"])]);
        check_rows("\"a\"\"b\"\n", &[(1, &["a\"b"])]);
        check_rows("\"\",x\n", &[(1, &["", "x"])]);
        check_rows("\"a\r\nb\",c\nd\n", &[(1, &["a\r\nb", "c"]), (3, &["d"])]);
    }

    #[test]
    fn rows_as_programs_write_them() {
        check_rows("\u{feff}a,b\n", &[(1, &["a", "b"])]);
        check_rows("\n \r\na\n\n\nb\n\n", &[(3, &["a"]), (6, &["b"])]);
        check_rows("a\"b,c\n", &[(1, &["a\"b", "c"])]);
        check_rows("\"a\"b,c\n", &[(1, &["ab", "c"])]);
        check_rows("é,b\n", &[(1, &["é", "b"])]);
    }

    #[test]
    fn a_row_that_is_too_long_is_passed_over_alone() {
        let long = "x".repeat(MAX_LEN);
        for (text, whole) in [
            (format!("a\n{long}\nb\n"), false),
            (format!("a\n{}\nb\n", &long[1..]), true),
            (format!("a\n\"{long}\n\",y\nb\n"), false),
            (format!("a\n{}\nb\n", ",".repeat(MAX_LEN)), false),
            (format!("a\n{}\nb\n", long.repeat(20)), false),
        ] {
            let mut rows = Rows::new(text.as_bytes(), 0, 1);
            let mut next = || rows.next_row().unwrap().map(|(_, row)| row);
            let one = |text: &str| Some(Read::Whole(vec![text.as_bytes().to_vec()]));
            assert_eq!(next(), one("a"));
            let second = next().unwrap();
            assert_eq!(second != Read::TooLong, whole, "{} bytes", text.len());
            assert_eq!(next(), one("b"));
            assert_eq!(next(), None);
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_found_out() {
        let text = format!("a\n\"b\nc\n{}", "d\n".repeat(MAX_LEN));
        let mut rows = Rows::new(text.as_bytes(), 0, 1);
        assert!(matches!(
            rows.next_row().unwrap(),
            Some((1, Read::Whole(_)))
        ));
        assert_eq!(rows.next_row().unwrap(), Some((2, Read::NotClosed)));
        assert_eq!(rows.next_row().unwrap(), None);
    }

    #[test]
    fn lines() {
        let long = "x".repeat(MAX_LEN);
        let text = format!("\u{feff}a\r\n\n \n{long}\n{long}y\n{long}{long}\nb");
        for size in [3, 100, 8_192, 1 << 20] {
            let mut rows = Rows::new(BufReader::with_capacity(size, text.as_bytes()), 0, 1);
            let mut found = Vec::new();
            while let Some((number, line)) = rows.next_line().unwrap() {
                let len = match line {
                    Read::Whole(line) => line.len(),
                    _ => usize::MAX,
                };
                found.push((number, len));
            }
            let too_long = usize::MAX;
            let expected = [(1, 2), (4, MAX_LEN), (5, too_long), (6, too_long), (7, 1)];
            assert_eq!(found, expected, "pieces of {size}");
            assert_eq!(rows.position(), (text.len() as u64, 7));
        }
    }

    #[test]
    fn reading_goes_on_from_a_position() {
        let text = "a\n\"b\nc\"\nd\ne\n";
        let mut rows = Rows::new(text.as_bytes(), 0, 1);
        rows.next_row().unwrap();
        rows.next_row().unwrap();
        let (offset, line) = rows.position();
        assert_eq!((offset, line), (8, 4));
        let mut rest = Rows::new(&text.as_bytes()[8..], offset, line);
        let expected = Some((4, Read::Whole(vec![b"d".to_vec()])));
        assert_eq!(rest.next_row().unwrap(), expected);
        assert_eq!(rest.position(), (10, 5));
    }
}

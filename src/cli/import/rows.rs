//! Reads the lines or the CSV rows of a file, with a bound for each.
//!
//! A row of CSV (RFC 4180) has several lines if a quoted field contains line breaks. A row that is too long is
//! reported and skipped, and the rows after it are read.
//!
//! `csv-core` reads the fields, into a buffer with a bound; the `csv` crate would keep a row of any length in memory, so
//! one unclosed quote could load the whole file.
//!
//! A missing quote spoils only the line in which the quote was opened. The reader looks ahead: a field has several
//! lines only if its closing quote is followed by the end of the field, within [`MAX_LEN`] bytes. Otherwise the line with
//! the opening quote is bad, and the next row begins after that line. `csv-core` does not report this, but it can be seen
//! from outside: a quote is open if the end of a line does not end the row, and text after a closing quote makes a field
//! longer than its quotes allow (`is_closed`).

use std::io::{self, BufRead};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder, Terminator};

/// The longest line or row, in bytes. A URL has at most 2,048; other programs may write much else beside it.
pub(super) const MAX_LEN: usize = 64 * 1024;
/// Some programs write it before the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The fields of a row.
pub(super) type Fields = Vec<Vec<u8>>;

/// The result of reading a line or a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    Whole(T),
    /// It has more than [`MAX_LEN`] bytes.
    TooLong,
    /// A quote is opened in this line and not closed. Reading continues with the next line.
    NotClosed(u64),
}

/// A reader that knows its position.
#[derive(Debug)]
pub(super) struct Rows<R> {
    input: R,
    /// Bytes that were read from the input; those from `start` on were not returned yet.
    ahead: Vec<u8>,
    start: usize,
    /// How many bytes were returned.
    offset: u64,
    /// The number of the next line; the first is 1.
    line: u64,
    /// The byte between two fields.
    delimiter: u8,
    csv: Reader,
    /// The current field.
    field: Box<[u8]>,
}

/// A row while it is read.
#[derive(Debug, Default)]
struct Row {
    fields: Fields,
    /// The length of all complete fields and their delimiters, in bytes.
    len: usize,
    /// How many of its bytes were read.
    seen: usize,
    /// How many of its lines have ended.
    lines: u64,
    /// Where the current field begins: how many bytes and how many lines of the row come before it.
    begin: (usize, u64),
    /// How many bytes of the current field are in the buffer.
    written: usize,
}

/// The result of looking ahead.
enum Ahead {
    /// A row, and its length in bytes.
    Row(Fields, usize),
    /// A row of more than [`MAX_LEN`] bytes: how many of its bytes were seen, and whether its end is among them.
    TooLong(usize, bool),
    /// An unclosed quote: how many bytes and how many lines of the row come before it.
    NotClosed(usize, u64),
}

impl<R: BufRead> Rows<R> {
    /// Reads from a position in the file; the first byte is at 0, in line 1.
    pub(super) fn new(input: R, offset: u64, line: u64) -> Self {
        Self {
            input,
            ahead: Vec::new(),
            start: 0,
            offset,
            line,
            delimiter: b',',
            csv: csv_by(b','),
            field: vec![0; MAX_LEN + 1].into(),
        }
    }

    /// Sets the delimiter; the default is a comma.
    pub(super) fn delimited(mut self, delimiter: u8) -> Self {
        self.set_delimiter(delimiter);
        self
    }

    fn set_delimiter(&mut self, delimiter: u8) {
        self.delimiter = delimiter;
        self.csv = csv_by(delimiter);
    }

    /// The byte between two fields.
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// How many bytes of the file were returned, and the number of the next line.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.offset, self.line)
    }

    /// Skips a byte order mark.
    fn skip_mark(&mut self) -> io::Result<()> {
        if self.offset > 0 {
            return Ok(());
        }
        while self.rest().len() < BYTE_ORDER_MARK.len() && self.read_ahead()? {}
        if self.rest().starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        &self.ahead[self.start..]
    }

    /// Reads more bytes; returns false at the end of the input.
    fn read_ahead(&mut self) -> io::Result<bool> {
        self.ahead.drain(..self.start);
        self.start = 0;
        let read = self.input.fill_buf()?;
        let len = read.len();
        self.ahead.extend_from_slice(read);
        self.input.consume(len);
        Ok(len > 0)
    }

    /// Marks so many bytes of `ahead` as returned.
    fn consume(&mut self, len: usize) {
        let lines = self.rest()[..len].iter().filter(|b| **b == b'\n');
        self.line += lines.count() as u64;
        self.start += len;
        self.offset += len as u64;
    }

    /// Skips the rest of a line of any length.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let end = self.rest().iter().position(|b| *b == b'\n');
            self.consume(end.map_or(self.rest().len(), |end| end + 1));
            if end.is_some() || !self.read_ahead()? {
                return Ok(());
            }
        }
    }

    /// The next line that is not blank, without its end, and its number.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, Read<Vec<u8>>)>> {
        self.skip_mark()?;
        loop {
            let number = self.line;
            match self.read_line()? {
                Some(Read::Whole(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
                line => return Ok(line.map(|line| (number, line))),
            }
        }
    }

    fn read_line(&mut self) -> io::Result<Option<Read<Vec<u8>>>> {
        let mut seen = 0;
        loop {
            let end = self.rest()[seen..].iter().position(|b| *b == b'\n');
            let len = end.map_or(self.rest().len(), |end| seen + end);
            if len > MAX_LEN {
                self.skip_line()?;
                return Ok(Some(Read::TooLong));
            }
            if end.is_none() && self.read_ahead()? {
                seen = len;
                continue;
            }
            let line = self.rest()[..len].to_vec();
            self.consume(len + usize::from(end.is_some()));
            let ended = end.is_none() && len == 0;
            return Ok((!ended).then_some(Read::Whole(line)));
        }
    }

    /// The first row that is not blank. It is split by the first of these delimiters that makes it a header
    /// that fits; if none does, by the first delimiter. All further rows are split by the same delimiter.
    pub(super) fn header(
        &mut self,
        delimiters: &[u8],
        fits: impl Fn(&Fields) -> bool,
    ) -> io::Result<Option<Read<Fields>>> {
        self.skip_mark()?;
        while let Ahead::Row(fields, len) = self.look()? {
            if len == 0 || !is_blank(&fields) {
                break;
            }
            self.consume(len);
        }
        for delimiter in delimiters {
            self.set_delimiter(*delimiter);
            if let Ahead::Row(fields, _) = self.look()?
                && fits(&fields)
            {
                break;
            }
            self.set_delimiter(delimiters[0]);
        }
        Ok(self.next_row()?.map(|(_, row)| row))
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
        Ok(match self.look()? {
            Ahead::Row(fields, len) => {
                self.consume(len);
                Read::Whole(fields)
            }
            Ahead::TooLong(len, ended) => {
                self.consume(len);
                if !ended {
                    self.skip_line()?;
                }
                Read::TooLong
            }
            Ahead::NotClosed(len, lines) => {
                let line = self.line + lines;
                self.consume(len);
                self.skip_line()?;
                Read::NotClosed(line)
            }
        })
    }

    /// Looks at the next row without consuming it.
    fn look(&mut self) -> io::Result<Ahead> {
        if self.rest().is_empty() {
            self.read_ahead()?;
        }
        // csv-core skips empty rows, but their lines count.
        if matches!(self.rest().first(), None | Some(b'\n')) {
            return Ok(Ahead::Row(vec![Vec::new()], self.rest().len().min(1)));
        }
        self.csv.reset();
        let mut row = Row::default();
        loop {
            let is_end = row.seen == self.rest().len() && !self.read_ahead()?;
            let input = match is_end {
                true => b"\n",
                false => &self.ahead[self.start + row.seen..],
            };
            let (result, used, written) =
                self.csv.read_field(input, &mut self.field[row.written..]);
            row.written += written;
            if !is_end {
                row.seen += used;
                row.lines += input[..used].iter().filter(|b| **b == b'\n').count() as u64;
            }
            let raw = &self.ahead[self.start..][row.begin.0..row.seen];
            let record_end = match result {
                ReadFieldResult::Field { record_end } => record_end,
                // The line break is within quotes.
                _ if is_end => return Ok(row.not_closed()),
                _ if row.len + row.written > MAX_LEN => return Ok(row.overflow(raw)),
                _ => continue,
            };
            let raw = &raw[..raw.len() - usize::from(!is_end)];
            let field = &self.field[..row.written];
            if raw.contains(&b'\n') && !is_closed(raw, field) {
                return Ok(row.not_closed());
            }
            if record_end {
                return Ok(row.end(field));
            }
            row.end_field(field);
            if row.len > MAX_LEN {
                return Ok(Ahead::TooLong(row.seen, false));
            }
        }
    }
}

impl Row {
    fn end_field(&mut self, field: &[u8]) {
        // Empty fields take memory as well.
        self.len += field.len() + 1;
        if self.len <= MAX_LEN {
            self.fields.push(field.to_vec());
        }
        self.begin = (self.seen, self.lines);
        self.written = 0;
    }

    /// The quote at the beginning of the current field is not closed.
    fn not_closed(self) -> Ahead {
        let (len, lines) = self.begin;
        Ahead::NotClosed(len, lines)
    }

    /// The row has more than [`MAX_LEN`] bytes, and its current field so far is `raw` in the file.
    fn overflow(self, raw: &[u8]) -> Ahead {
        match raw.contains(&b'\n') {
            true => self.not_closed(),
            false => Ahead::TooLong(self.seen, false),
        }
    }

    /// The row ends with this field.
    fn end(mut self, field: &[u8]) -> Ahead {
        // The carriage return of CRLF. One at the end of a quoted field is removed as well; no URL has any.
        self.end_field(field.strip_suffix(b"\r").unwrap_or(field));
        match self.len <= MAX_LEN {
            true => Ahead::Row(self.fields, self.seen),
            false => Ahead::TooLong(self.seen, true),
        }
    }
}

/// A reader of rows with this delimiter.
fn csv_by(delimiter: u8) -> Reader {
    ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .build()
}

/// Whether the closing quote of a field of several lines, `raw` in the file, is its last byte but for the carriage return
/// of CRLF. Otherwise the quote rather opens another field, and the first quote was not closed in its line.
fn is_closed(raw: &[u8], field: &[u8]) -> bool {
    let (raw, field) = match (raw.strip_suffix(b"\"\r"), field.strip_suffix(b"\r")) {
        (Some(_), Some(field)) => (&raw[..raw.len() - 1], field),
        _ => (raw, field),
    };
    let text = raw
        .strip_prefix(b"\"")
        .and_then(|raw| raw.strip_suffix(b"\""));
    // RFC 4180 §2, 7: within quotes, two quotes are one. After the closing quote they are not, and the text ends with one.
    let quotes = field.iter().filter(|b| **b == b'"').count();
    text.is_some_and(|text| text.len() == field.len() + quotes)
}

/// Whether all fields are blank. Spreadsheets write delimiters for empty rows.
fn is_blank(fields: &[Vec<u8>]) -> bool {
    fields.iter().flatten().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Checks all rows of a text, with buffers of several sizes.
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
        check_rows("a,b\n,\n , ,\r\nc,\n", &[(1, &["a", "b"]), (4, &["c", ""])]);
        check_rows("a\"b,c\n", &[(1, &["a\"b", "c"])]);
        check_rows("\"a\"b,c\n", &[(1, &["ab", "c"])]);
        check_rows("é,b\n", &[(1, &["é", "b"])]);
    }

    #[test]
    fn only_the_row_that_is_too_long_is_skipped() {
        let long = "x".repeat(MAX_LEN);
        for (text, whole) in [
            (format!("a\n{long}\nb\n"), false),
            (format!("a\n{}\nb\n", &long[1..]), true),
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

    /// The rows of a text: the first line of each row with its fields, or the fault.
    fn rows(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for size in [3, 7, 8_192, 1 << 20] {
            let mut rows = Rows::new(BufReader::with_capacity(size, text.as_bytes()), 0, 1);
            let mut now = Vec::new();
            while let Some((line, row)) = rows.next_row().unwrap() {
                now.push(match row {
                    Read::Whole(fields) => {
                        let fields = fields.iter().map(|field| String::from_utf8_lossy(field));
                        format!("{line} {}", fields.collect::<Vec<_>>().join("|"))
                    }
                    Read::TooLong => format!("{line} too long"),
                    Read::NotClosed(opened) => format!("{line} opened in {opened}"),
                });
            }
            assert_eq!(rows.position().0, text.len() as u64);
            assert!(found.is_empty() || found == now, "pieces of {size}");
            found = now;
        }
        found
    }

    #[test]
    fn an_unclosed_quote_spoils_its_line() {
        let check = |text: &str, expected: &[&str]| assert_eq!(rows(text), expected, "{text:?}");
        // No quote closes it up to the end of the file, or within the length of a row.
        check("a\n\"b\nc\nd", &["1 a", "2 opened in 2", "3 c", "4 d"]);
        let many = "d,e\n".repeat(MAX_LEN);
        let found = rows(&format!("a\nx,\"b\nc\n{many}"));
        assert_eq!(found[..4], ["1 a", "2 opened in 2", "3 c", "4 d|e"]);
        assert_eq!(found.len(), 3 + MAX_LEN);
        // The opening quote of another field seems to close it.
        check(
            "x,\"b\ny,c\nz,\"d,e\"\n",
            &["1 opened in 1", "2 y|c", "3 z|d,e"],
        );
        check(
            "x,\"b\n\"y\",c\nz,d\n",
            &["1 opened in 1", "2 y|c", "3 z|d"],
        );
        check(
            "x,\"b\ny,\"c\nz,\"d\"\n",
            &["1 opened in 1", "2 opened in 2", "3 z|d"],
        );
        // A good field of two lines, and an unclosed quote in the second line.
        check("x,\"b\nc\",\"d\ne,f\n", &["1 opened in 2", "3 e|f"]);
        // A field of several lines may be followed by any kind of end.
        check("\"a\nb\"\r\nc\n", &["1 a\nb", "3 c"]);
        check("\"a\nb\",c\n", &["1 a\nb|c"]);
        check("\"a\nb\"", &["1 a\nb"]);
        check("\"a\n\"\"b\"\"\",c\n", &["1 a\n\"b\"|c"]);
        // An unclosed quote in a line that is too long spoils the whole line.
        let long = "x".repeat(MAX_LEN);
        let found = rows(&format!("a\n\"{long}{long},y\nb\n"));
        assert_eq!(found, ["1 a", "2 too long", "3 b"]);
    }

    #[test]
    fn the_delimiter_is_the_one_by_which_the_header_fits() {
        let check = |text: &str, delimiter: u8, header: &[&str], next: &[&str]| {
            let mut rows = Rows::new(BufReader::with_capacity(3, text.as_bytes()), 0, 1);
            let two = |fields: &Fields| fields.len() == 2;
            let Some(Read::Whole(found)) = rows.header(b",;\t", two).unwrap() else {
                panic!("{text:?}");
            };
            let bytes =
                |fields: &[&str]| -> Fields { fields.iter().map(|f| (*f).into()).collect() };
            assert_eq!(found, bytes(header), "{text:?}");
            assert_eq!(rows.delimiter(), delimiter, "{text:?}");
            let row = rows.next_row().unwrap().map(|(_, row)| row);
            assert_eq!(row, Some(Read::Whole(bytes(next))), "{text:?}");
        };
        check("a,b\nc;d,e\n", b',', &["a", "b"], &["c;d", "e"]);
        check(
            "\u{feff}\n \na;b\nc,d;e\n",
            b';',
            &["a", "b"],
            &["c,d", "e"],
        );
        check("a\tb\r\nc\t\"d\te\"\n", b'\t', &["a", "b"], &["c", "d\te"]);
        // If no delimiter fits, the first is used.
        check("a;b;c\nd,e\n", b',', &["a;b;c"], &["d", "e"]);
        let mut rows = Rows::new(&b" \n\n"[..], 0, 1);
        assert_eq!(rows.header(b",;", |_| true).unwrap(), None);
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
    fn reading_continues_from_a_position() {
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

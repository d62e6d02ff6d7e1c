//! CSV, NDJSON and lists of URLs from a file, or from standard input.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use md5::{Digest, Md5};
use tokio::sync::mpsc::Sender;

use super::columns::{Columns, Layout};
use super::encoding::{self, Text};
use super::piece::{PIECE_RECORDS, Piece, Position, SourceIdentity};
use super::record::Record;
use super::rows::{MAX_LEN, Read, Rows};
use crate::base::progress::Extent;

/// How many bytes at the beginning of a file belong to its identity.
const IDENTITY_LEN: u64 = 64 * 1024;
/// How much is read at once, in bytes.
const BUFFER_LEN: usize = 256 * 1024;
/// The most bytes of a file in a piece, without its last record.
const PIECE_LEN: u64 = 512 * 1024;

/// What the lines of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A header and rows.
    Csv(Layout),
    /// One link per line, in JSON.
    Ndjson,
    /// One URL per line, and nothing else.
    Urls,
}

/// A file that is open, or standard input.
#[derive(Debug)]
pub(super) struct File {
    format: Format,
    input: Input,
}

#[derive(Debug)]
enum Input {
    /// A file of a known length, with random access.
    Regular {
        file: fs::File,
        path: PathBuf,
        size: u64,
        /// Whether it is in UTF-16. Positions are always those of the text in UTF-8.
        utf_16: bool,
    },
    /// A pipe or a device.
    Stream {
        file: fs::File,
        path: PathBuf,
    },
    Stdin,
}

impl File {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(format: Format, path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                bail!("standard input is a terminal; name a file, or pipe one in");
            }
            let input = Input::Stdin;
            return Ok(Self { format, input });
        }
        let shown = path.display();
        let file = fs::File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let about = file
            .metadata()
            .with_context(|| format!("cannot read the metadata of {shown}"))?;
        if about.is_dir() {
            bail!("{shown} is a directory");
        }
        if !about.is_file() {
            let path = path.to_owned();
            let input = Input::Stream { file, path };
            return Ok(Self { format, input });
        }
        let first = beginning(&file, 2).with_context(|| format!("cannot read {shown}"))?;
        let input = Input::Regular {
            file,
            path: path.to_owned(),
            size: about.len(),
            utf_16: encoding::is_utf_16(&first),
        };
        Ok(Self { format, input })
    }

    /// See [`super::source::Source::identity`]. Name and length alone could not tell the exports of two months
    /// apart.
    pub(super) fn identity(&self) -> anyhow::Result<Option<SourceIdentity>> {
        let Input::Regular {
            file, path, size, ..
        } = &self.input
        else {
            return Ok(None);
        };
        let beginning = beginning(file, IDENTITY_LEN)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Some(SourceIdentity::File {
            format: match &self.format {
                Format::Csv(layout) => layout.describe(),
                Format::Ndjson => "ndjson".into(),
                Format::Urls => "urls".into(),
            },
            name: name.into_owned(),
            size: *size,
            begins: format!(
                "{:032x}",
                u128::from_be_bytes(Md5::digest(&beginning).into())
            ),
        }))
    }

    /// See [`super::source::Source::extent`].
    pub(super) fn extent(&self) -> Extent {
        match &self.input {
            Input::Regular {
                size,
                utf_16: false,
                ..
            } => Extent::Bytes(*size),
            // Progress counts bytes of UTF-8, and the file has others.
            Input::Regular { .. } | Input::Stream { .. } | Input::Stdin => Extent::Unknown,
        }
    }

    /// Reads from a position to the end.
    pub(super) fn read(
        self,
        from: &Position,
        pieces: &Sender<anyhow::Result<Piece>>,
    ) -> anyhow::Result<()> {
        let (offset, line) = match from {
            Position::File { offset, line } => (*offset, *line),
            Position::End => return Ok(()),
            Position::Begin | Position::Key(_) => (0, 1),
        };
        let format = &self.format;
        match &self.input {
            Input::Stdin => {
                let name = "standard input".to_owned();
                RecordReader::open(format, io::stdin().lock(), name)?.read(pieces)
            }
            Input::Stream { file, path } => {
                RecordReader::open(format, file, path.display().to_string())?.read(pieces)
            }
            Input::Regular {
                file, path, utf_16, ..
            } => {
                let name = path.display().to_string();
                let mut reader = RecordReader::open(format, file, name.clone())?;
                if offset > 0 {
                    let text = text_from(file, offset, *utf_16);
                    let text = text.with_context(|| format!("cannot read {name}"))?;
                    let delimiter = reader.rows.delimiter();
                    reader.rows = Rows::new(text, offset, line).delimited(delimiter);
                }
                reader.read(pieces)
            }
        }
    }
}

/// The first bytes of a file, which is rewound afterwards.
fn beginning(mut file: &fs::File, len: u64) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    file.take(len).read_to_end(&mut beginning)?;
    file.rewind()?;
    Ok(beginning)
}

/// The text of a file from an offset on, in bytes of UTF-8.
fn text_from(mut file: &fs::File, offset: u64, utf_16: bool) -> io::Result<Text<'_>> {
    if utf_16 {
        // The length of that text in UTF-16 is known only after reading it.
        file.rewind()?;
        let mut text = encoding::text(file)?;
        io::copy(&mut text.by_ref().take(offset), &mut io::sink())?;
        return Ok(text);
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(BUFFER_LEN, Box::new(file)))
}

/// Reads the records of a file.
struct RecordReader<R> {
    rows: Rows<R>,
    lines: Lines,
    name: String,
}

/// How lines or rows become records.
enum Lines {
    Csv(Columns),
    Ndjson,
    Urls,
}

impl<'a> RecordReader<Text<'a>> {
    /// Reads from the beginning, including the header of CSV.
    fn open(format: &Format, input: impl io::Read + 'a, name: String) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {name}");
        let mut rows = Rows::new(encoding::text(input).with_context(cannot)?, 0, 1);
        let lines = match format {
            Format::Ndjson => Lines::Ndjson,
            Format::Urls => Lines::Urls,
            Format::Csv(layout) => {
                let fits = |fields: &_| Columns::fits(fields, layout);
                let header = rows
                    .header(&layout.delimiters(), fits)
                    .with_context(cannot)?;
                Lines::Csv(Columns::read(header, layout).with_context(|| name.clone())?)
            }
        };
        Ok(Self { rows, lines, name })
    }
}

impl<R: BufRead> RecordReader<R> {
    /// Sends all records, in pieces.
    fn read(mut self, pieces: &Sender<anyhow::Result<Piece>>) -> anyhow::Result<()> {
        loop {
            let (begin, _) = self.rows.position();
            let mut records = Vec::new();
            let mut next = Position::Begin;
            while records.len() < PIECE_RECORDS && self.rows.position().0 - begin < PIECE_LEN {
                match self.next()? {
                    Some(record) => records.push(record),
                    None => {
                        next = Position::End;
                        break;
                    }
                }
            }
            let ended = next == Position::End;
            if !ended {
                let (offset, line) = self.rows.position();
                next = Position::File { offset, line };
            }
            let piece = Piece {
                part: 0,
                records,
                next,
            };
            if pieces.blocking_send(Ok(piece)).is_err() || ended {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> anyhow::Result<Option<Record>> {
        let record = match &self.lines {
            Lines::Csv(columns) => self.rows.next_row().map(|row| {
                row.map(|(line, row)| whole(line, row, |fields| columns.record(line, fields)))
            }),
            Lines::Ndjson => self.rows.next_line().map(|line| {
                line.map(|(line, text)| whole(line, text, |text| Record::from_json(line, &text)))
            }),
            Lines::Urls => self.rows.next_line().map(|line| {
                line.map(|(line, text)| whole(line, text, |text| Record::from_url(line, text)))
            }),
        };
        record.with_context(|| format!("cannot read {}", self.name))
    }
}

/// The record of a line or row, or a bad record if it is not whole.
fn whole<T>(line: u64, read: Read<T>, record: impl FnOnce(T) -> Record) -> Record {
    match read {
        Read::Whole(read) => record(read),
        Read::TooLong => Record::bad(Some(line), format!("it has more than {MAX_LEN} bytes")),
        Read::NotClosed(opened) => Record::bad(
            Some(line),
            format!(
                "a quote is opened in line {opened} and not closed; close it, or double it if it belongs to the text"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv() -> Format {
        Format::Csv(Layout::default())
    }

    /// The records of a text: line, key, URL, or the fault.
    fn records(format: Format, text: &str) -> anyhow::Result<Vec<String>> {
        records_of(&format, text.as_bytes())
    }

    fn records_of(format: &Format, text: &[u8]) -> anyhow::Result<Vec<String>> {
        let mut reader = RecordReader::open(format, text, "x".into())?;
        let mut found = Vec::new();
        while let Some(record) = reader.next()? {
            let line = record.line.unwrap();
            let (key, url) = (record.key, record.url);
            found.push(match record.terms {
                Ok(_) => format!("{line} {key} {url}"),
                Err(flaw) => format!("{line} {key} {url} {flaw:?}"),
            });
        }
        Ok(found)
    }

    fn check(format: Format, text: &str, expected: &[&str]) {
        assert_eq!(records(format, text).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn csv_with_a_header() {
        let csv = |text: &str, expected: &[&str]| check(csv(), text, expected);
        csv(
            "miniUrl,fullUrl\naB3,u\n\"x\",\"v,w\"\n",
            &["2 aB3 u", "3 x v,w"],
        );
        csv("\u{feff}URL , Code,other\r\nu,x,y\r\n", &["2 x u"]);
        csv(
            "code,name,url\nx,x.s.example.com,u\n",
            &["2 x.s.example.com u"],
        );
        csv("code,name,url\nx,,u\n", &["2 x u"]);
        // A row may have an empty code, but it needs a URL.
        csv("code,url\n,u\n", &["2  u"]);
        let none = "it has no URL; it needs one of fullUrl, url, longUrl, destinationUrl, destination, originalUrl";
        csv("code,url\nx\n", &[&format!("2 x  Bad({none:?})")]);
        csv("code,url\nx,u,, \n,,\ny,v\n", &["2 x u", "4 y v"]);
        // The end of a URL with a comma is not silently dropped.
        let more = "it has 4 fields, and the header has 2; put fields that contain the delimiter in double quotes";
        csv("code,url\nx,u,v,w\n", &[&format!("2   Bad({more:?})")]);
        csv("code,url\n", &[]);
    }

    #[test]
    fn csv_without_the_right_header() {
        let refused = |text: &str, expected: &str| {
            let error = records(csv(), text).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("x: {expected}"), "{text:?}");
        };
        refused("", "there is no header line");
        refused(
            &"x".repeat(MAX_LEN + 1),
            "the header has more than 65536 bytes",
        );
        let old = "the header contains a carriage return that does not end a line; end lines with LF or CRLF, for instance \
                   with `tr '\\r' '\\n'`";
        refused("code,url,title\rx,u,t\ry,v,t\r", old);
        let no_text = "the header has the control character 0x00, so this is not text; save the file as CSV in \
                       UTF-8, or in UTF-16 with a byte order mark";
        refused("c\0o\0d\0e\0,\0u\0r\0l\0\r\0\n\0", no_text);
        let code = "such as miniUrl, name, code, shortCode, keyword, customLink, shortUrl, bitlink, link; name the \
                    column with --column code=NAME, or use `tinyns import urls` for URLs without codes";
        refused(
            "slug;url\nx;u\n",
            &format!("the header \"slug;url\" has no column for the code, {code}"),
        );
        let url = "such as fullUrl, url, longUrl, destinationUrl, destination, originalUrl; name the column with \
                   --column url=NAME";
        refused(
            "code,uri\n",
            &format!("the header \"code,uri\" has no column for the URL, {url}"),
        );
        refused(
            "code,url,Code\n",
            "the header has the column \"Code\" twice",
        );
        refused(
            "code,\"url\nx,u\n",
            "line 1: a quote in the header is not closed; close it, or remove it",
        );
    }

    #[test]
    fn an_unclosed_quote_spoils_its_line() {
        let bad = "a quote is opened in line 3 and not closed; close it, or double it if it belongs to the text";
        check(
            csv(),
            "code,url\nx,u\ny,\"v\nz,w\n",
            &["2 x u", &format!("3   Bad({bad:?})"), "4 z w"],
        );
    }

    #[test]
    fn delimiters_and_columns_of_the_command_line() {
        check(csv(), "code;url\nx;u,v\n", &["2 x u,v"]);
        check(csv(), "code\turl\r\nx\tu\r\n", &["2 x u"]);
        check(csv(), "code|url\nx|u\n", &["2 x u"]);
        let columns = ["code=Slug", "url=Target"].map(|column| column.parse().unwrap());
        let layout = Layout::new(columns.into(), "~".parse().ok()).unwrap();
        check(
            Format::Csv(layout.clone()),
            "Target~slug\nu;v~x\n",
            &["2 x u;v"],
        );
        // Without --delimiter the delimiter is found by these columns as well.
        let layout = Layout {
            delimiter: None,
            ..layout
        };
        check(Format::Csv(layout), "Target;slug\nu~v;x\n", &["2 x u~v"]);
    }

    #[test]
    fn lines_of_urls() {
        let text = "\u{feff}https://example.net/a\r\n\n  https://example.net/b,c \n\"x\n";
        let expected = [
            "1  https://example.net/a",
            "3  https://example.net/b,c",
            "4  \"x",
        ];
        check(Format::Urls, text, &expected);
    }

    fn utf_16(text: &str) -> Vec<u8> {
        let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn text_in_utf_16() {
        let found = records_of(&csv(), &utf_16("code;url\r\nx;u\r\nä;v\r\n")).unwrap();
        assert_eq!(found, ["2 x u", "3 ä v"]);
        let found =
            records_of(&Format::Ndjson, &utf_16("{\"code\":\"x\",\"url\":\"u\"}\n")).unwrap();
        assert_eq!(found, ["1 x u"]);
        assert_eq!(
            records_of(&Format::Urls, &utf_16("u\nv")).unwrap(),
            ["1  u", "2  v"]
        );
    }

    #[test]
    fn text_that_is_not_utf_8() {
        let text = &b"code,url,other\nx,\xff,\n\xff,u,\ny,v,\xff\n"[..];
        let mut reader = RecordReader::open(&csv(), text, "x".into()).unwrap();
        let mut next = || reader.next().unwrap().unwrap();
        assert_eq!(next(), Record::bad(Some(2), "url is not UTF-8 text"));
        assert_eq!(next(), Record::bad(Some(3), "code is not UTF-8 text"));
        assert_eq!(next().key, "y");
    }

    #[test]
    fn ndjson() {
        let long = format!("{{\"code\":\"x\",\"url\":\"{}\"}}", "u".repeat(MAX_LEN));
        let text = format!("{{\"code\":\"x\",\"url\":\"u\"}}\n\n{long}\n[]\n");
        let expected = [
            "1 x u",
            "3   Bad(\"it has more than 65536 bytes\")",
            "4   Bad(\"the line is not a JSON object\")",
        ];
        check(Format::Ndjson, &text, &expected);
    }

    /// The positions and the sizes of all pieces from a position on.
    fn pieces(path: &Path, from: &Position) -> Vec<(usize, Position)> {
        let file = File::open(csv(), path).unwrap();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        file.read(from, &sender).unwrap();
        drop(sender);
        let mut found = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            let piece = piece.unwrap();
            found.push((piece.records.len(), piece.next));
        }
        found
    }

    #[test]
    fn reading_can_start_at_any_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        let mut text = "code,url\n".to_owned();
        for i in 0..1_200 {
            text += &format!("c{i},\"u\n{i}\"\n");
        }
        fs::write(&path, &text).unwrap();
        let all = pieces(&path, &Position::Begin);
        let sizes: Vec<_> = all.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [500, 500, 200]);
        assert_eq!(all[2].1, Position::End);
        assert_eq!(pieces(&path, &all[0].1), all[1..]);
        assert_eq!(pieces(&path, &all[1].1), all[2..]);
        assert_eq!(pieces(&path, &Position::End), []);
        // Positions in UTF-16 are those of the text in UTF-8.
        fs::write(&path, utf_16(&text)).unwrap();
        assert_eq!(pieces(&path, &Position::Begin), all);
        assert_eq!(pieces(&path, &all[1].1), all[2..]);
        // Long records make small pieces.
        let long = format!(
            "code,url\n{}",
            format!("x,{}\n", "u".repeat(60_000)).repeat(30)
        );
        fs::write(&path, long).unwrap();
        let sizes: Vec<_> = pieces(&path, &Position::Begin);
        let sizes: Vec<_> = sizes.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [9, 9, 9, 3]);
    }

    #[test]
    fn the_identity_of_a_file_has_its_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        let identity = |text: &str| {
            fs::write(&path, text).unwrap();
            let file = File::open(csv(), &path).unwrap();
            file.identity().unwrap().unwrap()
        };
        let first = identity("code,url\nx,u\n");
        assert_eq!(first, identity("code,url\nx,u\n"));
        assert_ne!(first, identity("code,url\ny,u\n"));
        assert_ne!(first, identity("code,url\nx,u\n\n"));
        // Reading the identity does not move the position.
        let file = File::open(csv(), &path).unwrap();
        file.identity().unwrap();
        let Input::Regular { file, .. } = file.input else {
            panic!("no regular file");
        };
        assert_eq!((&file).stream_position().unwrap(), 0);
        let stream = File::open(csv(), Path::new("/dev/null")).unwrap();
        assert_eq!(stream.identity().unwrap(), None);
        assert!(File::open(csv(), dir.path()).is_err());
    }
}

//! CSV and NDJSON from a file, or from standard input.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use md5::{Digest, Md5};
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

use super::record::{KEYS, MEMBERS, Record, URLS};
use super::rows::{Fields, MAX_LEN, Read, Rows};
use super::source::{Identity, PIECE_RECORDS, Piece, Position};
use crate::config::one_line;
use crate::progress::Extent;

/// How much of a file its identity looks at, in bytes.
const IDENTITY_LEN: u64 = 64 * 1024;
/// How much is read at once, in bytes.
const BUFFER_LEN: usize = 256 * 1024;
/// How many bytes of a file a piece has at most, but for its last record.
const PIECE_LEN: u64 = 512 * 1024;

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

/// A file that is open, or standard input.
#[derive(Debug)]
pub(super) struct File {
    format: Format,
    input: Input,
}

#[derive(Debug)]
enum Input {
    /// A file of a known length, in which one can go to and fro.
    Regular {
        file: fs::File,
        path: PathBuf,
        size: u64,
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
            .with_context(|| format!("cannot look at {shown}"))?;
        if about.is_dir() {
            bail!("{shown} is a directory");
        }
        let path = path.to_owned();
        let input = match about.is_file() {
            true => Input::Regular {
                file,
                path,
                size: about.len(),
            },
            false => Input::Stream { file, path },
        };
        Ok(Self { format, input })
    }

    /// See [`super::source::Source::identity`]. Name and length alone would take one month's export
    /// for another's.
    pub(super) fn identity(&self) -> anyhow::Result<Option<Identity>> {
        let Input::Regular { file, path, size } = &self.input else {
            return Ok(None);
        };
        let mut beginning = Vec::new();
        let mut file = file;
        file.take(IDENTITY_LEN)
            .read_to_end(&mut beginning)
            .and_then(|_| file.rewind())
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Some(Identity::File {
            format: match self.format {
                Format::Csv => "csv".into(),
                Format::Ndjson => "ndjson".into(),
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
            Input::Regular { size, .. } => Extent::Bytes(*size),
            Input::Stream { .. } | Input::Stdin => Extent::Unknown,
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
        match &self.input {
            Input::Stdin => {
                let rows = rows(io::stdin().lock());
                Reader::open(self.format, rows, "standard input")?.read(pieces)
            }
            Input::Stream { file, path } => {
                let name = path.display().to_string();
                Reader::open(self.format, rows(file), &name)?.read(pieces)
            }
            Input::Regular { file, path, .. } => {
                let name = path.display().to_string();
                let mut reader = Reader::open(self.format, rows(file), &name)?;
                if offset > 0 {
                    let mut file = file;
                    file.seek(SeekFrom::Start(offset))
                        .with_context(|| format!("cannot read {name}"))?;
                    let buffer = BufReader::with_capacity(BUFFER_LEN, file);
                    reader.rows = Rows::new(buffer, offset, line);
                }
                reader.read(pieces)
            }
        }
    }
}

fn rows<R: io::Read>(input: R) -> Rows<BufReader<R>> {
    Rows::new(BufReader::with_capacity(BUFFER_LEN, input), 0, 1)
}

/// Makes records of what stands in a file.
struct Reader<R> {
    rows: Rows<R>,
    /// What the columns mean; none where lines are JSON.
    columns: Option<Columns>,
    name: String,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header, if there is to be one.
    fn open(format: Format, mut rows: Rows<R>, name: &str) -> anyhow::Result<Self> {
        let columns = match format {
            Format::Ndjson => None,
            Format::Csv => {
                let header = rows.next_row();
                let header = header.with_context(|| format!("cannot read {name}"))?;
                Some(Columns::read(header.map(|(_, row)| row)).with_context(|| name.to_owned())?)
            }
        };
        Ok(Self {
            rows,
            columns,
            name: name.into(),
        })
    }

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
        let too_long = |line| Record::bad(Some(line), format!("it has more than {MAX_LEN} bytes"));
        let read = match &self.columns {
            None => self.rows.next_line().map(|line| {
                line.map(|(line, text)| match text {
                    Read::Whole(text) => Ok(Record::from_json(line, &text)),
                    Read::TooLong | Read::NotClosed => Ok(too_long(line)),
                })
            }),
            Some(columns) => self.rows.next_row().map(|row| {
                row.map(|(line, fields)| match fields {
                    Read::Whole(fields) => Ok(columns.record(line, fields)),
                    Read::TooLong => Ok(too_long(line)),
                    // All that follows went with it: that is not one bad record, but no CSV.
                    Read::NotClosed => Err(line),
                })
            }),
        };
        let name = &self.name;
        match read.with_context(|| format!("cannot read {name}"))? {
            None => Ok(None),
            Some(Ok(record)) => Ok(Some(record)),
            Some(Err(line)) => Err(anyhow!("{name}:{line}: a quote is opened and never closed")),
        }
    }
}

/// Which member stands in which column.
#[derive(Debug, PartialEq, Eq)]
struct Columns(Vec<Option<&'static str>>);

impl Columns {
    /// Reads a header. The letters' case and blanks around a name do not matter, and columns of
    /// other names are not looked at.
    fn read(header: Option<Read<Fields>>) -> anyhow::Result<Self> {
        let Some(Read::Whole(header)) = header else {
            bail!("there is no header line");
        };
        let names: Vec<_> = header.iter().map(|n| String::from_utf8_lossy(n)).collect();
        let mut columns = Vec::new();
        for name in &names {
            let name = name.trim();
            let known = MEMBERS.iter().find(|m| m.eq_ignore_ascii_case(name));
            if known.is_some() && columns.contains(&known.copied()) {
                bail!("the header has the column {:?} twice", one_line(name));
            }
            columns.push(known.copied());
        }
        let any = |wanted: &[&str]| columns.iter().flatten().any(|name| wanted.contains(name));
        let found = one_line(&names.join(","));
        let found: String = found.chars().take(200).collect();
        if !any(&KEYS) {
            bail!("the header {found:?} has no column {}", KEYS.join(", "));
        }
        if !any(&URLS) {
            bail!("the header {found:?} has no column {}", URLS.join(", "));
        }
        Ok(Self(columns))
    }

    fn record(&self, line: u64, fields: Fields) -> Record {
        let mut members = Map::new();
        for (name, field) in self.0.iter().zip(fields) {
            let Some(name) = name else {
                continue;
            };
            match String::from_utf8(field) {
                Ok(text) => members.insert((*name).into(), Value::String(text)),
                Err(_) => return Record::bad(Some(line), format!("{name} is not UTF-8 text")),
            };
        }
        Record::from_members(Some(line), members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a text: line, key, URL, or what is wrong.
    fn records(format: Format, text: &str) -> anyhow::Result<Vec<String>> {
        let mut reader = Reader::open(format, rows(text.as_bytes()), "x")?;
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
    fn csv_under_its_header() {
        let csv = |text: &str, expected: &[&str]| check(Format::Csv, text, expected);
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
        // A row without a code has one made, one without a URL is none.
        csv("code,url\n,u\n", &["2  u"]);
        csv("code,url\nx\n", &["2 x  Bad(\"it has no fullUrl or url\")"]);
        csv("code,url\nx,u,v,w\n", &["2 x u"]);
        csv("code,url\n", &[]);
    }

    #[test]
    fn csv_without_the_right_header() {
        let refused = |text: &str, expected: &str| {
            let error = records(Format::Csv, text).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("x: {expected}"), "{text:?}");
        };
        refused("", "there is no header line");
        refused(
            "code;url\nx;u\n",
            "the header \"code;url\" has no column miniUrl, name, code",
        );
        refused(
            "code,uri\n",
            "the header \"code,uri\" has no column fullUrl, url",
        );
        refused(
            "code,url,Code\n",
            "the header has the column \"Code\" twice",
        );
        let open = records(Format::Csv, "code,url\nx,u\ny,\"v\nz,w\n").unwrap_err();
        assert_eq!(open.to_string(), "x:3: a quote is opened and never closed");
    }

    #[test]
    fn text_that_is_not_utf_8() {
        let rows = rows(&b"code,url,other\nx,\xff,\n\xff,u,\ny,v,\xff\n"[..]);
        let mut reader = Reader::open(Format::Csv, rows, "x").unwrap();
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
        let file = File::open(Format::Csv, path).unwrap();
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
    fn a_file_is_read_in_pieces_from_any_of_them_on() {
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
    fn a_file_is_known_by_more_than_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        let identity = |text: &str| {
            fs::write(&path, text).unwrap();
            let file = File::open(Format::Csv, &path).unwrap();
            file.identity().unwrap().unwrap()
        };
        let first = identity("code,url\nx,u\n");
        assert_eq!(first, identity("code,url\nx,u\n"));
        assert_ne!(first, identity("code,url\ny,u\n"));
        assert_ne!(first, identity("code,url\nx,u\n\n"));
        // Looking at it does not move it.
        let file = File::open(Format::Csv, &path).unwrap();
        file.identity().unwrap();
        let Input::Regular { file, .. } = file.input else {
            panic!("no regular file");
        };
        assert_eq!((&file).stream_position().unwrap(), 0);
        let stream = File::open(Format::Csv, Path::new("/dev/null")).unwrap();
        assert_eq!(stream.identity().unwrap(), None);
        assert!(File::open(Format::Csv, dir.path()).is_err());
    }
}

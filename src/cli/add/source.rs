//! The URLs of `add`, in pieces: those of the command line, or the lines of standard input.
//!
//! A piece of standard input has the lines that have arrived, and waits only for its first line. So a program that
//! writes a URL from time to time gets its short URL at once, and a file is read in large pieces. The buffer bounds the
//! size of a piece.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Stdin};
use std::slice;

use anyhow::{Context, bail};

use crate::cli::failure::Place;

/// How much of standard input is read at once, in bytes. The URLs of a piece, and the answers to them, fit into the
/// buffers of both ends of a connection; see [`Api::batch`](crate::cli::api_client::Api::batch).
const BUFFER_LEN: usize = 64 * 1024;
/// The longest line, in bytes. The server takes URLs of 2,048 bytes, and says so about longer ones.
const MAX_LINE: usize = 8 * 1024;
/// The most URLs of a piece.
const MAX_URLS: usize = 500;
/// The most bytes of the URLs of a piece, without the last one.
const MAX_BYTES: usize = BUFFER_LEN;

/// A URL to shorten.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) place: Place,
    /// The URL, or why the line has none.
    pub(super) url: Result<String, LineError>,
}

/// Why a line of standard input is no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("the line has more than {MAX_LINE} bytes")]
    TooLong,
    #[error("the line is not UTF-8 text")]
    NotText,
}

/// Where the URLs come from.
pub(super) enum Source<'a> {
    Urls(slice::Iter<'a, String>),
    Stdin(Lines<Stdin>),
}

impl<'a> Source<'a> {
    pub(super) fn urls(urls: &'a [String]) -> Self {
        Self::Urls(urls.iter())
    }

    /// The lines of standard input.
    ///
    /// # Errors
    /// It is a terminal.
    pub(super) fn stdin() -> anyhow::Result<Self> {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal; pipe URLs in, or name them on the command line");
        }
        Ok(Self::Stdin(Lines::new(io::stdin())))
    }

    /// The next URLs: none at the end.
    ///
    /// # Errors
    /// Standard input cannot be read.
    pub(super) fn piece(&mut self) -> anyhow::Result<Vec<Item>> {
        match self {
            Self::Urls(urls) => Ok(piece_of(urls)),
            Self::Stdin(lines) => lines.piece().context("cannot read standard input"),
        }
    }
}

fn piece_of(urls: &mut slice::Iter<'_, String>) -> Vec<Item> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < MAX_URLS && bytes < MAX_BYTES {
        let Some(url) = urls.next() else {
            break;
        };
        bytes += url.len();
        items.push(Item {
            place: Place::Argument {
                argument: url.clone(),
            },
            url: Ok(url.clone()),
        });
    }
    items
}

/// The lines of a text.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    /// The number of the next line.
    number: u64,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_LEN, input),
            number: 1,
        }
    }

    fn piece(&mut self) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(line) = self.line()? else {
                return Ok(items);
            };
            bytes += line.as_ref().map_or(0, Vec::len);
            let line = line.and_then(|line| text(&line, self.number == 1));
            let place = Place::Line { line: self.number };
            self.number += 1;
            // A line without a URL is skipped.
            if line.as_ref().is_ok_and(String::is_empty) {
                continue;
            }
            items.push(Item { place, url: line });
            let more = self.input.buffer().contains(&b'\n');
            if !more || items.len() >= MAX_URLS || bytes >= MAX_BYTES {
                return Ok(items);
            }
        }
    }

    /// The next line without its end; none at the end of the input. A line that is too long is read to its end, and
    /// not kept.
    fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, LineError>>> {
        let mut line = Vec::new();
        let mut limited = self.input.by_ref().take(MAX_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > MAX_LINE && !line.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Err(LineError::TooLong)));
        }
        Ok(Some(Ok(line)))
    }
}

/// The text of a line, without the blanks around it and without the byte order mark of a first line.
fn text(line: &[u8], is_first: bool) -> Result<String, LineError> {
    let text = str::from_utf8(line).map_err(|_| LineError::NotText)?;
    let text = match is_first {
        true => text.strip_prefix('\u{feff}').unwrap_or(text),
        false => text,
    };
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each read returns one of these.
    struct Reads(std::vec::IntoIter<Vec<u8>>);

    impl Read for Reads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(bytes) = self.0.next() else {
                return Ok(0);
            };
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    /// The pieces of a text that arrives like this. An error is its number.
    fn pieces(reads: &[&[u8]]) -> Vec<Vec<(u64, Result<String, LineError>)>> {
        let reads: Vec<_> = reads.iter().map(|bytes| bytes.to_vec()).collect();
        let mut lines = Lines::new(Reads(reads.into_iter()));
        let mut pieces = Vec::new();
        loop {
            let piece = lines.piece().unwrap();
            if piece.is_empty() {
                return pieces;
            }
            let numbered = piece.into_iter().map(|item| match item.place {
                Place::Line { line } => (line, item.url),
                place => panic!("{place}"),
            });
            pieces.push(numbered.collect());
        }
    }

    #[test]
    fn a_piece_is_what_has_arrived() {
        let ok = |number: u64, url: &str| (number, Ok(url.to_owned()));
        let found = pieces(&[b"\xef\xbb\xbfa\n\n \r\nb\r\nc", b"d\n", b"e"]);
        assert_eq!(
            found,
            [
                vec![ok(1, "a"), ok(4, "b")],
                vec![ok(5, "cd")],
                vec![ok(6, "e")]
            ]
        );
        assert!(pieces(&[]).is_empty());
        assert!(pieces(&[b"\n\n"]).is_empty());
    }

    #[test]
    fn bad_lines_are_skipped_alone() {
        let long = [&b"x".repeat(MAX_LINE)[..], b"\n"].concat();
        let longer = [&b"x".repeat(MAX_LINE + 1)[..], b"\n"].concat();
        let found = pieces(&[&long, &longer, b"\xff\nlast"]);
        let found: Vec<_> = found.concat();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].1.as_ref().map(String::len), Ok(MAX_LINE));
        assert_eq!(found[1], (2, Err(LineError::TooLong)));
        assert_eq!(found[2], (3, Err(LineError::NotText)));
        assert_eq!(found[3], (4, Ok("last".into())));
    }

    #[test]
    fn pieces_are_bounded() {
        let text = b"u\n".repeat(BUFFER_LEN / 2);
        let sizes: Vec<_> = pieces(&[&text]).iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= MAX_URLS), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), BUFFER_LEN / 2);
        let urls = vec!["u".repeat(MAX_BYTES / 4); 10];
        let mut source = Source::urls(&urls);
        let mut sizes = Vec::new();
        loop {
            match source.piece().unwrap().len() {
                0 => break,
                size => sizes.push(size),
            }
        }
        assert_eq!(sizes, [4, 4, 2]);
    }
}

//! The lines of a body.

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::stream::{self, Stream, StreamExt};

use crate::http::api::body::MAX_BODY_BYTES;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1. Blank lines count.
    pub(super) number: u64,
    /// The line without its line break; none if it is too long.
    pub(super) text: Option<Bytes>,
}

/// Cuts a body into lines of at most [`MAX_BODY_BYTES`].
pub(super) struct Lines {
    body: BodyDataStream,
    /// Received bytes that are not yet cut into lines.
    chunk: Bytes,
    /// The line that began in an earlier chunk.
    begun: Vec<u8>,
    /// Whether that line is too long already. Then its text is not kept.
    too_long: bool,
    /// The number of the line being read.
    number: u64,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            chunk: Bytes::new(),
            begun: Vec::new(),
            too_long: false,
            number: 1,
            ended: false,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Line, axum::Error>> {
        stream::unfold(self, |mut lines| async {
            let line = lines.next().await?;
            Some((line, lines))
        })
    }

    async fn next(&mut self) -> Option<Result<Line, axum::Error>> {
        loop {
            if let Some(end) = self.chunk.iter().position(|b| *b == b'\n') {
                let mut last = self.chunk.split_to(end + 1);
                last.truncate(end);
                if let Some(line) = self.complete(last) {
                    return Some(Ok(line));
                }
                continue;
            }
            let part = std::mem::take(&mut self.chunk);
            if self.ended {
                return None;
            }
            self.keep(&part);
            match self.body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    return self.complete(Bytes::new()).map(Ok);
                }
            }
        }
    }

    /// Adds a part to the unfinished line.
    fn keep(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > MAX_BODY_BYTES {
            self.too_long = true;
            self.begun = Vec::new();
        }
        if !self.too_long {
            self.begun.extend_from_slice(part);
        }
    }

    /// Completes the line with its last part; none if it is blank.
    fn complete(&mut self, last: Bytes) -> Option<Line> {
        let text = if self.begun.is_empty() && !self.too_long && last.len() <= MAX_BODY_BYTES {
            last
        } else {
            self.keep(&last);
            Bytes::from(std::mem::take(&mut self.begun))
        };
        let too_long = std::mem::take(&mut self.too_long);
        let number = self.number;
        self.number += 1;
        if too_long {
            return Some(Line { number, text: None });
        }
        let blank = text.iter().all(u8::is_ascii_whitespace);
        (!blank).then_some(Line {
            number,
            text: Some(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a body that arrives in these chunks: number, and length or -1 if too long.
    async fn lines(chunks: Vec<String>) -> Vec<(u64, i64)> {
        let chunks = chunks.into_iter().map(Ok::<_, axum::Error>);
        let body = Body::from_stream(stream::iter(chunks));
        let lines = Lines::new(body).into_stream();
        let shown = lines.map(|line| {
            let line = line.unwrap();
            (line.number, line.text.map_or(-1, |text| text.len() as i64))
        });
        shown.collect().await
    }

    #[tokio::test]
    async fn lines_do_not_depend_on_chunks() {
        let text = "ab\n\n \r\ncde\r\n\nf";
        let expected = [(1, 2), (4, 4), (6, 1)];
        for size in 1..=text.len() {
            let chunks = text.as_bytes().chunks(size);
            let chunks = chunks.map(|c| String::from_utf8(c.to_vec()).unwrap());
            assert_eq!(lines(chunks.collect()).await, expected, "chunks of {size}");
        }
        assert_eq!(lines(vec![]).await, []);
        assert_eq!(lines(vec!["\n".into()]).await, []);
        assert_eq!(lines(vec!["a\n".into()]).await, [(1, 1)]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_alone() {
        let full = "x".repeat(MAX_BODY_BYTES);
        let limit = MAX_BODY_BYTES as i64;
        for size in [1_000, MAX_BODY_BYTES - 1, MAX_BODY_BYTES, 1 << 20] {
            let text = format!("a\n{full}\n{full}x\n{full}{full}\nb\n{full}y");
            let chunks = text.as_bytes().chunks(size);
            let chunks = chunks.map(|c| String::from_utf8(c.to_vec()).unwrap());
            let expected = [(1, 1), (2, limit), (3, -1), (4, -1), (5, 1), (6, -1)];
            assert_eq!(lines(chunks.collect()).await, expected, "chunks of {size}");
        }
    }

    #[tokio::test]
    async fn a_broken_body_ends_the_lines_with_an_error() {
        let broken = axum::Error::new(std::io::Error::other("gone"));
        let chunks = [Ok("a\nb".to_owned()), Err(broken)];
        let body = Body::from_stream(stream::iter(chunks));
        let found: Vec<_> = Lines::new(body).into_stream().collect().await;
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok());
        assert!(found[1].is_err());
    }
}

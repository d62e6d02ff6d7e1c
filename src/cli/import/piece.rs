//! What a source hands over: pieces, with the position where each ends.

use serde::{Deserialize, Serialize};

use super::record::Record;

/// How many records a piece has at most.
pub(super) const PIECE_RECORDS: usize = 500;
/// Where a part of a source is to be read from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Position {
    Begin,
    /// Behind this byte of a file, in this line.
    File {
        offset: u64,
        line: u64,
    },
    /// Behind this key of a segment.
    Key(String),
    /// There is no more.
    End,
}

/// What a source is, so that nobody takes the state of another one for its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Identity {
    /// A file: its name, its length and the MD5 digest of its beginning.
    File {
        format: String,
        name: String,
        size: u64,
        begins: String,
    },
    /// A table, and where it is.
    Table { name: String, place: String },
}

/// Some records in a row.
#[derive(Debug)]
pub(super) struct Piece {
    /// Which part of the source they are from.
    pub(super) part: usize,
    pub(super) records: Vec<Record>,
    /// Where the next piece of that part begins.
    pub(super) next: Position,
}

/// Says that reading has ended before the end; it cannot, unless a reader broke down.
pub(super) fn check_all_read(positions: &[Position]) -> anyhow::Result<()> {
    let all = positions.iter().all(|position| *position == Position::End);
    anyhow::ensure!(all, "reading broke down");
    Ok(())
}

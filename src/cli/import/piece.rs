//! The pieces of a source, each with the position of the next one.

use serde::{Deserialize, Serialize};

use super::record::Record;

/// The most records of a piece.
pub(super) const PIECE_RECORDS: usize = 500;

/// A position in a part of a source, from which it can be read.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Position {
    Begin,
    /// After so many bytes of a file, in this line.
    File {
        offset: u64,
        line: u64,
    },
    /// After this key of a segment.
    Key(String),
    /// The end of the part.
    End,
}

/// The identity of a source, so that an import refuses the state of another source.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum SourceIdentity {
    /// A file: its name, its length and the MD5 digest of its beginning.
    File {
        format: String,
        name: String,
        size: u64,
        begins: String,
    },
    /// A table, and its region or endpoint.
    Table { name: String, place: String },
}

/// Consecutive records.
#[derive(Debug)]
pub(super) struct Piece {
    /// The part of the source that they are from.
    pub(super) part: usize,
    pub(super) records: Vec<Record>,
    /// Where the next piece of that part begins.
    pub(super) next: Position,
}

/// Checks that all parts were read to their end, which fails only if a reader has panicked.
pub(super) fn check_all_read(positions: &[Position]) -> anyhow::Result<()> {
    let all = positions.iter().all(|position| *position == Position::End);
    anyhow::ensure!(all, "a thread that reads the source has panicked");
    Ok(())
}

//! The sources of an import, which are read in pieces.
//!
//! ```text
//!   file ──────── one thread ───────┐
//!                                   ├── pieces, at most QUEUED wait ── import
//!   table ─── four tasks that scan ─┘
//! ```
//!
//! A source has parts, and each part is read in order: a file has one part, a table has one for each segment. A
//! piece belongs to a part and has the position of the next piece, so that an import can continue from there
//! another day. Reading is ahead of registering by a few pieces at most.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use super::super::transfer::{Patience, Screen};
use super::file::File;
use super::piece::{PIECE_RECORDS, Piece, Position, SourceIdentity};
use super::record::Record;
use crate::base::progress::Extent;
use crate::store::Segment;
use crate::store::dynamodb::{ForeignPage, ForeignTable};

/// The most pieces that wait. A page of DynamoDB has at most 1 MiB.
const QUEUED: usize = 4;
/// The number of segments of a table.
const SEGMENTS: u32 = 4;

/// The pieces in the order of reading; an error is the last item.
pub(super) type Pieces = mpsc::Receiver<anyhow::Result<Piece>>;

/// An open table.
pub(super) struct Table {
    pub(super) table: ForeignTable,
    pub(super) name: String,
}

/// An open source, before it is read.
pub(super) enum Source {
    File(File),
    Table(Table),
}

impl Source {
    /// Its identity; none if it can be read only once.
    pub(super) fn identity(&self) -> anyhow::Result<Option<SourceIdentity>> {
        match self {
            Self::File(file) => file.identity(),
            Self::Table(Table { table, name }) => Ok(Some(SourceIdentity::Table {
                name: name.clone(),
                place: table.place().to_owned(),
            })),
        }
    }

    /// The positions where its parts begin.
    pub(super) fn beginning(&self) -> Vec<Position> {
        let parts = match self {
            Self::File(_) => 1,
            Self::Table(_) => SEGMENTS as usize,
        };
        vec![Position::Begin; parts]
    }

    /// How much it has to read.
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::File(file) => file.extent(),
            Self::Table(Table { table, .. }) => Extent::Count(table.item_count()),
        }
    }

    /// Reads from these positions, one for each part.
    pub(super) fn read(self, from: &[Position], screen: &Screen) -> Pieces {
        let (pieces, received) = mpsc::channel(QUEUED);
        match self {
            Self::File(file) => {
                let from = from.first().cloned().unwrap_or(Position::Begin);
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = file.read(&from, &pieces) {
                        // An import that has ended does not need the error.
                        let _ = pieces.blocking_send(Err(error));
                    }
                });
            }
            Self::Table(Table { table, .. }) => {
                let table = Arc::new(table);
                for (index, from) in (0..SEGMENTS).zip(from) {
                    let scan = Scan {
                        table: Arc::clone(&table),
                        segment: Segment {
                            index,
                            total: SEGMENTS,
                        },
                        screen: screen.clone(),
                        pieces: pieces.clone(),
                    };
                    tokio::spawn(scan.run(from.clone()));
                }
            }
        }
        received
    }
}

/// The scan of one segment of a table.
struct Scan {
    table: Arc<ForeignTable>,
    segment: Segment,
    screen: Screen,
    pieces: mpsc::Sender<anyhow::Result<Piece>>,
}

impl Scan {
    async fn run(self, from: Position) {
        if let Err(error) = self.read(from).await {
            let _ = self.pieces.send(Err(error)).await;
        }
    }

    async fn read(&self, from: Position) -> anyhow::Result<()> {
        let mut next = from;
        while next != Position::End {
            let after = match &next {
                Position::Key(key) => Some(key.as_str()),
                _ => None,
            };
            let page = self.page(after).await?;
            next = page.next.map_or(Position::End, Position::Key);
            let records = page.items.into_iter();
            let piece = Piece {
                part: self.segment.index as usize,
                records: records
                    .map(|item| Record::from_members(None, item))
                    .collect(),
                next: next.clone(),
            };
            if self.pieces.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One page, with the same retries as calls of the admin API.
    async fn page(&self, after: Option<&str>) -> anyhow::Result<ForeignPage> {
        let mut patience = Patience::default();
        loop {
            let limit = PIECE_RECORDS as u32;
            match self.table.page(self.segment, after, limit).await {
                Ok(page) => return Ok(page),
                Err(error) if error.may_pass() => {
                    self.screen.wait(&mut patience, error).await?;
                }
                Err(error) => return Err(error).context("cannot read the table"),
            }
        }
    }
}

//! The feed of changes: DynamoDB Streams.
//!
//! ```text
//!   DescribeTable ── has a stream? ── DescribeStream ── shards ── GetShardIterator ──> GetRecords ──┐
//!        ^  └ no: once a minute           ^                            ^  └── expired ──┘ ^         │
//!        │                                └── a shard was closed ──────┴───────────────── next ─────┤
//!        └── another stream: too old                                                      entries <─┘
//! ```
//!
//! A stream consists of shards. When a partition of the table splits, and every few hours in any case, a shard is closed,
//! and others are its children. The records of one name are in order if parents are read before their children (`place`).
//! Records stay for 24 hours; a reader that comes back later is too late.
//!
//! DynamoDB allows five reads of a shard a second, and charges each of them. So a reader looks twice a second, and one
//! server of a region reads for all of them.
//!
//! A stream that is turned off closes its shards. If it is turned on again, it is another stream, which lacks the changes
//! in between. So when all shards have been read to their ends, the table is asked again.
//!
//! A record is in the stream some time after its change, usually within a fraction of a second. So this feed is weaker than
//! the contract: a page at the end may lack changes that were committed just before. Servers tell each other of their own
//! changes through Redis, so that concerns changes by other programs and from other regions.

mod place;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client as TableClient;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::SdkError;
use aws_sdk_dynamodbstreams::operation::describe_stream::DescribeStreamError;
use aws_sdk_dynamodbstreams::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_dynamodbstreams::operation::get_shard_iterator::GetShardIteratorError;
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::{Mutex, watch};

use self::place::{At, Place, ShardInfo};
use super::failure::store_error;
use super::table::Table;
use crate::store::StoreError;
use crate::store::feed::{AsOf, Entries, Feed, FeedPage, Position, Readers};

/// How often the table is asked whether it has a stream.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// How long after a round that found the end the next one begins, and after another one.
const PAUSE_AT_END: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(220);
/// The same if all shards were closed, because that round asked the table.
const PAUSE_WITHOUT_SHARDS: Duration = Duration::from_secs(2);
/// How long a list of shards is used. A child is looked for at once when its parent is closed.
const SHARDS_FOR: Duration = Duration::from_secs(30);
/// The most shards of a stream: their states have to fit into a position.
const MAX_SHARDS: usize = 500;
/// How many shards are read at once.
const SHARDS_AT_ONCE: usize = 16;
/// A round that has more records than this, or has taken longer, leaves the other shards to the next one.
const ROUND_RECORDS: usize = 16_384;
const ROUND_TIME: Duration = Duration::from_secs(1);
/// From this size on, a page of a shard may have left records out: DynamoDB returns a megabyte at most, and the largest
/// record has nearly a megabyte.
const FULL_PAGE: i64 = 100_000;
/// The most records of one request.
const MAX_RECORDS: usize = 1_000;
/// By how much the clocks of this server and of DynamoDB may differ, in seconds.
const CLOCK_SLACK: u64 = 60;

/// See the [module](self).
pub(super) struct Streams {
    client: Client,
    tables: TableClient,
    table: Table,
    /// The stream's name (ARN) and label; none while the table is not known to have one.
    stream: watch::Sender<Option<Stream>>,
    reading: Mutex<Reading>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    arn: String,
    label: String,
}

/// What helps to read on from where the last page ended.
#[derive(Debug, Default)]
struct Reading {
    shards: Option<(Instant, Arc<[ShardInfo]>)>,
    /// The position of the last page, and where each shard is read on.
    position: Option<Position>,
    iterators: HashMap<Box<str>, String>,
    /// The next round begins then.
    next: Option<Instant>,
    /// The first of the shards that are read in the next round, if there was too much for one.
    turn: usize,
}

/// What a round has read.
struct Reads {
    reads: Vec<Read>,
    /// Whether all shards were read.
    is_complete: bool,
}

/// Why there is no page.
enum Miss {
    TooOld,
    Failed(StoreError),
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What a request has read of a shard.
struct Read {
    shard: Box<str>,
    records: Vec<Record>,
    /// None if the shard is closed and was read to its end.
    next: Option<String>,
}

impl Read {
    /// Whether there may be more records for which the response had no room.
    fn is_full(&self) -> bool {
        let changes = self.records.iter().filter_map(|r| r.dynamodb.as_ref());
        let sizes = changes.filter_map(|change| change.size_bytes);
        sizes.fold(0_i64, i64::saturating_add) >= FULL_PAGE
    }
}

impl Streams {
    pub(super) fn new(client: Client, tables: TableClient, table: Table) -> Self {
        Self {
            client,
            tables,
            table,
            stream: watch::channel(None).0,
            reading: Mutex::default(),
        }
    }

    /// Asks the table for its stream.
    async fn ask(&self) -> Result<Option<Stream>, StoreError> {
        let sent = self.tables.describe_table().table_name(&self.table.name);
        let output = Box::pin(sent.send()).await;
        let output = output.map_err(|error| store_error(&self.table, &error))?;
        let table = output.table.as_ref();
        let specification = table.and_then(|table| table.stream_specification());
        if !specification.is_some_and(|specification| specification.stream_enabled) {
            return Ok(None);
        }
        let arn = table.and_then(|table| table.latest_stream_arn());
        let label = table.and_then(|table| table.latest_stream_label());
        Ok(arn.zip(label).map(|(arn, label)| Stream {
            arn: arn.into(),
            label: label.into(),
        }))
    }

    /// The stream that is known; asks the table if none is.
    async fn stream(&self) -> Result<Stream, StoreError> {
        if let Some(stream) = self.stream.borrow().clone() {
            return Ok(stream);
        }
        let stream = self.ask().await?;
        self.stream.send_replace(stream.clone());
        stream.ok_or_else(|| self.turned_off())
    }

    fn turned_off(&self) -> StoreError {
        let text = format!(
            "the stream of {} is turned off; turn it on again",
            self.table
        );
        StoreError::Unavailable(text)
    }

    /// The shards of the stream; [`Miss::TooOld`] if there is no such stream any more.
    async fn list_shards(&self, stream: &Stream) -> Result<Arc<[ShardInfo]>, Miss> {
        let mut shards = Vec::new();
        let mut start = None;
        loop {
            let sent = self.client.describe_stream().stream_arn(&stream.arn);
            let sent = sent.set_exclusive_start_shard_id(start);
            let output = Box::pin(sent.send()).await;
            let output = output.map_err(|error| match error.as_service_error() {
                Some(DescribeStreamError::ResourceNotFoundException(_)) => Miss::TooOld,
                _ => store_error(&self.table, &error).into(),
            })?;
            let Some(found) = output.stream_description else {
                break;
            };
            shards.extend(found.shards.into_iter().flatten().filter_map(|shard| {
                Some(ShardInfo {
                    id: shard.shard_id?.into(),
                    parent: shard.parent_shard_id.map(Into::into),
                })
            }));
            if shards.len() > MAX_SHARDS {
                let text = format!("the stream of {} has too many shards", self.table);
                return Err(StoreError::Unavailable(text).into());
            }
            start = found.last_evaluated_shard_id;
            if start.is_none() {
                break;
            }
        }
        Ok(shards.into())
    }

    async fn iterator(
        &self,
        stream: &Stream,
        shard: &str,
        kind: ShardIteratorType,
        after: Option<&str>,
    ) -> Result<String, Miss> {
        let sent = self.client.get_shard_iterator();
        let sent = sent.stream_arn(&stream.arn).shard_id(shard);
        let sent = sent.shard_iterator_type(kind);
        let sent = sent.set_sequence_number(after.map(Into::into));
        match Box::pin(sent.send()).await {
            Ok(output) => output.shard_iterator.ok_or_else(|| {
                StoreError::Unavailable(format!("{}: no iterator", self.table)).into()
            }),
            Err(error) => match error.as_service_error() {
                Some(
                    GetShardIteratorError::TrimmedDataAccessException(_)
                    | GetShardIteratorError::ResourceNotFoundException(_),
                ) => Err(Miss::TooOld),
                _ => Err(store_error(&self.table, &error).into()),
            },
        }
    }

    /// An iterator for a place in a shard.
    async fn iterator_at(&self, stream: &Stream, shard: &str, at: &At) -> Result<String, Miss> {
        let (kind, after) = match at {
            At::Start | At::Since(_) => (ShardIteratorType::TrimHorizon, None),
            At::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(&**number)),
            At::Done => (ShardIteratorType::Latest, None),
        };
        self.iterator(stream, shard, kind, after).await
    }

    /// Reads a shard once.
    async fn read_shard(
        &self,
        stream: &Stream,
        (shard, at): (Box<str>, At),
        known: Option<String>,
        limit: usize,
    ) -> Result<Read, Miss> {
        let is_known = known.is_some();
        let iterator = match known {
            Some(iterator) => iterator,
            None => self.iterator_at(stream, &shard, &at).await?,
        };
        let output = match self.get_records(iterator, limit).await {
            Err(error) if is_known && is_expired(&error) => {
                let iterator = self.iterator_at(stream, &shard, &at).await?;
                self.get_records(iterator, limit).await
            }
            output => output,
        };
        match output {
            Ok(output) => Ok(Read {
                shard,
                records: output.records.unwrap_or_default(),
                next: output.next_shard_iterator,
            }),
            Err(error) => match error.as_service_error() {
                Some(
                    GetRecordsError::TrimmedDataAccessException(_)
                    | GetRecordsError::ResourceNotFoundException(_),
                ) => Err(Miss::TooOld),
                _ => Err(store_error(&self.table, &error).into()),
            },
        }
    }

    async fn get_records(
        &self,
        iterator: String,
        limit: usize,
    ) -> Result<GetRecordsOutput, SdkError<GetRecordsError>> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let sent = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .limit(limit);
        Box::pin(sent.send()).await
    }

    /// One round: a page of entries from `after` on.
    async fn round(&self, after: &Position, limit: usize) -> Result<Entries, Miss> {
        let stream = self.stream().await?;
        let mut place = Place::parse(after).ok_or(Miss::TooOld)?;
        if *place.stream != *stream.label {
            return Err(self.look_again().await);
        }
        let mut reading = self.reading.lock().await;
        if let Some(next) = reading.next {
            tokio::time::sleep_until(next.into()).await;
        }
        let began = Instant::now();
        reading.next = Some(began + PAUSE);
        let mut iterators = match reading.position.as_ref() == Some(after) {
            true => reading.iterators.clone(),
            false => HashMap::new(),
        };
        let mut shards = self.shards(&mut reading, &stream, began).await?;
        if !place.refresh(&shards) {
            return Err(Miss::TooOld);
        }
        if place.readable(&shards).is_empty() {
            reading.next = Some(began + PAUSE_WITHOUT_SHARDS);
            self.expect_shards(&stream).await?;
            reading.shards = None;
            shards = self.shards(&mut reading, &stream, began).await?;
            if !place.refresh(&shards) {
                return Err(Miss::TooOld);
            }
        }
        let readable = place.readable(&shards);
        let mut in_turn = readable.clone();
        in_turn.rotate_left(reading.turn % readable.len().max(1));
        let Reads { reads, is_complete } = self
            .read_shards(&stream, &place, &in_turn, &iterators, limit)
            .await?;
        reading.turn = match is_complete {
            true => 0,
            false => reading.turn.wrapping_add(reads.len()),
        };
        // Without open shards it is not known whether there will be more records.
        let mut at_end = is_complete && !readable.is_empty();
        let mut entries = Vec::new();
        for read in reads {
            // A shard that has ended may have children.
            at_end &= read.records.len() < limit && !read.is_full() && read.next.is_some();
            entries.extend(apply(&mut place, &mut iterators, read));
        }
        if !at_end && place.shards.values().any(|at| *at == At::Done) {
            reading.shards = None;
        }
        let position = place.position();
        let position = position.ok_or_else(|| StoreError::Unavailable("a long position".into()))?;
        reading.position = Some(position.clone());
        reading.iterators = iterators;
        if at_end {
            reading.next = Some(began + PAUSE_AT_END);
        }
        Ok(Entries {
            entries,
            position,
            at_end,
            as_of: AsOf::Read,
        })
    }

    /// Reads these shards once each. Those that cannot be read now, for instance because they are throttled, are left out,
    /// unless none can be read.
    async fn read_shards(
        &self,
        stream: &Stream,
        place: &Place,
        shards: &[Box<str>],
        known: &HashMap<Box<str>, String>,
        limit: usize,
    ) -> Result<Reads, Miss> {
        let began = Instant::now();
        let (mut reads, mut records, mut failure) = (Vec::new(), 0, None);
        let mut is_complete = true;
        for some in shards.chunks(SHARDS_AT_ONCE) {
            if records > ROUND_RECORDS || began.elapsed() > ROUND_TIME {
                is_complete = false;
                break;
            }
            let work = some.iter().filter_map(|shard| {
                let at = (shard.clone(), place.shards.get(shard)?.clone());
                Some(self.read_shard(stream, at, known.get(shard).cloned(), limit))
            });
            for read in join_all(work).await {
                match read {
                    Ok(read) => {
                        records += read.records.len();
                        reads.push(read);
                    }
                    Err(Miss::TooOld) => return Err(Miss::TooOld),
                    Err(Miss::Failed(error)) => {
                        tracing::debug!(%error, "cannot read a shard of the stream");
                        is_complete = false;
                        failure = Some(error);
                    }
                }
            }
        }
        match failure.filter(|_| reads.is_empty()) {
            Some(error) => Err(error.into()),
            None => Ok(Reads { reads, is_complete }),
        }
    }

    /// All shards were read to their ends. That is so while DynamoDB replaces them, and if the stream was turned off.
    async fn expect_shards(&self, stream: &Stream) -> Result<(), Miss> {
        let now = self.ask().await?;
        if now.as_ref() == Some(stream) {
            return Ok(());
        }
        self.stream.send_replace(now.clone());
        match now {
            Some(_) => Err(Miss::TooOld),
            None => Err(self.turned_off().into()),
        }
    }

    /// The list of shards, which is asked for if it is old.
    async fn shards(
        &self,
        reading: &mut Reading,
        stream: &Stream,
        now: Instant,
    ) -> Result<Arc<[ShardInfo]>, Miss> {
        if let Some((asked, shards)) = &reading.shards
            && now.saturating_duration_since(*asked) < SHARDS_FOR
        {
            return Ok(Arc::clone(shards));
        }
        let shards = self.list_shards(stream).await?;
        reading.shards = Some((now, Arc::clone(&shards)));
        Ok(shards)
    }

    /// A position is of another stream than the one that is known: of an earlier one, or the table has a new one.
    async fn look_again(&self) -> Miss {
        match self.ask().await {
            Ok(stream) => {
                self.stream.send_replace(stream);
                self.reading.lock().await.shards = None;
                Miss::TooOld
            }
            Err(error) => error.into(),
        }
    }
}

fn is_expired(error: &SdkError<GetRecordsError>) -> bool {
    matches!(
        error.as_service_error(),
        Some(GetRecordsError::ExpiredIteratorException(_))
    )
}

/// Takes what was read of a shard in; returns the entries.
fn apply(
    place: &mut Place,
    iterators: &mut HashMap<Box<str>, String>,
    read: Read,
) -> Vec<crate::store::feed::Entry> {
    let Read {
        shard,
        records,
        next,
    } = read;
    let since = match place.shards.get(&shard) {
        Some(At::Since(since)) => *since,
        _ => 0,
    };
    let is_new = |record: &&Record| {
        let change = record.dynamodb.as_ref();
        let time = change.and_then(|change| change.approximate_creation_date_time);
        time.is_none_or(|time| u64::try_from(time.secs()).is_ok_and(|secs| secs >= since))
    };
    let last = records.iter().rev();
    let mut last = last.filter_map(|record| record.dynamodb.as_ref()?.sequence_number.as_deref());
    let at = match (&next, last.next()) {
        (None, _) => Some(At::Done),
        (Some(_), Some(number)) => Some(At::After(number.into())),
        (Some(_), None) => None,
    };
    let entries = records.iter().filter(is_new).filter_map(record::entry);
    let entries = entries.collect();
    match next {
        Some(next) => drop(iterators.insert(shard.clone(), next)),
        None => drop(iterators.remove(&shard)),
    }
    if let Some(at) = at {
        place.shards.insert(shard, at);
    }
    entries
}

#[async_trait]
impl Feed for Streams {
    fn readers(&self) -> Readers {
        Readers::OneOfRegion
    }

    async fn ready(&self) {
        loop {
            match self.ask().await {
                Ok(Some(stream)) => {
                    tracing::info!(
                        table = self.table.name,
                        "the table has a stream: changes by other programs show within seconds"
                    );
                    self.stream.send_replace(Some(stream));
                    return;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot ask the table for its stream"),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let stream = self.stream().await?;
        let shards = match self.list_shards(&stream).await {
            Ok(shards) => shards,
            Err(Miss::Failed(error)) => return Err(error),
            Err(Miss::TooOld) => {
                // The next call uses the stream that the table has now.
                self.look_again().await;
                let text = format!("{} has another stream", self.table);
                return Err(StoreError::Unavailable(text));
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now
            .map_or(0, |now| now.as_secs())
            .saturating_sub(CLOCK_SLACK);
        let place = Place::end(&stream.label, &shards, now);
        let open: BTreeMap<_, _> = place
            .shards
            .iter()
            .filter(|(_, at)| **at != At::Done)
            .collect();
        let latest = open.into_keys().map(|shard| async {
            let latest = ShardIteratorType::Latest;
            let iterator = self.iterator(&stream, shard, latest, None).await?;
            Ok((shard.clone(), iterator))
        });
        let iterators = try_join_all(latest).await.map_err(|miss| match miss {
            Miss::Failed(error) => error,
            Miss::TooOld => StoreError::Unavailable("a shard was closed meanwhile".into()),
        })?;
        let position = place.position();
        let position = position.ok_or_else(|| StoreError::Unavailable("a long position".into()))?;
        let mut reading = self.reading.lock().await;
        reading.shards = Some((Instant::now(), shards));
        reading.position = Some(position.clone());
        reading.iterators = iterators.into_iter().collect();
        Ok(position)
    }

    async fn read(&self, after: &Position, limit: usize) -> Result<FeedPage, StoreError> {
        match self.round(after, limit.clamp(1, MAX_RECORDS)).await {
            Ok(entries) => Ok(FeedPage::Entries(entries)),
            Err(Miss::TooOld) => Ok(FeedPage::TooOld),
            Err(Miss::Failed(error)) => Err(error),
        }
    }

    async fn news(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    fn covers(&self, position: &Position, other: &Position) -> bool {
        match (Place::parse(position), Place::parse(other)) {
            (Some(place), Some(other)) => place.covers(&other),
            _ => false,
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

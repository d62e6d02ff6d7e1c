//! What DynamoDB does for a global table: it copies the items of two tables to each other, some time after they were
//! written. If both tables were written to, the last writer of an item wins in both.
//!
//! ```text
//!   stream of A ── observed: now it is known when A's item was written ──┐
//!                                          after the delay, unless cut   └─> put into B, unless B's item is newer
//!   stream of B ── …                                                        the same the other way round
//! ```
//!
//! A write by the replicator is in the stream of its table as well. The replicator recognises it by the attribute
//! `aws:rep:updatetime`, which the legacy version of global tables has, and which is unique here. The time of a write is when
//! the replicator has observed it, some milliseconds later. Before it writes, it has read the streams to their ends, and its
//! write has the condition that the item is the one that it has seen last.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_sdk_dynamodbstreams::types::{AttributeValue as Streamed, Record, ShardIteratorType};

use crate::dynamo::{Emulator, TABLE, n, once, s, settings};
use crate::harness::{PATIENCE, eventually};

/// How often the streams are read.
const PAUSE: Duration = Duration::from_millis(10);
const KEY: &str = "miniUrl";
/// The attributes of replicated items.
const UPDATE_TIME: &str = "aws:rep:updatetime";
const UPDATE_REGION: &str = "aws:rep:updateregion";

type Item = HashMap<String, AttributeValue>;

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A = 0,
    B = 1,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Replicates until it is dropped.
pub struct Replicator {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    delay: Duration,
    is_cut: bool,
    /// The last item of each key that was observed, and the time of its writer.
    seen: [HashMap<String, Seen>; 2],
    pending: VecDeque<Write>,
    /// The number of the next write.
    next: u64,
    /// How often both streams were read to their ends.
    rounds: u64,
}

struct Seen {
    written: u64,
    item: Option<Item>,
}

/// A write that the other table does not have yet.
struct Write {
    to: Side,
    key: String,
    written: u64,
    item: Option<Item>,
    due: Instant,
}

impl Replicator {
    /// Replicates the tables of two endpoints, each of which has the table with a stream.
    pub fn start(a: &Emulator, b: &Emulator, delay: Duration) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            delay,
            is_cut: false,
            seen: Default::default(),
            pending: VecDeque::new(),
            next: 1,
            rounds: 0,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let urls = [a.url(), b.url()];
        let (state, end) = (shared.clone(), stop.clone());
        let thread = std::thread::spawn(move || once(run(urls, &state, &end)));
        Self {
            shared,
            stop,
            thread: Some(thread),
        }
    }

    /// Cuts the regions off from each other.
    pub fn cut(&self) {
        self.shared.lock().unwrap().is_cut = true;
    }

    /// Lets the regions reach each other again.
    pub fn heal(&self) {
        self.shared.lock().unwrap().is_cut = false;
    }

    /// Waits until the write of a link in one of the tables has got its time, so that later writes are newer.
    pub fn observe(&self, side: Side, key: &str, url: &str) {
        eventually("the write is observed", PATIENCE, || {
            let shared = self.shared.lock().unwrap();
            let seen = shared.seen[side as usize].get(key);
            let item = seen.and_then(|seen| seen.item.as_ref());
            item.is_some_and(|item| item.get("fullUrl") == Some(&s(url)))
        });
    }

    /// Waits until both tables have all changes of the other.
    pub fn converge(&self) {
        // A round that has begun may not see what was written just now.
        let begun = self.shared.lock().unwrap().rounds;
        eventually("all was replicated", PATIENCE, || {
            let shared = self.shared.lock().unwrap();
            shared.rounds >= begun + 2 && shared.pending.is_empty()
        });
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the replicator has failed");
        }
    }
}

/// A table and the places in its stream.
struct Table {
    side: Side,
    client: Client,
    streams: Streams,
    arn: String,
    iterators: HashMap<String, Option<String>>,
}

async fn run(urls: [String; 2], shared: &Mutex<Shared>, stop: &AtomicBool) {
    let [a, b] = urls;
    let mut tables = [Table::open(Side::A, a).await, Table::open(Side::B, b).await];
    while !stop.load(Ordering::Relaxed) {
        observe_all(&mut tables, shared).await;
        while let Some(write) = due(shared) {
            let table = &tables[write.to as usize];
            if !apply(table, shared, &write).await {
                // Another write has come meanwhile.
                shared.lock().unwrap().pending.push_front(write);
            }
            observe_all(&mut tables, shared).await;
        }
        shared.lock().unwrap().rounds += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn observe_all(tables: &mut [Table; 2], shared: &Mutex<Shared>) {
    for table in tables {
        for record in table.read().await {
            shared.lock().unwrap().observe(table.side, &record);
        }
    }
}

fn due(shared: &Mutex<Shared>) -> Option<Write> {
    let mut shared = shared.lock().unwrap();
    let is_due = |write: &Write| write.due <= Instant::now();
    let is_due = !shared.is_cut && shared.pending.front().is_some_and(is_due);
    is_due.then(|| shared.pending.pop_front()).flatten()
}

impl Shared {
    fn observe(&mut self, side: Side, record: &Record) {
        let change = record.dynamodb.as_ref().unwrap();
        let key = change.keys.as_ref().unwrap()[KEY].as_s().unwrap().clone();
        let image = |image: &Option<HashMap<String, Streamed>>| -> Option<Item> {
            let image = image.as_ref()?.iter();
            Some(
                image
                    .map(|(name, value)| (name.clone(), plain(value)))
                    .collect(),
            )
        };
        let (old, new) = (image(&change.old_image), image(&change.new_image));
        let time = |item: &Option<Item>| item.as_ref()?.get(UPDATE_TIME)?.as_n().ok()?.parse().ok();
        let (before, now): (Option<u64>, Option<u64>) = (time(&old), time(&new));
        let is_own = now.is_some() && now != before;
        let written = match now.filter(|_| is_own) {
            Some(written) => written,
            None => {
                self.next += 1;
                self.next - 1
            }
        };
        let seen = &mut self.seen[side as usize];
        // A deletion by the replicator was noted when it was made.
        let is_own =
            is_own || new.is_none() && seen.get(&key).is_some_and(|seen| seen.item.is_none());
        if !is_own {
            let to = side.other();
            let due = Instant::now() + self.delay;
            let item = new.clone();
            let key = key.clone();
            self.pending.push_back(Write {
                to,
                key,
                written,
                item,
                due,
            });
        }
        seen.insert(key, Seen { written, item: new });
    }
}

/// Writes what is newer. False if the table's item is not the one that was observed last.
async fn apply(table: &Table, shared: &Mutex<Shared>, write: &Write) -> bool {
    let (number, condition) = {
        let shared = shared.lock().unwrap();
        let seen = shared.seen[write.to as usize].get(&write.key);
        if seen.is_some_and(|seen| seen.written >= write.written) {
            return true;
        }
        let item = seen.and_then(|seen| seen.item.clone());
        (write.written, Condition::that_it_is(item))
    };
    let result = match &write.item {
        Some(item) => {
            let mut item = item.clone();
            item.insert(UPDATE_TIME.into(), n(number));
            item.insert(UPDATE_REGION.into(), s(&format!("{:?}", write.to.other())));
            let put = table
                .client
                .put_item()
                .table_name(TABLE)
                .set_item(Some(item));
            let put = put.condition_expression(condition.text);
            let put = put.set_expression_attribute_names(condition.names);
            let put = put.set_expression_attribute_values(condition.values);
            put.send().await.map(drop).map_err(|error| {
                let refused = |e: &aws_sdk_dynamodb::operation::put_item::PutItemError| {
                    e.is_conditional_check_failed_exception()
                };
                (
                    error.as_service_error().is_some_and(refused),
                    format!("{error:?}"),
                )
            })
        }
        None => {
            let delete = table.client.delete_item().table_name(TABLE);
            let delete = delete.key(KEY, s(&write.key));
            let delete = delete.condition_expression(condition.text);
            let delete = delete.set_expression_attribute_names(condition.names);
            let delete = delete.set_expression_attribute_values(condition.values);
            delete.send().await.map(drop).map_err(|error| {
                let refused = |e: &aws_sdk_dynamodb::operation::delete_item::DeleteItemError| {
                    e.is_conditional_check_failed_exception()
                };
                (
                    error.as_service_error().is_some_and(refused),
                    format!("{error:?}"),
                )
            })
        }
    };
    match result {
        Ok(()) => {
            if write.item.is_none() {
                let written = write.written;
                let seen = Seen {
                    written,
                    item: None,
                };
                let mut shared = shared.lock().unwrap();
                shared.seen[write.to as usize].insert(write.key.clone(), seen);
            }
            true
        }
        Err((true, _)) => false,
        Err((false, error)) => panic!("{error}"),
    }
}

/// A condition of a write.
struct Condition {
    text: String,
    names: Option<HashMap<String, String>>,
    values: Option<HashMap<String, AttributeValue>>,
}

impl Condition {
    fn that_it_is(item: Option<Item>) -> Self {
        let Some(item) = item else {
            return Self {
                text: format!("attribute_not_exists({KEY})"),
                names: None,
                values: None,
            };
        };
        let (mut names, mut values, mut parts) = (HashMap::new(), HashMap::new(), Vec::new());
        for (number, (name, value)) in item.into_iter().enumerate() {
            parts.push(format!("#a{number} = :v{number}"));
            names.insert(format!("#a{number}"), name);
            values.insert(format!(":v{number}"), value);
        }
        Self {
            text: parts.join(" AND "),
            names: Some(names),
            values: Some(values),
        }
    }
}

impl Table {
    async fn open(side: Side, url: String) -> Self {
        let config = settings()
            .region("us-east-1")
            .endpoint_url(url)
            .load()
            .await;
        let (client, streams) = (Client::new(&config), Streams::new(&config));
        let described = client.describe_table().table_name(TABLE).send().await;
        let table = described.unwrap().table.unwrap();
        let arn = table.latest_stream_arn.expect("the table has a stream");
        Self {
            side,
            client,
            streams,
            arn,
            iterators: HashMap::new(),
        }
    }

    /// The new records of all shards.
    async fn read(&mut self) -> Vec<Record> {
        let described = self.streams.describe_stream().stream_arn(&self.arn);
        let described = described.send().await.unwrap().stream_description.unwrap();
        let mut records = Vec::new();
        for shard in described.shards.unwrap_or_default() {
            let id = shard.shard_id.unwrap();
            if !self.iterators.contains_key(&id) {
                let first = self.streams.get_shard_iterator().stream_arn(&self.arn);
                let first = first.shard_id(&id);
                let first = first.shard_iterator_type(ShardIteratorType::TrimHorizon);
                let first = first.send().await.unwrap().shard_iterator;
                self.iterators.insert(id.clone(), first);
            }
            while let Some(iterator) = self.iterators[&id].clone() {
                let read = self.streams.get_records().shard_iterator(iterator);
                let read = read.send().await.unwrap();
                let some = read.records.unwrap_or_default();
                let is_end = some.is_empty();
                records.extend(some);
                self.iterators.insert(id.clone(), read.next_shard_iterator);
                if is_end {
                    break;
                }
            }
        }
        records
    }
}

/// A value of a stream as one of a table.
fn plain(value: &Streamed) -> AttributeValue {
    match value {
        Streamed::S(text) => AttributeValue::S(text.clone()),
        Streamed::N(number) => AttributeValue::N(number.clone()),
        Streamed::B(bytes) => AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(
            bytes.clone().into_inner(),
        )),
        Streamed::Bool(flag) => AttributeValue::Bool(*flag),
        Streamed::Ss(texts) => AttributeValue::Ss(texts.clone()),
        Streamed::Ns(numbers) => AttributeValue::Ns(numbers.clone()),
        Streamed::Null(flag) => AttributeValue::Null(*flag),
        Streamed::L(list) => AttributeValue::L(list.iter().map(plain).collect()),
        Streamed::M(map) => {
            let members = map.iter().map(|(name, value)| (name.clone(), plain(value)));
            AttributeValue::M(members.collect())
        }
        other => panic!("{other:?}"),
    }
}

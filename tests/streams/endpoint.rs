//! A DynamoDB endpoint whose streams behave as the documentation says they may: shards split and end, pages are short or
//! empty, iterators expire, calls are throttled, records are trimmed, and the stream is turned off and on again. Everything
//! else goes to the emulator.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::dynamo::{Emulator, forward, message, operation, reply};

/// How many shards a page of DescribeStream has: few, so that there are several pages.
const SHARDS_A_PAGE: usize = 3;

/// See the [module](self).
pub struct Endpoint {
    pub address: SocketAddr,
    pub stream: Arc<Mutex<Stream>>,
    _runtime: Runtime,
}

/// The present stream of the table, and its faults.
pub struct Stream {
    /// How often the stream was turned on.
    generation: usize,
    is_on: bool,
    shards: Vec<Shard>,
    sequence: u64,
    /// What iterators stand for; those of an earlier time are expired.
    iterators: HashMap<String, (String, usize)>,
    issued: u64,
    /// The most records of a page.
    pub page: usize,
    /// The size that each record is said to have, in bytes.
    pub size: u64,
    /// How many empty pages come before each page with records.
    pub empty_pages: usize,
    empty_left: HashMap<String, usize>,
    /// The errors of the next calls of an operation.
    pub faults: HashMap<&'static str, VecDeque<&'static str>>,
    /// The error of all calls of an operation.
    pub fails: HashMap<&'static str, &'static str>,
    /// How many calls of each operation have come.
    pub calls: HashMap<String, usize>,
}

struct Shard {
    id: String,
    parent: Option<String>,
    /// The hashes of the names of its records.
    names: std::ops::RangeInclusive<u64>,
    is_closed: bool,
    is_listed: bool,
    records: Vec<Value>,
    /// How many of the first records are gone.
    trimmed: usize,
}

impl Endpoint {
    pub fn start(emulator: &Emulator) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::new();
        stream.turn_on();
        let stream = Arc::new(Mutex::new(stream));
        let (upstream, shared) = (emulator.address, stream.clone());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, shared.clone()));
            }
        });
        Self {
            address,
            stream,
            _runtime: runtime,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the stream.
    pub fn with<T>(&self, change: impl FnOnce(&mut Stream) -> T) -> T {
        change(&mut self.stream.lock().unwrap())
    }
}

async fn serve(client: TcpStream, upstream: SocketAddr, stream: Arc<Mutex<Stream>>) -> Option<()> {
    let mut client = BufReader::new(client);
    loop {
        let request = message(&mut client).await?;
        let text = String::from_utf8_lossy(&request).into_owned();
        let answer = if text.contains(": DynamoDBStreams_") {
            let (_, body) = text.split_once("\r\n\r\n")?;
            let body: Value = serde_json::from_str(body).ok()?;
            let result = stream.lock().unwrap().call(&operation(&request), &body);
            match result {
                Ok(body) => reply(200, &body.to_string()),
                Err(kind) => {
                    let kind = format!("com.amazonaws.dynamodb.streams.v20120810#{kind}");
                    let body = json!({ "__type": kind, "message": "from the tests" });
                    reply(400, &body.to_string())
                }
            }
        } else {
            let answer = forward(upstream, &request).await?;
            match operation(&request).as_str() {
                "DescribeTable" => stream.lock().unwrap().described(&answer),
                _ => answer,
            }
        };
        client.write_all(&answer).await.ok()?;
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            generation: 0,
            is_on: false,
            shards: Vec::new(),
            sequence: 1_000,
            iterators: HashMap::new(),
            issued: 0,
            page: 1_000,
            size: 200,
            empty_pages: 0,
            empty_left: HashMap::new(),
            faults: HashMap::new(),
            fails: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// Turns the stream off: its shards end, and can still be read.
    pub fn turn_off(&mut self) {
        self.is_on = false;
        self.shards
            .iter_mut()
            .for_each(|shard| shard.is_closed = true);
    }

    /// Turns it on, which makes another stream.
    pub fn turn_on(&mut self) {
        self.generation += 1;
        self.is_on = true;
        self.shards.clear();
        self.iterators.clear();
        let half = u64::MAX / 2;
        self.add(None, 0..=half);
        self.add(None, half + 1..=u64::MAX);
    }

    fn arn(&self) -> String {
        let label = self.label();
        format!("arn:aws:dynamodb:us-east-1:000000000000:table/tinyUrl/stream/{label}")
    }

    fn label(&self) -> String {
        format!("2026-11-30T12:00:{:02}.000", self.generation)
    }

    fn add(&mut self, parent: Option<String>, names: std::ops::RangeInclusive<u64>) {
        // Ids say nothing about the order of parents and children.
        let number = self.sequence;
        self.sequence += 1;
        let id = format!(
            "shardId-{:08x}-{number}",
            number.wrapping_mul(2_654_435_761) as u32
        );
        self.shards.push(Shard {
            id,
            parent,
            names,
            is_closed: false,
            is_listed: true,
            records: Vec::new(),
            trimmed: 0,
        });
    }

    /// Notes a change of a link in the stream.
    pub fn write(&mut self, name: &str, before: u64, version: u64) {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let hash = hasher.finish();
        self.sequence += 1;
        let image = |version: u64| json!({ "miniUrl": { "S": name }, "version": { "N": version.to_string() } });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut change = json!({
            "ApproximateCreationDateTime": now.unwrap().as_secs(),
            "Keys": { "miniUrl": { "S": name } },
            "NewImage": image(version),
            "SequenceNumber": format!("{:025}", self.sequence),
            "SizeBytes": self.size,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        });
        if before > 0 {
            change["OldImage"] = image(before);
        }
        let event = if before > 0 { "MODIFY" } else { "INSERT" };
        let record = json!({ "eventName": event, "dynamodb": change });
        let mut shards = self.shards.iter_mut();
        let open = shards.find(|shard| !shard.is_closed && shard.names.contains(&hash));
        if let Some(open) = open {
            open.records.push(record);
        }
    }

    /// Closes an open shard; it gets two children, or one.
    pub fn split(&mut self, turn: usize, children: usize) {
        let open: Vec<usize> = (0..self.shards.len())
            .filter(|index| !self.shards[*index].is_closed)
            .collect();
        let shard = &mut self.shards[open[turn % open.len()]];
        shard.is_closed = true;
        let (id, first, last) = (shard.id.clone(), *shard.names.start(), *shard.names.end());
        let middle = first + (last - first) / 2;
        match children {
            1 => self.add(Some(id), first..=last),
            _ => {
                self.add(Some(id.clone()), first..=middle);
                self.add(Some(id), middle + 1..=last);
            }
        }
    }

    /// Has all iterators expire.
    pub fn expire(&mut self) {
        self.iterators.clear();
    }

    /// Trims all records, as if a day had passed.
    pub fn trim(&mut self) {
        for shard in &mut self.shards {
            shard.trimmed = shard.records.len();
        }
        self.iterators.clear();
    }

    /// Removes the closed shards from the list, as if a day had passed.
    pub fn forget_closed(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| shard.is_closed) {
            shard.is_listed = false;
        }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The reply to DescribeTable with this stream.
    fn described(&self, answer: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        if !head.contains(" 200 ") {
            return answer.to_vec();
        }
        let mut body: Value = serde_json::from_str(body).unwrap();
        let table = body["Table"].as_object_mut().unwrap();
        if self.is_on {
            let specification =
                json!({ "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" });
            table.insert("StreamSpecification".into(), specification);
        } else {
            table.remove("StreamSpecification");
        }
        // They stay when the stream is turned off.
        table.insert("LatestStreamArn".into(), self.arn().into());
        table.insert("LatestStreamLabel".into(), self.label().into());
        reply(200, &body.to_string())
    }

    fn call(&mut self, operation: &str, body: &Value) -> Result<Value, &'static str> {
        *self.calls.entry(operation.into()).or_default() += 1;
        if let Some(fault) = self.fails.get(operation) {
            return Err(fault);
        }
        if let Some(fault) = self.faults.get_mut(operation).and_then(VecDeque::pop_front) {
            return Err(fault);
        }
        match operation {
            "DescribeStream" => self.describe(body),
            "GetShardIterator" => self.iterator(body),
            "GetRecords" => self.records(body),
            other => panic!("{other}"),
        }
    }

    fn describe(&self, body: &Value) -> Result<Value, &'static str> {
        if body["StreamArn"] != self.arn() {
            return Err("ResourceNotFoundException");
        }
        let listed = self.shards.iter().filter(|shard| shard.is_listed);
        let listed: Vec<&Shard> = listed.collect();
        let after = body["ExclusiveStartShardId"].as_str();
        let start = after.map_or(0, |after| {
            listed.iter().position(|shard| shard.id == after).unwrap() + 1
        });
        let end = (start + SHARDS_A_PAGE).min(listed.len());
        let shards: Vec<Value> = listed[start..end]
            .iter()
            .map(|shard| match &shard.parent {
                Some(parent) => json!({ "ShardId": shard.id, "ParentShardId": parent }),
                None => json!({ "ShardId": shard.id }),
            })
            .collect();
        let mut description = json!({
            "StreamArn": self.arn(),
            "StreamStatus": if self.is_on { "ENABLED" } else { "DISABLED" },
            "Shards": shards,
        });
        if end < listed.len() {
            description["LastEvaluatedShardId"] = json!(listed[end - 1].id);
        }
        Ok(json!({ "StreamDescription": description }))
    }

    fn iterator(&mut self, body: &Value) -> Result<Value, &'static str> {
        if body["StreamArn"] != self.arn() {
            return Err("ResourceNotFoundException");
        }
        let id = body["ShardId"].as_str().unwrap();
        let shard = self
            .shards
            .iter()
            .find(|shard| shard.id == id && shard.is_listed);
        let shard = shard.ok_or("ResourceNotFoundException")?;
        let place = match body["ShardIteratorType"].as_str().unwrap() {
            "TRIM_HORIZON" => shard.trimmed,
            "LATEST" => shard.records.len(),
            "AFTER_SEQUENCE_NUMBER" => {
                let number = &body["SequenceNumber"];
                let mut records = shard.records.iter();
                let found = records.position(|r| r["dynamodb"]["SequenceNumber"] == *number);
                let place = found.expect("a number that was there") + 1;
                if place < shard.trimmed {
                    return Err("TrimmedDataAccessException");
                }
                place
            }
            other => panic!("{other}"),
        };
        let iterator = self.issue(id.to_owned(), place);
        Ok(json!({ "ShardIterator": iterator }))
    }

    fn issue(&mut self, shard: String, place: usize) -> String {
        self.issued += 1;
        let iterator = format!("iterator-{}", self.issued);
        self.iterators.insert(iterator.clone(), (shard, place));
        iterator
    }

    fn records(&mut self, body: &Value) -> Result<Value, &'static str> {
        let iterator = body["ShardIterator"].as_str().unwrap();
        let (id, place) = self
            .iterators
            .get(iterator)
            .cloned()
            .ok_or("ExpiredIteratorException")?;
        let shard = self.shards.iter().find(|shard| shard.id == id).unwrap();
        if place < shard.trimmed {
            return Err("TrimmedDataAccessException");
        }
        let limit = usize::try_from(body["Limit"].as_u64().unwrap_or(1_000)).unwrap();
        let end = (place + limit.min(self.page)).min(shard.records.len());
        let left = self
            .empty_left
            .entry(id.clone())
            .or_insert(self.empty_pages);
        let is_empty = end > place && *left > 0;
        *left = match is_empty {
            true => *left - 1,
            false => self.empty_pages,
        };
        let (records, end) = match is_empty {
            true => (Vec::new(), place),
            false => (shard.records[place..end].to_vec(), end),
        };
        let is_over = shard.is_closed && end == shard.records.len();
        let mut answer = json!({ "Records": records });
        if !is_over {
            answer["NextShardIterator"] = self.issue(id, end).into();
        }
        Ok(answer)
    }
}

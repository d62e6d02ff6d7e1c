//! DynamoDB for tests: an emulator, and a proxy before it that makes the bad days.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use tinyns::store::{DynamoConfig, DynamoOpenError, DynamoStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::harness::{PATIENCE, Process, eventually, free_port};

/// The table that tests use.
pub const TABLE: &str = "tinyUrl";
/// How often a port is tried that another process may take first.
const PORT_TRIES: usize = 20;

/// A DynamoDB endpoint of its own, in memory; it is killed when dropped.
pub struct Emulator {
    _process: Process,
    pub address: SocketAddr,
}

impl Emulator {
    pub fn start() -> Self {
        for _ in 0..PORT_TRIES {
            if let Some(emulator) = Self::try_start() {
                return emulator;
            }
        }
        panic!("{} finds no free port", program().display());
    }

    /// None if another process has taken the port meanwhile.
    fn try_start() -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let program = program();
        let child = Command::new(&program)
            .args(["serve", "--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map(Process).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; tests/run.sh installs this DynamoDB emulator",
                program.display()
            )
        });
        let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let listening = |line: &String| line.contains("listening");
        lines.by_ref().map_while(Result::ok).find(listening)?;
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            _process: child,
            address,
        })
    }

    /// The table's item of this name, as other programs see it.
    pub fn item(&self, name: &str) -> Option<HashMap<String, AttributeValue>> {
        once(async {
            let get = self.foreign().await.get_item().table_name(TABLE);
            let got = get.key("miniUrl", s(name)).consistent_read(true).send();
            got.await.unwrap().item
        })
    }

    /// Puts a link into the table past all servers, as the article's own script does.
    pub fn insert(&self, name: &str, url: &str) {
        once(async {
            let item = [("miniUrl", s(name)), ("fullUrl", s(url))];
            put(&self.foreign().await, &item).await;
        });
    }

    /// Whether the table is there, and has more items than so many.
    pub fn items_beyond(&self, items: usize) -> bool {
        once(async {
            let describe = self.foreign().await.describe_table().table_name(TABLE);
            let Ok(output) = describe.send().await else {
                return false;
            };
            let count = output.table.and_then(|table| table.item_count);
            usize::try_from(count.unwrap_or(0)).unwrap() > items
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The SDK without our store, as other programs use it.
    pub async fn foreign(&self) -> Client {
        let config = settings().region("us-east-1").endpoint_url(self.url());
        Client::new(&config.load().await)
    }
}

/// Where tests/run.sh puts the emulator.
fn program() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.with_file_name("tools").join("bin/dynoxide")
}

/// Settings with credentials that open nothing.
pub fn settings() -> aws_config::ConfigLoader {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    DynamoStore::settings().credentials_provider(credentials)
}

/// The usual table at this endpoint, which is created.
pub fn config(url: &str) -> DynamoConfig {
    DynamoConfig {
        table: TABLE.into(),
        region: Some("us-east-1".into()),
        endpoint_url: Some(url.into()),
        create_table: true,
        feed: true,
        audit: None,
        statistics: None,
    }
}

pub async fn open(config: &DynamoConfig) -> Result<DynamoStore, DynamoOpenError> {
    DynamoStore::open_with(config, settings()).await
}

/// Runs one piece of work for a test that has no runtime.
pub fn once<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

/// A string attribute.
pub fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Puts an item past the store.
pub async fn put(client: &Client, item: &[(&str, AttributeValue)]) {
    let item: HashMap<_, _> = item.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
    let sent = client.put_item().table_name(TABLE).set_item(Some(item));
    sent.send().await.unwrap();
}

/// The fate of one request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is answered.
    Pass,
    /// Nothing comes back, and nothing was done.
    Hang,
    /// The connection is cut, and nothing was done.
    Cut,
    /// The connection is cut after it was done.
    LoseReply,
    /// The reply of a DynamoDB that does not return the item for which a condition failed.
    WithoutItem,
    /// It waits for a while, and is then done and answered.
    Delay(Duration),
    /// It is done at once, and answered after a while.
    Late(Duration),
    /// It waits for the gate, and is then done and answered.
    Hold(Gate),
    /// It is done at once, and answered when the gate opens.
    HoldReply(Gate),
    /// It is answered with this status and body, and nothing was done.
    Reply(u16, String),
}

impl Fate {
    /// An error as DynamoDB words it.
    pub fn error(status: u16, kind: &str) -> Self {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
        let body = serde_json::json!({ "__type": kind, "message": "from the tests" });
        Self::Reply(status, body.to_string())
    }
}

/// Holds requests at a certain point, until the test lets them go on.
#[derive(Clone, Debug)]
pub struct Gate {
    held: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self {
            held: Arc::new(watch::channel(0).0),
            open: Arc::new(watch::channel(false).0),
        }
    }

    /// Waits until so many requests have been held.
    pub fn wait(&self, requests: usize) {
        eventually("requests are held", PATIENCE, || {
            *self.held.borrow() >= requests
        });
    }

    /// Releases the held requests, and all later ones.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) -> Option<()> {
        self.held.send_modify(|held| *held += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.ok().map(drop)
    }
}

/// Stands between a store and the emulator.
pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    /// Its runtime, if the test has none.
    _runtime: Option<Runtime>,
}

struct Plan {
    /// The fates of the next requests.
    next: VecDeque<Fate>,
    /// The fates of later requests that contain a text.
    texts: Vec<(String, Fate)>,
    /// The fates of later requests for some operations, such as `GetItem`.
    operations: HashMap<String, Fate>,
    /// The fate of all others.
    rest: Fate,
    /// How many requests have come.
    requests: usize,
    /// How many names were to be read, in whatever requests.
    reads: usize,
    /// A text, and how many requests have contained it.
    counted: Option<(String, usize)>,
}

impl Plan {
    fn fate(&mut self, request: &[u8]) -> Fate {
        // Servers read the stream of the table all the time, which no test counts on.
        if String::from_utf8_lossy(request).contains(": DynamoDBStreams_") {
            let planned = self.operations.get(&operation(request)).cloned();
            return planned.unwrap_or_else(|| self.rest.clone());
        }
        self.requests += 1;
        if let Some((text, count)) = &mut self.counted {
            *count += usize::from(String::from_utf8_lossy(request).contains(&**text));
        }
        let operation = operation(request);
        self.reads += names_read(&operation, request);
        let planned = self.next.pop_front();
        let planned = planned.or_else(|| {
            let text = String::from_utf8_lossy(request);
            let mut fates = self.texts.iter();
            let found = fates.find(|(part, _)| text.contains(&**part));
            found.map(|(_, fate)| fate.clone())
        });
        let planned = planned.or_else(|| self.operations.get(&operation).cloned());
        planned.unwrap_or_else(|| self.rest.clone())
    }
}

/// The operation of a request, such as `GetItem`.
pub fn operation(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let targets = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_target = name.eq_ignore_ascii_case("x-amz-target");
        is_target.then(|| value.rsplit_once('.').unwrap().1.trim().to_owned())
    });
    targets.take(1).collect()
}

/// How many links a request reads by name. A check whether the table can be read counts as none.
fn names_read(operation: &str, request: &[u8]) -> usize {
    let text = String::from_utf8_lossy(request);
    match operation {
        "GetItem" => usize::from(!text.contains("tinyns:")),
        "BatchGetItem" => {
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let keys = &body["RequestItems"][TABLE]["Keys"];
            // There are none of this table if the request is about the statistics.
            keys.as_array().map_or(0, Vec::len)
        }
        _ => 0,
    }
}

impl Proxy {
    /// A proxy that lets everything pass.
    pub async fn start(emulator: &Emulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            next: VecDeque::new(),
            texts: Vec::new(),
            operations: HashMap::new(),
            rest: Fate::Pass,
            requests: 0,
            reads: 0,
            counted: None,
        }));
        let (upstream, shared) = (emulator.address, plan.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, shared.clone()));
            }
        });
        Self {
            address,
            plan,
            _runtime: None,
        }
    }

    /// The same for a test that has no runtime.
    pub fn spawn(emulator: &Emulator) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let mut proxy = runtime.block_on(Self::start(emulator));
        proxy._runtime = Some(runtime);
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the fates of the next requests, one each.
    pub fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.plan.lock().unwrap().next = fates.into_iter().collect();
    }

    /// Sets the fate of all requests from now on.
    pub fn all(&self, fate: Fate) {
        let mut plan = self.plan.lock().unwrap();
        plan.next.clear();
        plan.texts.clear();
        plan.operations.clear();
        plan.rest = fate;
    }

    /// Sets the fate of all requests for one operation, until [`Self::all`].
    pub fn on(&self, operation: &str, fate: Fate) {
        let mut plan = self.plan.lock().unwrap();
        plan.operations.insert(operation.into(), fate);
    }

    /// Sets the fate of all requests that contain a text, until [`Self::all`].
    pub fn on_text(&self, text: &str, fate: Fate) {
        let mut plan = self.plan.lock().unwrap();
        plan.texts.push((text.into(), fate));
    }

    /// Sets the fate of all reads by name.
    pub fn on_reads(&self, fate: &Fate) {
        self.on("GetItem", fate.clone());
        self.on("BatchGetItem", fate.clone());
    }

    /// Sets the fate of all writes.
    pub fn on_writes(&self, fate: &Fate) {
        self.on("PutItem", fate.clone());
        self.on("UpdateItem", fate.clone());
    }

    /// How many names were to be read since this was asked last.
    pub fn reads(&self) -> usize {
        std::mem::take(&mut self.plan.lock().unwrap().reads)
    }

    /// Counts the requests that contain a text, from now on.
    pub fn count(&self, text: &str) {
        self.plan.lock().unwrap().counted = Some((text.into(), 0));
    }

    /// How many requests have contained the text of [`Self::count`].
    pub fn counted(&self) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.counted.as_ref().map_or(0, |(_, count)| *count)
    }

    /// How many requests have come since this was asked last.
    pub fn requests(&self) -> usize {
        std::mem::take(&mut self.plan.lock().unwrap().requests)
    }
}

/// Serves one connection until either side closes it.
async fn serve(client: TcpStream, upstream: SocketAddr, plan: Arc<Mutex<Plan>>) -> Option<()> {
    let mut client = AsyncBufReader::new(client);
    loop {
        let request = message(&mut client).await?;
        let fate = plan.lock().unwrap().fate(&request);
        let reply = match fate {
            Fate::Pass => forward(upstream, &request).await?,
            Fate::WithoutItem => without_item(&forward(upstream, &request).await?),
            Fate::Delay(time) => {
                tokio::time::sleep(time).await;
                forward(upstream, &request).await?
            }
            Fate::Late(time) => {
                let reply = forward(upstream, &request).await?;
                tokio::time::sleep(time).await;
                reply
            }
            Fate::Hold(gate) => {
                gate.pass().await?;
                forward(upstream, &request).await?
            }
            Fate::HoldReply(gate) => {
                let reply = forward(upstream, &request).await?;
                gate.pass().await?;
                reply
            }
            // Until the other side gives up.
            Fate::Hang => return message(&mut client).await.map(drop),
            Fate::Cut => return None,
            Fate::LoseReply => return forward(upstream, &request).await.map(drop),
            Fate::Reply(status, body) => reply(status, &body),
        };
        client.write_all(&reply).await.ok()?;
    }
}

/// A reply of DynamoDB.
pub fn reply(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A reply without the item for which a condition failed.
fn without_item(reply: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(reply).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if !body.contains("ConditionalCheckFailedException") {
        return reply.to_vec();
    }
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
    body.as_object_mut().unwrap().remove("Item");
    let body = body.to_string();
    let lines = head.lines().filter(|line| {
        // The checksum is of another body.
        let line = line.to_ascii_lowercase();
        !line.starts_with("content-length:") && !line.starts_with("x-amz-crc32:")
    });
    let head: Vec<&str> = lines.collect();
    let length = body.len();
    format!(
        "{}\r\ncontent-length: {length}\r\n\r\n{body}",
        head.join("\r\n")
    )
    .into_bytes()
}

/// Has the emulator answer a request.
pub async fn forward(upstream: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = AsyncBufReader::new(TcpStream::connect(upstream).await.ok()?);
    stream.write_all(request).await.ok()?;
    message(&mut stream).await
}

/// One HTTP/1.1 message with a content-length.
pub async fn message(stream: &mut AsyncBufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    loop {
        let begin = bytes.len();
        if stream.read_until(b'\n', &mut bytes).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let head = bytes.len();
    bytes.resize(head + length, 0);
    stream.read_exact(&mut bytes[head..]).await.ok()?;
    Some(bytes)
}

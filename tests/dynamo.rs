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

use crate::harness::Process;

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
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
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
    }
}

pub async fn open(config: &DynamoConfig) -> Result<DynamoStore, DynamoOpenError> {
    DynamoStore::open_with(config, settings()).await
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

/// What happens to one request.
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
    /// It is answered after a while.
    Delay(Duration),
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

/// Stands between a store and the emulator.
pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    /// What happens to the next requests.
    next: VecDeque<Fate>,
    /// What happens to all others.
    rest: Fate,
    /// How many requests have come.
    requests: usize,
}

impl Proxy {
    /// A proxy that lets everything pass.
    pub async fn start(emulator: &Emulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            next: VecDeque::new(),
            rest: Fate::Pass,
            requests: 0,
        }));
        let (upstream, shared) = (emulator.address, plan.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, shared.clone()));
            }
        });
        Self { address, plan }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens to the next requests, one each.
    pub fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.plan.lock().unwrap().next = fates.into_iter().collect();
    }

    /// What happens to all requests from now on.
    pub fn all(&self, fate: Fate) {
        let mut plan = self.plan.lock().unwrap();
        plan.next.clear();
        plan.rest = fate;
    }

    /// How many requests have come since this was asked last.
    pub fn requests(&self) -> usize {
        std::mem::take(&mut self.plan.lock().unwrap().requests)
    }
}

/// Serves one connection until somebody closes it.
async fn serve(client: TcpStream, upstream: SocketAddr, plan: Arc<Mutex<Plan>>) -> Option<()> {
    let mut client = AsyncBufReader::new(client);
    loop {
        let request = message(&mut client).await?;
        let fate = {
            let mut plan = plan.lock().unwrap();
            plan.requests += 1;
            let rest = plan.rest.clone();
            plan.next.pop_front().unwrap_or(rest)
        };
        let reply = match fate {
            Fate::Pass => forward(upstream, &request).await?,
            Fate::Delay(time) => {
                tokio::time::sleep(time).await;
                forward(upstream, &request).await?
            }
            // Until the other side gives up.
            Fate::Hang => return message(&mut client).await.map(drop),
            Fate::Cut => return None,
            Fate::LoseReply => return forward(upstream, &request).await.map(drop),
            Fate::Reply(status, body) => format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        };
        client.write_all(&reply).await.ok()?;
    }
}

async fn forward(upstream: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = AsyncBufReader::new(TcpStream::connect(upstream).await.ok()?);
    stream.write_all(request).await.ok()?;
    message(&mut stream).await
}

/// One HTTP/1.1 message with a content-length.
async fn message(stream: &mut AsyncBufReader<TcpStream>) -> Option<Vec<u8>> {
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

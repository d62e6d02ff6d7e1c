//! Import and export with the real program.
//!
//! The tests of the command line and of `imports` use the helpers as well.

mod files;
mod interruptions;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use hickory_proto::rr::RecordType;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::dynamo::{self, Emulator, TABLE, n, s};
use crate::harness::{Server, TOKEN, tinyns};

/// Items in a request of `BatchWriteItem`; DynamoDB takes no more.
const PUTS: usize = 25;

/// A command on this server.
pub fn on(server: SocketAddr, args: &[&str]) -> Command {
    let mut command = tinyns();
    command
        .args(args)
        .env("TINYNS_SERVER", format!("http://{server}"))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The output of a command.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The counts of the summary, which add up.
    pub fn counts(&self) -> Counts {
        let line = self.stderr.lines().find(|l| l.starts_with("tinyns: read "));
        let line = line.unwrap_or_else(|| panic!("no summary: {}", self.stderr));
        let words = line
            .split([' ', ':', ',', '(', ')'])
            .filter(|w| !w.is_empty());
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let [
            read,
            made,
            there,
            renamed,
            merged,
            skipped,
            ended,
            deleted,
            refused,
        ] = numbers[..]
        else {
            panic!("{line}");
        };
        assert_eq!(skipped, ended + deleted, "{line}");
        assert_eq!(
            read,
            made + there + renamed + merged + skipped + refused,
            "{line}"
        );
        Counts {
            read,
            made,
            there,
            renamed,
            merged,
            ended,
            deleted,
            refused,
        }
    }

    /// The lines of the report, sorted.
    pub fn report(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub made: u64,
    pub there: u64,
    pub renamed: u64,
    pub merged: u64,
    pub ended: u64,
    pub deleted: u64,
    pub refused: u64,
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Said {
    Said::of(command.output().unwrap())
}

/// Runs a command with this on its standard input.
pub fn run_with(mut command: Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Said::of(output)
}

/// All links of a zone, by code: where they lead, when they end, and their TTL.
pub fn links(server: &Server, zone: &str) -> BTreeMap<String, (String, Value, Value)> {
    let mut links = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/links?zone={zone}&limit=1000{cursor}");
        let page = server.api("GET", &path, None).json();
        for link in page["links"].as_array().unwrap() {
            let text = |name: &str| link[name].as_str().unwrap().to_owned();
            let rest = (text("url"), link["expires_at"].clone(), link["ttl"].clone());
            assert_eq!(links.insert(text("code"), rest), None);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return links,
        }
    }
}

pub fn url_of(server: &Server, code: &str) -> String {
    let reply = server.api("GET", &format!("/v1/links/{code}"), None);
    assert_eq!(reply.status, 200, "{code}: {reply:?}");
    reply.json()["url"].as_str().unwrap().to_owned()
}

/// A table as the article's script leaves it, and the means to fill it.
struct Source {
    runtime: Runtime,
    emulator: Emulator,
    client: Client,
}

type Item<'a> = Vec<(&'a str, AttributeValue)>;

impl Source {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let emulator = Emulator::start();
        let client = runtime.block_on(async {
            let config = dynamo::config(&emulator.url());
            dynamo::open(&config).await.unwrap();
            emulator.foreign().await
        });
        Self {
            runtime,
            emulator,
            client,
        }
    }

    fn fill(&self, items: Vec<Item<'_>>) {
        let items: Vec<HashMap<String, AttributeValue>> = items
            .into_iter()
            .map(|item| item.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            .collect();
        for batch in items.chunks(PUTS) {
            let puts = batch.iter().map(|item| {
                let put = PutRequest::builder().set_item(Some(item.clone())).build();
                WriteRequest::builder().put_request(put.unwrap()).build()
            });
            let sent = self
                .client
                .batch_write_item()
                .request_items(TABLE, puts.collect());
            let left = self
                .runtime
                .block_on(sent.send())
                .unwrap()
                .unprocessed_items;
            assert!(left.is_none_or(|left| left.is_empty()));
        }
    }

    /// The arguments of an import of this table.
    fn args<'a>(&self, url: &'a str) -> Vec<&'a str> {
        let table = ["import", "dynamodb", "--table", TABLE];
        [&table[..], &["--endpoint-url", url]].concat()
    }
}

/// An item as the article's script writes it.
fn item<'a>(mini: &str, full: &str) -> Item<'a> {
    vec![("miniUrl", s(mini)), ("fullUrl", s(full))]
}

/// Code number i, in the article's alphabet and of its length.
fn code(i: u64) -> String {
    format!("Zz{i:06}")
}

fn target(i: u64) -> String {
    format!("https://example.net/page/{i}")
}

/// Enough for several pages of each segment, and everything that is odd.
fn odd_items() -> Vec<Item<'static>> {
    let of = "https://example.net/of/";
    let with = |mini: &str, name: &'static str, value| {
        let mut item = item(mini, &format!("{of}{name}"));
        item.push((name, value));
        item
    };
    let own = |mini: &str, rest: &[(&'static str, AttributeValue)]| {
        let mut item = vec![("miniUrl", s(mini))];
        item.extend(rest.iter().cloned());
        item
    };
    vec![
        // Differ by case alone, and lead to two places.
        item("aB3xY9zQ", "https://example.net/one"),
        item("Ab3Xy9Zq", "https://example.net/two"),
        // Differ by case alone, and lead to one place.
        item("SameUrl1", "https://example.net/same"),
        item("sameurl1", "https://EXAMPLE.net/same"),
        item("SAMEURL1", "https://example.net/same"),
        // Codes that no DNS name can have.
        item("under_sc", "https://example.net/under"),
        item("-hyphen", "https://example.net/hyphen"),
        item(&"L".repeat(64), "https://example.net/long"),
        item("www", "https://example.net/reserved"),
        item("resume.pdf", "https://example.net/resume"),
        item("v1.2", "https://example.net/version"),
        item("else1.other.example", "https://example.net/else"),
        // Keys of other forms.
        item("Full-1.s.example.com", "https://example.net/full"),
        item("https://tiny.example/Path1", "https://example.net/path"),
        item("short.example/Path2", "https://example.net/path2"),
        item("http://Host1.s.example.com/", "https://example.net/host"),
        // URLs that are refused.
        item("badUrl01", "javascript:alert(1)"),
        item("badUrl02", "https://x.s.example.com/"),
        item(
            "badUrl03",
            &format!("https://example.net/{}", "x".repeat(3_000)),
        ),
        vec![("miniUrl", s("badUrl04")), ("fullUrl", n(7))],
        vec![("miniUrl", s("badUrl05"))],
        // Further attributes of tinyns' own tables.
        with("Ends0001", "expiresAt", n(1_893_456_000)),
        with("Ended001", "expiresAt", n(1_000_000_000)),
        with("HasTtl01", "ttl", n(60)),
        with("BadTtl01", "ttl", n(1_893_456_000)),
        own(
            "gone.s.example.com",
            &[("deletedAt", n(1_000_000_000)), ("version", n(8))],
        ),
        own(
            "own.other.example",
            &[
                ("fullUrl", s("https://example.net/elsewhere")),
                ("version", n(8)),
            ],
        ),
        own(
            "own.s.example.com",
            &[
                ("fullUrl", s("https://example.net/own")),
                ("createdAt", n(7)),
                ("createdBy", s("admin")),
                ("version", n(8)),
            ],
        ),
    ]
}

/// How many ordinary items there are.
const PLAIN: u64 = 3_000;

fn fill_with_everything(source: &Source) -> u64 {
    let plain = (0..PLAIN).map(|i| item(&code(i), &target(i)));
    let items: Vec<_> = odd_items().into_iter().chain(plain).collect();
    let number = items.len() as u64;
    source.fill(items);
    number
}

/// Checks the links of the import of everything, by the API and by DNS.
fn check_links(server: &Server) {
    let links = links(server, "s.example.com");
    // One for each that was made or renamed.
    assert_eq!(links.len() as u64, PLAIN + 9 + 8);
    for i in 0..PLAIN {
        assert_eq!(
            links[&code(i).to_lowercase()],
            (target(i), Value::Null, Value::Null)
        );
    }
    for (code, url) in [
        ("sameurl1", "same"),
        ("full-1", "full"),
        ("path1", "path"),
        ("path2", "path2"),
        ("host1", "host"),
        ("own", "own"),
    ] {
        assert_eq!(links[code].0, format!("https://example.net/{url}"));
    }
    assert_eq!(links["ends0001"].1, "2030-01-01T00:00:00Z");
    assert_eq!(links["hasttl01"].2, 60);
    for absent in ["gone", "ended001", "else1", "badurl01", "badttl01"] {
        assert!(!links.contains_key(absent), "{absent}");
    }
    let reply = server.ask("zZ000007.s.example.com", RecordType::TXT);
    let answers: Vec<_> = reply.answers.iter().map(ToString::to_string).collect();
    let answers = answers.join("\n");
    assert!(answers.contains("https://example.net/page/7"), "{answers}");
}

/// A file of many lines, and its text.
fn csv(number: u64) -> String {
    (0..number).fold("miniUrl,fullUrl\n".to_owned(), |mut text, i| {
        writeln!(text, "{},{}", code(i), target(i)).unwrap();
        text
    })
}

//! Import and export with the real program: from a table, from files, with kills and restarts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::dynamo::{self, Emulator, Fate, Proxy, TABLE, n, s};
use crate::harness::{PATIENCE, Process, Server, Setup, TOKEN, ZONE, tinyns, wait};

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

/// What a command says.
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
        // What our own table has besides.
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

/// How many items there are besides the odd ones.
const PLAIN: u64 = 3_000;

fn fill_with_everything(source: &Source) -> u64 {
    let plain = (0..PLAIN).map(|i| item(&code(i), &target(i)));
    let items: Vec<_> = odd_items().into_iter().chain(plain).collect();
    let number = items.len() as u64;
    source.fill(items);
    number
}

#[test]
fn the_articles_table_becomes_links() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let server = Server::start();
    let url = source.emulator.url();
    let said = run(on(server.admin, &source.args(&url)));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let expected = Counts {
        read: number,
        // All plain ones; of the odd ones one of each pair, four keys of other forms, Ends0001,
        // HasTtl01, own.
        made: PLAIN + 2 + 4 + 3,
        there: 0,
        renamed: 8,
        merged: 2,
        ended: 1,
        deleted: 1,
        refused: 7,
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stderr.contains("refused 7 of 3028 links"),
        "{}",
        said.stderr
    );

    // Which of two spellings is met first is up to the table; either is told rightly.
    let renamed = |from: &str, to: &str, why: &str| {
        let begins = format!("{from} -> {to} : {why}; registered as ");
        let found: Vec<_> = said
            .report()
            .into_iter()
            .filter(|l| l.starts_with(&begins))
            .collect();
        let [line] = found[..] else {
            panic!("{begins}: {found:?} in {}", said.stdout);
        };
        assert_eq!(url_of(&server, &line[begins.len()..]), to);
    };
    let (one, two) = ("https://example.net/one", "https://example.net/two");
    let taken = |by: &str| format!("the code ab3xy9zq already leads to {by}");
    if url_of(&server, "ab3xy9zq") == one {
        renamed("Ab3Xy9Zq", two, &taken(one));
    } else {
        assert_eq!(url_of(&server, "ab3xy9zq"), two);
        renamed("aB3xY9zQ", one, &taken(two));
    }
    let alphabet = "a code has only letters, digits and hyphens; this one has '_'";
    renamed("under_sc", "https://example.net/under", alphabet);
    let dot = "a code has only letters, digits and hyphens; this one has '.'";
    renamed("resume.pdf", "https://example.net/resume", dot);
    renamed("v1.2", "https://example.net/version", dot);
    renamed("else1.other.example", "https://example.net/else", dot);
    let outer = "a code neither begins nor ends with a hyphen";
    renamed("-hyphen", "https://example.net/hyphen", outer);
    let long = "a code has at most 63 characters; this one has 64";
    renamed(&"L".repeat(64), "https://example.net/long", long);
    let reserved = "the code \"www\" is a name of the zone s.example.com itself";
    renamed("www", "https://example.net/reserved", reserved);

    let told = |text: &str| {
        let found = said
            .report()
            .into_iter()
            .filter(|line| line.contains(text))
            .count();
        assert_eq!(found, 1, "{text} in {}", said.stdout);
    };
    // An item of ours has a name, and one of the article's a code, whatever it looks like.
    told("own.other.example -> https://example.net/elsewhere : refused: the name is in the zone");
    told("badUrl01 -> javascript:alert(1) : refused: the scheme \"javascript\" is not accepted");
    told("badUrl02 -> https://x.s.example.com/ : refused: the URL points to");
    told(" : refused: the URL has 3020 bytes; at most 2048 are accepted");
    told("badUrl04 : refused: fullUrl is not a text");
    told("badUrl05 : refused: it has no URL; it needs one of fullUrl, url,");
    told("BadTtl01 -> https://example.net/of/ttl : refused: ttl is not 0 to 604800 seconds");
    let merged = said
        .report()
        .into_iter()
        .filter(|line| line.ends_with("; merged"))
        .count();
    assert_eq!(merged, 2, "{}", said.stdout);
    assert_eq!(said.report().len(), 8 + 2 + 7);

    check_links(&server);
    // Once more, and nothing new happens but that all is there.
    let again = run(on(server.admin, &source.args(&url)));
    let counts = again.counts();
    assert_eq!(
        counts.there,
        expected.made + expected.merged,
        "{}",
        again.stderr
    );
    assert_eq!((counts.made, counts.merged), (0, 0));
    assert_eq!((counts.renamed, counts.refused), (8, 7));
    check_links(&server);
}

/// What the import of everything has made, by the API and by DNS.
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

#[test]
fn a_table_may_become_the_servers_own() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let url = source.emulator.url();
    let server = Setup::new()
        .store(&format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\n"))
        .start();
    let said = run(on(server.admin, &source.args(&url)));
    let counts = said.counts();
    // What it makes it may meet again as it reads on, and that is no other spelling. The one item
    // that was in the server's form already was its link before anything began.
    assert_eq!(counts.made, PLAIN + 8, "{}{}", said.stdout, said.stderr);
    assert_eq!((counts.renamed, counts.merged), (8, 2), "{}", said.stdout);
    assert_eq!((counts.ended, counts.deleted, counts.refused), (1, 1, 7));
    assert_eq!(counts.read - counts.there + 1, number);
    check_links(&server);
}

/// A file of many lines, and its text.
fn csv(number: u64) -> String {
    (0..number).fold("miniUrl,fullUrl\n".to_owned(), |mut text, i| {
        writeln!(text, "{},{}", code(i), target(i)).unwrap();
        text
    })
}

#[test]
fn files_become_links() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    let text = "\u{feff}Code,url,expires_at,ttl,Notes\r\n\
                aB3,https://example.net/1,,,\"one,\r\ntwo\"\r\n\
                Ab3,https://example.net/2,2030-01-01T00:00:00Z,60,\r\n\
                \"c4\",\"https://example.net/3?a,b\",1893456000,,\r\n\
                c5,,,,\r\n\
                c6,https://example.net/6,soon,,\r\n\
                c7,https://example.net/7,7,,\r\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let said = run(on(server.admin, &["import", "csv", path, "--json"]));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let expected = Counts {
        read: 6,
        made: 2,
        renamed: 1,
        ended: 1,
        refused: 2,
        ..Counts::default()
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    let report: Vec<Value> = said
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    // The first one of a file keeps its code.
    assert_eq!(report[0]["outcome"], "renamed");
    assert_eq!(
        (&report[0]["key"], &report[0]["line"]),
        (&json!("Ab3"), &json!(4))
    );
    assert_eq!(report[0]["taken_by"], "https://example.net/1");
    assert_eq!(
        (&report[1]["key"], &report[1]["line"]),
        (&json!("c5"), &json!(6))
    );
    assert_eq!(
        report[2]["reason"],
        "expires_at is neither epoch seconds nor a time such as 2030-01-31T12:00:00Z: \"soon\""
    );
    assert_eq!(report.len(), 3);
    let found = links(&server, "s.example.com");
    let end = json!("2030-01-01T00:00:00Z");
    assert_eq!(found["ab3"].0, "https://example.net/1");
    assert_eq!(
        found["c4"],
        ("https://example.net/3?a,b".into(), end.clone(), Value::Null)
    );
    let renamed = report[0]["name"]
        .as_str()
        .unwrap()
        .split('.')
        .next()
        .unwrap();
    assert_eq!(
        found[renamed],
        ("https://example.net/2".into(), end, json!(60))
    );
    assert_eq!(found.len(), 3);

    let text = "{\"code\":\"d1\",\"url\":\"https://example.net/d1\",\"expires_at\":null}\n\n\
                {\"Item\":{\"miniUrl\":{\"S\":\"D2\"},\"fullUrl\":{\"S\":\"https://example.net/d2\"},\
                \"ttl\":{\"N\":\"60\"}}}\n\
                {\"miniUrl\":\"D3.s.example.com\",\"fullUrl\":\"https://example.net/d3\"}\n\
                {\"miniUrl\":\"d4.s.example.com\",\"deletedAt\":7,\"version\":8}\n\
                nonsense\n";
    let said = run_with(on(server.admin, &["import", "ndjson", "-"]), text);
    let expected = Counts {
        read: 5,
        made: 3,
        deleted: 1,
        refused: 1,
        ..Counts::default()
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stdout
            .starts_with("(line 6) : refused: the line is not JSON")
    );
    assert_eq!(url_of(&server, "d3"), "https://example.net/d3");
    assert_eq!(links(&server, "s.example.com")["d2"].2, 60);
    // All good is exit code 0, and nothing to report.
    let good = "{\"code\":\"d1\",\"url\":\"https://example.net/d1\"}\n";
    let said = run_with(on(server.admin, &["import", "ndjson", "-"]), good);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
    assert_eq!(said.counts().there, 1);
}

#[test]
fn what_cannot_be_imported_is_said_at_once() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    std::fs::write(&file, "a;b\n").unwrap();
    let path = file.to_str().unwrap();
    let check = |args: &[&str], expected: &str| {
        let begin = Instant::now();
        let said = run(on(server.admin, args));
        assert_eq!(said.code, Some(1), "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{args:?}: {}", said.stderr);
        assert!(begin.elapsed() < PATIENCE, "{args:?}");
        // It would fail again.
        assert!(!said.stderr.contains("to continue"), "{}", said.stderr);
    };
    check(
        &["import", "csv", path],
        "has no column for the code, such as miniUrl, name, code",
    );
    check(
        &["import", "csv", "/nonexistent"],
        "cannot open /nonexistent",
    );
    let state = ["import", "ndjson", "-", "--state", "x"];
    check(&state, "--state needs a regular file");
    let zone = ["import", "csv", path, "--zone", "a.example"];
    check(
        &zone,
        "the server has no zone a.example with links; its zones with links are s.example.com",
    );
    check(
        &["export", "--zone", "a.example"],
        "no zone of this origin holds links",
    );
    let emulator = Emulator::start();
    let url = emulator.url();
    let table = ["import", "dynamodb", "--table", "x", "--endpoint-url", &url];
    check(&table, "the DynamoDB table \"x\"");
    let mut command = on(server.admin, &["import", "csv", path]);
    command.env("TINYNS_ADMIN_TOKEN", "wrong-token-0123456789");
    let said = run(command);
    assert!(
        said.stderr.contains("refused (401 Unauthorized)"),
        "{}",
        said.stderr
    );
}

#[test]
fn what_is_exported_can_be_imported() {
    let two = || {
        let config = "redirect_host = \"r\"\n";
        Setup::empty()
            .zone("s.example.com", config, ZONE)
            .zone(
                "t.example.net",
                config,
                &ZONE.replace("s.example.com", "t.example.net"),
            )
            .start()
    };
    let (from, other, third) = (two(), two(), two());
    let mut lines = String::new();
    for i in 0..1_500 {
        writeln!(
            lines,
            "{}",
            json!({"url": target(i), "code": format!("c{i}")})
        )
        .unwrap();
    }
    let type_ = "application/x-ndjson";
    let batch = from.api_raw(
        "POST",
        "/v1/links:batch",
        &[],
        Some((type_, lines.into_bytes())),
    );
    assert_eq!(batch.status, 200);
    from.add("https://example.net/folded");
    from.add_with(
        &json!({"url": "https://example.net/?a,\"b\"", "code": "odd",
        "expires_at": "2030-01-01T00:00:00Z", "ttl": 0}),
    );
    for i in 0..10 {
        let body = json!({"url": target(i), "code": format!("c{i}"), "ttl": i});
        let path = "/v1/links?zone=t.example.net";
        assert_eq!(from.api("POST", path, Some(&body)).status, 201);
    }
    let both = |server: &Server| ["s.example.com", "t.example.net"].map(|z| links(server, z));
    let all = both(&from);
    assert_eq!(all.each_ref().map(BTreeMap::len), [1_502, 10]);

    // By a pipe, as NDJSON.
    let exported = run(on(from.admin, &["export"]));
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert_eq!(exported.stdout.lines().count(), 1_512);
    assert!(
        exported.stderr.contains("exported 1512 links of 2 zones"),
        "{}",
        exported.stderr
    );
    let said = run_with(
        on(other.admin, &["import", "ndjson", "-"]),
        &exported.stdout,
    );
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), ""),
        "{}",
        said.stderr
    );
    assert_eq!(said.counts().made, 1_512);
    assert_eq!(both(&other), all);
    // And back: it is there already, and no link is another's other spelling.
    let said = run_with(on(from.admin, &["import", "ndjson", "-"]), &exported.stdout);
    assert_eq!(said.counts().there, 1_512);

    // By a file, as CSV, one zone after the other.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    let path = file.to_str().unwrap();
    for zone in ["t.example.net", "s.example.com"] {
        let args = ["export", "--format", "csv", "--zone", zone, "-o", path];
        let exported = run(on(from.admin, &args));
        assert_eq!((exported.code, exported.stdout.as_str()), (Some(0), ""));
        let said = run(on(third.admin, &["import", "csv", path, "--zone", zone]));
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(0), ""),
            "{}",
            said.stderr
        );
    }
    assert_eq!(both(&third), all);
    // Into the wrong zone nothing goes.
    let said = run(on(
        third.admin,
        &["import", "csv", path, "--zone", "t.example.net"],
    ));
    assert_eq!((said.counts().refused, said.code), (1_502, Some(1)));
    assert_eq!(both(&third), all);
    // An export that fails leaves the old file as it is.
    let before = std::fs::read(&file).unwrap();
    let failed = run(on(
        from.admin,
        &["export", "-o", path, "--zone", "a.example"],
    ));
    assert_eq!(failed.code, Some(1));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// How many records a state says are done.
fn done(state: &Path) -> u64 {
    let Ok(text) = std::fs::read_to_string(state) else {
        return 0;
    };
    let state: Value = serde_json::from_str(&text).unwrap();
    state["ledger"]["counts"]["read"].as_u64().unwrap()
}

/// Waits until a state says that so many are done, which is not yet all.
fn until_done(process: &mut Process, state: &Path, number: u64) {
    let end = Instant::now() + PATIENCE;
    while done(state) < number {
        let ended = process.0.try_wait().unwrap();
        assert_eq!(ended, None, "the import ended before it could be disturbed");
        assert!(Instant::now() < end, "the import does not get on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn output(mut process: Process) -> Said {
    let mut stdout = String::new();
    let mut stderr = String::new();
    let (out, err) = (process.0.stdout.take(), process.0.stderr.take());
    // What it says is little, and fits into the pipes.
    let status = wait(&mut process.0);
    out.unwrap().read_to_string(&mut stdout).unwrap();
    err.unwrap().read_to_string(&mut stderr).unwrap();
    Said {
        code: status.code(),
        stdout,
        stderr,
    }
}

#[test]
fn an_import_of_a_file_goes_on_after_kills() {
    const NUMBER: u64 = 12_000;
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("links.csv"), dir.path().join("state"));
    // Pairs that differ by case, one half at each end of the file.
    let mut text = csv(NUMBER);
    for i in 0..50 {
        let (code, url) = (
            code(i).to_lowercase(),
            format!("https://example.net/other/{i}"),
        );
        writeln!(text, "{code},{url}\n{},{}", code.to_uppercase(), target(i)).unwrap();
    }
    std::fs::write(&file, &text).unwrap();
    let (path, state_path) = (file.to_str().unwrap(), state.to_str().unwrap());
    let args = ["import", "csv", path, "--state", state_path];
    for (rest, signal) in [
        (3_000, Signal::SIGKILL),
        (6_000, Signal::SIGINT),
        (9_000, Signal::SIGKILL),
    ] {
        let mut process = Process(on(server.admin, &args).spawn().unwrap());
        until_done(&mut process, &state, rest);
        kill(Pid::from_raw(process.0.id().try_into().unwrap()), signal).unwrap();
        let said = output(process);
        if signal == Signal::SIGINT {
            assert_eq!(said.code, Some(1), "{}", said.stderr);
            let advice = format!("run the same command again with --state {state_path}");
            assert!(said.stderr.contains(&advice), "{}", said.stderr);
            assert!(said.stderr.contains("stopped by SIGINT"), "{}", said.stderr);
            assert_eq!(said.counts().read, done(&state));
        }
        assert!(done(&state) >= rest);
    }
    // The state is for this file alone.
    let other = dir.path().join("other.csv");
    std::fs::write(&other, &text).unwrap();
    let refused = [
        "import",
        "csv",
        other.to_str().unwrap(),
        "--state",
        state_path,
    ];
    let refused = run(on(server.admin, &refused));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("is the state of another import"),
        "{}",
        refused.stderr
    );

    let before = done(&state);
    let said = run(on(server.admin, &args));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr
            .contains(&format!("continuing after {before} records")),
        "{}",
        said.stderr
    );
    let counts = said.counts();
    assert_eq!(counts.read, NUMBER + 100);
    // At each kill one piece of 500 may have been made and not counted as that.
    assert!(counts.there <= 3 * 500, "{counts:?}");
    assert_eq!(counts.made + counts.there, NUMBER, "{counts:?}");
    // Two runs later, the links of the first one are still known to be of this import.
    assert_eq!((counts.renamed, counts.merged), (50, 50), "{}", said.stdout);
    assert!(!state.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    let links = links(&server, "s.example.com");
    assert_eq!(links.len() as u64, NUMBER + 50);
    for i in 0..NUMBER {
        assert_eq!(links[&code(i).to_lowercase()].0, target(i));
    }
}

#[test]
fn an_import_of_a_table_goes_on_after_a_kill() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let server = Server::start();
    let proxy = source.runtime.block_on(Proxy::start(&source.emulator));
    // There is time to kill it between two pages, and some of them fail.
    proxy.all(Fate::Delay(Duration::from_millis(150)));
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let url = proxy.url();
    let state_args = ["--state", state.to_str().unwrap()];
    let args = [&source.args(&url)[..], &state_args].concat();
    let mut process = Process(on(server.admin, &args).spawn().unwrap());
    until_done(&mut process, &state, 1_000);
    process.0.kill().unwrap();
    drop(output(process));
    let before = done(&state);
    assert!(before < number, "{before}");

    let throttled = || Fate::error(400, "ProvisionedThroughputExceededException");
    proxy.all(Fate::Pass);
    proxy.requests();
    // The description of the table passes; then there is more trouble than the SDK bears alone.
    let trouble = std::iter::repeat_with(throttled).take(20);
    proxy.next(std::iter::once(Fate::Pass).chain(trouble));
    let said = run(on(server.admin, &args));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("trying again"), "{}", said.stderr);
    let counts = said.counts();
    assert_eq!(counts.read, number);
    assert_eq!(
        (counts.renamed, counts.refused, counts.ended, counts.deleted),
        (8, 7, 1, 1)
    );
    assert_eq!(
        counts.made + counts.there + counts.merged,
        PLAIN + 11,
        "{counts:?}"
    );
    // What was done is not read again: some pages of the four segments are left.
    let requests = proxy.requests();
    assert!(requests <= 1 + 20 + 8, "{requests} requests");
    assert!(!state.exists());
    check_links(&server);
}

/// What stands before a server that may go: one address, whatever becomes of what is behind it.
struct Front {
    address: SocketAddr,
    behind: Arc<Mutex<Behind>>,
}

struct Behind {
    server: Option<SocketAddr>,
    connections: Vec<TcpStream>,
}

impl Front {
    fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(Behind {
            server: Some(server),
            connections: Vec::new(),
        }));
        let shared = Arc::clone(&behind);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut behind = shared.lock().unwrap();
                // Where there is nothing behind it, the connection is closed at once.
                if let Some(Ok(server)) = behind.server.map(TcpStream::connect) {
                    behind.connections.push(client.try_clone().unwrap());
                    join(client, server);
                }
            }
        });
        Self { address, behind }
    }

    /// Puts another server behind it, or none, and cuts all connections.
    fn set(&self, server: Option<SocketAddr>) {
        let mut behind = self.behind.lock().unwrap();
        behind.server = server;
        for connection in behind.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Hands on what either side says, until one of them has enough.
fn join(client: TcpStream, server: TcpStream) {
    let pairs = [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}

#[test]
fn a_server_may_go_and_come_back() {
    const NUMBER: u64 = 12_000;
    let server = Server::start();
    let front = Front::new(server.admin);
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("links.csv"), dir.path().join("state"));
    std::fs::write(&file, csv(NUMBER)).unwrap();
    let state_args = ["--state", state.to_str().unwrap()];
    let args = [&["import", "csv", file.to_str().unwrap()][..], &state_args].concat();
    let mut process = Process(on(front.address, &args).spawn().unwrap());
    until_done(&mut process, &state, 2_000);
    // In the middle of a batch, without a word.
    let server = server.crash_and_restart();
    front.set(None);
    let stood = done(&state);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(process.0.try_wait().unwrap(), None);
    assert_eq!(done(&state), stood);
    front.set(Some(server.admin));
    until_done(&mut process, &state, stood + 2_000);
    // And once as it should be: what is under way is finished, and the rest is asked to come again.
    let server = server.restart();
    front.set(Some(server.admin));
    let said = output(process);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("; trying again for 40 s"),
        "{}",
        said.stderr
    );
    let counts = said.counts();
    assert_eq!(counts.made + counts.there, NUMBER, "{counts:?}");
    // Of the lines under way some were made before anything was said of them.
    assert!(counts.there <= 2 * 500, "{counts:?}");
    let links = links(&server, "s.example.com");
    assert_eq!(links.len() as u64, NUMBER);
    for i in 0..NUMBER {
        assert_eq!(links[&code(i).to_lowercase()].0, target(i));
    }
    // An export, too, outlasts a time without a server. It has come as far as a pipe that is full.
    let mut export = Process(on(front.address, &["export"]).spawn().unwrap());
    let mut stdout = export.0.stdout.take().unwrap();
    let mut lines = vec![0];
    stdout.read_exact(&mut lines).unwrap();
    front.set(None);
    let reader = std::thread::spawn(move || {
        stdout.read_to_end(&mut lines).unwrap();
        String::from_utf8(lines).unwrap()
    });
    let mut stderr = BufReader::new(export.0.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("; trying again for 40 s"), "{said}");
    front.set(Some(server.admin));
    stderr.read_to_string(&mut said).unwrap();
    assert!(wait(&mut export.0).success(), "{said}");
    assert!(said.contains(&format!("exported {NUMBER} links")), "{said}");
    let exported = reader.join().unwrap();
    let codes = exported.lines().map(|line| {
        let link: Value = serde_json::from_str(line).unwrap();
        link["code"].as_str().unwrap().to_owned()
    });
    assert_eq!(
        codes.collect::<Vec<_>>(),
        links.into_keys().collect::<Vec<_>>()
    );
}

//! How fast links are registered with SQLite, and what that costs the processor, also beside an earlier state of the code.
//!
//! Each round makes a new store and registers links by many calls at once, as a batch of the API does, and by few
//! clients that wait for each reply. A round ends when the text index is complete: the writer fills it when it is idle, so
//! its cost shows in the processor time of the round and not in the rate.
//!
//!     cargo bench --bench register
//!     cargo bench --bench register -- --against PROGRAM     the same bench of another state; rounds alternate
//!
//! For the program of another state, copy this file and its entry in Cargo.toml into a checkout of it, leave out fields that
//! links do not have there, and take the program that `cargo bench --no-run --bench register` names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tinyns::base::clock::Clock;
use tinyns::link::{About, Code, LinkName, Origin, Tags, TargetUrl, Title};
use tinyns::store::{Created, NewLink, SqliteStore, Store};
use tokio::runtime::Runtime;

/// How many links a store has before the rates are taken, and how many are registered then.
const BEFORE: u64 = 50_000;
const LINKS: u64 = 100_000;
/// How many links the waiting clients register.
const SINGLE: u64 = 8_000;
const CLIENTS: u64 = 8;
const AT_ONCE: usize = 1_000;
const ROUNDS: usize = 5;

/// The figures of a round, in this order.
const FIGURES: [&str; 3] = [
    "links a second, many at once",
    "links a second, 8 clients that wait",
    "processor time a link with its index, µs",
];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--round", kind] => println!(
            "{}",
            round(kind == "texts").map(|n| n.to_string()).join(" ")
        ),
        ["--against", program] => compare(Some(program.into())),
        [] => compare(None),
        _ => panic!("see the header of benches/register.rs"),
    }
}

/// Runs the rounds of this program, and in turn those of another one.
fn compare(other: Option<PathBuf>) {
    let this = std::env::current_exe().unwrap();
    let programs: Vec<PathBuf> = other.into_iter().chain([this]).collect();
    for kind in ["plain", "texts"] {
        let mut rounds = vec![Vec::new(); programs.len()];
        for _ in 0..ROUNDS {
            for (program, rounds) in programs.iter().zip(&mut rounds) {
                let output = Command::new(program)
                    .args(["--round", kind])
                    .output()
                    .unwrap();
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                let text = String::from_utf8(output.stdout).unwrap();
                let figures = text.split_whitespace().map(|word| word.parse().unwrap());
                rounds.push(figures.collect::<Vec<f64>>());
            }
        }
        for (at, figure) in FIGURES.iter().enumerate() {
            let medians = rounds.iter().map(|rounds| {
                let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
                values.sort_by(f64::total_cmp);
                let (low, high) = (values[0], values[ROUNDS - 1]);
                format!("{:.1} ({low:.1} – {high:.1})", values[ROUNDS / 2])
            });
            println!(
                "| {kind} | {figure} | {} |",
                medians.collect::<Vec<_>>().join(" | ")
            );
        }
    }
}

/// The figures of one round.
fn round(has_texts: bool) -> [f64; 3] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("links.sqlite");
    let store = SqliteStore::open(&path, Clock::default()).unwrap();
    let runtime = Runtime::new().unwrap();
    let create = |number| store.create(link(number, has_texts), 1_700_000_000_000_000 + number);
    let many = |from: u64, to: u64| {
        let numbers: Vec<u64> = (from..to).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let calls = numbers.iter().map(|number| create(*number));
            for made in runtime.block_on(join_all(calls)) {
                assert!(matches!(made.unwrap(), Created::New(_)));
            }
        }
    };
    many(0, BEFORE);
    wait_for_index(&path);
    let (began, cpu) = (Instant::now(), processor_time());
    many(BEFORE, BEFORE + LINKS);
    let at_once = LINKS as f64 / began.elapsed().as_secs_f64();
    wait_for_index(&path);
    let cost = (processor_time() - cpu).as_secs_f64() * 1e6 / LINKS as f64;
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|client| async move {
        for number in (client..SINGLE).step_by(CLIENTS as usize) {
            create(1_000_000 + number).await.unwrap();
        }
    });
    runtime.block_on(join_all(clients));
    let single = SINGLE as f64 / began.elapsed().as_secs_f64();
    runtime.block_on(store.close());
    [at_once, single, cost]
}

fn link(number: u64, has_texts: bool) -> NewLink {
    let code = format!("{:08x}", number.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF);
    let url = format!(
        "https://www.example{}.com/articles/a-long-one/{number}",
        number % 999
    );
    let about = match has_texts {
        true => {
            let title = Title::parse(&format!("The article of number {number}")).unwrap();
            let tags = Tags::parse([&*format!("tag-{}", number % 50), "articles"]).unwrap();
            About::new(Some(title), tags, None)
        }
        false => About::default(),
    };
    NewLink {
        name: LinkName::new(
            &Code::parse(&code).unwrap(),
            &Origin::parse("s.example.com").unwrap(),
        ),
        target: TargetUrl::parse(&url).unwrap(),
        created_by: "admin".into(),
        expires_at: None,
        ttl: None,
        about,
        destinations: None,
        withheld: None,
    }
}

/// Waits until no link is missing in the text index, if the store has one.
fn wait_for_index(path: &PathBuf) {
    let file = rusqlite::Connection::open(path).unwrap();
    loop {
        let left = file.query_row("SELECT count(*) FROM link_todo", [], |row| {
            row.get::<_, i64>(0)
        });
        match left {
            Ok(0) | Err(_) => return,
            Ok(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let sum = usage.user_time() + usage.system_time();
    Duration::from_micros(sum.num_microseconds().unsigned_abs())
}

//! Lists, searches, the web page and the audit log with a million links, by requests to a real server.
//!
//! ```text
//!   lists      GET /v1/links with each filter and order, alone and together: first pages and later ones
//!   page       the same links on the web page
//!   audit      GET /v1/audit and its page, with about a million entries
//!   migration  the time and the size when a store of an earlier version is opened
//! ```
//!
//! The store is made by the calls that the server makes for registrations, with links that differ as those of people do:
//! some hosts, creators, tags and words are frequent and most are rare ([`population`]). Everything is made from a fixed
//! seed, so two runs ask the same questions. A figure is the time from the first byte of a request to the last byte of its
//! response, on one kept connection. A case follows the cursors of its lists, so later pages are among its requests.
//!
//! A page may be empty although more follow, because its work is bounded. The table shows how often that was so: a search
//! that keeps its bound by empty pages is not fast.
//!
//!     cargo bench --bench million                              all of it; some minutes and 2 GB in the temporary directory
//!     cargo bench --bench million -- --only lists,audit        some parts
//!     cargo bench --bench million -- --store DIR               makes the store in DIR, or uses the one that is there
//!     cargo bench --bench million -- --links 100000            with fewer links
//!     cargo bench --bench million -- --case "q"                only cases whose name contains this
//!     cargo bench --bench million -- --server PROGRAM          the server of another state of the code

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
#[path = "../fixture/earlier.rs"]
mod earlier;
mod migration;
mod population;
mod site;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::cases::{Case, Kind};
use self::population::Population;
use self::site::{Client, Site};

/// How many requests a case makes, unless the time is over first.
const REQUESTS: usize = 200;
/// How long a case lasts at most.
const CASE_TIME: Duration = Duration::from_secs(4);
/// How many pages of one list a case asks for.
const PAGES: usize = 12;

/// What to measure.
struct Options {
    links: u64,
    only: Vec<String>,
    case: String,
    store: Option<PathBuf>,
    server: PathBuf,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            links: 1_000_000,
            only: Vec::new(),
            case: String::new(),
            store: None,
            server: env!("CARGO_BIN_EXE_tinyns").into(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("{word} needs a value"))
            };
            match &*word {
                // Cargo adds it.
                "--bench" => {}
                "--links" => options.links = value().parse().expect("--links is a number"),
                "--only" => options.only = value().split(',').map(Into::into).collect(),
                "--case" => options.case = value(),
                "--server" => options.server = value().into(),
                "--store" => options.store = Some(value().into()),
                _ => panic!("{word} is unknown; see the header of benches/million/main.rs"),
            }
        }
        options
    }

    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn main() {
    let options = Options::read();
    // Removed at the end, also after a panic.
    let temporary = tempfile::tempdir().unwrap();
    if options.has("migration") {
        migration::measure(&temporary.path().join("earlier"), options.links);
    }
    let kinds = [Kind::List, Kind::Page, Kind::Audit];
    let kinds: Vec<Kind> = kinds
        .into_iter()
        .filter(|k| options.has(k.name()))
        .collect();
    if kinds.is_empty() {
        return;
    }
    let directory = options.store.as_deref().unwrap_or(temporary.path());
    let population = Population::new(options.links);
    make(&population, directory);
    let site = Site::start(&options.server, directory);
    let mut client = site.client();
    for kind in kinds {
        println!("\n{}\n", kind.title());
        println!("| case | requests | links | p50, ms | p99, ms | max, ms | empty pages |");
        println!("|---|--:|--:|--:|--:|--:|--:|");
        for case in cases::all(kind, &population) {
            if case.name.contains(&options.case) {
                println!("{}", measure(&mut client, &case));
            }
        }
    }
}

/// Makes the store, unless it is there.
fn make(population: &Population, directory: &Path) {
    let path = directory.join("links.sqlite");
    if path.exists() {
        return eprintln!("using {}", path.display());
    }
    let began = Instant::now();
    population.make(&path);
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "{} links made and indexed in {seconds:.0} s",
        population.links
    );
}

/// What a case has shown.
#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    found: usize,
    empty: usize,
}

/// Makes the requests of a case. Returns the row of the table.
fn measure(client: &mut Client, case: &Case) -> String {
    let mut figures = Figures::default();
    let began = Instant::now();
    let mut lists = case.lists.iter().cycle();
    while figures.times.len() < REQUESTS && began.elapsed() < CASE_TIME {
        let Some(list) = lists.next() else { break };
        let mut cursor = case.start(client, list);
        for _ in 0..PAGES {
            let page = client.page(case.kind, list, cursor.as_deref());
            figures.times.push(page.time);
            figures.found += page.items;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            figures.empty += usize::from(page.items == 0);
        }
    }
    figures.row(&case.name)
}

impl Figures {
    fn row(mut self, name: &str) -> String {
        self.times.sort_unstable();
        let last = self.times.len().saturating_sub(1);
        let at = |share: usize| self.times[last * share / 100].as_secs_f64() * 1_000.0;
        format!(
            "| {name} | {} | {} | {:.1} | {:.1} | {:.1} | {} |",
            self.times.len(),
            self.found,
            at(50),
            at(99),
            at(100),
            self.empty
        )
    }
}

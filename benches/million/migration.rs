//! What it takes to open a store of an earlier version.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tinyns::base::clock::Clock;
use tinyns::store::{SqliteStore, Store};
use tokio::runtime::Runtime;

use super::earlier;

/// Makes a store of an earlier version, opens it, and waits until its text index is complete.
pub fn measure(directory: &Path, links: u64) {
    fs::create_dir_all(directory).unwrap();
    let path = directory.join("links.sqlite");
    earlier::make(&path, links);
    let size = |path: &Path| fs::metadata(path).map_or(0.0, |file| file.len() as f64 / 1e6);
    println!("\nA store of an earlier version\n\n| | |\n|---|--:|");
    println!("| size before, MB | {:.0} |", size(&path));
    let began = Instant::now();
    let store = SqliteStore::open(&path, Clock::default()).unwrap();
    println!("| opened after, s | {:.1} |", began.elapsed().as_secs_f64());
    let log = path.with_extension("sqlite-wal");
    println!("| size of the log then, MB | {:.0} |", size(&log));
    let noted = rusqlite::Connection::open(&path).unwrap();
    let left = || -> i64 {
        let left = noted.query_row("SELECT count(*) FROM link_todo", [], |row| row.get(0));
        left.unwrap()
    };
    while left() > 0 {
        thread::sleep(Duration::from_millis(100));
    }
    println!(
        "| text index complete after, s | {:.1} |",
        began.elapsed().as_secs_f64()
    );
    drop(noted);
    Runtime::new().unwrap().block_on(store.close());
    println!("| size after, MB | {:.0} |", size(&path));
    let file = rusqlite::Connection::open(&path).unwrap();
    let free: i64 = file
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap();
    println!("| of it free, MB | {:.0} |", free as f64 * 4_096.0 / 1e6);
}

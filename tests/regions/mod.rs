//! Two regions, with a Redis each: links of one show in the other, a network that is cut between them, and the same code
//! made in both.

mod dynamodb;
mod postgres;
mod replicator;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Answer, Server};

/// How long the regions are cut off from each other: `TINYNS_PARTITION` seconds, by default a few.
fn partition() -> Duration {
    let seconds = std::env::var("TINYNS_PARTITION").ok();
    let seconds = seconds.map_or(5, |text| {
        text.parse().expect("TINYNS_PARTITION is a number")
    });
    Duration::from_secs(seconds)
}

/// Asks a server for a link without pause while `heal` runs. The URL ends with a number, which must never become lower, and is
/// `last` at the end.
fn never_goes_back(server: &Server, name: &str, last: u32, heal: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                let Answer::Url(now) = server.answer(name) else {
                    panic!("{name} is gone");
                };
                let now: u32 = now.rsplit('/').next().unwrap().parse().unwrap();
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
            last
        });
        let healed = catch_unwind(AssertUnwindSafe(heal));
        is_over.store(true, Ordering::Relaxed);
        healed.unwrap();
        assert_eq!(watch.join().unwrap(), last);
    });
}

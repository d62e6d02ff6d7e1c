//! Two regions, with a Redis each: links of one show in the other, a network that is cut between them, and the same code
//! made in both.

mod dynamodb;
mod postgres;
mod replicator;

use std::time::Duration;

/// How long the regions are cut off from each other: `TINYNS_PARTITION` seconds, by default a few.
fn partition() -> Duration {
    let seconds = std::env::var("TINYNS_PARTITION").ok();
    let seconds = seconds.map_or(5, |text| {
        text.parse().expect("TINYNS_PARTITION is a number")
    });
    Duration::from_secs(seconds)
}

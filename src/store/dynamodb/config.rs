//! Which table holds the links. Builds without DynamoDB have this as well, because they check such a configuration.

use std::time::Duration;

/// The name and place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoConfig {
    /// Its name.
    pub table: String,
    /// Its region; none for the region of the environment, the profile or the machine.
    pub region: Option<String>,
    /// The URL of DynamoDB; none for the region's endpoint. If no region is known, requests to this URL are signed
    /// for `us-east-1`; emulators accept any region.
    pub endpoint_url: Option<String>,
    /// Whether to create a missing table, and to enable its TTL.
    pub create_table: bool,
    /// Whether to read the stream of the table, if it has one.
    pub feed: bool,
    /// The table of the audit log; none if no log is kept.
    pub audit: Option<AuditTable>,
    /// The table of statistics; none if no statistics are kept.
    pub statistics: Option<StatisticsTable>,
}

/// The table that holds the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditTable {
    /// Its name, in the region of the table of links.
    pub name: String,
    /// How long entries are kept, in seconds.
    pub keep: u64,
}

/// The table that holds statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsTable {
    /// Its name, in the region of the table of links.
    pub name: String,
    /// How many items may be written each second; at least 1.
    pub writes_per_second: u32,
    /// How long counts are gathered before they are written.
    pub flush_every: Duration,
}

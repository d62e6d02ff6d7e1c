//! `[audit]`: how long the audit log is kept.

use super::problem::ConfigProblem;
use super::section::Section;
use super::store::{DYNAMODB, POSTGRESQL, SQLITE, StoreConfig, table};
use crate::store::AuditTable;
use crate::store::audit::Retention;

/// The longest time that entries are kept, in days: a hundred years.
const MAX_DAYS: u32 = 36_500;
/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// How long entries are kept; none if there is no audit log. With DynamoDB, the log is in a table of its own, and there
/// is none without the name of that table.
pub(super) fn audit(section: &Section<'_>, store: &mut StoreConfig) -> Option<Retention> {
    let enabled = section.flag("enabled", true);
    let days = section.number("keep_days", 1..=MAX_DAYS, "days", Retention::DEFAULT_DAYS);
    let entries = section.number(
        "max_entries",
        1..=u32::MAX,
        "entries",
        Retention::DEFAULT_ENTRIES,
    );
    let keep = u64::from(days) * DAY;
    let other = |kind| {
        let belongs = DYNAMODB;
        Some(ConfigProblem::OtherStore { belongs, kind })
    };
    let refusal = match store {
        StoreConfig::Sqlite { .. } => other(SQLITE),
        StoreConfig::Postgres(_) => other(POSTGRESQL),
        StoreConfig::DynamoDb(_) => None,
    };
    let name = section.refusing(refusal).parsed("table", table);
    let retention = enabled.then(|| Retention {
        keep,
        max_entries: entries.into(),
    });
    match store {
        StoreConfig::Sqlite { .. } => {}
        StoreConfig::Postgres(config) => config.audit = retention,
        StoreConfig::DynamoDb(config) => {
            let name = name.filter(|_| enabled);
            config.audit = name.map(|name| AuditTable { name, keep });
        }
    }
    retention
}

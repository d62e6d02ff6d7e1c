//! `[cache]`: the links and encoded answers in memory, and for how long they serve.

use super::problem::ConfigProblem;
use super::section::{DAY, HOUR, Section};
use super::store::StoreConfig;
use crate::links::MemoryLimits;
use crate::store::watch::VALID_FOR;

/// One TiB: more memory than any server has, but a typing mistake hardly stays below it.
const MAX_MEMORY_MIB: u32 = 1 << 20;
/// In bytes. Room for some 400,000 ordinary links; it is taken as it is used.
const DEFAULT_ANSWERS: u64 = 64 << 20;

/// What `[cache]` says.
pub(super) struct CacheConfig {
    pub(super) memory: MemoryLimits,
    /// The size of the encoded answers, in bytes.
    pub(super) hot_answer_bytes: usize,
    /// Whether there is an existence filter.
    pub(super) filter: bool,
}

/// The defaults depend on whether servers of other programs share the store, and whether Redis announces changes.
pub(super) fn cache(section: &Section<'_>, store: &StoreConfig, has_redis: bool) -> CacheConfig {
    let mut memory = match (store, has_redis) {
        (StoreConfig::Sqlite { .. }, _) => MemoryLimits::default(),
        (StoreConfig::DynamoDb(_) | StoreConfig::Postgres(_), false) => {
            MemoryLimits::for_shared_store()
        }
        (StoreConfig::DynamoDb(_) | StoreConfig::Postgres(_), true) => {
            MemoryLimits::for_shared_store_with_changes()
        }
    };
    if let Some(bytes) = section.mib("memory_mib", 1..=MAX_MEMORY_MIB) {
        memory = memory.with_memory(bytes);
    }
    let answers = section.mib("answers_mib", 0..=MAX_MEMORY_MIB);
    let hot_answer_bytes = usize::try_from(answers.unwrap_or(DEFAULT_ANSWERS));
    let seconds = |key, range, default| section.seconds(key, range).unwrap_or(default);
    memory.fresh_for = seconds("refresh", 1..=DAY, memory.fresh_for);
    memory.absent_for = seconds("absent", 0..=HOUR, memory.absent_for);
    memory.stale_for = seconds("serve_stale", 0..=7 * DAY, memory.stale_for);
    // Without announcements of changes none can be missed, so only the operator's times count.
    let has_announcements = has_redis && !matches!(store, StoreConfig::Sqlite { .. });
    if !has_announcements {
        memory.unnotified = memory.fresh_for.max(memory.absent_for);
    }
    CacheConfig {
        filter: filter(section, store, has_redis, &memory),
        memory,
        hot_answer_bytes: hot_answer_bytes.unwrap_or(usize::MAX),
    }
}

/// With PostgreSQL and DynamoDB there is a filter if it is wanted: creations wait for the filters of other servers, for some
/// hundredths of a second, and for more than a second while one of them hangs. With SQLite there is one by default
/// if the time for which it may miss a link of another program is no longer than the time for which a name may count as
/// absent anyway.
fn filter(
    section: &Section<'_>,
    store: &StoreConfig,
    has_redis: bool,
    memory: &MemoryLimits,
) -> bool {
    let key = "filter";
    let wanted = section.optional_flag(key);
    let refused = |what| {
        if wanted == Some(true) {
            section.note(key, ConfigProblem::FilterNeeds(what));
        }
        false
    };
    match store {
        StoreConfig::Sqlite { .. } => wanted.unwrap_or(memory.absent_for >= VALID_FOR),
        StoreConfig::DynamoDb(_) if !has_redis => refused("the section [redis]"),
        StoreConfig::DynamoDb(table) if !table.feed => refused("feed = true in [store]"),
        StoreConfig::DynamoDb(_) | StoreConfig::Postgres(_) => wanted.unwrap_or(false),
    }
}

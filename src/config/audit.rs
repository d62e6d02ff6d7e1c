//! `[audit]`: how long the audit log is kept.

use super::section::Section;
use crate::store::audit::Retention;

/// The longest time that entries are kept, in days: a hundred years.
const MAX_DAYS: u32 = 36_500;
/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// How long entries are kept; none if there is no audit log.
pub(super) fn audit(section: &Section<'_>) -> Option<Retention> {
    let enabled = section.flag("enabled", true);
    let days = section.number("keep_days", 1..=MAX_DAYS, "days", Retention::DEFAULT_DAYS);
    let entries = section.number(
        "max_entries",
        1..=u32::MAX,
        "entries",
        Retention::DEFAULT_ENTRIES,
    );
    enabled.then(|| Retention {
        keep: u64::from(days) * DAY,
        max_entries: entries.into(),
    })
}

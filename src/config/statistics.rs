//! `[statistics]`: whether look-ups and clicks are counted.

use std::path::PathBuf;

use super::section::Section;
use crate::store::statistics::Keeping;

/// How look-ups and clicks are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsConfig {
    /// What the store keeps.
    pub keeping: Keeping,
    /// A file in the format of MaxMind that tells the countries of addresses; none if countries are not counted.
    pub country_database: Option<PathBuf>,
}

/// None if nothing is counted.
pub(super) fn statistics(section: &Section<'_>) -> Option<StatisticsConfig> {
    let enabled = section.flag("enabled", true);
    let config = StatisticsConfig {
        keeping: Keeping {
            deleted: section.flag("keep_deleted", false),
        },
        country_database: section.optional_file("country_database"),
    };
    enabled.then_some(config)
}

//! Lists of networks.

use super::problem::ConfigProblem;
use super::section::Section;
use crate::base::prefix::Prefix;

/// The most networks in a list.
const MAX_PREFIXES: usize = 1_024;

/// Networks of clients; none without the key.
pub(super) fn prefixes(section: &Section<'_>, key: &'static str) -> Vec<Prefix> {
    let texts = section.texts(key, "a prefix or a list of prefixes, as strings");
    let texts = texts.unwrap_or_default();
    if texts.len() > MAX_PREFIXES {
        section.note(
            key,
            ConfigProblem::too_many(texts.len(), "prefixes", MAX_PREFIXES),
        );
        return Vec::new();
    }
    let mut prefixes = Vec::with_capacity(texts.len());
    for text in texts {
        match text.get_ref().parse() {
            Ok(prefix) => prefixes.push(prefix),
            Err(why) => {
                let problem = ConfigProblem::Prefix((*text.get_ref()).into(), why);
                section.note_at(text.span(), key, problem);
            }
        }
    }
    prefixes
}

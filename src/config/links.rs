//! `[links]`: the codes that callers cannot take.

use super::problem::ConfigProblem;
use super::section::Section;
use crate::link::ReservedCodes;

/// The reserved codes: those of the key instead of the default ones.
pub(super) fn links(section: &Section<'_>) -> ReservedCodes {
    let key = "reserved_codes";
    let Some(texts) = section.texts(key, "a code or a list of codes, as strings") else {
        return ReservedCodes::default();
    };
    let mut codes = ReservedCodes::none();
    if texts.len() > ReservedCodes::MAX {
        let problem = ConfigProblem::too_many(texts.len(), "codes", ReservedCodes::MAX);
        section.note(key, problem);
        return codes;
    }
    for text in texts {
        if let Err(why) = codes.add(text.get_ref()) {
            section.note_at(text.span(), key, ConfigProblem::ReservedCode(why));
        }
    }
    codes
}

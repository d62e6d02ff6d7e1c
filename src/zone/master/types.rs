//! The names of record types.

use std::str::FromStr;

use domain::base::iana::Rtype;

/// Reads the name of a type, or `TYPEnnn` (RFC 3597 §5); in any letter case.
pub(super) fn parse(text: &str) -> Option<Rtype> {
    // RFC 1706 §6; `domain` spells it without the hyphen.
    match text.eq_ignore_ascii_case("NSAP-PTR") {
        true => Some(Rtype::NSAPPTR),
        false => Rtype::from_str(text).ok(),
    }
}

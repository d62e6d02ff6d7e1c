//! The rules of the operator for callers of the API.

use axum::http::header::{HeaderMap, HeaderName, IF_MATCH};

use crate::access::Rate;
use crate::http::problem::{Kind, Problem};

/// A preference of the client (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The rules of the operator for callers of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRules {
    /// The origins whose scripts may call, as browsers write them: `https://example.net`.
    pub origins: Vec<Box<str>>,
    /// Whether changes and deletions of links need `If-Match`.
    pub require_if_match: bool,
    /// How fast each token may call that has no rate of its own; none for no limit.
    pub rate: Option<Rate>,
    /// Whether statistics are switched off, so that there are none to read.
    pub statistics_off: bool,
}

impl ApiRules {
    /// Refuses a change without `If-Match`, if the operator or the caller wants that (RFC 6585 §3).
    pub(super) fn check_if_match(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(IF_MATCH) || !(self.require_if_match || is_strict(headers)) {
            return Ok(());
        }
        let detail = "this change needs If-Match: send the ETag of GET, so that the change is refused if the link has \
            changed since, or * for any version";
        Err(Problem::new(Kind::PreconditionRequired, detail).of("If-Match"))
    }
}

/// Whether the caller prefers strict handling (RFC 7240 §4.4).
fn is_strict(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut preferences = texts.flat_map(|text| text.split(','));
    preferences.any(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let mut parts = preference.splitn(2, '=').map(str::trim);
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        name.eq_ignore_ascii_case("handling")
            && value.is_some_and(|value| value.trim_matches('"').eq_ignore_ascii_case("strict"))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_preference_for_strict_handling() {
        let check = |values: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(is_strict(&headers), expected, "{values:?}");
        };
        check(&[], false);
        check(&["handling=strict"], true);
        check(&["respond-async, Handling = \"strict\"; x=y"], true);
        check(&["return=minimal", "handling=strict"], true);
        check(&["handling=lenient"], false);
        check(&["handling"], false);
        check(&["xhandling=strict"], false);
    }
}

//! The media type that a client prefers (RFC 9110 §12.5.1).

use axum::http::header::{ACCEPT, HeaderMap};

use crate::http::problem::{Kind, Problem};

/// The quality of a media type in thousandths (RFC 9110 §12.4.2).
const FULL: u16 = 1_000;

/// Which of these media types the client prefers, as an index; the first one if it has no preference. All of them are
/// essences in lower case, such as `text/csv`.
///
/// # Errors
/// The client accepts none of them.
pub(super) fn preferred(headers: &HeaderMap, offered: &[&'static str]) -> Result<usize, Problem> {
    let values = headers.get_all(ACCEPT).into_iter();
    // RFC 9110 §5.3: several field lines form one list. What is not ASCII is no media type.
    let texts: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    let ranges = texts.iter().flat_map(|text| text.split(','));
    let ranges: Vec<_> = ranges.filter_map(range).collect();
    if ranges.is_empty() {
        return Ok(0);
    }
    let best = offered
        .iter()
        .enumerate()
        .map(|(index, media)| (quality(&ranges, media), index))
        // Of equal ones the first.
        .max_by_key(|(quality, index)| (*quality, std::cmp::Reverse(*index)));
    match best {
        Some((quality, index)) if quality > 0 => Ok(index),
        _ => {
            let detail = format!(
                "\"Accept\" takes none of the forms of this reply, which are {}",
                offered.join(", ")
            );
            Err(Problem::new(Kind::NotAcceptable, detail).of("Accept"))
        }
    }
}

/// A range of media types and its quality; none for a text that is no range.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    Some((range.to_ascii_lowercase(), weight.map_or(FULL, thousandths)))
}

/// A quality such as `0.25`; others count as 1.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_right = rest.len() <= 3 && rest.bytes().all(|b| b.is_ascii_digit());
    match (whole, is_right) {
        ("0", true) => format!("{rest:0<3}").parse().unwrap_or(FULL),
        _ => FULL,
    }
}

/// The quality that the most specific range gives a media type.
fn quality(ranges: &[(String, u16)], media: &str) -> u16 {
    let group = media.split('/').next().unwrap_or_default();
    let of = |wanted: &str| ranges.iter().find(|(range, _)| range == wanted);
    let found = of(media)
        .or_else(|| of(&format!("{group}/*")))
        .or_else(|| of("*/*"));
    found.map_or(0, |(_, quality)| *quality)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OFFERED: [&str; 3] = ["application/json", "application/x-ndjson", "text/csv"];

    #[test]
    fn rfc9110_12_5_1_the_most_specific_range_decides() {
        let check = |values: &[&str], expected: Option<usize>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(preferred(&headers, &OFFERED).ok(), expected, "{values:?}");
        };
        check(&[], Some(0));
        check(&["*/*"], Some(0));
        check(&["text/csv"], Some(2));
        check(&["TEXT/CSV; charset=utf-8"], Some(2));
        check(&["text/*"], Some(2));
        check(&["application/*;q=0.5, text/csv;q=0.4"], Some(0));
        check(&["application/json;q=0.5", "application/x-ndjson"], Some(1));
        check(&["*/*;q=0.1, application/json;q=0"], Some(1));
        check(&["text/csv;q=0.001, application/json;q=0.000"], Some(2));
        check(&["text/csv;q=x"], Some(2));
        check(&["text/html"], None);
        check(&["text/csv;q=0"], None);
        check(&["application/json;q=0, text/html"], None);
        // Texts that are no ranges say nothing.
        check(&["", "csv"], Some(0));
    }
}

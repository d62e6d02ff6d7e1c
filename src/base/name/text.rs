//! Domain names in the text form of RFC 1035 §5.1.
//!
//! They are read here and not by `domain`, whose scanner accepts the empty label in `a..b` and reads a lone `@` in
//! rdata as a label.

use super::{MAX_LABEL_LEN, MAX_NAME_LEN};

/// Why a text is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Two dots in a row, or one at the start.
    #[error("it has an empty label")]
    EmptyLabel,
    /// RFC 1035 §2.3.4.
    #[error("a label has more than {MAX_LABEL_LEN} bytes")]
    LongLabel,
    /// RFC 1035 §2.3.4.
    #[error("it has more than {MAX_NAME_LEN} bytes on the wire")]
    LongName,
    /// `\DDD` with fewer than three digits or beyond 255.
    #[error("a backslash must be followed by one character or a number from 000 to 255")]
    BadEscape,
    /// A quote in or around it.
    #[error("names are not quoted")]
    Quoted,
    /// No text at all.
    #[error("it is empty; the root is \".\"")]
    Empty,
    /// A character that names contain only as an escape.
    #[error(
        "it has the character {0:?}; write \\DDD for a byte, or punycode for letters of other scripts"
    )]
    BadCharacter(char),
}

/// Reads a name into wire form and keeps its case. A relative name is completed with `origin`.
pub(crate) fn parse(raw: &[u8], origin: &[u8]) -> Result<Vec<u8>, NameProblem> {
    match raw {
        b"@" => Ok(origin.to_vec()),
        _ => read(raw, origin),
    }
}

/// Reads an absolute name, as in the configuration. The final dot may be missing.
pub(super) fn parse_absolute(text: &str) -> Result<Vec<u8>, NameProblem> {
    if text.is_empty() {
        return Err(NameProblem::Empty);
    }
    let is_bad = |c: &char| !c.is_ascii_graphic();
    match text.chars().find(is_bad) {
        Some(c) => Err(NameProblem::BadCharacter(c)),
        None => read(text.as_bytes(), &[0]),
    }
}

fn read(raw: &[u8], origin: &[u8]) -> Result<Vec<u8>, NameProblem> {
    if raw == b"." {
        return Ok(vec![0]);
    }
    let mut wire = vec![0];
    let mut label_start = 0;
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'"' => return Err(NameProblem::Quoted),
            b'.' => {
                end_label(&mut wire, &mut label_start)?;
                rest = tail;
                continue;
            }
            b'\\' => unescape(tail).ok_or(NameProblem::BadEscape)?,
            byte => (byte, tail),
        };
        wire.push(byte);
        rest = tail;
    }
    if wire.len() > label_start + 1 {
        end_label(&mut wire, &mut label_start)?;
        wire.pop();
        wire.extend_from_slice(origin);
    }
    if wire.len() > MAX_NAME_LEN {
        return Err(NameProblem::LongName);
    }
    Ok(wire)
}

/// Writes the length of the label that has ended, and makes room for the length of the next.
fn end_label(wire: &mut Vec<u8>, start: &mut usize) -> Result<(), NameProblem> {
    let len = wire.len() - *start - 1;
    if len == 0 {
        return Err(NameProblem::EmptyLabel);
    }
    if len > MAX_LABEL_LEN {
        return Err(NameProblem::LongLabel);
    }
    wire[*start] = len as u8;
    *start = wire.len();
    wire.push(0);
    Ok(())
}

/// Reads an escape behind its backslash; returns the byte and the remaining text.
pub(crate) fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, tail) = text.split_first()?;
    if !first.is_ascii_digit() {
        return Some((first, tail));
    }
    let (digits, tail) = text.split_at_checked(3)?;
    let number = std::str::from_utf8(digits).ok()?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &[u8] = b"\x07example\0";

    #[track_caller]
    fn check(text: &str, expected: &[u8]) {
        assert_eq!(parse(text.as_bytes(), ORIGIN).unwrap(), expected, "{text}");
    }

    #[track_caller]
    fn check_error(text: &str, expected: NameProblem) {
        assert_eq!(parse(text.as_bytes(), ORIGIN), Err(expected), "{text}");
    }

    #[test]
    fn rfc_1035_5_1_names() {
        check("@", ORIGIN);
        check(".", b"\0");
        check("a.B", b"\x01a\x01B\x07example\0");
        check("a.b.", b"\x01a\x01b\0");
        check(r"\@", b"\x01@\x07example\0");
        check(r"a\.b.", b"\x03a.b\0");
        check(r"\200\092x.", b"\x03\xC8\\x\0");
        let longest = [&[63], &[b'a'; 63][..], &[0]].concat();
        check(&format!("{}.", "a".repeat(63)), &longest);
    }

    #[test]
    fn invalid_names() {
        check_error("a..b", NameProblem::EmptyLabel);
        check_error(".a", NameProblem::EmptyLabel);
        check_error("..", NameProblem::EmptyLabel);
        check_error(&"a".repeat(64), NameProblem::LongLabel);
        check_error(&"a.".repeat(128), NameProblem::LongName);
        // 84 labels of three bytes and the root make 253; with the origin it is too long.
        check_error(
            "ab.".repeat(84).trim_end_matches('.'),
            NameProblem::LongName,
        );
        check_error(r"a\25", NameProblem::BadEscape);
        check_error(r"a\256", NameProblem::BadEscape);
        check_error(r"a\2x5", NameProblem::BadEscape);
        check_error(r#""a""#, NameProblem::Quoted);
    }

    proptest! {
        #[test]
        fn escaped_text_gives_the_bytes_of_its_labels(labels in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 1..20), 1..12)) {
            let mut wire = Vec::new();
            let mut text = String::new();
            for label in &labels {
                wire.push(label.len() as u8);
                wire.extend_from_slice(label);
                text.extend(label.iter().map(|byte| format!("\\{byte:03}")));
                text.push('.');
            }
            wire.push(0);
            prop_assert_eq!(parse(text.as_bytes(), ORIGIN), Ok(wire));
        }

        #[test]
        fn parse_never_panics(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&raw, ORIGIN);
        }
    }
}

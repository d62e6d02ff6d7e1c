//! The range of a `$GENERATE`, and text with placeholders for its numbers: see [`super::generate`].

use std::io::Write as _;
use std::ops::RangeInclusive;

/// The highest number (BIND's).
const MAX_NUMBER: u32 = (1 << 31) - 1;
/// The range of a number plus its offset (BIND's).
const SUMS: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;
/// The largest width of a number, in characters: a name is not longer.
const MAX_WIDTH: usize = 255;

/// Why a `$GENERATE` makes no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateProblem {
    /// Not a range.
    #[error(
        "the range must be start-stop or start-stop/step, with numbers up to {MAX_NUMBER} and the stop not below the start"
    )]
    Range,
    /// `${` without a legal modifier.
    #[error(
        "a modifier must be ${{offset}}, ${{offset,width}} or ${{offset,width,base}}, with a width up to {MAX_WIDTH} and one of d o x X n N as base"
    )]
    Modifier,
    /// Out of the range of 32 bits with a sign.
    #[error("the number plus its offset is below -2147483648 or above {MAX_NUMBER}")]
    Number,
    /// A comment, a line end or a parenthesis in quoted data.
    #[error("the text does not make exactly one record")]
    NotOne,
}

/// The numbers from a start to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

impl Range {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, number(step)?),
            None => (text, 1),
        };
        let (start, stop) = range.split_once('-')?;
        let (start, stop) = (number(start)?, number(stop)?);
        (start <= stop && step > 0).then_some(Self { start, stop, step })
    }

    /// How many numbers it has.
    pub(super) fn len(self) -> usize {
        let len = (self.stop - self.start) / self.step + 1;
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(usize::try_from(self.step).unwrap_or(usize::MAX))
    }
}

fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= MAX_NUMBER)
}

/// Text with placeholders for the number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Number {
        offset: i64,
        width: usize,
        base: Base,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Decimal,
    Octal,
    Hex,
    UpperHex,
    Nibbles,
    UpperNibbles,
}

impl Template {
    /// Reads a token, or the text between its quotes.
    pub(super) fn parse(mut raw: &[u8]) -> Result<Self, GenerateProblem> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        while let Some((&byte, rest)) = raw.split_first() {
            match (byte, rest) {
                // The lexer reads the escape when it reads the generated text.
                (b'\\', [escaped, rest @ ..]) => {
                    text.extend([b'\\', *escaped]);
                    raw = rest;
                }
                (b'$', [b'$', rest @ ..]) => {
                    text.push(b'$');
                    raw = rest;
                }
                (b'$', rest) => {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    let (piece, rest) = place(rest)?;
                    pieces.push(piece);
                    raw = rest;
                }
                (byte, rest) => {
                    text.push(byte);
                    raw = rest;
                }
            }
        }
        pieces.push(Piece::Text(text));
        Ok(Self(pieces))
    }

    /// Text without placeholders.
    pub(super) fn plain(raw: &[u8]) -> Self {
        Self(vec![Piece::Text(raw.to_vec())])
    }

    /// Writes the text for a number.
    pub(super) fn write(&self, number: u32, text: &mut Vec<u8>) -> Result<(), GenerateProblem> {
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.extend_from_slice(piece),
                Piece::Number {
                    offset,
                    width,
                    base,
                } => {
                    let number = i64::from(number) + offset;
                    if !SUMS.contains(&number) {
                        return Err(GenerateProblem::Number);
                    }
                    base.write(number, *width, text);
                }
            }
        }
        Ok(())
    }
}

impl Base {
    /// Writes a number within [`SUMS`]. For a negative number the width of a decimal includes the sign; the other
    /// bases show its 32 bits in two's complement.
    fn write(self, decimal: i64, width: usize, text: &mut Vec<u8>) {
        let number = decimal as u32;
        // Writing to a Vec cannot fail.
        let _ = match self {
            Self::Decimal => write!(text, "{decimal:0width$}"),
            Self::Octal => write!(text, "{number:0width$o}"),
            Self::Hex => write!(text, "{number:0width$x}"),
            Self::UpperHex => write!(text, "{number:0width$X}"),
            Self::Nibbles | Self::UpperNibbles => {
                let digits = match self {
                    Self::Nibbles => format!("{number:x}"),
                    _ => format!("{number:X}"),
                };
                nibbles(&digits, width, text);
                Ok(())
            }
        };
    }
}

/// Writes digits from the last to the first, with dots between them, and zeros up to a width that includes the
/// dots. An even width ends with a dot.
fn nibbles(digits: &str, width: usize, text: &mut Vec<u8>) {
    let end = text.len() + width;
    let mut digits = digits.bytes().rev();
    let mut next = digits.next();
    loop {
        text.push(next.unwrap_or(b'0'));
        next = digits.next();
        if next.is_none() && text.len() >= end {
            return;
        }
        text.push(b'.');
        if next.is_none() && text.len() >= end {
            return;
        }
    }
}

/// Reads the modifier behind a `$`, if there is one.
fn place(raw: &[u8]) -> Result<(Piece, &[u8]), GenerateProblem> {
    let plain = Piece::Number {
        offset: 0,
        width: 0,
        base: Base::Decimal,
    };
    let Some(raw) = raw.strip_prefix(b"{") else {
        return Ok((plain, raw));
    };
    let bad = GenerateProblem::Modifier;
    let end = raw.iter().position(|&byte| byte == b'}');
    let (inner, rest) = raw.split_at(end.ok_or(bad.clone())?);
    let inner = std::str::from_utf8(inner).map_err(|_| bad.clone())?;
    let piece = modifier(inner).ok_or(bad)?;
    Ok((piece, &rest[1..]))
}

/// `offset[,width[,base]]`
fn modifier(text: &str) -> Option<Piece> {
    let mut parts = text.split(',');
    let offset = parts.next()?;
    let (sign, digits) = match offset.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, offset.strip_prefix('+').unwrap_or(offset)),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let offset = is_number.then(|| digits.parse::<i64>().ok()).flatten()?;
    let offset = Some(sign * offset).filter(|offset| SUMS.contains(offset))?;
    let width = match parts.next() {
        Some(width) => usize::try_from(number(width)?).ok()?,
        None => 0,
    };
    let base = match parts.next() {
        None | Some("d") => Base::Decimal,
        Some("o") => Base::Octal,
        Some("x") => Base::Hex,
        Some("X") => Base::UpperHex,
        Some("n") => Base::Nibbles,
        Some("N") => Base::UpperNibbles,
        Some(_) => return None,
    };
    (width <= MAX_WIDTH && parts.next().is_none()).then_some(Piece::Number {
        offset,
        width,
        base,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, number: u32, expected: &str) {
        let mut text = Vec::new();
        let template = Template::parse(template.as_bytes()).unwrap();
        template.write(number, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn ranges() {
        let numbers = |text: &str| {
            let range = Range::parse(text)?;
            let numbers: Vec<_> = range.numbers().collect();
            assert_eq!(numbers.len(), range.len());
            Some(numbers)
        };
        assert_eq!(numbers("1-3"), Some(vec![1, 2, 3]));
        assert_eq!(numbers("7-7"), Some(vec![7]));
        assert_eq!(numbers("0-10/4"), Some(vec![0, 4, 8]));
        assert_eq!(
            numbers("2147483647-2147483647/2147483647").unwrap().len(),
            1
        );
        for bad in [
            "",
            "1",
            "-",
            "1-",
            "-1",
            "3-1",
            "1-3/0",
            "1-3/",
            "1-3/-1",
            "+1-3",
            "1-2147483648",
            "1-3-5",
            "a-b",
            "1--3",
            " 1-3",
        ] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_in_text() {
        check("host$", 7, "host7");
        check("$.$", 7, "7.7");
        check(r"\$$", 7, r"\$7");
        check("$$$", 7, "$7");
        check(r"a\\$\.", 7, r"a\\7\.");
        check("${0}", 7, "7");
        check("${-7}x", 7, "0x");
        check("${+3,4}", 7, "0010");
        check("${0,3,d}", 1234, "1234");
        check("${1,0,o}", 7, "10");
        check("${0,2,x}", 10, "0a");
        check("${0,2,X}", 10, "0A");
    }

    /// As `named-compilezone` of BIND 9.18 writes them.
    #[test]
    fn numbers_below_zero() {
        check("${-1}", 0, "-1");
        check("${-2,3,d}", 1, "-01");
        check("${-12,2}", 0, "-12");
        check("${-1,0,x}", 0, "ffffffff");
        check("${-1,12,X}", 0, "0000FFFFFFFF");
        check("${-1,0,o}", 0, "37777777777");
        check("${-2,1,n}", 0, "e.f.f.f.f.f.f.f");
        check("${-2147483648}", 0, "-2147483648");
    }

    /// As `named-compilezone` of BIND 9.18 writes them.
    #[test]
    fn nibbles_have_dots_between() {
        check("${0,0,n}", 0x1f, "f.1");
        check("${0,1,n}", 0x1f, "f.1");
        check("${0,3,n}", 0x1f, "f.1");
        check("${0,4,n}", 0x1f, "f.1.");
        check("${0,7,n}", 0x1f, "f.1.0.0");
        check("${0,8,N}", 0x1f, "F.1.0.0.");
        check("${0,0,n}", 0, "0");
        check("${0,2,n}", 1, "1.");
        check("${0,3,n}", 1, "1.0");
    }

    #[test]
    fn wrong_modifiers_are_refused() {
        for bad in [
            "${",
            "${}",
            "${1",
            "${a}",
            "${0,a}",
            "${0,-1}",
            "${0,256}",
            "${0,1,b}",
            "${0,1,dd}",
            "${0,1,d,1}",
            "${ 0}",
            "${0,,d}",
            "${--1}",
        ] {
            let parsed = Template::parse(bad.as_bytes());
            assert_eq!(parsed, Err(GenerateProblem::Modifier), "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let write = |template: &str, number| {
            let template = Template::parse(template.as_bytes()).unwrap();
            template.write(number, &mut Vec::new())
        };
        assert_eq!(write("${1}", MAX_NUMBER), Err(GenerateProblem::Number));
        assert_eq!(write("${-2147483648}", 0), Ok(()));
        assert_eq!(write("${-2147483648}", MAX_NUMBER), Ok(()));
        for bad in [
            "${-2147483649}",
            "${2147483648}",
            "${-99999999999999999999}",
        ] {
            let parsed = Template::parse(bad.as_bytes());
            assert_eq!(parsed, Err(GenerateProblem::Modifier), "{bad}");
        }
    }
}

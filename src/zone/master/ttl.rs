//! Times in master files.

/// Reads a time in seconds: a number, or numbers with the units `w d h m s`, as BIND, NSD and Knot read them. None
/// if the text is neither, or if the time does not fit 32 bits.
pub(super) fn parse(raw: &[u8]) -> Option<u32> {
    let mut total: Option<u32> = None;
    let mut number: Option<u32> = None;
    for &byte in raw {
        if byte.is_ascii_digit() {
            let digit = u32::from(byte - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        let seconds = number.take()?.checked_mul(unit)?;
        total = Some(total.unwrap_or(0).checked_add(seconds)?);
    }
    match (total, number) {
        // `1h30` is refused: the unit of the last number is not clear.
        (Some(_), Some(_)) => None,
        (total, number) => total.or(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u32>) {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn times() {
        check("0", Some(0));
        check("300", Some(300));
        check("4294967295", Some(u32::MAX));
        check("1h", Some(3_600));
        check("1D", Some(86_400));
        check("1w2d3h4m5s", Some(604_800 + 172_800 + 10_800 + 240 + 5));
        check("0s", Some(0));
    }

    #[test]
    fn other_texts_are_not_times() {
        for text in [
            "",
            "h",
            "-1",
            "+1",
            "1x",
            "1h30",
            "4294967296",
            "9999999w",
            "1.5h",
            "0h5",
        ] {
            check(text, None);
        }
    }
}

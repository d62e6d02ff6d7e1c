//! LOC: a location on the globe (RFC 1876).

use super::RdataError;
use super::fields::{Fields, Own, Wire};

/// RFC 1876 §3.
pub(super) const LOC: Own = Own { read, take };

/// Thousandths of an arc second in a degree.
const DEGREE: u32 = 3_600_000;
/// The equator, and the prime meridian (RFC 1876 §2).
const MIDDLE: u32 = 1 << 31;
/// The lowest altitude, in centimetres below the spheroid (RFC 1876 §2); altitudes are counted from there.
const ALTITUDE_BASE: i64 = 10_000_000;
/// The largest size or precision, in centimetres.
const MAX_SIZE: i64 = 9_000_000_000;
/// The default size, horizontal precision and vertical precision (RFC 1876 §3): 1 m, 10 km, 10 m.
const DEFAULTS: [(&str, u8); 3] = [
    ("size", 0x12),
    ("horizontal precision", 0x16),
    ("vertical precision", 0x13),
];

fn read(fields: &mut Fields<'_, '_>) -> Result<(), RdataError> {
    let latitude = angle(fields, "latitude", 90, [b"N", b"S"])?;
    let longitude = angle(fields, "longitude", 180, [b"E", b"W"])?;
    let lowest = -ALTITUDE_BASE;
    let altitude = metres(fields, "altitude", lowest, i64::from(u32::MAX) + lowest)?;
    // The version.
    fields.put(0, 1);
    for (what, default) in DEFAULTS {
        let code = match fields.peek() {
            Some(_) => code_of(metres(fields, what, 0, MAX_SIZE)?),
            None => default,
        };
        fields.put(code.into(), 1);
    }
    fields.put(latitude.into(), 4);
    fields.put(longitude.into(), 4);
    // `metres` has checked the bounds, so the sum is not negative and fits 32 bits.
    fields.put(altitude.wrapping_add(ALTITUDE_BASE) as u64, 4);
    Ok(())
}

/// RFC 1876 §2: version 0, sizes of two decimal digits, and angles within the globe.
fn take(wire: &mut Wire<'_>) -> Option<()> {
    let version = wire.byte()?;
    let sizes = wire.take(3)?;
    let mut is_legal = version == 0 && sizes.iter().all(|size| size >> 4 <= 9 && size & 0xF <= 9);
    for most in [90, 180] {
        let angle = u32::from_be_bytes(wire.take(4)?.try_into().ok()?);
        is_legal &= angle.abs_diff(MIDDLE) <= most * DEGREE;
    }
    wire.take(4)?;
    is_legal.then_some(())
}

/// Reads `degrees [minutes [seconds]] direction`. Angles in the first direction are above the middle, those in
/// the second direction below it.
fn angle(
    fields: &mut Fields<'_, '_>,
    what: &str,
    max_degrees: u32,
    [more, less]: [&[u8]; 2],
) -> Result<u32, RdataError> {
    let units = [
        ("degrees", DEGREE, i64::from(max_degrees) * 1_000),
        ("minutes", DEGREE / 60, 59_000),
        ("seconds", DEGREE / 3_600, 59_999),
    ];
    let mut total = 0;
    let mut units = units.into_iter();
    let mut first = None;
    loop {
        let token = fields.take(what)?;
        let first = *first.get_or_insert(token);
        let is_less = token.raw.eq_ignore_ascii_case(less);
        if total > max_degrees * DEGREE {
            let why = format!("the {what} is more than {max_degrees} degrees");
            return Err(fields.bad(first, &why));
        }
        if is_less || token.raw.eq_ignore_ascii_case(more) {
            if std::ptr::eq(first, token) {
                return Err(fields.bad(token, &format!("the {what} has no degrees")));
            }
            return Ok(match is_less {
                true => MIDDLE - total,
                false => MIDDLE + total,
            });
        }
        let Some((unit, thousandths, max)) = units.next() else {
            let directions = [more, less].map(String::from_utf8_lossy).join(" or ");
            let why = format!("the direction of the {what} must be {directions}");
            return Err(fields.bad(token, &why));
        };
        // Only seconds have a fraction.
        let digits = if unit == "seconds" { 3 } else { 0 };
        let number = fixed(token.raw, digits, 3).filter(|number| *number <= max);
        let number = number.ok_or_else(|| {
            let max = max / 1_000;
            fields.bad(
                token,
                &format!("the {unit} of the {what} must be a number up to {max}"),
            )
        })?;
        // The check above keeps the sum below 181 degrees.
        total += (number as u64 * u64::from(thousandths) / 1_000) as u32;
    }
}

/// Reads a length in metres, with or without `m`. The bounds and the result are in centimetres.
fn metres(fields: &mut Fields<'_, '_>, what: &str, min: i64, max: i64) -> Result<i64, RdataError> {
    let token = fields.take(what)?;
    let raw = token.raw;
    let raw = raw
        .strip_suffix(b"m")
        .or(raw.strip_suffix(b"M"))
        .unwrap_or(raw);
    let number = match raw.strip_prefix(b"-") {
        Some(raw) => fixed(raw, 2, 2).map(|number| -number),
        None => fixed(raw, 2, 2),
    };
    let number = number.filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| {
        let (min, max) = (min / 100, max / 100);
        fields.bad(
            token,
            &format!(
                "the {what} must be in metres, from {min} to {max}, with at most two decimals"
            ),
        )
    })
}

/// A decimal number with up to `digits` digits behind its point, times ten to the power of `scale`.
fn fixed(raw: &[u8], digits: usize, scale: u32) -> Option<i64> {
    let text = std::str::from_utf8(raw).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty()
        || !is_number(whole)
        || !is_number(fraction)
        || fraction.len() > digits
        // No number here has more digits; and the sum below cannot overflow.
        || whole.len() > 10
    {
        return None;
    }
    let padded = format!("{fraction:0<width$}", width = scale as usize);
    let part = |text: &str| {
        if text.is_empty() {
            Ok(0)
        } else {
            text.parse::<i64>()
        }
    };
    let whole = part(whole).ok()?;
    Some(whole * 10_i64.pow(scale) + part(&padded).ok()?)
}

/// Centimetres as a digit and a power of ten (RFC 1876 §2); lower digits are cut off.
fn code_of(centimetres: i64) -> u8 {
    let mut digit = centimetres;
    let mut power = 0;
    while digit > 9 {
        digit /= 10;
        power += 1;
    }
    (digit as u8) << 4 | power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_numbers() {
        assert_eq!(fixed(b"12", 3, 3), Some(12_000));
        assert_eq!(fixed(b"12.5", 3, 3), Some(12_500));
        assert_eq!(fixed(b".5", 2, 2), Some(50));
        assert_eq!(fixed(b"5.", 2, 2), Some(500));
        for bad in ["", ".", "1.234", "1.2.3", "-1", "1e3", "12345678901"] {
            assert_eq!(fixed(bad.as_bytes(), 2, 2), None, "{bad}");
        }
    }

    #[test]
    fn rfc_1876_2_sizes() {
        assert_eq!(code_of(0), 0x00);
        assert_eq!(code_of(5), 0x50);
        assert_eq!(code_of(100), 0x12);
        assert_eq!(code_of(1_234), 0x13);
        assert_eq!(code_of(MAX_SIZE), 0x99);
    }
}

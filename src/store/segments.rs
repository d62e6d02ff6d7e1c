//! Segments of a scan as ranges of codes, for the stores that keep links in the order of their codes.
//!
//! A segment is a range of codes, the same in every zone. Eight base36 digits from a hash are spread evenly from `0…` to
//! `z…`, so equal ranges contain equal shares of the links. Each range is a range of the primary key, so a segment reads
//! only its own rows. A hash function in the database would spread codes that callers chose more evenly, but every
//! segment would have to read the whole table.

use super::Segment;

/// Below every code.
pub(super) const BOTTOM: &str = "";
/// Above every code, and above every other text that another program may have put there.
pub(super) const TOP: &str = "\u{10ffff}";
/// 36^8: the number of codes of eight digits.
const CODE_SPACE: u64 = 36_u64.pow(8);

/// The codes of a segment: above the first one, up to the second one (inclusive). None for a segment that does not
/// exist.
pub(super) fn bounds(segment: Segment) -> Option<(String, String)> {
    let Segment { index, total } = segment;
    if index >= total {
        return None;
    }
    // The products do not overflow: 2^32 times 36^8 is below 2^74.
    let bound = |i: u32| {
        let place = u128::from(CODE_SPACE) * u128::from(i) / u128::from(total);
        base36(place as u64)
    };
    let bottom = if index == 0 {
        BOTTOM.into()
    } else {
        bound(index)
    };
    let top = if index + 1 == total {
        TOP.into()
    } else {
        bound(index + 1)
    };
    Some((bottom, top))
}

/// A number below 36^8 as eight digits, whose order as text is that of the numbers.
fn base36(number: u64) -> String {
    let digit = |place| char::from_digit((number / 36_u64.pow(place) % 36) as u32, 36);
    (0..8).rev().filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_meet_without_gap_or_overlap() {
        let check = |total: u32| {
            let parts: Vec<_> = (0..total)
                .map(|index| bounds(Segment { index, total }).unwrap())
                .collect();
            assert_eq!(parts[0].0, BOTTOM);
            assert_eq!(parts[parts.len() - 1].1, TOP);
            for pair in parts.windows(2) {
                assert_eq!(pair[0].1, pair[1].0, "of {total}");
            }
            assert!(parts.iter().all(|(bottom, top)| bottom < top), "of {total}");
        };
        (1..=64).for_each(check);
        assert_eq!(bounds(Segment { index: 0, total: 0 }), None);
        assert_eq!(bounds(Segment { index: 3, total: 3 }), None);
        let (index, total) = (u32::MAX - 1, u32::MAX);
        assert!(bounds(Segment { index, total }).is_some());
    }

    #[test]
    fn base36_keeps_the_order() {
        assert_eq!(base36(0), "00000000");
        assert_eq!(base36(35), "0000000z");
        assert_eq!(base36(36), "00000010");
        assert_eq!(base36(CODE_SPACE - 1), "zzzzzzzz");
    }
}

//! Whether a zone that has changed has a higher serial than before.

use super::diagnostic::{Defect, Diagnostic};
use super::{Zone, ZoneSerial};

/// A warning if the serial of a zone that replaces another is wrong; none if it is higher, or if the zone has not
/// changed.
pub(super) fn check(old: &Zone, new: &Zone) -> Option<Diagnostic> {
    let (was, is) = (old.serial.number, new.serial.number);
    let defect = match is_higher(is, was) {
        true => return None,
        false if is != was => Defect::SerialLowered { was, is },
        false if old.tree.has_same_records(&new.tree) => return None,
        false => Defect::SerialUnchanged(is),
    };
    let ZoneSerial { file, line, .. } = &new.serial;
    Some(Diagnostic {
        file: file.clone(),
        line: Some(*line),
        column: None,
        defect,
    })
}

/// RFC 1982 §3.2. Where the RFC does not define which of two serials is higher, neither is.
fn is_higher(serial: u32, than: u32) -> bool {
    (1..1 << 31).contains(&serial.wrapping_sub(than))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1982_3_2_serials() {
        assert!(is_higher(1, 0));
        assert!(is_higher(0, u32::MAX));
        assert!(is_higher(u32::MAX, 1 << 31));
        assert!(is_higher((1 << 31) - 1, 0));
        assert!(!is_higher(7, 7));
        assert!(!is_higher(0, 1));
        assert!(!is_higher(1 << 31, 0));
        assert!(!is_higher(0, 1 << 31));
    }
}

//! Whether a zone that was loaded again has a serial that tells that it has changed.

use super::diagnostic::{Diagnostic, Problem};
use super::{Zone, ZoneSerial};

/// What there is to say of the serial of a zone that takes the place of another: nothing if it is higher, or if
/// nothing has changed.
pub(super) fn check(old: &Zone, new: &Zone) -> Option<Diagnostic> {
    let (was, is) = (old.serial.number, new.serial.number);
    let problem = match is_higher(is, was) {
        true => return None,
        false if is != was => Problem::SerialLowered { was, is },
        false if old.tree.has_same_records(&new.tree) => return None,
        false => Problem::SerialUnchanged(is),
    };
    let ZoneSerial { file, line, .. } = &new.serial;
    Some(Diagnostic {
        file: file.clone(),
        line: Some(*line),
        column: None,
        problem,
    })
}

/// RFC 1982 §3.2. Where it leaves open which of two is higher, neither is.
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

//! Names in messages and logs.

use std::fmt::{self, Write as _};

use hickory_proto::rr::{LowerName, Name};

/// A name for display, with the final dot and the escapes of RFC 1035 §5.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(pub Name);

impl From<Name> for Shown {
    fn from(name: Name) -> Self {
        Self(name)
    }
}

impl From<&LowerName> for Shown {
    fn from(name: &LowerName) -> Self {
        Self(Name::from(name))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut is_root = true;
        for label in self.0.iter() {
            is_root = false;
            write_label(label, f)?;
            f.write_char('.')?;
        }
        match is_root {
            true => f.write_char('.'),
            false => Ok(()),
        }
    }
}

/// Writes a label in the form of zone files. It escapes the same characters as BIND.
pub(super) fn write_label(label: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for &byte in label {
        match byte {
            b'"' | b'$' | b'(' | b')' | b'.' | b';' | b'@' | b'\\' => {
                write!(f, "\\{}", char::from(byte))?;
            }
            0x21..=0x7E => f.write_char(char::from(byte))?,
            _ => write!(f, "\\{byte:03}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1035_5_1_names_are_shown_as_they_are_read() {
        let show = |labels: &[&[u8]]| {
            let name = Name::from_labels(labels.iter().copied()).unwrap();
            Shown(name).to_string()
        };
        assert_eq!(show(&[]), ".");
        assert_eq!(show(&[b"0/25", b"2"]), "0/25.2.");
        assert_eq!(show(&[b"*", b"-a_"]), "*.-a_.");
        assert_eq!(
            show(&[b"a.b c\\", b"\xC3\xA9\0"]),
            r"a\.b\032c\\.\195\169\000."
        );
    }
}

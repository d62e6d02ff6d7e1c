//! QR codes (ISO/IEC 18004) of short URLs: as SVG, as PNG, and as text for a terminal.
//!
//! Scheme and host of a URL are the same in capitals (RFC 3986 §6.2.2.1), and a link's short URL has nothing else. So
//! the code holds `HTTPS://SALE.S.EXAMPLE.COM`, all of whose characters are in the alphanumeric mode of QR codes. That
//! takes 5½ bits for a character instead of 8, so the code has fewer modules and can be read from farther away.

mod blocks;
mod png;
mod svg;

use std::str::FromStr;

pub(crate) use self::blocks::Ink;

/// The default size of a module, in pixels.
pub(crate) const DEFAULT_SCALE: u32 = 8;
/// The largest size of a module, in pixels.
pub(crate) const MAX_SCALE: u32 = 40;
/// The default width of the quiet zone, in modules: what the standard asks for.
pub(crate) const DEFAULT_MARGIN: u32 = 4;
/// The largest width of the quiet zone, in modules.
pub(crate) const MAX_MARGIN: u32 = 16;

/// How much of a code may be unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    /// About 7 percent.
    L,
    /// About 15 percent.
    #[default]
    M,
    /// About 25 percent.
    Q,
    /// About 30 percent.
    H,
}

/// The text is no [`Level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is L, M, Q or H")]
pub(crate) struct NoLevel;

impl FromStr for Level {
    type Err = NoLevel;

    fn from_str(text: &str) -> Result<Self, NoLevel> {
        match text {
            "L" => Ok(Self::L),
            "M" => Ok(Self::M),
            "Q" => Ok(Self::Q),
            "H" => Ok(Self::H),
            _ => Err(NoLevel),
        }
    }
}

/// The size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The size of a module, in pixels: 1 to [`MAX_SCALE`].
    pub(crate) scale: u32,
    /// The width of the quiet zone, in modules: 0 to [`MAX_MARGIN`].
    pub(crate) margin: u32,
}

/// The URL has more characters than the largest code of a level holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the short URL is too long for a QR code of this level; a lower level holds more")]
pub(crate) struct TooLong;

/// A QR code.
pub(crate) struct QrCode {
    code: qrcodegen::QrCode,
    /// The text in it.
    text: String,
}

impl QrCode {
    /// The code of a short URL. Its level is at least this one, and higher if that does not make the code larger.
    ///
    /// # Errors
    /// [`TooLong`]. No short URL of tinyns is: a name has at most 253 characters.
    pub(crate) fn of_url(short_url: &str, level: Level) -> Result<Self, TooLong> {
        use qrcodegen::QrCodeEcc as Ecc;
        let level = match level {
            Level::L => Ecc::Low,
            Level::M => Ecc::Medium,
            Level::Q => Ecc::Quartile,
            Level::H => Ecc::High,
        };
        let text = text_of(short_url);
        let code = qrcodegen::QrCode::encode_text(&text, level).map_err(|_| TooLong)?;
        Ok(Self { code, text })
    }

    /// The width of the code and its quiet zone, in modules.
    fn width(&self, margin: u32) -> u32 {
        // A code has 21 to 177 modules.
        u32::try_from(self.code.size()).unwrap_or(0) + 2 * margin
    }

    /// Whether the module at a column and a row is dark. Both count from the edge of the quiet zone.
    fn is_dark(&self, margin: u32, column: u32, row: u32) -> bool {
        let within = |at: u32| i32::try_from(i64::from(at) - i64::from(margin)).unwrap_or(-1);
        // Modules outside of the code are light.
        self.code.get_module(within(column), within(row))
    }
}

/// The text of the code for a short URL. A URL with a path keeps its letters, which may matter there.
fn text_of(short_url: &str) -> String {
    let host = short_url.strip_suffix('/').unwrap_or(short_url);
    match host.split_once("://") {
        Some((_, host)) if !host.contains(['/', '?', '#', '@']) => {}
        _ => return short_url.into(),
    }
    host.to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3986_6_2_2_1_capitals_where_case_does_not_matter() {
        let check = |url: &str, expected: &str| assert_eq!(text_of(url), expected);
        check("https://sale.s.example.com/", "HTTPS://SALE.S.EXAMPLE.COM");
        check(
            "http://a-1.s.localhost:8080/",
            "HTTP://A-1.S.LOCALHOST:8080",
        );
        check("https://s.example.com", "HTTPS://S.EXAMPLE.COM");
        for kept in [
            "https://s.example.com/Sale",
            "https://a.b/?x=y",
            "https://Me@a.b/",
            "x",
        ] {
            check(kept, kept);
        }
    }

    #[test]
    fn capitals_make_the_code_smaller() {
        let size = |url: &str| QrCode::of_url(url, Level::M).unwrap().width(0);
        // A path keeps the letters, and with them the mode of 8 bits.
        assert_eq!(size("https://gh7k2m9x.s.example.com/"), 25);
        assert_eq!(size("https://gh7k2m9x.s.example.com/?"), 29);
    }

    #[test]
    fn the_longest_name_fits_at_every_level() {
        let longest = format!("https://{}:65535/", "a".repeat(253));
        for level in [Level::L, Level::M, Level::Q, Level::H] {
            let code = QrCode::of_url(&longest, level).unwrap();
            assert!(code.width(0) <= 81, "{level:?}: {}", code.width(0));
        }
        let longer = "a".repeat(4_296);
        assert_eq!(QrCode::of_url(&longer, Level::H).err(), Some(TooLong));
    }
}

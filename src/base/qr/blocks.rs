//! QR codes as text: each character is two modules, one above the other.

use super::QrCode;

/// Black on white, whatever the colours of the terminal are: numbers 16 and 231 of the 256 colours are not part of its
/// theme.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
/// The colours of the terminal.
const RESET: &str = "\x1b[0m";

/// What draws the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// The dark modules, in black on white: for a terminal.
    Colours,
    /// The light modules, in the colour of the text: for a file that is shown in light text on a dark ground.
    Light,
}

impl QrCode {
    /// The code as lines of text.
    pub(crate) fn blocks(&self, margin: u32, ink: Ink) -> String {
        let width = self.width(margin);
        let mut text = String::new();
        for row in (0..width).step_by(2) {
            if ink == Ink::Colours {
                text.push_str(BLACK_ON_WHITE);
            }
            for column in 0..width {
                let is_drawn = |row| self.is_dark(margin, column, row) == (ink == Ink::Colours);
                text.push(match (is_drawn(row), is_drawn(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            if ink == Ink::Colours {
                text.push_str(RESET);
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::qr::Level;

    #[test]
    fn two_modules_in_a_character() {
        let code = QrCode::of_url("https://a.b/", Level::M).unwrap();
        let check = |ink, first: &str| {
            let text = code.blocks(0, ink);
            assert_eq!(text.lines().count(), 11);
            let line = text.lines().next().unwrap();
            assert!(line.starts_with(first), "{line:?}");
        };
        // The upper left finder pattern: seven dark modules above one dark, five light, one dark.
        check(Ink::Colours, &format!("{BLACK_ON_WHITE}█▀▀▀▀▀█ "));
        check(Ink::Light, " ▄▄▄▄▄ █");
        let text = code.blocks(2, Ink::Light);
        assert!(
            text.starts_with("█████████████████████████\n██ ▄▄▄▄▄ █"),
            "{text}"
        );
    }
}

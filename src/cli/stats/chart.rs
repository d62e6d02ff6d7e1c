//! A small chart of columns for a terminal.
//!
//! Each unit has a column, of several characters if there is room. If the terminal is too narrow, several units share a
//! column, which shows their sum.

use crate::base::progress::grouped;

/// The height of a chart, in rows.
const HEIGHT: usize = 6;
/// The widest column, in characters, its gap included.
const MAX_COLUMN: usize = 4;
/// The least room for columns, in characters.
const MIN_ROOM: usize = 10;
/// The eighths of a character, from below.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The characters that a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyphs {
    /// Blocks, to an eighth of a character.
    Blocks,
    /// ASCII alone.
    Ascii,
}

impl Glyphs {
    /// The number of steps of a row.
    fn steps(self) -> u64 {
        match self {
            Self::Blocks => EIGHTHS.len() as u64,
            Self::Ascii => 1,
        }
    }

    /// A row of a column with this many steps.
    fn cell(self, steps: u64) -> char {
        match (steps, self) {
            (0, _) => ' ',
            (_, Self::Ascii) => '#',
            (steps, Self::Blocks) => {
                let index = usize::try_from(steps - 1).unwrap_or(usize::MAX);
                EIGHTHS[index.min(EIGHTHS.len() - 1)]
            }
        }
    }
}

/// Draws counts of units, of which the first and the last have these names. The chart has at most `width` characters in a
/// line if that leaves room for some columns.
pub(super) fn chart(
    counts: &[u64],
    (first, last): (&str, &str),
    width: usize,
    glyphs: Glyphs,
) -> String {
    let most = counts.iter().copied().max().unwrap_or(0);
    let axis = grouped(columns(counts, usize::MAX).0.into_iter().max().unwrap_or(0)).len();
    // The largest sum of a column may be longer than that of a unit, so this is done again below.
    let room = |label: usize| width.saturating_sub(label + 3).max(MIN_ROOM);
    let (mut sums, mut per_column) = columns(counts, room(axis));
    let mut label = grouped(sums.iter().copied().max().unwrap_or(0)).len();
    if label > axis {
        (sums, per_column) = columns(counts, room(label));
        label = grouped(sums.iter().copied().max().unwrap_or(0))
            .len()
            .max(label);
    }
    let top = sums.iter().copied().max().unwrap_or(0);
    let column = (room(label) / sums.len().max(1)).clamp(1, MAX_COLUMN);
    let mut text = String::new();
    for row in (0..HEIGHT).rev() {
        let name = match row {
            row if row == HEIGHT - 1 => grouped(top),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let cells: String = sums
            .iter()
            .map(|sum| cell(*sum, top, row, glyphs, column))
            .collect();
        let border = if glyphs == Glyphs::Ascii { '|' } else { '│' };
        text += format!("{name:>label$} {border}{cells}").trim_end();
        text.push('\n');
    }
    let indent = " ".repeat(label + 2);
    let drawn = (sums.len() * column).max(first.len() + last.len() + 2);
    let between = drawn - first.len() - last.len();
    text += &match counts.len() {
        0 | 1 => format!("{indent}{first}\n"),
        _ => format!("{indent}{first}{}{last}\n", " ".repeat(between)),
    };
    if per_column > 1 && most > 0 {
        text += &format!("{indent}(a column has {per_column} of them)\n");
    }
    text
}

/// The sums of columns, of which there are at most `room`, and how many units a column has.
fn columns(counts: &[u64], room: usize) -> (Vec<u64>, usize) {
    let per_column = counts.len().div_ceil(room.max(1)).max(1);
    let sums = counts.chunks(per_column);
    let sums = sums.map(|units| units.iter().copied().fold(0, u64::saturating_add));
    (sums.collect(), per_column)
}

/// One row of a column. What was counted at all shows at least in the lowest row.
fn cell(sum: u64, top: u64, row: usize, glyphs: Glyphs, column: usize) -> String {
    let steps = glyphs.steps();
    let all = u128::from(steps) * HEIGHT as u128;
    let height = (u128::from(sum) * all + u128::from(top) / 2)
        .checked_div(u128::from(top))
        .unwrap_or(0);
    let height = u64::try_from(height).unwrap_or(0).max(u64::from(sum > 0));
    let here = height.saturating_sub(steps * row as u64).min(steps);
    let gap = usize::from(column > 1);
    let block = glyphs.cell(here).to_string().repeat(column - gap);
    block + &" ".repeat(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_show_counts_in_proportion() {
        let drawn = chart(&[0, 1, 24, 48], ("a", "d"), 40, Glyphs::Blocks);
        assert_eq!(
            drawn,
            "48 │            ███\n   │            ███\n   │            ███\n   │        ███ ███\n\
             \x20  │        ███ ███\n 0 │    ▁▁▁ ███ ███\n    a              d\n"
        );
        let drawn = chart(&[0, 1, 24, 48], ("a", "d"), 40, Glyphs::Ascii);
        assert_eq!(
            drawn,
            "48 |            ###\n   |            ###\n   |            ###\n   |        ### ###\n\
             \x20  |        ### ###\n 0 |    ### ### ###\n    a              d\n"
        );
    }

    #[test]
    fn a_chart_fits_the_terminal() {
        let counts: Vec<u64> = (0..90).collect();
        for width in [40, 72, 80, 200] {
            let drawn = chart(&counts, ("2026-01-01", "2026-03-31"), width, Glyphs::Blocks);
            let longest = drawn.lines().map(|line| line.chars().count()).max();
            let note = "    (a column has 9 of them)".len();
            assert!(longest <= Some(width.max(note)), "{width}: {drawn}");
        }
        let narrow = chart(&counts, ("a", "b"), 40, Glyphs::Ascii);
        assert!(narrow.contains("(a column has 3 of them)"), "{narrow}");
    }

    #[test]
    fn nothing_and_very_much_are_drawn() {
        let drawn = chart(&[0, 0], ("a", "b"), 40, Glyphs::Ascii);
        assert!(
            drawn.starts_with("0 |\n") && !drawn.contains('#'),
            "{drawn}"
        );
        assert!(chart(&[], ("", ""), 0, Glyphs::Ascii).starts_with("0 |\n"));
        let drawn = chart(&[u64::MAX, u64::MAX], ("a", "b"), 40, Glyphs::Blocks);
        assert!(drawn.contains('█'), "{drawn}");
    }
}

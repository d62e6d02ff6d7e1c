//! Progress on a terminal or in a pipe.

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use super::Progress;

/// How often a terminal's line is drawn at most.
const DRAW_TIME: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_TIME: Duration = Duration::from_secs(10);
/// The width of a terminal whose width is unknown, in characters.
const DEFAULT_WIDTH: usize = 80;

/// Shows a [`Progress`] to people: as a line that is redrawn in place on a terminal, as one line every ten seconds
/// elsewhere.
///
/// A caller that writes to the same terminal calls [`Meter::clear`] before; the next [`Meter::tick`] draws the line
/// again.
#[derive(Debug)]
pub struct Meter<W> {
    label: &'static str,
    progress: Progress,
    out: W,
    look: Look,
    /// When it was last shown.
    shown: Option<Instant>,
    /// Whether the line is on the terminal.
    drawn: bool,
    began: Instant,
}

/// How a meter shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line that is redrawn in place; for a terminal.
    InPlace,
    /// A line every ten seconds.
    Lines,
    /// Nothing.
    Hidden,
}

impl Meter<Stderr> {
    /// A meter on standard error: redrawn in place if that is a terminal, and lines otherwise.
    pub fn on_stderr(label: &'static str, progress: Progress, now: Instant) -> Self {
        let look = match io::stderr().is_terminal() {
            true => Look::InPlace,
            false => Look::Lines,
        };
        Self::new(label, progress, io::stderr(), look, now)
    }
}

impl<W: Write> Meter<W> {
    /// A meter that writes to `out`.
    pub fn new(label: &'static str, progress: Progress, out: W, look: Look, now: Instant) -> Self {
        Self {
            label,
            progress,
            out,
            look,
            shown: None,
            drawn: false,
            began: now,
        }
    }

    /// Sets the state of the work; see [`Progress::update`].
    pub fn update(&mut self, done: u64, at: u64, now: Instant) {
        self.progress.update(done, at, now);
    }

    /// Shows the progress if it is time to. Failed writes are ignored: the work is more important.
    pub fn tick(&mut self, now: Instant) {
        let (pause, since) = match self.look {
            Look::InPlace => (DRAW_TIME, self.shown),
            Look::Lines => (LINE_TIME, Some(self.shown.unwrap_or(self.began))),
            Look::Hidden => return,
        };
        if since.is_some_and(|since| now.duration_since(since) < pause) {
            return;
        }
        self.shown = Some(now);
        let _ = match self.look {
            Look::InPlace => {
                self.drawn = true;
                let line = self.progress.bar(self.label, width(), now);
                // Erases the remains of a longer line (ECMA-48 §8.3.41, EL).
                write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush())
            }
            _ => writeln!(self.out, "{}", self.progress.line(self.label, now)),
        };
    }

    /// Erases the line, so that something else can be written there.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.shown = None;
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }

    /// Erases the line for good.
    pub fn end(&mut self) {
        self.clear();
        self.look = Look::Hidden;
    }
}

/// The present width of the terminal of standard error, in characters.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::*;

    fn meter(look: Look, now: Instant) -> Meter<Vec<u8>> {
        let progress = Progress::new(Extent::Unknown, 0, 0, now);
        Meter::new("import", progress, Vec::new(), look, now)
    }

    fn text(meter: &Meter<Vec<u8>>) -> &str {
        std::str::from_utf8(&meter.out).unwrap()
    }

    #[test]
    fn on_a_terminal_the_line_is_redrawn_ten_times_a_second() {
        let begin = Instant::now();
        let mut meter = meter(Look::InPlace, begin);
        for milli in 0..1_000 {
            let now = begin + Duration::from_millis(milli);
            meter.update(milli, 0, now);
            meter.tick(now);
        }
        assert_eq!(text(&meter).matches('\r').count(), 10, "{}", text(&meter));
        assert!(text(&meter).starts_with("\rimport  0  0/s\x1b[K\r"));
        // `clear` leaves an empty line to others, and the next tick draws at once.
        meter.out.clear();
        meter.clear();
        assert_eq!(text(&meter), "\r\x1b[K");
        meter.clear();
        assert_eq!(text(&meter), "\r\x1b[K");
        let now = begin + Duration::from_millis(1_000);
        meter.tick(now);
        assert!(text(&meter).ends_with("/s\x1b[K"), "{}", text(&meter));
        meter.out.clear();
        meter.end();
        meter.tick(now + LINE_TIME);
        assert_eq!(text(&meter), "\r\x1b[K");
    }

    #[test]
    fn without_a_terminal_there_is_a_line_every_ten_seconds() {
        let begin = Instant::now();
        let mut meter = meter(Look::Lines, begin);
        for tenth in 0..=299 {
            let now = begin + Duration::from_millis(100 * tenth);
            meter.update(tenth, 0, now);
            meter.tick(now);
        }
        meter.clear();
        meter.end();
        assert_eq!(text(&meter), "import: 100, 10/s\nimport: 200, 10/s\n");
    }
}

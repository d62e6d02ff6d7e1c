//! How far a long piece of work has come, for people and for logs.
//!
//! [`Progress`] is arithmetic and text alone: the caller says how far it is and what time it is,
//! and gets a line with a bar, a plain line, or [`Figures`] for the fields of a log line. [`Meter`]
//! puts such lines on a terminal or into a pipe, at a bearable pace.
//!
//! The rate is that of the last seconds, not of the whole: it shows at once when the other side
//! gets slower or stops, and the estimate of what is left follows it. What is counted and what the
//! end is measured in need not be the same thing: a file tells its bytes, not its links. A total
//! may also be wrong, as DynamoDB's is, which is some hours old. One that has been passed is no
//! total, and is shown no more.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// The time over which the rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// The least time between two samples, so that the window holds few.
const SAMPLE_TIME: Duration = Duration::from_millis(200);
/// The least time that tells a rate.
const MIN_RATE_TIME: Duration = Duration::from_millis(500);
/// The bar without its brackets, in characters, where there is room for it.
const BAR_WIDTH: usize = 20;
/// The least bar that tells something.
const MIN_BAR_WIDTH: usize = 5;
/// How often a terminal's line is drawn at most.
const DRAW_TIME: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_TIME: Duration = Duration::from_secs(10);
/// The width of a terminal that does not tell it, in characters.
const DEFAULT_WIDTH: usize = 80;
/// More than this many seconds are no estimate but a guess: 99 days.
const MAX_LEFT: f64 = 99.0 * 86_400.0;

/// Where the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nobody knows.
    Unknown,
    /// After about so many of what is counted.
    Count(u64),
    /// After so many bytes.
    Bytes(u64),
}

/// How far a piece of work is.
#[derive(Clone, Debug)]
pub struct Progress {
    extent: Extent,
    now: Sample,
    /// Earlier states, the oldest first: one that is older than [`RATE_WINDOW`], and those in it.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Instant,
    done: u64,
    /// How far that is, in the unit of the extent.
    at: u64,
}

impl Sample {
    fn new(extent: Extent, done: u64, at: u64, time: Instant) -> Self {
        let at = match extent {
            Extent::Bytes(_) => at,
            Extent::Count(_) | Extent::Unknown => done,
        };
        Self { time, done, at }
    }
}

/// The figures of a [`Progress`], for the fields of a log line or a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many are done.
    pub done: u64,
    /// How many there are, if that is known.
    pub total: Option<u64>,
    /// How much of the whole that is, 0 to 100, if the end is known.
    pub percent: Option<u8>,
    /// How many are done a second just now.
    pub rate: u64,
    /// How long the rest will take at that rate, to the second.
    pub left: Option<Duration>,
}

impl Progress {
    /// Work that begins at `now`, with so many done earlier; `at` is as in [`Progress::update`].
    /// Both are 0 for work that is new.
    pub fn new(extent: Extent, done: u64, at: u64, now: Instant) -> Self {
        let now = Sample::new(extent, done, at, now);
        Self {
            extent,
            now,
            samples: VecDeque::from([now]),
        }
    }

    /// So many are done at `now`, and `at` is how far that is: bytes where the extent is in bytes,
    /// and otherwise not looked at.
    pub fn update(&mut self, done: u64, at: u64, now: Instant) {
        self.now = Sample::new(self.extent, done, at, now);
        let last = self.samples.back().map(|sample| sample.time);
        if last.is_none_or(|last| now.duration_since(last) >= SAMPLE_TIME) {
            self.samples.push_back(self.now);
        }
        while let Some(second) = self.samples.get(1)
            && now.duration_since(second.time) >= RATE_WINDOW
        {
            self.samples.pop_front();
        }
    }

    /// The figures at `now`.
    pub fn figures(&self, now: Instant) -> Figures {
        let (rate, speed) = self.rates(now);
        let end = self.end();
        let left = end.and_then(|end| {
            let seconds = end.saturating_sub(self.now.at) as f64 / speed;
            // Not a number and infinity, where nothing moves, are not below any bound.
            (seconds < MAX_LEFT).then(|| Duration::from_secs(seconds.round() as u64))
        });
        Figures {
            done: self.now.done,
            total: end.filter(|_| matches!(self.extent, Extent::Count(_))),
            percent: end.map(|end| percent(self.now.at, end)),
            rate: rate.round() as u64,
            left,
        }
    }

    /// Where the end is, unless that is unknown or was found to be wrong.
    fn end(&self) -> Option<u64> {
        match self.extent {
            Extent::Count(0) | Extent::Bytes(0) | Extent::Unknown => None,
            Extent::Count(end) | Extent::Bytes(end) => Some(end).filter(|end| self.now.at <= *end),
        }
    }

    /// What is done a second, and how far that goes in the unit of the extent.
    fn rates(&self, now: Instant) -> (f64, f64) {
        // The youngest that is old enough: where nobody reports anything, that is soon the last
        // one.
        let old = |sample: &&Sample| now.duration_since(sample.time) >= RATE_WINDOW;
        let Some(first) = self
            .samples
            .iter()
            .rfind(old)
            .or_else(|| self.samples.front())
        else {
            return (0.0, 0.0);
        };
        let time = now.duration_since(first.time);
        if time < MIN_RATE_TIME {
            return (0.0, 0.0);
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / time.as_secs_f64();
        (rate(first.done, self.now.done), rate(first.at, self.now.at))
    }

    /// A line for a terminal of `width` characters; it leaves the last column free, so that no
    /// terminal goes to the next line. Where there is little room, the bar gets shorter, and then
    /// what matters least goes.
    pub fn bar(&self, label: &str, width: usize, now: Instant) -> String {
        let figures = self.figures(now);
        let room = width.saturating_sub(1);
        let share = figures.percent.map(|percent| format!("{percent}%"));
        let mut parts: Vec<String> = share.into_iter().chain(parts(&figures)).collect();
        let text = parts.join("  ");
        // A bar has two brackets, and a blank behind it.
        let used = label.len() + 2 + text.len() + 3;
        let bar = room.saturating_sub(used).min(BAR_WIDTH);
        if let Some(percent) = figures.percent
            && bar >= MIN_BAR_WIDTH
        {
            return format!("{label}  [{}] {text}", drawn(percent, bar));
        }
        loop {
            let line = format!("{label}  {}", parts.join("  "));
            if line.len() <= room || parts.len() == 1 {
                return line.chars().take(room).collect();
            }
            parts.pop();
        }
    }

    /// A line for where there is no terminal.
    pub fn line(&self, label: &str, now: Instant) -> String {
        format!("{label}: {}", self.figures(now))
    }
}

/// `470,000 of 1,000,000 (47%), 31,200/s, 17 s left`
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = parts(self);
        if let (Some(percent), Some(first)) = (self.percent, parts.first_mut()) {
            *first = format!("{first} ({percent}%)");
        }
        f.write_str(&parts.join(", "))
    }
}

/// What there is to say beside the percentage, what matters most first.
fn parts(figures: &Figures) -> Vec<String> {
    let done = grouped(figures.done);
    let mut parts = vec![match figures.total {
        Some(total) => format!("{done} of {}", grouped(total)),
        None => done,
    }];
    parts.push(format!("{}/s", grouped(figures.rate)));
    if let Some(left) = figures.left {
        parts.push(format!("{} left", span(left)));
    }
    parts
}

/// The inside of a bar. Its head is there until the end is reached.
fn drawn(percent: u8, width: usize) -> String {
    let full = width * usize::from(percent) / 100;
    let head = if percent < 100 { ">" } else { "" };
    let bar = format!("{}{head}", "#".repeat(full));
    format!("{bar:<width$}")
}

/// Rounded down: nothing is whole before it is.
fn percent(at: u64, end: u64) -> u8 {
    let percent = u128::from(at) * 100 / u128::from(end.max(1));
    u8::try_from(percent.min(100)).unwrap_or(100)
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in its two largest units.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Shows a [`Progress`] to people: redrawn in place on a terminal, a line now and then elsewhere.
///
/// Whoever writes to the same terminal calls [`Meter::clear`] first; the next [`Meter::tick`] draws
/// the line again.
#[derive(Debug)]
pub struct Meter<W> {
    label: &'static str,
    progress: Progress,
    out: W,
    look: Look,
    /// When it was shown last; at first, when it began.
    shown: Option<Instant>,
    /// Whether the line stands on the terminal.
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
    /// Not at all.
    Hidden,
}

impl Meter<Stderr> {
    /// A meter on standard error, in the look that it is for.
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

    /// Notes how far the work is; see [`Progress::update`].
    pub fn update(&mut self, done: u64, at: u64, now: Instant) {
        self.progress.update(done, at, now);
    }

    /// Shows it if it is time to. What cannot be written is left out: the work goes on.
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
                // Erases what a longer line has left (ECMA-48 §8.3.41, EL).
                write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush())
            }
            _ => writeln!(self.out, "{}", self.progress.line(self.label, now)),
        };
    }

    /// Takes the line off the terminal, for others to write there.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.shown = None;
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }

    /// Takes the line off the terminal for good.
    pub fn end(&mut self) {
        self.clear();
        self.look = Look::Hidden;
    }
}

/// How wide the terminal of standard error is just now.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that has done 31,200 a second for as long as it takes, and is at `done`.
    fn at(extent: Extent, done: u64, position: u64) -> (Progress, Instant) {
        let begin = Instant::now();
        let earlier = done.saturating_sub(31_200);
        let share = (position * earlier).checked_div(done).unwrap_or(0);
        let mut progress = Progress::new(extent, earlier, share, begin);
        let now = begin + Duration::from_secs(1);
        progress.update(done, position, now);
        (progress, now)
    }

    fn check(extent: Extent, done: u64, position: u64, width: usize, expected: &str) {
        let (progress, now) = at(extent, done, position);
        let line = progress.bar("import", width, now);
        assert_eq!(line, expected, "{extent:?} {done} {width}");
        assert!(line.chars().count() < width, "{line:?}");
    }

    #[test]
    fn a_bar_with_all_there_is_to_say() {
        let million = Extent::Count(1_000_000);
        check(
            million,
            470_000,
            470_000,
            80,
            "import  [#########>          ] 47%  470,000 of 1,000,000  31,200/s  17 s left",
        );
        check(
            million,
            999_999,
            999_999,
            80,
            "import  [###################>] 99%  999,999 of 1,000,000  31,200/s  0 s left",
        );
        check(
            million,
            1_000_000,
            1_000_000,
            90,
            "import  [####################] 100%  1,000,000 of 1,000,000  31,200/s  0 s left",
        );
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most() {
        let check = |width, expected: &str| {
            check(Extent::Count(1_000_000), 470_000, 470_000, width, expected);
        };
        check(
            70,
            "import  [#####>      ] 47%  470,000 of 1,000,000  31,200/s  17 s left",
        );
        check(60, "import  47%  470,000 of 1,000,000  31,200/s  17 s left");
        check(52, "import  47%  470,000 of 1,000,000  31,200/s");
        check(40, "import  47%  470,000 of 1,000,000");
        check(20, "import  47%");
        check(2, "i");
        let (progress, now) = at(Extent::Unknown, 1, 1);
        assert_eq!(progress.bar("import", 0, now), "");
    }

    #[test]
    fn without_a_total_there_are_a_count_and_a_rate() {
        check(Extent::Unknown, 470_000, 0, 80, "import  470,000  31,200/s");
        // DynamoDB says 0 of a table that was filled some hours ago.
        check(
            Extent::Count(0),
            470_000,
            0,
            80,
            "import  470,000  31,200/s",
        );
        check(
            Extent::Bytes(0),
            470_000,
            0,
            80,
            "import  470,000  31,200/s",
        );
    }

    #[test]
    fn a_total_that_was_passed_is_none() {
        let of = Extent::Count(469_999);
        check(of, 470_000, 0, 80, "import  470,000  31,200/s");
        // A file that has grown.
        let of = Extent::Bytes(1_000);
        check(of, 470_000, 1_001, 80, "import  470,000  31,200/s");
    }

    #[test]
    fn a_file_tells_its_share_by_bytes() {
        let of = Extent::Bytes(2_000_000);
        let expected = "import  [##########>         ] 50%  62,400  31,200/s  2 s left";
        check(of, 62_400, 1_000_000, 80, expected);
        let (progress, now) = at(of, 62_400, 1_000_000);
        let figures = progress.figures(now);
        assert_eq!((figures.total, figures.percent), (None, Some(50)));
    }

    #[test]
    fn figures_for_a_log_line() {
        let (progress, now) = at(Extent::Count(1_000_000), 470_000, 0);
        let figures = Figures {
            done: 470_000,
            total: Some(1_000_000),
            percent: Some(47),
            rate: 31_200,
            left: Some(Duration::from_secs(17)),
        };
        assert_eq!(progress.figures(now), figures);
        assert_eq!(
            progress.line("warm load", now),
            "warm load: 470,000 of 1,000,000 (47%), 31,200/s, 17 s left"
        );
        let (progress, now) = at(Extent::Unknown, 470_000, 0);
        assert_eq!(progress.line("export", now), "export: 470,000, 31,200/s");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let begin = Instant::now();
        let mut progress = Progress::new(Extent::Count(1_000_000), 0, 0, begin);
        let mut done = 0;
        // A minute at 1,000 a second, then one at 10.
        for (rate, expected) in [(1_000, 1_000), (10, 10)] {
            let begin = begin + Duration::from_secs(if rate == 10 { 60 } else { 0 });
            for tick in 1..=600_u64 {
                done += rate / 10;
                progress.update(done, done, begin + Duration::from_millis(100 * tick));
            }
            let now = begin + Duration::from_secs(60);
            assert_eq!(progress.figures(now).rate, expected);
        }
        assert!(progress.samples.len() <= 30, "{}", progress.samples.len());
        // Where nothing happens the rate falls although nobody reports it, and so does hope.
        let now = begin + Duration::from_secs(120);
        assert_eq!(progress.figures(now).rate, 10);
        assert_eq!(progress.figures(now + Duration::from_secs(3)).rate, 4);
        let figures = progress.figures(now + Duration::from_secs(6));
        assert_eq!((figures.rate, figures.left), (0, None));
        let mut stopped = progress.clone();
        for second in 1..=10 {
            stopped.update(done, done, now + Duration::from_secs(second));
        }
        let figures = stopped.figures(now + Duration::from_secs(10));
        assert_eq!((figures.rate, figures.left), (0, None));
    }

    #[test]
    fn a_rate_takes_time() {
        let begin = Instant::now();
        let mut progress = Progress::new(Extent::Count(100), 0, 0, begin);
        let now = begin + Duration::from_millis(499);
        progress.update(50, 50, now);
        let figures = progress.figures(now);
        assert_eq!((figures.rate, figures.left), (0, None));
        assert_eq!(figures.percent, Some(50));
    }

    #[test]
    fn what_was_done_before_is_no_speed() {
        let begin = Instant::now();
        let mut progress = Progress::new(Extent::Count(1_000), 500, 500, begin);
        let now = begin + Duration::from_secs(1);
        progress.update(600, 600, now);
        assert_eq!(progress.figures(now).rate, 100);
        assert_eq!(progress.figures(now).left, Some(Duration::from_secs(4)));
    }

    #[test]
    fn numbers_and_spans() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(123_456, "123,456");
        check(u64::MAX, "18,446,744,073,709,551,615");
        let check = |seconds, expected: &str| {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        };
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min 0 s");
        check(3_599, "59 min 59 s");
        check(3_600, "1 h 0 min");
        check(86_399, "23 h 59 min");
        check(90_000, "1 d 1 h");
    }

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
        // Others write below nothing, and the line comes back at once.
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
    fn elsewhere_there_is_a_line_every_ten_seconds() {
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

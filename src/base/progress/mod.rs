//! The progress of a long piece of work, for people and for logs.
//!
//! [`Progress`] only calculates and formats: the caller passes the state of the work and the time, and gets a line
//! with a bar, a plain line, or [`Figures`] for the fields of a log line. [`Meter`] writes such lines to a terminal
//! or into a pipe, a few times a second at most.
//!
//! The rate is that of the last seconds, not of the whole time: it shows at once when the other side gets slower or
//! stops, and the estimate of the time left follows. The work may be counted in one unit and its end known in
//! another: a file has a size in bytes, but not in links. A total may also be wrong: DynamoDB's is some hours old.
//! Once the work has passed its total, the total is no longer shown.

mod meter;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

pub(crate) use self::meter::width;
pub use self::meter::{Look, Meter};

/// The rate is the average over this time.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// The least time between two samples, so that the window holds few.
const SAMPLE_TIME: Duration = Duration::from_millis(200);
/// Below this time there is no rate yet.
const MIN_RATE_TIME: Duration = Duration::from_millis(500);
/// The longest bar, without its brackets, in characters.
const BAR_WIDTH: usize = 20;
/// The shortest bar; where there is less room, there is none.
const MIN_BAR_WIDTH: usize = 5;
/// The longest time left that is shown, in seconds: 99 days. Anything longer is a guess.
const MAX_LEFT: f64 = 99.0 * 86_400.0;

/// The end of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It is not known.
    Unknown,
    /// After about this many of the things that are counted.
    Count(u64),
    /// After this many bytes.
    Bytes(u64),
}

/// The progress of a piece of work.
#[derive(Clone, Debug)]
pub struct Progress {
    extent: Extent,
    now: Sample,
    /// Earlier states, the oldest first: one older than [`RATE_WINDOW`], and those within it.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Instant,
    done: u64,
    /// The same in the unit of the extent.
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
    /// The share of the whole, 0 to 100, if the end is known.
    pub percent: Option<u8>,
    /// How many are done a second, at present.
    pub rate: u64,
    /// How long the remaining work takes at that rate, to the second.
    pub left: Option<Duration>,
}

impl Progress {
    /// Work that begins at `now`. `done` and `at` are as in [`Progress::update`], for the part of the work that was
    /// done earlier; both are 0 for new work.
    pub fn new(extent: Extent, done: u64, at: u64, now: Instant) -> Self {
        let now = Sample::new(extent, done, at, now);
        Self {
            extent,
            now,
            samples: VecDeque::from([now]),
        }
    }

    /// Sets how many things are done at `now`. `at` is the same in bytes where the extent is in bytes; otherwise it
    /// is ignored.
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
            // Where nothing moves this is NaN or infinite, which is not below any bound.
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

    /// The end, unless it is unknown or the work has passed it.
    fn end(&self) -> Option<u64> {
        match self.extent {
            Extent::Count(0) | Extent::Bytes(0) | Extent::Unknown => None,
            Extent::Count(end) | Extent::Bytes(end) => Some(end).filter(|end| self.now.at <= *end),
        }
    }

    /// How much is done a second: in things, and in the unit of the extent.
    fn rates(&self, now: Instant) -> (f64, f64) {
        // The latest that is old enough: without updates, that is soon the last one.
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

    /// A line for a terminal of `width` characters. It leaves the last column free, so that no terminal begins a new
    /// line. Where there is little room, the bar gets shorter, and then the least important figures are left out.
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

    /// A line for a log or a pipe.
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

/// The figures besides the percentage, the most important first.
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

/// The inside of a bar. It has a head until the end is reached.
fn drawn(percent: u8, width: usize) -> String {
    let full = width * usize::from(percent) / 100;
    let head = if percent < 100 { ">" } else { "" };
    let bar = format!("{}{head}", "#".repeat(full));
    format!("{bar:<width$}")
}

/// Rounded down, so that 100 % means the end.
fn percent(at: u64, end: u64) -> u8 {
    let percent = u128::from(at) * 100 / u128::from(end.max(1));
    u8::try_from(percent.min(100)).unwrap_or(100)
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
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

/// A time in its two largest units, rounded down.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that has done 31,200 a second, and is at `done`.
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
    fn a_wide_terminal_gets_all_figures() {
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
    fn a_narrow_terminal_gets_the_most_important_figures() {
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
        // DynamoDB says 0 for a table that was filled since its last count.
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
    fn a_total_that_was_passed_is_not_shown() {
        let of = Extent::Count(469_999);
        check(of, 470_000, 0, 80, "import  470,000  31,200/s");
        // A file that has grown.
        let of = Extent::Bytes(1_000);
        check(of, 470_000, 1_001, 80, "import  470,000  31,200/s");
    }

    #[test]
    fn the_share_of_a_file_is_that_of_its_bytes() {
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
        // Without updates the rate falls, too, and in the end no estimate is left.
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
    fn there_is_no_rate_before_half_a_second() {
        let begin = Instant::now();
        let mut progress = Progress::new(Extent::Count(100), 0, 0, begin);
        let now = begin + Duration::from_millis(499);
        progress.update(50, 50, now);
        let figures = progress.figures(now);
        assert_eq!((figures.rate, figures.left), (0, None));
        assert_eq!(figures.percent, Some(50));
    }

    #[test]
    fn earlier_work_does_not_count_for_the_rate() {
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
}

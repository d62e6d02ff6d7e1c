//! The queue of log lines, and the thread that writes them.
//!
//! Handing each line to the thread would cost a wake-up for each line, which takes longer than the response that the
//! line is about. So lines are gathered into blocks. The thread writes a line at once if it has been idle. After a write,
//! it waits for [`GATHER_TIME`] or [`BLOCK_BYTES`], whichever comes first, and then writes all lines that have come
//! meanwhile in one call. All threads share one block, so the lines stay in their order; a line is appended under a lock
//! that is held for the time of a copy, and never during a write.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines may wait to be written. A line has some hundred bytes, rarely a few thousand.
pub(super) const QUEUE_BYTES: usize = 4 << 20;
/// How long the thread gathers lines after a write.
const GATHER_TIME: Duration = Duration::from_millis(100);
/// How many bytes of gathered lines end that time early: some hundred lines, which stay in the processor's cache.
const BLOCK_BYTES: usize = 64 << 10;
/// How many status lines and marks may wait. There are a few in a second at most.
const MAX_OTHERS: usize = 64;

/// The queue of lines for the thread that writes them. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Wakes the thread.
    wake: Condvar,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// The bytes of all lines in `items`.
    bytes: usize,
    /// How many of `items` are no lines.
    others: usize,
    /// How many lines were lost because the queue was full, since the start.
    lost: u64,
    /// What the thread waits for.
    thread: Awaits,
}

/// What the thread waits for. Whoever wakes it sets this to `Nothing`, so that it is woken once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaits {
    /// It is at work, or was woken.
    #[default]
    Nothing,
    /// The end of its time to gather, a full block, or a mark.
    Block,
    /// Anything.
    Line,
}

#[derive(Debug)]
enum Item {
    /// Whole lines.
    Lines(Vec<u8>),
    /// The new status line of the terminal.
    Status(Option<String>),
    /// Signals that everything before it is written.
    Mark(SyncSender<()>),
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_blocks(&shared, out))?;
        Ok(queue)
    }

    /// Queues a line, or counts it as lost.
    fn push_line(&self, line: &[u8]) {
        let mut waiting = self.0.waiting();
        if waiting.bytes + line.len() > QUEUE_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += line.len();
        match waiting.items.back_mut() {
            Some(Item::Lines(block)) => block.extend_from_slice(line),
            _ => waiting.items.push_back(Item::Lines(line.into())),
        }
        let is_due = match waiting.thread {
            Awaits::Nothing => false,
            Awaits::Block => waiting.bytes >= BLOCK_BYTES,
            Awaits::Line => true,
        };
        if is_due {
            self.0.wake(waiting);
        }
    }

    /// Shows a status line below the log. If too many wait, the text is skipped: the next one replaces it anyway.
    pub(super) fn show_status(&self, text: Option<String>) {
        self.push_other(Item::Status(text));
    }

    /// Waits until all lines that are in the queue now are written, at most for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let (mark, reached) = sync_channel(1);
        self.push_other(Item::Mark(mark));
        let _ = reached.recv_timeout(patience);
    }

    fn push_other(&self, item: Item) {
        let mut waiting = self.0.waiting();
        if waiting.others < MAX_OTHERS {
            waiting.others += 1;
            waiting.items.push_back(item);
            self.0.wake(waiting);
        }
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.0.waiting().lost
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if it waits.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        if std::mem::take(&mut waiting.thread) != Awaits::Nothing {
            drop(waiting);
            self.wake.notify_one();
        }
    }

    /// Waits until something is there, and takes it all. Gathers for this time first. Returns also how many lines were
    /// lost so far.
    fn take(&self, gather: Duration) -> (VecDeque<Item>, u64) {
        let mut waiting = self.waiting();
        if waiting.bytes < BLOCK_BYTES && waiting.others == 0 {
            waiting.thread = Awaits::Block;
            waiting = self.sleep(waiting, Some(Instant::now() + gather));
        }
        if waiting.items.is_empty() {
            waiting.thread = Awaits::Line;
            waiting = self.sleep(waiting, None);
        }
        waiting.thread = Awaits::Nothing;
        waiting.bytes = 0;
        waiting.others = 0;
        (std::mem::take(&mut waiting.items), waiting.lost)
    }

    /// Sleeps until the thread is woken, or until this time.
    fn sleep<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Waiting> {
        while waiting.thread != Awaits::Nothing {
            let Some(until) = until else {
                waiting = self
                    .wake
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting
    }
}

/// The work of the thread. Lines that cannot be written are dropped, because the failure cannot be reported anywhere.
/// The next ones may succeed.
fn write_blocks(shared: &Shared, mut out: impl Write) {
    let mut reported = 0;
    let mut status = Status::default();
    let mut gather = Duration::ZERO;
    loop {
        let (items, lost) = shared.take(gather);
        gather = GATHER_TIME;
        for item in items {
            match item {
                Item::Lines(lines) => drop(status.write_above(&mut out, &lines)),
                Item::Status(text) => drop(status.replace(&mut out, text)),
                Item::Mark(mark) => drop(mark.try_send(())),
            }
        }
        if lost > reported {
            reported = lost;
            tracing::warn!(
                total = lost,
                "log lines were lost: their reader was too slow"
            );
        }
    }
}

/// The status line that is on the terminal.
#[derive(Default)]
struct Status(Option<String>);

/// Goes to the first column and erases the line (ECMA-48, EL).
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

impl Status {
    /// Writes lines of the log in the place of the status, and the status below them.
    fn write_above(&self, out: &mut impl Write, lines: &[u8]) -> io::Result<()> {
        let Some(status) = &self.0 else {
            return out.write_all(lines);
        };
        out.write_all(&[CLEAR_LINE, lines, status.as_bytes()].concat())?;
        out.flush()
    }

    fn replace(&mut self, out: &mut impl Write, text: Option<String>) -> io::Result<()> {
        if self.0 == text {
            return Ok(());
        }
        let shown = text.as_deref().unwrap_or_default().as_bytes();
        let written = out.write_all(&[CLEAR_LINE, shown].concat());
        self.0 = text;
        written?;
        out.flush()
    }
}

/// The subscriber formats an event as a whole line and writes it in one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A writer that passes on what each call writes.
    struct Calls(Sender<Vec<u8>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.into()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue, and what was written to it by each call.
    fn queue() -> (Queue, Receiver<Vec<u8>>) {
        let (written, calls) = channel();
        (Queue::start(Calls(written)).unwrap(), calls)
    }

    fn log(queue: &Queue, text: &str) {
        let mut queue = queue;
        queue.write_all(text.as_bytes()).unwrap();
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_status_stays_below_the_log() {
        let (queue, calls) = queue();
        log(&queue, "one\n");
        queue.show_status(Some("10%".into()));
        queue.show_status(Some("10%".into()));
        log(&queue, "two\n");
        queue.show_status(None);
        log(&queue, "three\n");
        queue.flush(PATIENCE);
        let clear = "\r\u{1b}[K";
        let expected = format!("one\n{clear}10%{clear}two\n10%{clear}three\n");
        let text: Vec<u8> = calls.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn lines_are_written_without_a_flush() {
        let (queue, calls) = queue();
        for text in ["one\n", "two\n"] {
            log(&queue, text);
            let written = calls.recv_timeout(PATIENCE).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }

    #[test]
    fn many_lines_are_few_writes_and_none_is_lost_in_a_flush() {
        let (queue, calls) = queue();
        let line = format!("{}\n", "x".repeat(99));
        let number = 10 * BLOCK_BYTES / line.len();
        for _ in 0..number {
            log(&queue, &line);
        }
        queue.flush(PATIENCE);
        let written: Vec<Vec<u8>> = calls.try_iter().collect();
        let bytes: usize = written.iter().map(Vec::len).sum();
        assert_eq!(bytes, number * line.len());
        assert!(written.len() < number / 10, "{} writes", written.len());
    }

    /// A writer that reports each call, and then blocks until its gate is opened.
    struct Gated {
        calls: Calls,
        begun: Sender<()>,
        gate: Receiver<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            // An error means that the gate is open: its other half was dropped.
            let _ = self.gate.recv();
            self.calls.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_blocks_no_caller() {
        let ((written, calls), (begun, writing)) = (channel(), channel());
        let (open, gate) = channel();
        let calls_to = Calls(written);
        let queue = Queue::start(Gated {
            calls: calls_to,
            begun,
            gate,
        })
        .unwrap();
        log(&queue, "first\n");
        writing.recv_timeout(PATIENCE).unwrap();
        let line = format!("{:>1023}\n", "");
        for _ in 0..QUEUE_BYTES / line.len() + 100 {
            log(&queue, &line);
        }
        assert_eq!(queue.lost(), 100);
        let begin = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());

        drop(open);
        queue.flush(PATIENCE);
        let bytes: usize = calls.try_iter().map(|call| call.len()).sum();
        assert_eq!(bytes, "first\n".len() + QUEUE_BYTES);
    }
}

//! The writer: the one thread that changes the file.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::audit::Log;
use super::call::Job;
use super::change::sweep;
use super::condition::Fault;
use super::feed::Ring;
use super::indexing::{Schedule, index_piece};
use super::warden::Warden;
use super::{idempotency, schema, session};
use crate::base::clock::{Clock, UnixTime};
use crate::store::{Seal, StoreError};

/// How many writes go into one transaction. A sync for 256 links makes its cost negligible, and the transaction
/// takes some ten milliseconds at most.
pub(super) const WRITE_BATCH: usize = 256;
/// How often links that ended are swept. The first sweep comes one interval after the start, when a clock that was
/// wrong at boot has been set.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The pause between two steps that remove entries of the audit log and idempotency keys, while there are more to remove.
/// So the log shrinks by up to 10,000 entries a second, faster than links can be made.
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) warden: Warden,
    pub(super) log: Log,
    pub(super) changes: Arc<Ring>,
}

impl Writer {
    /// The work of the writer thread: it writes batch after batch until the queue is closed and empty.
    pub(super) fn run(
        mut self,
        queue: &Receiver<Box<dyn Job>>,
        clock: &Clock,
        sweep_interval: Duration,
    ) -> Self {
        let mut next_sweep = Instant::now() + sweep_interval;
        let mut next_prune = next_sweep;
        let mut schedule = Schedule::new(Instant::now());
        loop {
            let now = Instant::now();
            let idle = next_sweep.min(next_prune).saturating_duration_since(now);
            let idle = idle.min(self.warden.due_in(now));
            match queue.recv_timeout(idle.min(schedule.pause(now))) {
                Ok(first) => {
                    self.write_batch(first, queue);
                    let now = Instant::now();
                    schedule.note_writes(now);
                    if schedule.is_overdue(now) {
                        self.index(&mut schedule);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.index(&mut schedule),
                Err(RecvTimeoutError::Disconnected) => return self,
            }
            if self.warden.lookout.due_in(Instant::now()).is_zero() {
                self.warden.look_around(&self.conn);
            }
            self.warden.probe(&mut self.conn);
            // Also on a server that is never idle: a sweep takes no longer than a batch.
            if Instant::now() >= next_sweep {
                self.sweep(clock.now(), &mut schedule);
                next_sweep = Instant::now() + sweep_interval;
            }
            if Instant::now() >= next_prune {
                let pause = match self.prune(clock.now()) {
                    true => PRUNE_PAUSE,
                    false => sweep_interval,
                };
                next_prune = Instant::now() + pause;
            }
        }
    }

    /// Removes some entries of the audit log, and some idempotency keys. True if more are to be removed.
    fn prune(&mut self, now: UnixTime) -> bool {
        if self.warden.health.is_failing() || self.warden.look_at_file(&self.conn).is_some() {
            return false;
        }
        let entries = self.log.prune(&mut self.conn, now).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot remove old entries of the audit log");
            false
        });
        let keys = idempotency::prune(&mut self.conn, now).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot remove idempotency keys that have ended");
            false
        });
        entries || keys
    }

    /// Brings some links into the text index, if it is time and some may be missing there.
    fn index(&mut self, schedule: &mut Schedule) {
        let now = Instant::now();
        if !schedule.is_due(now) {
            return;
        }
        if self.warden.health.is_failing() || self.warden.look_at_file(&self.conn).is_some() {
            return schedule.failed(now);
        }
        match index_piece(&mut self.conn) {
            Ok(more) => schedule.indexed(Instant::now(), more),
            Err(error) => {
                tracing::debug!(%error, "the text index of the link store is behind");
                schedule.failed(now);
            }
        }
    }

    fn sweep(&mut self, now: UnixTime, schedule: &mut Schedule) {
        if self.warden.health.is_failing() || self.warden.look_at_file(&self.conn).is_some() {
            return;
        }
        match sweep(&mut self.conn, now) {
            Ok(0) => {}
            Ok(links) => {
                self.warden.lookout.watch().note_removed(links as u64);
                tracing::debug!(links, "swept links that have ended");
                schedule.note_writes(Instant::now());
            }
            Err(error) => tracing::warn!(%error, "cannot sweep links that have ended"),
        }
    }

    /// Writes all waiting jobs in one transaction, and replies to their callers.
    fn write_batch(&mut self, first: Box<dyn Job>, queue: &Receiver<Box<dyn Job>>) {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(WRITE_BATCH - 1));
        batch.retain(|job| job.is_awaited());
        if batch.is_empty() {
            return;
        }
        let committed = match self.warden.look_at_file(&self.conn) {
            Some(fault) => Err(self.warden.condition.refusal(fault)),
            None => self.commit(&mut batch),
        };
        for job in batch {
            job.answer(committed.as_ref().err());
        }
    }

    /// Runs and commits all jobs, and checks that the right file has them.
    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let session = self.warden.session;
        self.changes.begin_commit();
        let done = transact(&mut self.conn, &mut self.warden, batch);
        self.changes.end_commit();
        let fault = self.warden.look_at_file(&self.conn);
        match (&done, fault) {
            (Ok(_), Some(fault)) => return Err(self.warden.condition.doubt(fault)),
            (Err(_), Some(_)) => {}
            (Ok(Failures { writes: 0, .. }), None) if self.warden.session == session => {}
            (Ok(Failures { writes: 0, .. }), None) => {
                self.warden.health.worked(&self.warden.condition);
            }
            (Ok(Failures { writes, reason }), None) => self.warden.failed(*writes, reason),
            (Err(StoreError::Refused(reason) | StoreError::Unavailable(reason)), None) => {
                self.warden.failed(batch.len(), reason);
            }
            (Err(_), None) => {}
        }
        done.map(drop)
    }
}

impl Writer {
    /// Moves the log into the file and closes it. Returns the seal under which the file is left; none if the file
    /// was not left in order. Must be called when this process has no other connection open.
    pub(super) fn end(mut self) -> Option<Seal> {
        let fault = self.warden.look_at_file(&self.conn);
        // Redis does not have the changes that another program made in the file.
        let is_ours = self.warden.lookout.watch().generation() == 0;
        let guard = self.warden.guard?;
        if fault == Some(Fault::Overwritten) {
            guard.set_log_aside();
            close(self.conn, false);
            return None;
        }
        let session = match fault {
            None if is_ours => leave_session(&self.conn),
            _ => None,
        };
        // The links are already on disk, in the log. A log that stays is read at the next start.
        let is_whole = match schema::checkpoint(&self.conn) {
            Ok(true) => true,
            Ok(false) => {
                tracing::info!(
                    "another program reads the link store; its log stays until the next start"
                );
                false
            }
            Err(error) => {
                tracing::warn!(%error, "the log of the link store was not moved into its file");
                false
            }
        };
        // If another file has this one's name, SQLite must not delete that file's log.
        close(self.conn, fault.is_none());
        let state = guard.state()?;
        session
            .filter(|_| is_whole)
            .map(|session| state.seal(session))
    }
}

/// Puts a new session into the file, for the next start to find.
fn leave_session(conn: &Connection) -> Option<i64> {
    let session = session::draw();
    match session::put(conn, session) {
        Ok(()) => Some(session),
        Err(error) => {
            tracing::debug!(%error, "the link store is left without a seal");
            None
        }
    }
}

/// Closes the last connection. SQLite then moves the log into the file and deletes it, unless `with_log` is false.
fn close(conn: Connection, with_log: bool) {
    let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    if !with_log && let Err(error) = conn.set_db_config(keep, true) {
        tracing::warn!(%error, "the log of the link store cannot be left as it is");
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "closing the link store failed");
    }
}

/// How many jobs of a batch failed on their own, and the reason of the last one.
#[derive(Default)]
struct Failures {
    writes: usize,
    reason: String,
}

/// Runs and commits all jobs, or changes nothing and returns why.
///
/// A job whose statement fails has changed nothing that is committed, and the other jobs go on. But after a full
/// disk or an I/O error SQLite may roll the transaction back by itself; later statements would then be committed
/// one by one.
fn transact(
    conn: &mut Connection,
    warden: &mut Warden,
    batch: &mut [Box<dyn Job>],
) -> Result<Failures, StoreError> {
    let refused = |error: rusqlite::Error| StoreError::Refused(error.to_string());
    let begin = conn.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = begin.map_err(refused)?;
    // From here to the commit no other program can write.
    if !warden.look_for_others(&tx) {
        return Err(warden.condition.refusal(Fault::Restored));
    }
    let changes = tx.total_changes();
    let mut failures = Failures::default();
    for job in batch {
        let failure = job.run(&tx);
        if tx.is_autocommit() {
            let reason = failure.map(ToString::to_string).unwrap_or_default();
            let text = format!("SQLite rolled the transaction back: {reason}");
            return Err(StoreError::Refused(text));
        }
        if let Some(StoreError::Unavailable(reason)) = failure {
            failures.writes += 1;
            failures.reason.clone_from(reason);
        }
    }
    if tx.total_changes() == changes {
        return Ok(failures);
    }
    let session = warden.session + 1;
    session::put(&tx, session).map_err(refused)?;
    if let Err(error) = tx.commit() {
        return Err(match error.sqlite_error_code() {
            // With these errors, nothing of the transaction is in the log.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => refused(error),
            _ => {
                warden.session = session::current(conn)?.unwrap_or(warden.session);
                error.into()
            }
        });
    }
    (warden.session, warden.has_written) = (session, true);
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use std::sync::Arc;

    use super::*;
    use crate::store::audit::Retention;
    use crate::store::sqlite::call::Call;
    use crate::store::sqlite::change::create;
    use crate::store::sqlite::condition::Condition;
    use crate::store::sqlite::other_writers::Lookout;
    use crate::store::sqlite::reader;
    use crate::store::sqlite::testing::{LOG, conn, made, name, new};

    type Reply<T> = oneshot::Receiver<Result<T, StoreError>>;

    fn job<T: Send + 'static>(
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Box<dyn Job>, Reply<T>) {
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let (call, reply) = Call::new(work, places.try_acquire_owned().unwrap());
        (Box::new(call), reply)
    }

    fn writer(conn: Connection) -> Writer {
        let condition = Arc::new(Condition::new("links.sqlite".into()));
        let lookout = Lookout::new(&conn).unwrap();
        let watch = lookout.watch();
        let warden = Warden::new(lookout, None, condition, (1, false));
        Writer {
            changes: Arc::new(Ring::new(watch)),
            conn,
            warden,
            log: LOG,
        }
    }

    /// Runs jobs as one batch.
    fn batch(writer: &mut Writer, jobs: Vec<Box<dyn Job>>) {
        let (queue, waiting) = std::sync::mpsc::sync_channel(jobs.len());
        for job in jobs {
            queue.try_send(job).unwrap();
        }
        let first = waiting.recv().unwrap();
        writer.write_batch(first, &waiting);
    }

    /// With pauses between writes, and without.
    #[test]
    fn the_writer_sweeps_whether_it_is_idle_or_busy() {
        let check = |busy: bool| {
            let conn = conn();
            create(&conn, LOG, new("old", "", Some(1)), 0).unwrap();
            conn.execute_batch(
                "INSERT INTO audit (at, actor, action, token) VALUES (0, 'a', 'token.added', 't')",
            )
            .unwrap();
            let clock = Clock::manual(UnixTime::MAX);
            let (queue, waiting) = std::sync::mpsc::sync_channel(1);
            let interval = Duration::from_millis(20);
            let writer = writer(conn);
            let writer = std::thread::spawn(move || writer.run(&waiting, &clock, interval));
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let (job, reply) = job(|conn| {
                    let sql = "SELECT (SELECT count(*) FROM link) + (SELECT count(*) FROM audit)";
                    let left: i64 = conn.query_row(sql, [], |row| row.get(0))?;
                    Ok(left)
                });
                queue.send(job).unwrap();
                if reply.blocking_recv().unwrap().unwrap() == 0 {
                    break;
                }
                assert!(Instant::now() < end, "not swept, busy: {busy}");
                if !busy {
                    std::thread::sleep(3 * interval);
                }
            }
            drop(queue);
            writer.join().unwrap();
        };
        check(true);
        check(false);
    }

    #[test]
    fn a_failing_job_leaves_the_others_of_its_batch_alone() {
        let mut writer = writer(conn());
        let (good, good_reply) = job(|conn| create(conn, LOG, new("good", "", None), 7));
        // A version that SQLite's integers cannot hold.
        let (bad, bad_reply) = job(|conn| create(conn, LOG, new("bad", "", None), u64::MAX));
        batch(&mut writer, vec![bad, good]);
        assert!(matches!(
            bad_reply.blocking_recv().unwrap(),
            Err(StoreError::Unavailable(_))
        ));
        made(good_reply.blocking_recv().unwrap().unwrap());
        assert_eq!(reader::get(&writer.conn, &name("bad")).unwrap(), None);
        assert!(reader::get(&writer.conn, &name("good")).unwrap().is_some());
    }

    #[test]
    fn a_transaction_that_sqlite_rolls_back_fails_the_whole_batch() {
        let mut writer = writer(conn());
        let (before, before_reply) = job(|conn| create(conn, LOG, new("before", "", None), 7));
        // SQLite does this by itself after some I/O errors.
        let (fatal, fatal_reply) = job(|conn| {
            conn.execute_batch("ROLLBACK")?;
            Err::<(), _>(StoreError::Unavailable("disk I/O error".into()))
        });
        let (behind, behind_reply) = job(|conn| create(conn, LOG, new("behind", "", None), 7));
        batch(&mut writer, vec![before, fatal, behind]);
        let reason = before_reply.blocking_recv().unwrap().unwrap_err();
        assert!(reason.to_string().contains("disk I/O error"), "{reason}");
        assert!(fatal_reply.blocking_recv().unwrap().is_err());
        assert!(behind_reply.blocking_recv().unwrap().is_err());
        for code in ["before", "behind"] {
            assert_eq!(
                reader::get(&writer.conn, &name(code)).unwrap(),
                None,
                "{code}"
            );
        }
    }

    #[test]
    fn a_change_whose_entry_fails_is_undone_with_its_batch() {
        let log = Log {
            retention: Some(Retention::default()),
        };
        let mut writer = writer(conn());
        let make = |code: &'static str| job(move |conn| create(conn, log, new(code, "", None), 7));
        let (good, reply) = make("good");
        batch(&mut writer, vec![good]);
        made(reply.blocking_recv().unwrap().unwrap());
        writer
            .conn
            .execute_batch(
                "CREATE TRIGGER refuse BEFORE INSERT ON audit WHEN new.code = 'b' \
                BEGIN SELECT RAISE(FAIL, 'no entry'); END",
            )
            .unwrap();
        let (first, first_reply) = make("a");
        let (second, second_reply) = make("b");
        let (third, third_reply) = make("c");
        batch(&mut writer, vec![first, second, third]);
        let error = first_reply.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert!(second_reply.blocking_recv().unwrap().is_err());
        assert!(third_reply.blocking_recv().unwrap().is_err());
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            writer.conn.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("link"), count("audit")), (1, 1));
    }

    #[test]
    fn a_write_whose_caller_has_gone_is_skipped() {
        let mut writer = writer(conn());
        let (gone, reply) = job(|conn| create(conn, LOG, new("gone", "", None), 7));
        drop(reply);
        let (here, reply) = job(|conn| create(conn, LOG, new("here", "", None), 7));
        batch(&mut writer, vec![gone, here]);
        made(reply.blocking_recv().unwrap().unwrap());
        assert_eq!(reader::get(&writer.conn, &name("gone")).unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_an_error_until_there_is_room() {
        let mut writer = writer(conn());
        let fill = |writer: &mut Writer, code: &str| {
            let (job, reply) = job({
                let new = new(code, &"x".repeat(2_000), None);
                move |conn| create(conn, LOG, new, 7)
            });
            batch(writer, vec![job]);
            reply.blocking_recv().unwrap()
        };
        let limit = |conn: &Connection, pages: u32| {
            conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .unwrap();
        };
        limit(&writer.conn, 1);
        let mut made = 0;
        let error = loop {
            match fill(&mut writer, &format!("c{made}")) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
            assert!(made < 100, "the limit does not work");
        };
        let StoreError::Unavailable(reason) = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("full"), "{reason}");
        assert!(writer.warden.health.is_failing());
        writer.warden.probe(&mut writer.conn);
        assert!(writer.warden.health.is_failing(), "it is not time yet");
        let failed = format!("c{made}");
        assert_eq!(reader::get(&writer.conn, &name(&failed)).unwrap(), None);

        limit(&writer.conn, 1_000);
        writer.warden.next_probe = Instant::now();
        writer.warden.probe(&mut writer.conn);
        assert!(!writer.warden.health.is_failing());
        fill(&mut writer, &failed).unwrap();
        assert!(reader::get(&writer.conn, &name(&failed)).unwrap().is_some());
    }
}

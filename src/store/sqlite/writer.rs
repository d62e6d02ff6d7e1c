//! Writing: the one thread that changes the file, and what it does.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::call::Job;
use super::foreign::Lookout;
use super::row::{PUT, integer, put};
use super::{WRITE_BATCH, reader};
use crate::clock::{Clock, UnixTime};
use crate::link::{Link, LinkName, Version};
use crate::store::{Change, Changed, Created, Deleted, NewLink, StoreError, seconds};

/// How long an expired link is kept, in seconds: seven days, in which the redirect host can say
/// "gone" instead of "not found", and in which a clock that runs ahead destroys nothing.
const EXPIRED_RETENTION: u64 = 7 * 24 * 60 * 60;
/// How often expired links are swept. The first pass is one interval after the start, when a clock
/// that was wrong at boot has been set.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How many links one pass removes: about the work of one batch of writes, and 720,000 a day.
const SWEEP_ROWS: i64 = 500;

const DELETE: &str = "DELETE FROM link WHERE origin = ?1 AND code = ?2";
const FLOOR: &str = "SELECT value FROM meta WHERE key = 'version_floor'";
const RAISE_FLOOR: &str = "UPDATE meta SET value = ?1 WHERE key = 'version_floor' AND value < ?1";
/// The order is that of the index, so nothing is sorted.
const SWEEP: &str = "DELETE FROM link WHERE (origin, code) IN \
    (SELECT origin, code FROM link WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
    RETURNING version";

/// Every statement of the writer, to see at the start that the tables are what they should be.
pub(super) const STATEMENTS: &[&str] = &[PUT, DELETE, FLOOR, RAISE_FLOOR, SWEEP];

/// What the writer thread does: batch after batch, until the queue is closed and empty. Gives the
/// connection back for the last checkpoint.
pub(super) fn run(
    mut conn: Connection,
    mut lookout: Lookout,
    queue: &Receiver<Box<dyn Job>>,
    clock: &Clock,
    sweep_interval: Duration,
) -> Connection {
    let mut next_sweep = Instant::now() + sweep_interval;
    loop {
        let now = Instant::now();
        let idle = next_sweep.saturating_duration_since(now);
        match queue.recv_timeout(idle.min(lookout.due_in(now))) {
            Ok(first) => write_batch(&mut conn, &mut lookout, first, queue),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return conn,
        }
        if lookout.due_in(Instant::now()).is_zero() {
            lookout.look(&conn);
        }
        // A server that is never idle sweeps too: one pass takes no longer than one batch.
        if Instant::now() >= next_sweep {
            match sweep(&mut conn, clock.now()) {
                Ok(0) => {}
                Ok(links) => {
                    lookout.watch().note_removed(links as u64);
                    tracing::debug!(links, "swept expired links");
                }
                Err(error) => tracing::warn!(%error, "sweeping expired links failed"),
            }
            next_sweep = Instant::now() + sweep_interval;
        }
    }
}

/// Takes what waits, does it in one transaction, and answers.
fn write_batch(
    conn: &mut Connection,
    lookout: &mut Lookout,
    first: Box<dyn Job>,
    queue: &Receiver<Box<dyn Job>>,
) {
    let mut batch = vec![first];
    batch.extend(queue.try_iter().take(WRITE_BATCH - 1));
    batch.retain(|job| job.is_awaited());
    if batch.is_empty() {
        return;
    }
    let committed = transact(conn, lookout, &mut batch);
    if let Err(reason) = &committed {
        tracing::error!(
            writes = batch.len(),
            reason,
            "the link store failed to commit"
        );
    }
    for job in batch {
        job.answer(committed.as_ref().err().map(String::as_str));
    }
}

/// Runs all jobs and commits, or changes nothing and says why.
///
/// A job whose statement fails has changed nothing that counts, and the others go on without it.
/// After a full disk or an I/O error, though, SQLite may give up the transaction by itself, and what
/// came next would be committed one by one.
fn transact(
    conn: &mut Connection,
    lookout: &mut Lookout,
    batch: &mut [Box<dyn Job>],
) -> Result<(), String> {
    let begin = conn.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = begin.map_err(|e| e.to_string())?;
    // From here to the commit nobody else writes.
    lookout.look(&tx);
    for job in batch {
        let failure = job.run(&tx);
        if tx.is_autocommit() {
            let reason = failure.map(ToString::to_string).unwrap_or_default();
            return Err(format!("the transaction was given up: {reason}"));
        }
    }
    tx.commit().map_err(|e| e.to_string())
}

/// See [`crate::store::Store::create`].
pub(super) fn create(conn: &Connection, new: NewLink, now: u64) -> Result<Created, StoreError> {
    let last = match reader::get(conn, &new.name)? {
        Some(link) if link.is_expired(seconds(now)) => link.version,
        Some(link) if link.target == new.target => return Ok(Created::Same(link)),
        Some(link) => return Ok(Created::Taken(link)),
        None => floor(conn)?,
    };
    let link = Link {
        name: new.name,
        target: new.target,
        created_at: seconds(now),
        created_by: new.created_by.into(),
        expires_at: new.expires_at,
        ttl: new.ttl,
        version: Version::next(Some(last), now),
    };
    put(conn, &link)?;
    Ok(Created::New(link))
}

/// See [`crate::store::Store::change`].
pub(super) fn change(
    conn: &Connection,
    name: &LinkName,
    expected: Option<Version>,
    change: Change,
    now: u64,
) -> Result<Changed, StoreError> {
    let Some(mut link) = live(conn, name, now)? else {
        return Ok(Changed::Absent);
    };
    if expected.is_some_and(|version| version != link.version) {
        return Ok(Changed::Conflict(link));
    }
    if let Some(target) = change.target {
        link.target = target;
    }
    if let Some(expires_at) = change.expires_at {
        link.expires_at = expires_at;
    }
    if let Some(ttl) = change.ttl {
        link.ttl = ttl;
    }
    link.version = Version::next(Some(link.version), now);
    put(conn, &link)?;
    Ok(Changed::Changed(link))
}

/// See [`crate::store::Store::delete`].
pub(super) fn delete(
    conn: &Connection,
    name: &LinkName,
    expected: Option<Version>,
    now: u64,
) -> Result<Deleted, StoreError> {
    let Some(link) = live(conn, name, now)? else {
        return Ok(Deleted::Absent);
    };
    if expected.is_some_and(|version| version != link.version) {
        return Ok(Deleted::Conflict(link));
    }
    let gone = Version::next(Some(link.version), now);
    // The mark first: should the second statement fail, a mark that is too high harms nobody.
    raise_floor(conn, integer(gone.0)?)?;
    conn.prepare_cached(DELETE)?
        .execute((name.origin(), name.code()))?;
    Ok(Deleted::Deleted(gone))
}

/// Removes some of the links that ended more than [`EXPIRED_RETENTION`] ago; gives their number.
fn sweep(conn: &mut Connection, now: UnixTime) -> Result<usize, StoreError> {
    let Some(before) = now.0.checked_sub(EXPIRED_RETENTION) else {
        return Ok(0);
    };
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let versions: Vec<i64> = tx
        .prepare_cached(SWEEP)?
        .query_map((integer(before)?, SWEEP_ROWS), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if let Some(highest) = versions.iter().max() {
        raise_floor(&tx, *highest)?;
    }
    tx.commit()?;
    Ok(versions.len())
}

/// The link of that name if it has not ended.
fn live(conn: &Connection, name: &LinkName, now: u64) -> Result<Option<Link>, StoreError> {
    let found = reader::get(conn, name)?;
    Ok(found.filter(|link| !link.is_expired(seconds(now))))
}

/// The mark above which the versions of a name without a row begin.
fn floor(conn: &Connection) -> Result<Version, StoreError> {
    let value: i64 = conn
        .prepare_cached(FLOOR)?
        .query_row([], |row| row.get(0))?;
    Ok(Version(u64::try_from(value).unwrap_or(0)))
}

fn raise_floor(conn: &Connection, version: i64) -> Result<(), StoreError> {
    conn.prepare_cached(RAISE_FLOOR)?.execute([version])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::link::TargetUrl;
    use crate::store::sqlite::call::Call;
    use crate::store::sqlite::schema;

    const SECOND: u64 = 1_000_000;

    fn conn() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn, schema::MIGRATIONS).unwrap();
        conn
    }

    fn name(code: &str) -> LinkName {
        LinkName::parse(&format!("{code}.s.example.com")).unwrap()
    }

    fn new(code: &str, path: &str, expires_at: Option<u64>) -> NewLink {
        NewLink {
            name: name(code),
            target: TargetUrl::parse(&format!("https://example.net/{path}")).unwrap(),
            created_by: "test".into(),
            expires_at: expires_at.map(UnixTime),
            ttl: None,
        }
    }

    fn made(created: Created) -> Link {
        match created {
            Created::New(link) => link,
            other => panic!("not new: {other:?}"),
        }
    }

    type Reply<T> = oneshot::Receiver<Result<T, StoreError>>;

    fn job<T: Send + 'static>(
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Box<dyn Job>, Reply<T>) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        let (call, reply) = Call::new(work, places.try_acquire_owned().unwrap());
        (Box::new(call), reply)
    }

    /// Runs jobs as one batch.
    fn batch(conn: &mut Connection, jobs: Vec<Box<dyn Job>>) {
        let (queue, waiting) = std::sync::mpsc::sync_channel(jobs.len());
        for job in jobs {
            queue.try_send(job).unwrap();
        }
        let first = waiting.recv().unwrap();
        let mut lookout = Lookout::new(conn).unwrap();
        write_batch(conn, &mut lookout, first, &waiting);
    }

    #[test]
    fn sweep_removes_only_what_ended_long_ago_and_keeps_the_versions() {
        let mut conn = conn();
        let end = 1_000;
        let old = made(create(&conn, new("old", "", Some(end)), 2_000 * SECOND).unwrap());
        create(&conn, new("late", "", Some(end + 1)), 0).unwrap();
        create(&conn, new("ever", "", None), 0).unwrap();

        let check = |conn: &mut Connection, now: u64, swept: usize| {
            assert_eq!(sweep(conn, UnixTime(now)).unwrap(), swept, "at {now}");
        };
        check(&mut conn, end, 0);
        check(&mut conn, end + EXPIRED_RETENTION - 1, 0);
        check(&mut conn, end + EXPIRED_RETENTION, 1);
        check(&mut conn, end + EXPIRED_RETENTION, 0);
        assert_eq!(reader::get(&conn, &name("old")).unwrap(), None);
        assert!(reader::get(&conn, &name("late")).unwrap().is_some());
        check(&mut conn, UnixTime::MAX.0, 1);
        assert!(reader::get(&conn, &name("ever")).unwrap().is_some());

        let again = made(create(&conn, new("old", "", None), 0).unwrap());
        assert!(again.version > old.version);
    }

    /// With idle seconds between writes, or with none.
    #[test]
    fn the_writer_sweeps_whether_it_is_idle_or_busy() {
        let check = |busy: bool| {
            let conn = conn();
            create(&conn, new("old", "", Some(1)), 0).unwrap();
            let clock = Clock::manual(UnixTime::MAX);
            let (queue, waiting) = std::sync::mpsc::sync_channel(1);
            let interval = Duration::from_millis(20);
            let lookout = Lookout::new(&conn).unwrap();
            let writer = std::thread::spawn(move || run(conn, lookout, &waiting, &clock, interval));
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let (job, reply) = job(|conn| reader::get(conn, &name("old")));
                queue.send(job).unwrap();
                if reply.blocking_recv().unwrap().unwrap().is_none() {
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
    fn one_sweep_is_bounded() {
        let mut conn = conn();
        for i in 0..SWEEP_ROWS + 7 {
            create(&conn, new(&format!("c{i}"), "", Some(1)), 0).unwrap();
        }
        let swept = [(); 3].map(|()| sweep(&mut conn, UnixTime::MAX).unwrap());
        assert_eq!(swept, [SWEEP_ROWS as usize, 7, 0]);
    }

    #[test]
    fn sweeping_uses_the_index() {
        let conn = conn();
        let plan: Vec<String> = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {SWEEP}"))
            .unwrap()
            .query_map((0, 1), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("INDEX link_expiry (expires_at<?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        assert!(!plan.contains("SCAN link"), "{plan}");
    }

    #[test]
    fn a_failing_job_leaves_the_others_of_its_batch_alone() {
        let mut conn = conn();
        let (good, good_reply) = job(|conn| create(conn, new("good", "", None), 7));
        // Beyond what SQLite's integers hold.
        let (bad, bad_reply) = job(|conn| create(conn, new("bad", "", None), u64::MAX));
        batch(&mut conn, vec![bad, good]);
        assert!(matches!(
            bad_reply.blocking_recv().unwrap(),
            Err(StoreError::Unavailable(_))
        ));
        made(good_reply.blocking_recv().unwrap().unwrap());
        assert_eq!(reader::get(&conn, &name("bad")).unwrap(), None);
        assert!(reader::get(&conn, &name("good")).unwrap().is_some());
    }

    #[test]
    fn a_transaction_that_is_given_up_fails_the_whole_batch() {
        let mut conn = conn();
        let (before, before_reply) = job(|conn| create(conn, new("before", "", None), 7));
        // What SQLite does by itself after some I/O errors.
        let (fatal, fatal_reply) = job(|conn| {
            conn.execute_batch("ROLLBACK")?;
            Err::<(), _>(StoreError::Unavailable("disk I/O error".into()))
        });
        let (behind, behind_reply) = job(|conn| create(conn, new("behind", "", None), 7));
        batch(&mut conn, vec![before, fatal, behind]);
        let reason = before_reply.blocking_recv().unwrap().unwrap_err();
        assert!(reason.to_string().contains("disk I/O error"), "{reason}");
        assert!(fatal_reply.blocking_recv().unwrap().is_err());
        assert!(behind_reply.blocking_recv().unwrap().is_err());
        for code in ["before", "behind"] {
            assert_eq!(reader::get(&conn, &name(code)).unwrap(), None, "{code}");
        }
    }

    #[test]
    fn a_write_nobody_waits_for_is_skipped_before_it_begins() {
        let mut conn = conn();
        let (gone, reply) = job(|conn| create(conn, new("gone", "", None), 7));
        drop(reply);
        let (here, reply) = job(|conn| create(conn, new("here", "", None), 7));
        batch(&mut conn, vec![gone, here]);
        made(reply.blocking_recv().unwrap().unwrap());
        assert_eq!(reader::get(&conn, &name("gone")).unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_an_error_until_there_is_room() {
        let mut conn = conn();
        let fill = |conn: &mut Connection, code: &str| {
            let (job, reply) = job({
                let new = new(code, &"x".repeat(2_000), None);
                move |conn| create(conn, new, 7)
            });
            batch(conn, vec![job]);
            reply.blocking_recv().unwrap()
        };
        let limit = |conn: &Connection, pages: u32| {
            conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .unwrap();
        };
        limit(&conn, 1);
        let mut made = 0;
        let error = loop {
            match fill(&mut conn, &format!("c{made}")) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
            assert!(made < 100, "the limit does not work");
        };
        let StoreError::Unavailable(reason) = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("full"), "{reason}");
        let failed = format!("c{made}");
        assert_eq!(reader::get(&conn, &name(&failed)).unwrap(), None);

        limit(&conn, 1_000);
        fill(&mut conn, &failed).unwrap();
        assert!(reader::get(&conn, &name(&failed)).unwrap().is_some());
    }
}

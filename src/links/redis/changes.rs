//! The stream of changes: how nodes learn that a name has changed.
//!
//! Each change is an entry of one Redis stream: the name, the version of the new state, and the node that made the
//! change. Every node follows the stream from the last entry that it has read, and drops older states from its
//! memory. An entry does not contain the new state. A node that needs the state reads it: Redis has it by then, or
//! the entry says that Redis lacks it.
//!
//! # Changes that Redis lacks
//!
//! In a cluster the shard of a name may be down while the shard of the stream works, and a Redis user may have the
//! right to one key and not to the other. If the value of a change cannot be put, the change is announced all the
//! same, with the field [`LACKING`]. A node that reads such an entry first adds a repair for the name (`repairs`),
//! so that it no longer trusts Redis about it, and only then drops the name from its memory. So a look-up that
//! begins after the drop does not use the old value: it goes to the store, which had the change before it was
//! announced, and puts nothing into Redis. A look-up that began before the drop may have read the old value, but
//! its result is not kept in memory, because the drop ended its flight.
//!
//! The node trusts Redis about the name again when it has dropped the old value itself, or reads an entry of that
//! version or a newer one without the field. The node that added such an entry has put the value or dropped the
//! older one, and no claim from before is left.
//!
//! # Gaps
//!
//! The stream has a maximal length, and Redis may lose it. So a node that reconnects first checks whether the last
//! entry that it read is still there. If it is, so are all later ones, because a stream is trimmed at its old end.
//! If it is not, changes may have been missed. That is a *gap*: everything in memory is looked up again before it
//! is used. So that there always is a last entry, a node that starts adds one that names no link.
//!
//! While a node does not follow the stream, its memory looks up again what is older than a second. A node needs up
//! to [`BLOCK`] and [`SLACK`] to notice that it is cut off. The same holds while a node can read the stream but
//! not write to Redis: other nodes will then be unable to announce changes, too.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Cmd, RedisResult, Value};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::connection::Connection;
use super::error::{is_full, text};
use super::fed::{BEAT, FLOOR, Heard};
use super::repairs::{Announced, Repair, Repairs};
use super::scripts::{self, Run};
use super::terms::Failure;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::link::{LinkName, Version};
use crate::links::deniers::Exchange;
use crate::links::feed::Applied;
use crate::links::memory::{Memory, Notifier};
use crate::links::servers::Own;
use crate::store::Store;
use crate::store::feed::Position;

/// About how many entries the stream holds: several minutes of a busy fleet, some 15 MB.
const STREAM_ENTRIES: usize = 100_000;
/// How many entries the stream holds if the Redis server is full and may not evict.
const FULL_STREAM_ENTRIES: usize = 1_000;
/// The field of an entry whose change Redis may lack. Its value has no meaning.
const LACKING: &str = "lacking";
/// The same of an entry whose change the node did not make, but has read of in the store's feed or in an earlier entry.
const PASSED_ON: &str = "passed-on";
/// A node that reads of a change that Redis lacks waits 0 to `TURNS - 1` times `TURN` before it repairs the name,
/// so that one node does the work for all.
const TURNS: u64 = 8;
const TURN: Duration = Duration::from_millis(40);
/// The fields of an entry that asks for confirmations of names: a number, and the names with spaces between them.
const ASK: &str = "ask";
const NAMES: &str = "names";
/// The field of an entry that confirms names: the numbers of such entries, with spaces between them. `by`: which server
/// confirms them.
const SEEN: &str = "seen";
const BY: &str = "by";
/// The field of an entry with the [mark](super::store_mark) of the store.
const OF: &str = "of";
/// How many entries are read at once.
const READ_COUNT: usize = 1_000;
/// How long a read waits for entries.
const BLOCK: Duration = Duration::from_millis(1_000);
/// How much longer its reply may take.
const SLACK: Duration = Duration::from_millis(1_000);
/// The shortest and the longest wait before the stream is followed again.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Changes {
    client: Arc<Client>,
    key: String,
    node: Box<str>,
    memory: Arc<Memory>,
    /// Hears which names others have changed, so that a replica of it is not believed about them.
    store: Arc<dyn Store>,
    repairs: Arc<Repairs>,
    /// Hears of the changes that were applied.
    own: Arc<Own>,
    /// Hears of all names, and of confirmations.
    exchange: Arc<Exchange>,
    clock: Clock,
    metrics: Arc<Metrics>,
    heard: Heard,
    /// Where this node notes how far it has read, if one node reads the store's feed for all.
    followed: Option<Arc<Applied>>,
    /// Whether the stream is followed.
    following: AtomicBool,
    /// Whether the notices of cut-off nodes are read, too.
    reads_notices: AtomicBool,
}

/// How far a node has read.
#[derive(Debug, Default)]
struct StreamPosition {
    /// The last entry that was read; none at the start.
    last: Option<String>,
    /// The history of the Redis server that it was read from, if known.
    history: Option<String>,
}

impl Changes {
    pub(super) fn new(
        client: Arc<Client>,
        (key, node): (String, Box<str>),
        (memory, store): (Arc<Memory>, Arc<dyn Store>),
        repairs: Arc<Repairs>,
        (own, exchange): (Arc<Own>, Arc<Exchange>),
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            key,
            node,
            memory,
            store,
            repairs,
            own,
            exchange,
            clock,
            metrics,
            heard: Heard::default(),
            followed: None,
            following: AtomicBool::new(false),
            reads_notices: AtomicBool::new(true),
        }
    }

    /// Notes there how far it has read.
    pub(super) fn followed_by(self, followed: Option<Arc<Applied>>) -> Self {
        Self { followed, ..self }
    }

    /// Adds an entry that is no change, with these fields.
    pub(super) async fn add_fields(&self, fields: &[(&str, &str)]) -> Result<(), Failure> {
        let mut entry = self.new_entry();
        entry.arg(&[("node", &*self.node)]).arg(fields);
        if let Some(mark) = self.client.store_mark().mark() {
            entry.arg(&[(OF, mark.to_string())]);
        }
        let id: Result<Value, _> = self.client.command("announce", &self.key, &entry).await;
        id.map(drop)
    }

    /// Asks the servers that follow the stream to confirm names.
    pub(super) async fn ask(&self, number: u64, names: &[LinkName]) -> Result<(), Failure> {
        let names: Vec<&str> = names.iter().map(LinkName::as_str).collect();
        let (number, names) = (number.to_string(), names.join(" "));
        self.add_fields(&[(ASK, &number), (NAMES, &names)]).await
    }

    /// Confirms the names of these entries.
    pub(super) async fn confirm(&self, by: &str, numbers: &[u64]) -> Result<(), Failure> {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        self.add_fields(&[(SEEN, &numbers.join(" ")), (BY, by)])
            .await
    }

    /// Adds an entry for a change. `is_lacking`: Redis may not have the change. `is_own`: this node has made it.
    pub(super) async fn announce(
        &self,
        name: &LinkName,
        version: Version,
        is_lacking: bool,
        is_own: bool,
    ) -> Result<(), Failure> {
        let mut fields = vec![
            ("name", name.as_str().to_owned()),
            ("version", version.to_string()),
            ("node", self.node.clone().into()),
        ];
        if is_lacking {
            fields.push((LACKING, "1".into()));
        }
        if !is_own {
            fields.push((PASSED_ON, "1".into()));
        }
        if let Some(mark) = self.client.store_mark().mark() {
            fields.push((OF, mark.to_string()));
        }
        let mut entry = self.new_entry();
        entry.arg(&fields);
        let id: Result<Value, _> = self.client.command("announce", &self.key, &entry).await;
        match id {
            Err(Failure::Full) => self.announce_full(fields).await,
            id => id.map(drop),
        }
    }

    /// The same if the Redis server is full and may not evict.
    async fn announce_full(&self, fields: Vec<(&str, String)>) -> Result<(), Failure> {
        let mut args = vec![FULL_STREAM_ENTRIES.to_string()];
        args.extend(
            fields
                .into_iter()
                .flat_map(|(field, value)| [field.to_owned(), value]),
        );
        let run = Run::new(&scripts::ANNOUNCE, self.key.clone(), args);
        self.client.run("announce", &run).await.map(drop)
    }

    /// The changes that the stream has brought lately.
    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Whether a call of [`Changes::announce`] would be sent.
    pub(super) fn can_announce(&self) -> bool {
        self.client.allows(&self.key)
    }

    /// The command `XADD` without the fields.
    fn new_entry(&self) -> Cmd {
        let mut entry = redis::cmd("XADD");
        entry
            .arg(&self.key)
            .arg("MAXLEN")
            .arg("~")
            .arg(STREAM_ENTRIES)
            .arg("*");
        entry
    }

    /// The id of the last entry. Adds one if there is no stream.
    pub(super) async fn end(&self) -> Result<String, Failure> {
        let last = self.last_entry();
        let reply: StreamRangeReply = self.client.command("changes", &self.key, &last).await?;
        match reply.ids.into_iter().next() {
            Some(last) => Ok(last.id),
            None => {
                let mut entry = self.new_entry();
                entry.arg(&[("node", &*self.node)]);
                self.client.command("changes", &self.key, &entry).await
            }
        }
    }

    /// The changes after the entry `place`; none if that entry is gone, so that some may be missing.
    pub(super) async fn since(
        &self,
        place: &str,
    ) -> Result<Option<Vec<(LinkName, Version)>>, Failure> {
        let mut place = place.to_owned();
        let mut changes = Vec::new();
        let mut there = redis::cmd("XRANGE");
        there.arg(&self.key).arg(&place).arg(&place);
        let found: StreamRangeReply = self.client.command("changes", &self.key, &there).await?;
        if found.ids.is_empty() {
            return Ok(None);
        }
        for _ in 0..STREAM_ENTRIES.div_ceil(READ_COUNT) {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.key).arg(format!("({place}")).arg("+");
            range.arg("COUNT").arg(READ_COUNT);
            let reply: StreamRangeReply = self.client.command("changes", &self.key, &range).await?;
            let ours = reply.ids.iter().filter(|entry| self.is_ours(entry));
            changes.extend(ours.filter_map(change));
            match reply.ids.into_iter().nth(READ_COUNT - 1) {
                Some(last) => place = last.id,
                None => break,
            }
        }
        Ok(Some(changes))
    }

    /// Follows the stream until `shutdown`. Calls `gap` after a gap.
    pub(super) async fn follow(&self, shutdown: CancellationToken, gap: impl Fn()) {
        let mut place = StreamPosition::default();
        let mut retry = MIN_RETRY;
        let work = async {
            loop {
                let began = Instant::now();
                let ended = tokio::select! {
                    ended = self.session(&mut place, &gap) => ended,
                    () = self.client.renewed() => continue,
                };
                let Err(error) = ended;
                self.set_following(false);
                tracing::debug!(error = text(&error), "the stream of changes broke off");
                if began.elapsed() > MAX_RETRY {
                    retry = MIN_RETRY;
                }
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(MAX_RETRY);
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        self.set_following(false);
    }

    /// Follows the stream on one connection.
    async fn session(
        &self,
        place: &mut StreamPosition,
        gap: &impl Fn(),
    ) -> RedisResult<std::convert::Infallible> {
        let mut connection = self.client.connect_apart(BLOCK + SLACK).await?;
        let history = self.history(&mut connection).await;
        let is_same = history.is_some() && place.history == history;
        place.history = history;
        let mut last = match place.last.clone() {
            Some(last) if self.is_there(&mut connection, &last).await? => {
                // It may lack entries that came after the last one.
                if !is_same {
                    self.note_gap();
                }
                last
            }
            seen => {
                if seen.is_some() {
                    tracing::warn!("the stream of changes has a gap; looking up all links again");
                    self.metrics.changes_gaps.inc();
                }
                let marker = self.add_marker(&mut connection).await?;
                // After the marker was added: later changes are read, and earlier look-ups are not used.
                self.store.note_missed();
                self.memory.revalidate_all(Instant::now());
                self.note_gap();
                if seen.is_some() {
                    gap();
                }
                marker
            }
        };
        // When the last read began that has reached the end.
        let mut looked: Option<Instant> = None;
        loop {
            place.last = Some(last.clone());
            self.own.set_followed(&last);
            let began = Instant::now();
            let entries = self.read(&mut connection, &last).await?;
            let few = entries.len() < READ_COUNT;
            // Checked after the read: if the last entry is still there, none was lost between it and what was
            // read. Redis may have lost the stream and a new one may have been started.
            if !self.is_there(&mut connection, &last).await? {
                self.store.note_missed();
                self.memory.revalidate_all(Instant::now());
                self.note_gap();
                return Err(std::io::Error::other("entries were lost").into());
            }
            let mut beat = None;
            for entry in entries {
                beat = self.apply(&entry).or(beat);
                last = entry.id;
            }
            // The beat was not there yet at that read.
            let look = looked
                .zip(beat)
                .and_then(|(looked, age)| looked.checked_sub(age));
            self.note_read(&last, look);
            if few {
                looked = Some(began);
            }
            // If this node cannot announce, other nodes may not be able to either.
            self.set_following(few && self.can_announce());
        }
    }

    /// The history of data that the Redis server has: a replica that becomes the master begins another one. Not known in a
    /// cluster.
    async fn history(&self, connection: &mut Connection) -> Option<String> {
        self.followed.as_ref()?;
        let info = redis::cmd("INFO").arg("replication").to_owned();
        let text: String = connection.command(&info).await.ok()?;
        let mut lines = text.lines();
        let history = lines.find_map(|line| line.strip_prefix("master_replid:"));
        history.map(|history| history.trim().to_owned())
    }

    /// Adds an entry that names no link, and returns its id. If Redis is full, returns the id of the last entry.
    async fn add_marker(&self, connection: &mut Connection) -> RedisResult<String> {
        let mut entry = self.new_entry();
        entry.arg(&[("node", &*self.node)]);
        let refused = match connection.command(&entry).await {
            Err(error) if is_full(&error) => error,
            id => return id,
        };
        let last: StreamRangeReply = connection.command(&self.last_entry()).await?;
        let last = last.ids.into_iter().next();
        last.map(|last| last.id).ok_or(refused)
    }

    fn last_entry(&self) -> Cmd {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        last
    }

    async fn is_there(&self, connection: &mut Connection, id: &str) -> RedisResult<bool> {
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.key).arg(id).arg(id).arg("COUNT").arg(1);
        let found: Vec<Value> = connection.command(&range).await?;
        Ok(!found.is_empty())
    }

    async fn read(&self, connection: &mut Connection, last: &str) -> RedisResult<Vec<StreamId>> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(READ_COUNT);
        read.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(&self.key).arg(last);
        // Redis replies nil if no entry has come.
        let reply: Option<StreamReadReply> = connection.command(&read).await?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).collect())
    }

    /// Whether an entry is about this store. An entry without a mark comes from an older version of tinyns. While
    /// the store is not known, all entries count.
    fn is_ours(&self, entry: &StreamId) -> bool {
        let of: Option<String> = entry.get(OF);
        match (of, self.client.store_mark().mark()) {
            (Some(of), Some(mark)) => of == mark.to_string(),
            _ => true,
        }
    }

    /// Notes that changes may be missing.
    pub(super) fn note_gap(&self) {
        if let Some(followed) = &self.followed {
            followed.note_gap();
        }
    }

    /// Notes that everything up to the entry `last` was applied. `look`: up to when the store's feed was.
    fn note_read(&self, last: &str, look: Option<Instant>) {
        if let Some(followed) = &self.followed
            && let Some(position) = Position::new(last)
        {
            followed.note(position, look);
        }
    }

    /// Applies an entry. Returns the age in it, if it is a beat.
    fn apply(&self, entry: &StreamId) -> Option<Duration> {
        if !self.is_ours(entry) {
            return None;
        }
        if let Some(floor) = entry.get(FLOOR).map(UnixTime) {
            self.client.raise_floor(floor);
            self.memory.revalidate_all(Instant::now());
            self.note_gap();
        }
        if let Some((name, version)) = change(entry) {
            self.note_repairs(entry, &name, version);
            self.heard.note(&name, version, Instant::now());
            self.exchange.hear(&name);
            if entry.get::<Value>(PASSED_ON).is_none() {
                // Before memory forgets the name: look-ups from then on must not read an older state.
                self.store.note_changed(&name);
            }
            let was_flying = self.memory.forget_older(&name, version);
            self.own.note_change(&name, was_flying);
            self.metrics.changes_seen.inc();
        }
        self.apply_exchange(entry);
        if let Some(lag) = lag(&entry.id, self.clock.micros()) {
            self.metrics.changes_lag.set(lag.as_secs_f64());
        }
        entry.get(BEAT).map(Duration::from_millis)
    }

    /// Applies an entry that asks for confirmations, or is one.
    fn apply_exchange(&self, entry: &StreamId) {
        if let (Some(number), Some(names)) = (entry.get(ASK), entry.get::<String>(NAMES)) {
            let names = names
                .split(' ')
                .filter_map(|name| LinkName::parse(name).ok());
            self.exchange.hear_ask(number, names);
        }
        if let (Some(numbers), Some(by)) = (entry.get::<String>(SEEN), entry.get::<String>(BY)) {
            let numbers = numbers.split(' ').filter_map(|number| number.parse().ok());
            self.exchange.hear_seen(&by, numbers);
        }
    }

    /// Updates the repairs by an entry: whether Redis can be trusted about the name.
    fn note_repairs(&self, entry: &StreamId, name: &LinkName, version: Version) {
        let now = Instant::now();
        if entry.get::<Value>(LACKING).is_none() {
            self.repairs.done_elsewhere(name, version, now);
        } else if entry.get::<String>("node").as_deref() != Some(&*self.node) {
            let repair = Repair {
                version,
                due: now + self.turn(name),
                announced: Announced::Lacking,
                own: false,
            };
            self.repairs.add(name.clone(), repair);
        }
    }

    /// How long this node waits for other nodes to repair a name.
    pub(super) fn turn(&self, name: &LinkName) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.node, name).hash(&mut hasher);
        TURN * u32::try_from(hasher.finish() % TURNS).unwrap_or(0)
    }

    fn set_following(&self, following: bool) {
        self.memory.set_notified(Notifier::Stream, following);
        self.following.store(following, Ordering::Relaxed);
        self.publish_following();
    }

    /// Sets whether the notices of cut-off nodes are read.
    pub(super) fn set_reads_notices(&self, reads_notices: bool) {
        self.reads_notices.store(reads_notices, Ordering::Relaxed);
        self.publish_following();
    }

    fn publish_following(&self) {
        let [following, reads_notices] =
            [&self.following, &self.reads_notices].map(|flag| flag.load(Ordering::Relaxed));
        let all = following && reads_notices;
        self.metrics.changes_following.set(all.into());
    }
}

/// Whether all entries up to `other` are among those up to `id`. Both are ids of entries.
pub(super) fn covers(id: &Position, other: &Position) -> bool {
    let numbers = |id: &Position| {
        let (millis, number) = id.as_str().split_once('-')?;
        Some((millis.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
    };
    match (numbers(id), numbers(other)) {
        (Some(id), Some(other)) => id >= other,
        _ => false,
    }
}

/// The change in an entry; none if it names no link, or not a valid name.
fn change(entry: &StreamId) -> Option<(LinkName, Version)> {
    let name: String = entry.get("name")?;
    let version = entry.get::<u64>("version").map(Version)?;
    Some((LinkName::parse(&name).ok()?, version))
}

/// The age of an entry. Its id begins with the time of the Redis server in milliseconds.
fn lag(id: &str, now_micros: u64) -> Option<Duration> {
    let millis: u64 = id.split('-').next()?.parse().ok()?;
    let micros = now_micros.saturating_sub(millis.saturating_mul(1_000));
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_as_numbers() {
        let check = |id, other, expected| {
            let [id, other] = [id, other].map(|id: &str| Position::new(id).unwrap());
            assert_eq!(covers(&id, &other), expected, "{id} {other}");
        };
        check("1000-2", "1000-2", true);
        check("1000-10", "1000-9", true);
        check("1000-0", "999-7", true);
        check("999-7", "1000-0", false);
        // Another text covers nothing, and is covered by nothing.
        check("x", "1000-0", false);
        check("1000-0", "x", false);
    }

    #[test]
    fn the_lag_is_the_age_of_the_entry() {
        let check = |id, now, expected| {
            assert_eq!(lag(id, now), expected, "{id}");
        };
        check("1000-0", 1_250_000, Some(Duration::from_millis(250)));
        // The clocks of the Redis server and the node differ.
        check("2000-7", 1_000_000, Some(Duration::ZERO));
        check("x-0", 1_000_000, None);
    }
}

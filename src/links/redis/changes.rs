//! The stream of changes: how every node hears that a name has changed.
//!
//! Each create, change and delete is an entry of one Redis stream: the name, the version of the new
//! state, and the node that made it. Every node follows the stream from the last entry that it has
//! seen, and drops what its memory holds of a name that is older. An entry does not carry the new
//! state: what a node needs it reads, and Redis has it by then, or the entry says that Redis lacks it.
//!
//! # What Redis lacks
//!
//! In a cluster the shard of a name may be down while that of the stream works; and a user may have been
//! given the right to the one and not to the other. A change whose value could not be put is announced
//! all the same, with the field [`LACKING`]. A node that hears of it first notes that Redis is not to be
//! believed about the name (`repairs`), and only then drops what its memory holds. So a look-up that
//! begins after the drop does not see the old value in Redis: it goes to the store, which had the change
//! before it was announced, and puts nothing into Redis. A look-up that began before the drop may have
//! read the old value, but the drop takes it off the memory's board, so that what it brings is not kept.
//!
//! The name is believed again when the node has dropped the old value itself, or hears an entry
//! without the field of that version or a newer one: it comes from a node that has put the value, or has
//! dropped what was older, and no claim that was there before lives on.
//!
//! # Gaps
//!
//! The stream is cut to some length, and Redis may lose it. A node that comes back therefore asks first
//! whether the last entry it has seen is still there. If so, all that came after it is as well, for a
//! stream is cut at its old end. If not, nobody knows what was missed: that is a gap, and nothing in
//! memory is used again without asking. So that there always is a last entry, a node that begins adds
//! one that names no link.
//!
//! While a node does not follow, nobody tells it of changes, and its memory asks again for what is
//! older than a second. It takes up to [`BLOCK`] and [`SLACK`] until a node knows that it is cut off. The
//! same holds while it reads the stream but Redis takes no writes from it: the others will then be as
//! unable to announce anything.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Cmd, RedisResult, Value};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Failure};
use super::connection::Connection;
use super::error::{is_full, text};
use super::repairs::{Others, Repair, Repairs};
use super::scripts::{self, Run};
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::link::{LinkName, Version};
use crate::links::memory::Memory;

/// About how many entries the stream keeps: several minutes of a busy fleet, some 15 MB.
const STREAM_ENTRIES: usize = 100_000;
/// How many entries the stream keeps where the server is full and may not evict.
const FULL_STREAM_ENTRIES: usize = 1_000;
/// The field of an entry whose change Redis may lack. Its value says nothing.
const LACKING: &str = "lacking";
/// How many steps there are to the wait of a node before it repairs what another could not, and how long
/// each is. The first one to do it spares the others the work.
const TURNS: u64 = 8;
const TURN: Duration = Duration::from_millis(40);
/// The field of an entry with the [mark](super::belonging) of the store whose link has changed.
const OF: &str = "of";
/// How many entries are read at once.
const READ_COUNT: usize = 1_000;
/// How long a read waits for entries.
const BLOCK: Duration = Duration::from_millis(1_000);
/// How much longer than that its reply may take.
const SLACK: Duration = Duration::from_millis(1_000);
/// The wait before the stream is taken up again.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Changes {
    client: Arc<Client>,
    key: String,
    node: Box<str>,
    memory: Arc<Memory>,
    repairs: Arc<Repairs>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Whether the stream is followed, and whether nothing is known that it does not tell.
    following: AtomicBool,
    informed: AtomicBool,
}

/// How far a node has come.
#[derive(Debug, Default)]
struct StreamPosition {
    /// The last entry seen; none at the beginning.
    last: Option<String>,
}

impl Changes {
    pub(super) fn new(
        client: Arc<Client>,
        key: String,
        node: Box<str>,
        memory: Arc<Memory>,
        repairs: Arc<Repairs>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            key,
            node,
            memory,
            repairs,
            clock,
            metrics,
            following: AtomicBool::new(false),
            informed: AtomicBool::new(true),
        }
    }

    /// Tells all nodes that a name has changed, and whether Redis may lack the change.
    pub(super) async fn announce(
        &self,
        name: &LinkName,
        version: Version,
        is_lacking: bool,
    ) -> Result<(), Failure> {
        let mut fields = vec![
            ("name", name.as_str().to_owned()),
            ("version", version.to_string()),
            ("node", self.node.clone().into()),
        ];
        if is_lacking {
            fields.push((LACKING, "1".into()));
        }
        if let Some(mark) = self.client.belonging().mark() {
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

    /// The same where the server is full and may not evict.
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

    /// Whether an announcement would be tried.
    pub(super) fn can_announce(&self) -> bool {
        self.client.allows(&self.key)
    }

    /// `XADD` up to the fields.
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

    /// Where the stream ends just now. Where there is none, it is begun.
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

    /// The changes behind a place of the stream; none if that has been cut off or lost, so that nobody
    /// knows of them.
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

    /// Follows the stream until it is told to stop. `gap` is called after a gap.
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

    /// Follows for as long as one connection holds.
    async fn session(
        &self,
        place: &mut StreamPosition,
        gap: &impl Fn(),
    ) -> RedisResult<std::convert::Infallible> {
        let mut connection = self.client.connect_apart(BLOCK + SLACK).await?;
        let mut last = match place.last.clone() {
            Some(last) if self.is_there(&mut connection, &last).await? => last,
            seen => {
                if seen.is_some() {
                    tracing::warn!("the stream of changes has a gap; asking for all links anew");
                    self.metrics.changes_gaps.inc();
                }
                let hello = self.hello(&mut connection).await?;
                // After the entry: what comes from now on is heard of, and what was is not believed.
                self.memory.doubt_all(Instant::now());
                if seen.is_some() {
                    gap();
                }
                hello
            }
        };
        loop {
            place.last = Some(last.clone());
            let entries = self.read(&mut connection, &last).await?;
            let few = entries.len() < READ_COUNT;
            // Asked after the read: if the last one is still there, nothing was cut off behind it. The
            // stream itself may have gone, and another have been begun.
            if !self.is_there(&mut connection, &last).await? {
                self.memory.doubt_all(Instant::now());
                return Err(std::io::Error::other("entries were lost").into());
            }
            for entry in entries {
                self.hear(&entry);
                last = entry.id;
            }
            // What nobody can write, nobody tells.
            self.set_following(few && self.can_announce());
        }
    }

    /// Adds an entry that names no link, and gives its id; that of the last one where there is no room.
    async fn hello(&self, connection: &mut Connection) -> RedisResult<String> {
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
        // Redis gives nil where nothing has come.
        let reply: Option<StreamReadReply> = connection.command(&read).await?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).collect())
    }

    /// Whether an entry is about this store. One that does not say so comes from an older version of this
    /// program; and as long as it is not known which store this is, all are heeded.
    fn is_ours(&self, entry: &StreamId) -> bool {
        let of: Option<String> = entry.get(OF);
        match (of, self.client.belonging().mark()) {
            (Some(of), Some(mark)) => of == mark.to_string(),
            _ => true,
        }
    }

    /// Obeys an entry.
    fn hear(&self, entry: &StreamId) {
        if !self.is_ours(entry) {
            return;
        }
        if let Some((name, version)) = change(entry) {
            self.note_repairs(entry, &name, version);
            self.memory.forget_older(&name, version);
            self.metrics.changes_seen.inc();
        }
        if let Some(lag) = lag(&entry.id, self.clock.micros()) {
            self.metrics.changes_lag.set(lag.as_secs_f64());
        }
    }

    /// Notes what an entry says of how far Redis can be believed about a name.
    fn note_repairs(&self, entry: &StreamId, name: &LinkName, version: Version) {
        let now = Instant::now();
        if entry.get::<Value>(LACKING).is_none() {
            self.repairs.heard(name, version, now);
        } else if entry.get::<String>("node").as_deref() != Some(&*self.node) {
            let repair = Repair {
                version,
                due: now + self.turn(name),
                others: Others::Told,
                own: false,
            };
            self.repairs.add(name.clone(), repair);
        }
    }

    /// How long this node leaves the repair of a name to others.
    pub(super) fn turn(&self, name: &LinkName) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.node, name).hash(&mut hasher);
        TURN * u32::try_from(hasher.finish() % TURNS).unwrap_or(0)
    }

    fn set_following(&self, following: bool) {
        self.memory.set_told(following);
        self.following.store(following, Ordering::Relaxed);
        self.tell_following();
    }

    /// Sets whether changes that are not in the stream are heard of as well, as far as there are any.
    pub(super) fn set_informed(&self, informed: bool) {
        self.informed.store(informed, Ordering::Relaxed);
        self.tell_following();
    }

    fn tell_following(&self) {
        let [following, informed] =
            [&self.following, &self.informed].map(|flag| flag.load(Ordering::Relaxed));
        let all = following && informed;
        self.metrics.changes_following.set(all.into());
    }
}

/// What an entry says; none if it names no link, or nothing that could be the name of one.
fn change(entry: &StreamId) -> Option<(LinkName, Version)> {
    let name: String = entry.get("name")?;
    let version = entry.get::<u64>("version").map(Version)?;
    Some((LinkName::parse(&name).ok()?, version))
}

/// How long ago an entry was made, by its id, which begins with Redis's clock in milliseconds.
fn lag(id: &str, now_micros: u64) -> Option<Duration> {
    let millis: u64 = id.split('-').next()?.parse().ok()?;
    let micros = now_micros.saturating_sub(millis.saturating_mul(1_000));
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_entry() {
        let check = |id, now, expected| {
            assert_eq!(lag(id, now), expected, "{id}");
        };
        check("1000-0", 1_250_000, Some(Duration::from_millis(250)));
        // Clocks differ.
        check("2000-7", 1_000_000, Some(Duration::ZERO));
        check("x-0", 1_000_000, None);
    }
}

//! What the warm load ([`crate::links::warm`]) needs of Redis: a lease, so that one node of a fleet
//! loads at a time; how far it has come, so that another can go on from there; and a way to put many
//! links at once.
//!
//! A loaded link is put only in the place of nothing or of something older. That alone would not do: a
//! newer state may have been evicted, a deletion above all, and the load would bring the old one back.
//! So the stream of changes is read again behind every page, from before the page was read on, and what
//! is older than the changes in it is dropped.

use std::collections::HashMap;
use std::time::Duration;

use super::RedisCache;
use super::client::Failure;
use super::mark::Mark;
use super::scripts::{self, Run, millis};
use super::value::{self, ANY_VERSION};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Version};

/// The life of the lease; whoever holds it renews it in time.
pub(in crate::links) const LEASE: Duration = Duration::from_secs(30);
/// How long it is remembered how far a load has come that nobody goes on with.
const PROGRESS: Duration = Duration::from_secs(60 * 60);
/// How many links are put in one go: some milliseconds of Redis's time, for which others wait.
const PUT_AT_ONCE: usize = 250;
/// The field that says into how many parts the store is divided.
const SEGMENTS: &str = "segments";
/// The field that says when the server was started in which the load was begun, and of which store.
const ERA: &str = "era";
/// The cursor of a part that is done; no name is empty.
const DONE: &str = "";

/// The right to load.
#[derive(Debug)]
pub(in crate::links) struct Lease(String);

/// Where each part of a load begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::links) enum Cursor {
    /// At its beginning.
    Start,
    /// Behind this link.
    After(LinkName),
    /// It is done.
    End,
}

impl RedisCache {
    /// Takes the lease, if nobody has it.
    pub(in crate::links) async fn lease_load(&self) -> Result<Option<Lease>, Failure> {
        let (key, token) = (self.keys.other("warm-load"), self.token());
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(&token).arg("NX");
        set.arg("PX").arg(millis(LEASE));
        let taken: Option<String> = self.client.command("load", &key, &set).await?;
        Ok(taken.map(|_| Lease(token)))
    }

    /// Keeps the lease; false if it has been lost.
    pub(in crate::links) async fn renew_load(&self, lease: &Lease) -> Result<bool, Failure> {
        let args = vec![lease.0.clone(), millis(LEASE).to_string()];
        let run = Run::new(&scripts::RENEW, self.keys.other("warm-load"), args);
        Ok(self.client.run("load", &run).await? == 1)
    }

    /// Gives the lease back; a load that is `done` is noted.
    pub(in crate::links) async fn end_load(&self, lease: Lease, done: bool) -> Result<(), Failure> {
        if done {
            // Whoever has lost the lease may have lost what was loaded, too.
            if !self.renew_load(&lease).await? {
                return Err(Failure::Failed);
            }
            let key = self.keys.other("warm-load:done");
            let mut set = redis::cmd("SET");
            set.arg(&key)
                .arg(format!("{} {}", self.clock.now(), self.mark()));
            set.arg("PX").arg(millis(self.keep));
            self.client.command::<()>("load", &key, &set).await?;
            let key = self.keys.other("warm-load:progress");
            let del = redis::cmd("DEL").arg(&key).to_owned();
            self.client.command::<()>("load", &key, &del).await?;
        }
        let key = self.keys.other("warm-load");
        let run = Run::new(&scripts::UNLOCK, key, vec![lease.0]);
        self.client.run("load", &run).await.map(drop)
    }

    /// When a load was last done of which Redis knows.
    pub(in crate::links) async fn loaded_at(&self) -> Result<Option<UnixTime>, Failure> {
        let era = self.client.believed().ok_or(Failure::Skipped)?;
        let key = self.keys.other("warm-load:done");
        let get = redis::cmd("GET").arg(&key).to_owned();
        let text: Option<String> = self.client.command("load", &key, &get).await?;
        // What was loaded before the server was started counts as nothing, as all that it held then; and so
        // does what another store has loaded.
        let done = text.as_deref().and_then(|text| text.split_once(' '));
        let ours = done.filter(|(_, mark)| Mark::parse(mark) == Some(era.mark));
        let when = ours.and_then(|(when, _)| when.parse().ok()).map(UnixTime);
        Ok(when.filter(|when| when.0 >= era.born))
    }

    /// Begins a load of `segments` parts; gives where each begins, which is where an earlier load that
    /// was broken off had come to.
    pub(in crate::links) async fn begin_load(&self, segments: u32) -> Result<Vec<Cursor>, Failure> {
        let key = self.keys.other("warm-load:progress");
        let get = redis::cmd("HGETALL").arg(&key).to_owned();
        let fields: HashMap<String, String> = self.client.command("load", &key, &get).await?;
        let era = self.client.believed().ok_or(Failure::Skipped)?;
        let same = fields.get(SEGMENTS) == Some(&segments.to_string())
            && fields.get(ERA) == Some(&era.to_string());
        if !same {
            let del = redis::cmd("DEL").arg(&key).to_owned();
            self.client.command::<()>("load", &key, &del).await?;
            let mut set = redis::cmd("HSET");
            set.arg(&key).arg(SEGMENTS).arg(segments);
            set.arg(ERA).arg(era.to_string());
            self.client.command::<()>("load", &key, &set).await?;
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(&key).arg(millis(PROGRESS));
            self.client.command::<()>("load", &key, &expire).await?;
        }
        let cursor = |index: u32| match fields.get(&index.to_string()).filter(|_| same) {
            Some(text) if text == DONE => Cursor::End,
            Some(text) => LinkName::parse(text).map_or(Cursor::Start, Cursor::After),
            None => Cursor::Start,
        };
        Ok((0..segments).map(cursor).collect())
    }

    /// Notes how far a part has come. Fails if Redis has lost the load that was begun.
    pub(in crate::links) async fn note_load(
        &self,
        index: u32,
        cursor: &Cursor,
    ) -> Result<(), Failure> {
        let text = match cursor {
            Cursor::Start => return Ok(()),
            Cursor::After(name) => name.as_str(),
            Cursor::End => DONE,
        };
        let life = millis(PROGRESS).to_string();
        let args = vec![index.to_string(), text.to_owned(), life];
        let run = Run::new(&scripts::NOTE, self.keys.other("warm-load:progress"), args);
        match self.client.run("load", &run).await? {
            0 => Err(Failure::Failed),
            _ => Ok(()),
        }
    }

    /// Puts links where Redis has nothing or something older.
    pub(in crate::links) async fn load(&self, links: &[Link]) -> Result<(), Failure> {
        for links in links.chunks(PUT_AT_ONCE) {
            let runs: Vec<Run> = links.iter().map(|link| self.load_one(link)).collect();
            let runs: Vec<&Run> = runs.iter().collect();
            for result in self.client.run_many("load", &runs).await {
                result?;
            }
        }
        Ok(())
    }

    fn load_one(&self, link: &Link) -> Run {
        let life = millis(self.life(link)).max(1).to_string();
        let args = vec![
            value::link(link, self.clock.now(), self.mark()),
            life,
            link.version.to_string(),
        ];
        Run::new(&scripts::LOAD, self.keys.link(&link.name), args)
    }

    /// Where the stream of changes ends, to be asked before a page is read.
    pub(in crate::links) async fn changes_end(&self) -> Result<String, Failure> {
        self.changes.end().await
    }

    /// Drops what is older than the changes that were told behind a place of the stream. If nobody knows
    /// of those any more, the links that were put meanwhile are dropped, whatever they are, and the load
    /// has to begin that page anew.
    pub(in crate::links) async fn drop_changed(
        &self,
        place: &str,
        put: &[LinkName],
    ) -> Result<(), Failure> {
        match self.changes.since(place).await? {
            Some(changes) => {
                let changes: Vec<_> = changes.iter().map(|(n, v)| (n, *v)).collect();
                self.drop_all(&changes).await
            }
            None => {
                let put: Vec<_> = put.iter().map(|name| (name, ANY_VERSION)).collect();
                self.drop_all(&put).await?;
                Err(Failure::Failed)
            }
        }
    }

    /// Drops what is older than these versions.
    async fn drop_all(&self, names: &[(&LinkName, Version)]) -> Result<(), Failure> {
        for names in names.chunks(PUT_AT_ONCE) {
            let runs: Vec<Run> = names
                .iter()
                .map(|(name, version)| self.drop_run(name, *version))
                .collect();
            let runs: Vec<&Run> = runs.iter().collect();
            for result in self.client.run_many("load", &runs).await {
                result?;
            }
        }
        Ok(())
    }

    /// How many of these names Redis has anything of. It is not for Redis to think that they are used.
    pub(in crate::links) async fn holds(&self, names: &[LinkName]) -> Result<usize, Failure> {
        let mut held = 0;
        for name in names {
            let key = self.keys.link(name);
            let exists = redis::cmd("EXISTS").arg(&key).to_owned();
            held += self.client.command::<usize>("load", &key, &exists).await?;
        }
        Ok(held)
    }

    /// Whether Redis is so full that it takes no writes.
    pub(in crate::links) fn is_full(&self) -> bool {
        self.client.is_full()
    }
}

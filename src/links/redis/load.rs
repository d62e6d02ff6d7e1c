//! What the warm load ([`crate::links::warm`]) needs of Redis: a lease, so that one node of a fleet loads at a
//! time; its progress, so that another node can continue; and a way to put many links at once.
//!
//! A link is put only if Redis has no value or an older one for it. That alone is not enough: a newer value may
//! have been evicted, above all a tombstone, and the load would bring the old link back. So after each page the
//! load reads the entries of the stream since before the page was read, and drops what is older than these
//! changes.

use std::collections::HashMap;
use std::time::Duration;

use super::RedisCache;
use super::lease::Lease;
use super::mark::Mark;
use super::scripts::{self, Run, millis};
use super::terms::{Cursor, Failure, LEASE};
use super::value::{self, ANY_VERSION};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Version};

/// How long the progress of an interrupted load is kept.
const PROGRESS: Duration = Duration::from_secs(60 * 60);
/// How many links are put in one call: some milliseconds of Redis's time, for which other calls wait.
const PUT_AT_ONCE: usize = 250;
/// The field of the progress that says into how many parts the store is divided.
const SEGMENTS: &str = "segments";
/// The field with the [`Validity`](super::mark::Validity) under which the load began: when the Redis server had
/// started, and the mark.
const VALIDITY: &str = "era";
/// The cursor of a part that is done; no name is empty.
const DONE: &str = "";

impl RedisCache {
    /// Takes the lease; none if another node has it.
    pub(in crate::links) async fn lease_load(&self) -> Result<Option<Lease>, Failure> {
        self.take_lease("load", "warm-load", LEASE).await
    }

    /// Renews the lease; false if it was lost.
    pub(in crate::links) async fn renew_load(&self, lease: &Lease) -> Result<bool, Failure> {
        self.renew_lease("load", lease, LEASE).await
    }

    /// Gives the lease back, and notes whether the load is `done`.
    pub(in crate::links) async fn end_load(&self, lease: Lease, done: bool) -> Result<(), Failure> {
        if done {
            // If the lease was lost, Redis may have lost the loaded links as well.
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
        self.give_back("load", lease).await
    }

    /// When the last complete load ended, as far as its links are valid.
    pub(in crate::links) async fn loaded_at(&self) -> Result<Option<UnixTime>, Failure> {
        let validity = self.client.trusted().ok_or(Failure::Skipped)?;
        let key = self.keys.other("warm-load:done");
        let get = redis::cmd("GET").arg(&key).to_owned();
        let text: Option<String> = self.client.command("load", &key, &get).await?;
        // What was loaded before the Redis server started, or from another store, is not valid.
        let done = text.as_deref().and_then(|text| text.split_once(' '));
        let ours = done.filter(|(_, mark)| Mark::parse(mark) == Some(validity.mark));
        let when = ours.and_then(|(when, _)| when.parse().ok()).map(UnixTime);
        Ok(when.filter(|when| when.0 >= validity.started))
    }

    /// Begins a load of `segments` parts, or continues one that was interrupted. Returns where each part
    /// continues.
    pub(in crate::links) async fn begin_load(&self, segments: u32) -> Result<Vec<Cursor>, Failure> {
        let key = self.keys.other("warm-load:progress");
        let get = redis::cmd("HGETALL").arg(&key).to_owned();
        let fields: HashMap<String, String> = self.client.command("load", &key, &get).await?;
        let validity = self.client.trusted().ok_or(Failure::Skipped)?;
        let same = fields.get(SEGMENTS) == Some(&segments.to_string())
            && fields.get(VALIDITY) == Some(&validity.to_string());
        if !same {
            let del = redis::cmd("DEL").arg(&key).to_owned();
            self.client.command::<()>("load", &key, &del).await?;
            let mut set = redis::cmd("HSET");
            set.arg(&key).arg(SEGMENTS).arg(segments);
            set.arg(VALIDITY).arg(validity.to_string());
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

    /// Notes the progress of a part. Fails if Redis has lost the load.
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

    /// Puts links for which Redis has no value or an older one.
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

    /// The end of the stream of changes; must be asked for before a page is read.
    pub(in crate::links) async fn changes_end(&self) -> Result<String, Failure> {
        self.changes.end().await
    }

    /// Drops what is older than the changes in the stream after `place`. If some of these entries are gone, drops
    /// the links `put` meanwhile, whatever their version, and fails: the page has to be loaded again.
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

    /// Drops values older than these versions.
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

    /// How many of these names have a value in Redis. EXISTS does not count as a use for its eviction policy.
    pub(in crate::links) async fn holds(&self, names: &[LinkName]) -> Result<usize, Failure> {
        let mut held = 0;
        for name in names {
            let key = self.keys.link(name);
            let exists = redis::cmd("EXISTS").arg(&key).to_owned();
            held += self.client.command::<usize>("load", &key, &exists).await?;
        }
        Ok(held)
    }

    /// Whether a part of Redis is full and may not evict.
    pub(in crate::links) fn is_full(&self) -> bool {
        self.client.is_full()
    }
}

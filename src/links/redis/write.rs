//! Changing the value of a name: the write claim, the new state, and the announcement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RedisCache;
use super::repairs::{Announced, Repair};
use super::scripts::{self, Run, millis};
use super::terms::{Failure, Written};
use super::value::{self, ANY_VERSION};
use crate::link::{LinkName, Version};
use crate::links::deadline::LATE_WRITE;

/// How long a write claim lives: longer than a change may take.
const WRITE_CLAIM: Duration = Duration::from_secs(20);
/// How long a tombstone lives. [`super::load`] needs it.
const TOMBSTONE: Duration = Duration::from_secs(120);

/// A change that has begun. If it is dropped before its end, its outcome is unknown.
#[derive(Debug)]
pub(in crate::links) struct WriteClaim {
    cache: Arc<RedisCache>,
    name: LinkName,
    claim: Option<String>,
}

impl WriteClaim {
    /// Ends a change that certainly changed nothing: restores the value that the claim replaced.
    pub(in crate::links) async fn restore(mut self) {
        if let Some(claim) = self.claim.take() {
            let run = Run::new(
                &scripts::RESTORE,
                self.cache.keys.link(&self.name),
                vec![claim],
            );
            // If this fails, the claim expires.
            let _ = self.cache.client.run("release", &run).await;
        }
    }

    /// Prolongs the claim while the outcome of the change is unknown.
    pub(in crate::links) async fn hold(&self) {
        if let Some(claim) = &self.claim {
            let args = vec![claim.clone(), millis(WRITE_CLAIM).to_string()];
            let run = Run::new(&scripts::HOLD, self.cache.keys.link(&self.name), args);
            let _ = self.cache.client.run("claim", &run).await;
        }
    }

    /// Puts the new state and announces it. If either fails, it is repaired later.
    pub(in crate::links) async fn finish(mut self, written: &Written) {
        if let Some(claim) = self.claim.take() {
            self.cache.finish(&self.name, claim, written).await;
        }
    }
}

impl Drop for WriteClaim {
    fn drop(&mut self) {
        if self.claim.is_some() {
            self.cache.repair_unknown(&self.name);
        }
    }
}

impl RedisCache {
    /// Begins a change: puts a write claim, so that no node trusts Redis about the name.
    pub(in crate::links) async fn begin(self: &Arc<Self>, name: &LinkName) -> WriteClaim {
        self.client.store_mark().note_change();
        let claim = value::writes(&self.token(), self.mark());
        let [shared, life] = self.shared_claim();
        let args = vec![claim.clone(), life, shared];
        let run = Run::new(&scripts::CLAIM, self.keys.link(name), args);
        let write = WriteClaim {
            cache: Arc::clone(self),
            name: name.clone(),
            claim: Some(claim),
        };
        // If this fails, the change is made all the same, and only `finish` makes Redis right.
        let _ = self.client.run("claim", &run).await;
        write
    }

    /// Ends a change: puts the new state and announces it. If either fails, it is repaired later.
    async fn finish(&self, name: &LinkName, claim: String, written: &Written) {
        let key = self.keys.link(name);
        let now = self.clock.now();
        let (version, text, life) = match written {
            Written::Link(link) | Written::Kept(link) => (
                link.version,
                value::link(link, now, self.mark()),
                self.life(link),
            ),
            Written::Deleted(version) => (
                *version,
                value::absent(*version, now, self.mark()),
                TOMBSTONE,
            ),
            Written::Nothing | Written::Gone => {
                let run = Run::new(&scripts::RELEASE, key, vec![claim]);
                // If this fails, the claim expires.
                let _ = self.client.run("release", &run).await;
                if matches!(written, Written::Gone) {
                    self.announce(name, ANY_VERSION, Ok(())).await;
                }
                return;
            }
        };
        let life = millis(life).max(1).to_string();
        let [shared, shared_life] = self.shared_claim();
        let args = vec![claim, text, life, version.to_string(), shared, shared_life];
        let run = Run::new(&scripts::FINISH, key, args);
        let put = self.client.run("finish", &run).await.map(drop);
        // Nothing changed, so there is nothing to announce; if `finish` failed, the claim expires.
        if !matches!(written, Written::Kept(_)) {
            self.announce(name, version, put).await;
        }
    }

    /// Announces a change, and adds a repair if the change could not be put or announced.
    async fn announce(&self, name: &LinkName, version: Version, put: Result<(), Failure>) {
        // Even if the value could not be put: the stream may be on a shard that works.
        let announced = self
            .changes
            .announce(name, version, put.is_err(), true)
            .await;
        let now = Instant::now();
        if put.is_ok() && announced.is_ok() {
            return self.repairs.note_done(name.clone(), version, now);
        }
        let announced = match announced {
            Ok(()) => Announced::Lacking,
            Err(_) => Announced::No,
        };
        let repair = Repair {
            version,
            due: now,
            announced,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    /// The outcome of a change is unknown: Redis is not trusted about the name until the change can no longer
    /// happen.
    fn repair_unknown(&self, name: &LinkName) {
        let repair = Repair {
            version: ANY_VERSION,
            due: Instant::now() + LATE_WRITE,
            announced: Announced::No,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    /// The script call that drops the value of a name if it is older than `version`.
    pub(super) fn drop_run(&self, name: &LinkName, version: Version) -> Run {
        let [shared, life] = self.shared_claim();
        let args = vec![version.to_string(), shared, life];
        Run::new(&scripts::DROP, self.keys.link(name), args)
    }

    /// The claim of several writers, which none of them can end, and its life in ms.
    fn shared_claim(&self) -> [String; 2] {
        let claim = value::writes("several", self.mark());
        [claim, millis(WRITE_CLAIM).to_string()]
    }
}

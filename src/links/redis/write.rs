//! Changing what Redis holds of a name: the writer's claim, the new state, and the announcement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RedisCache;
use super::client::Failure;
use super::repairs::{Others, Repair};
use super::scripts::{self, Run, millis};
use super::value::{self, ANY_VERSION};
use crate::link::{Link, LinkName, Version};
use crate::links::deadline::LATE_WRITE;

/// The life of a writer's claim: longer than a change may take.
const WRITE_CLAIM: Duration = Duration::from_secs(20);
/// How long a deletion is remembered; see [`super::load`], which is what needs it.
const TOMBSTONE: Duration = Duration::from_secs(120);

/// A change that was begun. Dropped without an end, nobody knows what became of it.
#[derive(Debug)]
pub(in crate::links) struct WriteClaim {
    cache: Arc<RedisCache>,
    name: LinkName,
    claim: Option<String>,
}

impl WriteClaim {
    /// Ends a change that has certainly changed nothing: what Redis held stands again.
    pub(in crate::links) async fn restore(mut self) {
        if let Some(claim) = self.claim.take() {
            let run = Run::new(
                &scripts::RESTORE,
                self.cache.keys.link(&self.name),
                vec![claim],
            );
            // The claim ends by itself, too.
            let _ = self.cache.client.run("release", &run).await;
        }
    }

    /// Lets the claim stand for longer: it is not known yet what became of the change.
    pub(in crate::links) async fn hold(&self) {
        if let Some(claim) = &self.claim {
            let args = vec![claim.clone(), millis(WRITE_CLAIM).to_string()];
            let run = Run::new(&scripts::HOLD, self.cache.keys.link(&self.name), args);
            let _ = self.cache.client.run("claim", &run).await;
        }
    }

    /// Puts the new state and tells all nodes. What cannot be told is told later.
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

/// What became of a change.
#[derive(Clone, Debug)]
pub(in crate::links) enum Written {
    /// The link is now this.
    Link(Box<Link>),
    /// Nothing was changed; the link is this.
    Kept(Box<Link>),
    /// There is no link, and this is the version of its absence.
    Deleted(Version),
    /// Nothing was changed; there is no link.
    Nothing,
    /// There is no link that could be told; of what version its absence is, nobody knows.
    Gone,
}

impl RedisCache {
    /// Begins a change of a name: keeps readers of Redis away from it.
    pub(in crate::links) async fn begin(self: &Arc<Self>, name: &LinkName) -> WriteClaim {
        self.client.belonging().note_change();
        let claim = value::writes(&self.token(), self.mark());
        let [shared, life] = self.shared_claim();
        let args = vec![claim.clone(), life, shared];
        let run = Run::new(&scripts::CLAIM, self.keys.link(name), args);
        let write = WriteClaim {
            cache: Arc::clone(self),
            name: name.clone(),
            claim: Some(claim),
        };
        // Without it the change is made all the same; then only its end keeps Redis right.
        let _ = self.client.run("claim", &run).await;
        write
    }

    /// Ends a change: puts the new state and tells all nodes. What cannot be told is told later.
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
                // The claim ends by itself, too.
                let _ = self.client.run("release", &run).await;
                if matches!(written, Written::Gone) {
                    self.tell(name, ANY_VERSION, Ok(())).await;
                }
                return;
            }
        };
        let life = millis(life).max(1).to_string();
        let [shared, shared_life] = self.shared_claim();
        let args = vec![claim, text, life, version.to_string(), shared, shared_life];
        let run = Run::new(&scripts::FINISH, key, args);
        let put = self.client.run("finish", &run).await.map(drop);
        // The claim ends by itself, and nobody has to hear that nothing has changed.
        if !matches!(written, Written::Kept(_)) {
            self.tell(name, version, put).await;
        }
    }

    /// Tells all nodes of a change that was put into Redis, or could not be, and has repaired what is left.
    async fn tell(&self, name: &LinkName, version: Version, put: Result<(), Failure>) {
        // Also where the value could not be put: the stream may be on a shard that works.
        let announced = self.changes.announce(name, version, put.is_err()).await;
        let now = Instant::now();
        if put.is_ok() && announced.is_ok() {
            return self.repairs.told(name.clone(), version, now);
        }
        let others = match announced {
            Ok(()) => Others::Told,
            Err(_) => Others::NotTold,
        };
        let repair = Repair {
            version,
            due: now,
            others,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    /// Nobody knows whether a change was made, or will be: nothing is believed until it must have been.
    fn repair_unknown(&self, name: &LinkName) {
        let repair = Repair {
            version: ANY_VERSION,
            due: Instant::now() + LATE_WRITE,
            others: Others::NotTold,
            own: true,
        };
        self.repairs.add(name.clone(), repair);
    }

    /// The call that drops what is held of a name if it is older than `version`.
    pub(super) fn drop_run(&self, name: &LinkName, version: Version) -> Run {
        let [shared, life] = self.shared_claim();
        let args = vec![version.to_string(), shared, life];
        Run::new(&scripts::DROP, self.keys.link(name), args)
    }

    /// The claim that no writer can end, and its life in ms.
    fn shared_claim(&self) -> [String; 2] {
        let claim = value::writes("several", self.mark());
        [claim, millis(WRITE_CLAIM).to_string()]
    }
}

//! The identity of the file that is open; see [`crate::store::Identity`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SQLITE, schema};
use crate::store::identity::number;
use crate::store::{Facts, Identity, Seal};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Own {
    id: u64,
    epoch: AtomicU64,
    found: Option<Seal>,
    place: Box<str>,
}

impl Own {
    /// The identity in a file, with the seal that was found; none if it was not left in order, or is only read.
    pub(super) fn new(path: &Path, (id, epoch): (i64, u64), found: Option<Seal>) -> Self {
        Self {
            id: id.cast_unsigned(),
            epoch: AtomicU64::new(epoch),
            found,
            place: path.display().to_string().into(),
        }
    }

    /// The identity of a file that was opened for a server.
    pub(super) fn of(path: &Path, opened: &schema::Opened) -> Self {
        let found = opened.found.zip(opened.state.as_ref());
        let found = found.map(|(session, state)| state.seal(session));
        Self::new(path, (opened.identity, opened.epoch), found)
    }

    pub(super) fn note_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    pub(super) fn identity(&self) -> Identity {
        let id = match self.epoch.load(Ordering::Acquire) {
            // What versions of this program without epochs have kept stays good.
            1 => self.id,
            epoch => number(&[SQLITE, &self.id.to_string(), &epoch.to_string()]),
        };
        Identity::Own {
            id,
            found: self.found.clone(),
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            kind: SQLITE,
            id: format!("{:016x}", self.id).into(),
            epoch: self.epoch.load(Ordering::Acquire),
            place: self.place.clone(),
        }
    }
}

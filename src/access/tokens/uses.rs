//! When tokens were last used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::UnixTime;
use crate::store::{DocumentPut, Store, StoreError};

/// The key of the document: a JSON object of names and times in seconds.
pub const KEY: &str = "access:uses";
/// How often the document is read again if another server has changed it.
const MAX_TRIES: usize = 3;

type Times = BTreeMap<Box<str>, UnixTime>;

/// The times of last use that this server knows, and those in the store.
pub(super) struct Uses {
    store: Arc<dyn Store>,
    /// Uses that the document does not have yet. Only names of valid tokens are noted, so their number is bounded.
    noted: Mutex<Times>,
}

impl Uses {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let noted = Mutex::default();
        Self { store, noted }
    }

    pub(super) fn note(&self, name: &str, now: UnixTime) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.get_mut(name) {
            Some(last) => *last = now.max(*last),
            None => drop(noted.insert(name.into(), now)),
        }
    }

    /// The last uses by all servers.
    pub(super) async fn all(&self) -> Result<Times, StoreError> {
        let (_, mut times) = self.read().await?;
        merge(&mut times, &self.noted());
        Ok(times)
    }

    /// Whether there is nothing to add to the document.
    pub(super) fn is_empty(&self) -> bool {
        self.noted().is_empty()
    }

    /// Adds the noted uses of these tokens to the document, and removes all other tokens from it.
    pub(super) async fn keep(&self, names: &BTreeSet<&str>) -> Result<(), StoreError> {
        let noted = self.noted();
        if self.put(&noted, names).await? {
            self.forget(&noted);
        }
        Ok(())
    }

    /// Whether the document has these times now.
    async fn put(&self, noted: &Times, names: &BTreeSet<&str>) -> Result<bool, StoreError> {
        for _ in 0..MAX_TRIES {
            let (revision, mut times) = self.read().await?;
            merge(&mut times, noted);
            times.retain(|name, _| names.contains(&**name));
            let seconds = times.iter().map(|(name, time)| (&**name, time.0));
            let seconds: BTreeMap<&str, u64> = seconds.collect();
            let content = serde_json::to_vec(&seconds);
            let content = content.map_err(|e| StoreError::Refused(e.to_string()))?;
            let put = self.store.put_document(KEY, revision, content).await?;
            if let DocumentPut::Written(_) = put {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn read(&self) -> Result<(Option<u64>, Times), StoreError> {
        let Some(document) = self.store.document(KEY).await? else {
            return Ok((None, Times::new()));
        };
        let seconds: BTreeMap<Box<str>, u64> =
            serde_json::from_slice(&document.content).map_err(|error| StoreError::Corrupt {
                name: KEY.into(),
                reason: error.to_string(),
            })?;
        let times = seconds
            .into_iter()
            .map(|(name, time)| (name, UnixTime(time)))
            .collect();
        Ok((Some(document.revision), times))
    }

    fn noted(&self) -> Times {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.clone()
    }

    /// Forgets what is in the document by now.
    fn forget(&self, kept: &Times) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|name, time| kept.get(name).is_none_or(|kept| kept < time));
    }
}

fn merge(times: &mut Times, noted: &Times) {
    for (name, time) in noted {
        let last = times.entry(name.clone()).or_insert(*time);
        *last = (*last).max(*time);
    }
}

//! The challenges of orders under way: the TXT records at `_acme-challenge.<origin>` (RFC 8555 §8.4).
//!
//! One server of a fleet orders a certificate, and a certificate authority may ask any of them. So the values are in
//! a document of the store, and each query is answered from a read that has begun after the query came: a value that
//! was put before the query is in its answer, on every server. No server keeps values between queries.
//!
//! Anybody can ask for the name, as often as they like, and DynamoDB charges each read. So at most one read of a zone
//! is under way, all queries that came before it share it, and reads have a minimum distance:
//!
//! ```text
//!   queries   a b      c d          e
//!   reads     |--a----|   |--b c d--|   |--e--|
//! ```
//!
//! Each value has an end, so that those of a server that dies in the middle of an order go away.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::base::clock::{Clock, UnixTime};
use crate::link::Origin;
use crate::store::{Document, DocumentPut, Store, StoreError};

/// The most values of a zone at once. An order has two, for the origin and for the wildcard; those of an order that
/// was given up may be there as well.
pub const MAX_VALUES: usize = 4;
/// The longest value, in bytes: a character-string (RFC 1035 §3.3). Those of ACME have 43.
pub const MAX_VALUE_LEN: usize = 255;
/// How long a query waits. Resolvers retry after 1 to 2 seconds and discard later answers.
const QUERY_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long a read of the store may take.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);
/// The least time between the beginnings of two reads of a zone: at most 20 reads a second.
const READ_DISTANCE: Duration = Duration::from_millis(50);
/// How many queries by UDP may wait for the reads of all zones together. It is half of what DNS lets wait in all, so
/// that links have room, and so have queries by TCP.
const MAX_WAITING: usize = 8_192;
/// How often a put is tried again when another server has changed the values meanwhile.
const MAX_PUTS: usize = 8;

/// The result of a read, which all queries share that wait for it.
type Outcome = Result<Arc<[Box<str>]>, StoreError>;

/// The challenges of all zones, in the store.
#[derive(Debug)]
pub struct Challenges {
    store: Arc<dyn Store>,
    clock: Clock,
    /// By origin. Only zones of the configuration have challenges, so their number is bounded.
    readers: Mutex<HashMap<Origin, Arc<Reader>>>,
    /// One for each query by UDP that waits.
    seats: Semaphore,
}

/// A value with its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    value: Box<str>,
    /// In seconds since 1970-01-01T00:00:00Z.
    until: u64,
}

/// The content of the document of a zone: JSON, so that it can be read with the tools of the store.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    values: Vec<Value>,
}

impl Challenges {
    /// The challenges in this store. Their ends are judged by this clock.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            readers: Mutex::default(),
            seats: Semaphore::new(MAX_WAITING),
        }
    }

    /// The values of a zone now, for an answer by UDP: anybody can send such queries in any number, with any sender.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if too many queries wait; otherwise as [`Self::values`].
    pub async fn values_if_room(&self, origin: &Origin) -> Result<Vec<Box<str>>, StoreError> {
        let seat = self.seats.try_acquire();
        let _seat = seat.map_err(|_| StoreError::Overloaded)?;
        self.values(origin).await
    }

    /// The values of a zone now, for an answer by TCP: the number of connections bounds that of the queries. Must be
    /// called within a runtime.
    ///
    /// # Errors
    /// [`StoreError`] if they are not known.
    pub async fn values(&self, origin: &Origin) -> Result<Vec<Box<str>>, StoreError> {
        let reader = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(readers.entry(origin.clone()).or_default())
        };
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        let origin = origin.clone();
        let read = move || {
            let (store, clock, origin) = (Arc::clone(&store), clock.clone(), origin.clone());
            async move { read_live(&*store, &clock, &origin).await }
        };
        Ok(reader.next(read).await?.to_vec())
    }

    /// Holds the seats of all queries by UDP.
    #[cfg(test)]
    pub(crate) fn take_all_seats(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = u32::try_from(MAX_WAITING).unwrap_or(u32::MAX);
        let seats = self.seats.try_acquire_many(all);
        seats.expect("no query waits")
    }

    /// Adds values to those of a zone. They are in all answers to queries that come after this call has returned,
    /// until they end or are withdrawn.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not take them, or may not have.
    pub async fn offer(
        &self,
        origin: &Origin,
        values: &[&str],
        until: UnixTime,
    ) -> Result<(), StoreError> {
        if let Some(value) = values.iter().find(|value| !is_value(value)) {
            let why = format!("{value:?} cannot be a challenge");
            return Err(StoreError::Refused(why));
        }
        let offered = values.iter().map(|value| Value {
            value: (*value).into(),
            until: until.0,
        });
        let offered: Vec<_> = offered.collect();
        self.change(origin, |all| {
            all.retain(|one| offered.iter().all(|new| new.value != one.value));
            all.extend(offered.iter().cloned());
            // The latest ones belong to the order under way.
            let more = all.len().saturating_sub(MAX_VALUES);
            all.drain(..more);
        })
        .await
    }

    /// Removes values of a zone.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not take the change, or may not have.
    pub async fn withdraw(&self, origin: &Origin, values: &[&str]) -> Result<(), StoreError> {
        self.change(origin, |all| {
            all.retain(|one| !values.contains(&&*one.value))
        })
        .await
    }

    /// Changes the values of a zone that have not ended.
    async fn change(
        &self,
        origin: &Origin,
        change: impl Fn(&mut Vec<Value>),
    ) -> Result<(), StoreError> {
        let key = key(origin);
        let mut current = self.store.document(&key).await?;
        for _ in 0..MAX_PUTS {
            let revision = current.as_ref().map(|document| document.revision);
            // A damaged document is replaced.
            let before = current.and_then(|document| decode(&key, &document).ok());
            let before = before.unwrap_or_default();
            let mut values = before.clone();
            let now = self.clock.now();
            values.retain(|value| now.0 < value.until);
            change(&mut values);
            if values == before {
                return Ok(());
            }
            let content = encode(values)?;
            match self.store.put_document(&key, revision, content).await? {
                DocumentPut::Written(_) => return Ok(()),
                DocumentPut::Conflict(newer) => current = newer,
            }
        }
        let why = "other servers keep changing the challenges";
        Err(StoreError::Unavailable(why.into()))
    }
}

/// The key of the document with the challenges of a zone.
fn key(origin: &Origin) -> String {
    format!("acme:challenge:{origin}")
}

/// Whether a text can be a value.
fn is_value(text: &str) -> bool {
    let is_sized = (1..=MAX_VALUE_LEN).contains(&text.len());
    is_sized && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The values that have not ended.
async fn read_live(store: &dyn Store, clock: &Clock, origin: &Origin) -> Outcome {
    let key = key(origin);
    let Some(document) = store.document(&key).await? else {
        return Ok(Arc::default());
    };
    let now = clock.now();
    let values = decode(&key, &document)?.into_iter();
    let live = values.filter(|value| now.0 < value.until);
    Ok(live.map(|value| value.value).collect())
}

fn encode(values: Vec<Value>) -> Result<Vec<u8>, StoreError> {
    let encoded = serde_json::to_vec(&Content { values });
    encoded.map_err(|error| StoreError::Refused(error.to_string()))
}

fn decode(key: &str, document: &Document) -> Result<Vec<Value>, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt {
        name: key.into(),
        reason,
    };
    let content: Content =
        serde_json::from_slice(&document.content).map_err(|error| corrupt(error.to_string()))?;
    let values = content.values;
    if values.len() > MAX_VALUES || !values.iter().all(|one| is_value(&one.value)) {
        return Err(corrupt("these are not the values of challenges".into()));
    }
    Ok(values)
}

/// The reads of one zone.
#[derive(Debug, Default)]
struct Reader(Mutex<Reads>);

#[derive(Debug, Default)]
struct Reads {
    /// Tells the queries that wait for the next read its result; none if no query waits for it.
    next: Option<watch::Sender<Option<Outcome>>>,
    /// Whether a task reads, or is about to.
    is_running: bool,
    /// When the last read began.
    last: Option<Instant>,
}

impl Reader {
    /// The result of the next read. If no task reads, a new one begins with `read`.
    async fn next<F>(self: Arc<Self>, read: impl Fn() -> F + Send + 'static) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (mut result, starts) = {
            let mut reads = self.reads();
            let next = reads.next.get_or_insert_with(|| watch::channel(None).0);
            let result = next.subscribe();
            let starts = !std::mem::replace(&mut reads.is_running, true);
            (result, starts)
        };
        if starts {
            tokio::spawn(Arc::clone(&self).run(read));
        }
        let waits = result.wait_for(Option::is_some);
        match tokio::time::timeout(QUERY_DEADLINE, waits).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(StoreError::DeadlineExceeded),
            },
            Ok(Err(_)) => Err(StoreError::Unavailable("the read was given up".into())),
            Err(_) => Err(StoreError::DeadlineExceeded),
        }
    }

    /// Reads as long as queries wait. A task of its own does this: it must not end with the query that began it,
    /// because others may wait for it.
    async fn run<F>(self: Arc<Self>, read: impl Fn() -> F)
    where
        F: Future<Output = Outcome>,
    {
        let mut running = Running(Some(Arc::clone(&self)));
        loop {
            let last = {
                let mut reads = self.reads();
                if reads.next.is_none() {
                    reads.is_running = false;
                    running.0 = None;
                    return;
                }
                reads.last
            };
            if let Some(last) = last {
                tokio::time::sleep_until(last + READ_DISTANCE).await;
            }
            // Queries that come from now on may ask for values that this read does not see.
            let queries = {
                let mut reads = self.reads();
                reads.last = Some(Instant::now());
                reads.next.take()
            };
            let outcome = tokio::time::timeout(READ_DEADLINE, read()).await;
            let outcome = outcome.unwrap_or(Err(StoreError::DeadlineExceeded));
            if let Some(queries) = queries {
                queries.send_replace(Some(outcome));
            }
        }
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads. If it ends in the middle of its work, by a panic or with the runtime, the next query begins
/// another.
struct Running(Option<Arc<Reader>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(reader) = self.0.take() {
            let mut reads = reader.reads();
            reads.is_running = false;
            reads.next = None;
        }
    }
}

#[cfg(test)]
mod tests;

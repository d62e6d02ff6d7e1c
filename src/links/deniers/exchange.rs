//! What the stream of changes in Redis carries about new names: lists of names, each with a number, and who has them.
//!
//! ```text
//!   creator ── ask 17: a, b ──> stream ──> denier: a and b into its filter ── seen 17 ──> stream ──> creator
//! ```
//!
//! A confirmation is of names, not of a place in the stream. So it does not matter what Redis loses, which servers of Redis
//! the two talk to, and in which order entries come.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::{Notify, watch};

use super::random;
use crate::base::lock::lock;
use crate::link::LinkName;

/// How many lists of names may wait for a confirmation to be sent. Whoever has asked for further ones leaves a post.
const MAX_UNSENT: usize = 4_096;

/// Takes the names of links that others have made.
type Sink = Box<dyn Fn(&LinkName) + Send + Sync>;

/// See the [module](self).
pub(in crate::links) struct Exchange {
    /// What this server is called in leases and confirmations: random, and new at each start.
    id: Box<str>,
    sink: OnceLock<Sink>,
    next: AtomicU64,
    asked: Mutex<Asked>,
    /// The numbers that are to be confirmed.
    unsent: Mutex<Vec<u64>>,
    /// Wakes the task that sends them.
    pub(super) send: Notify,
}

#[derive(Debug, Default)]
struct Asked {
    waiting: HashMap<u64, Weak<Ask>>,
    /// Servers that have not confirmed something in time, and nothing since.
    silent: HashSet<Box<str>>,
}

/// A list of names that was sent.
#[derive(Debug)]
pub(super) struct Ask(watch::Sender<HashSet<Box<str>>>);

impl Exchange {
    pub(in crate::links) fn new() -> Self {
        Self {
            id: format!("{:016x}", random()).into(),
            sink: OnceLock::new(),
            // The numbers of two servers do not meet.
            next: AtomicU64::new(random()),
            asked: Mutex::default(),
            unsent: Mutex::default(),
            send: Notify::new(),
        }
    }

    /// What this server is called.
    pub(in crate::links) fn id(&self) -> &str {
        &self.id
    }

    /// Sets what takes the names of others: a filter. Until then nothing is confirmed.
    pub(in crate::links) fn set_sink(&self, sink: impl Fn(&LinkName) + Send + Sync + 'static) {
        let _only_once = self.sink.set(Box::new(sink));
    }

    /// Takes a name that others have made or changed.
    pub(in crate::links) fn hear(&self, name: &LinkName) {
        if let Some(sink) = self.sink.get() {
            sink(name);
        }
    }

    /// Takes a list of names, which is to be confirmed.
    pub(in crate::links) fn hear_ask(&self, number: u64, names: impl Iterator<Item = LinkName>) {
        let Some(sink) = self.sink.get() else {
            return;
        };
        // Before the confirmation.
        names.for_each(|name| sink(&name));
        let mut unsent = lock(&self.unsent);
        if unsent.len() < MAX_UNSENT {
            unsent.push(number);
            drop(unsent);
            self.send.notify_one();
        }
    }

    /// Notes that a server has the names of these lists.
    pub(in crate::links) fn hear_seen(&self, id: &str, numbers: impl Iterator<Item = u64>) {
        let mut asked = lock(&self.asked);
        asked.silent.remove(id);
        for number in numbers {
            if let Some(ask) = asked.waiting.get(&number).and_then(Weak::upgrade) {
                ask.0.send_if_modified(|ids| ids.insert(id.into()));
            }
        }
    }

    /// The numbers to confirm.
    pub(super) fn take_unsent(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.unsent))
    }

    /// Begins a list. It must be sent after that.
    pub(super) fn begin_ask(&self) -> (u64, Arc<Ask>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ask = Arc::new(Ask::unsent());
        let mut asked = lock(&self.asked);
        asked.waiting.retain(|_, ask| ask.strong_count() > 0);
        asked.waiting.insert(number, Arc::downgrade(&ask));
        (number, ask)
    }

    /// Whether one of these servers has not confirmed something in time, and nothing since.
    pub(super) fn has_silent(&self, ids: &[Box<str>]) -> bool {
        let asked = lock(&self.asked);
        ids.iter().any(|id| asked.silent.contains(id))
    }

    /// Notes which of these servers have not confirmed a list in time. `live`: all servers with a lease.
    pub(super) fn note_silent(&self, ask: &Ask, live: &[Box<str>]) {
        let mut asked = lock(&self.asked);
        asked.silent.retain(|id| live.contains(id));
        let missing: Vec<_> = {
            let has = ask.0.borrow();
            live.iter().filter(|id| !has.contains(*id)).collect()
        };
        asked.silent.extend(missing.into_iter().cloned());
    }
}

impl Ask {
    /// A list that was not sent, so that no server confirms it.
    pub(super) fn unsent() -> Self {
        Self(watch::Sender::default())
    }

    /// Waits until all of these servers have confirmed it.
    pub(super) async fn seen_by(&self, ids: &[Box<str>]) {
        let mut seen = self.0.subscribe();
        let has_all = |seen: &HashSet<Box<str>>| ids.iter().all(|id| seen.contains(id));
        // The sender is a part of this, so it is not closed.
        let _ = seen.wait_for(has_all).await;
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ids(ids: &[&str]) -> Vec<Box<str>> {
        ids.iter().map(|id| (*id).into()).collect()
    }

    #[test]
    fn a_list_is_confirmed_by_all_or_not_at_all() {
        let exchange = Exchange::new();
        let (number, ask) = exchange.begin_ask();
        let (other, _ask) = exchange.begin_ask();
        let two = ids(&["a", "b"]);
        let is_seen = |ids| ask.seen_by(ids).now_or_never().is_some();
        assert!(is_seen(&[]) && !is_seen(&two));
        exchange.hear_seen("a", [number].into_iter());
        exchange.hear_seen("b", [other].into_iter());
        assert!(!is_seen(&two));
        exchange.hear_seen("b", [other, number].into_iter());
        assert!(is_seen(&two));
    }

    #[test]
    fn a_server_is_silent_until_it_confirms_anything() {
        let exchange = Exchange::new();
        let (number, ask) = exchange.begin_ask();
        let two = ids(&["a", "b"]);
        exchange.hear_seen("a", [number].into_iter());
        assert!(!exchange.has_silent(&two));
        exchange.note_silent(&ask, &two);
        assert!(exchange.has_silent(&two) && !exchange.has_silent(&ids(&["a"])));
        exchange.hear_seen("b", [].into_iter());
        assert!(!exchange.has_silent(&two));
        exchange.note_silent(&ask, &two);
        // Its lease is over.
        exchange.note_silent(&ask, &ids(&["a"]));
        assert!(!exchange.has_silent(&two));
    }

    #[test]
    fn names_are_taken_before_they_are_confirmed_and_only_with_a_filter() {
        let exchange = Arc::new(Exchange::new());
        let name = LinkName::parse("a.s.example.com").unwrap();
        exchange.hear_ask(1, [name.clone()].into_iter());
        assert!(exchange.take_unsent().is_empty());
        let (weak, taken) = (Arc::downgrade(&exchange), Arc::new(Mutex::new(0)));
        let count = taken.clone();
        exchange.set_sink(move |_| {
            assert!(weak.upgrade().unwrap().take_unsent().is_empty());
            *count.lock().unwrap() += 1;
        });
        exchange.hear_ask(2, [name.clone(), name].into_iter());
        assert_eq!(
            (*taken.lock().unwrap(), exchange.take_unsent()),
            (2, vec![2])
        );
    }
}

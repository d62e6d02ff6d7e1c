//! Reading what Redis holds of names, and filling it from the store.

use std::sync::Arc;
use std::time::Duration;

use super::RedisCache;
use super::board::Board;
use super::client::Failure;
use super::mark::Era;
use super::scripts::{self, Run, millis};
use super::value::{self, Value};
use crate::link::{Link, LinkName, Version};

/// The life of a reader's claim: longer than a query waits for the store.
const READ_CLAIM: Duration = Duration::from_secs(5);

/// What Redis says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::links) enum Held {
    /// This link, expired or not.
    Link(Arc<Link>),
    /// There is no link; the version is that of its deletion, or 0.
    Absent(Version),
    /// The store has to be asked.
    Nothing,
    /// The store has to be asked, for this link is being changed.
    Changing(Arc<Link>),
}

/// The text of a claim that was put.
#[derive(Debug)]
pub(in crate::links) struct Claim(String);

impl RedisCache {
    /// What is held of these names, in their order, in one call.
    pub(in crate::links) async fn get_many(
        &self,
        names: &[&LinkName],
    ) -> Vec<Result<Held, Failure>> {
        let keys: Vec<String> = names.iter().map(|name| self.keys.link(name)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        // Before the call: a server that has come in its place is judged more strictly, not less.
        let Some(era) = self.client.believed() else {
            return names.iter().map(|_| Err(Failure::Skipped)).collect();
        };
        if self
            .board
            .as_ref()
            .is_some_and(Board::is_everything_in_doubt)
        {
            return vec![Err(Failure::Skipped); names.len()];
        }
        let values = self.client.get_many(&keys).await;
        let held = names.iter().zip(values);
        held.map(|(name, value)| match value {
            // What it holds may be older than what this node has written.
            Ok(_) if self.repairs.contains(name) => Err(Failure::Skipped),
            Ok(value) => Ok(held_of(name, value.as_deref(), era)),
            Err(failure) => Err(failure),
        })
        .collect()
    }

    /// Whether a link is held of this name, one that is being changed included.
    pub(in crate::links) async fn holds_link(&self, name: &LinkName) -> bool {
        let held = self.get_many(&[name]).await.pop();
        matches!(held, Some(Ok(Held::Link(_) | Held::Changing(_))))
    }

    /// The right to put what will be read from the store; none if somebody else has it.
    pub(in crate::links) async fn claim_read(&self, name: &LinkName) -> Option<Claim> {
        let claim = value::reads(&self.token(), self.mark());
        let args = vec![claim.clone(), millis(READ_CLAIM).to_string()];
        let run = Run::new(&scripts::READ, self.keys.link(name), args);
        match self.fills.ask(run).await {
            Some(Ok(1)) => Some(Claim(claim)),
            _ => None,
        }
    }

    /// Puts what was read, in its own time. What finds no room is not put, and read again.
    pub(in crate::links) fn fill(&self, name: &LinkName, claim: Claim, found: Option<&Link>) {
        let now = self.clock.now();
        let (text, life) = match found {
            Some(link) => (value::link(link, now, self.mark()), self.life(link)),
            None => (value::absent(Version(0), now, self.mark()), self.absent_for),
        };
        // Redis refuses a life of nothing; and where absences are not to be kept, none is.
        let run = match millis(life) {
            0 => Run::new(&scripts::RELEASE, self.keys.link(name), vec![claim.0]),
            life => {
                let args = vec![claim.0, text, life.to_string()];
                Run::new(&scripts::FILL, self.keys.link(name), args)
            }
        };
        self.fills.tell(run);
    }

    /// Drops what is held of a name if it is older than `version`: Redis has lost what came after.
    pub(in crate::links) fn drop_older(&self, name: &LinkName, version: Version) {
        self.fills.tell(self.drop_run(name, version));
    }
}

fn held_of(name: &LinkName, value: Option<&[u8]>, era: Era) -> Held {
    match value.and_then(|text| value::parse(name, text, era)) {
        Some(Value::Link(link)) => Held::Link(Arc::new(link)),
        Some(Value::Absent(version)) => Held::Absent(version),
        Some(Value::Changing(link)) => Held::Changing(Arc::new(link)),
        Some(Value::Claimed) | None => Held::Nothing,
    }
}

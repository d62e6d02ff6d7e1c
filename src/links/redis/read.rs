//! Reading the values of names, and filling Redis from the store.

use std::sync::Arc;
use std::time::Duration;

use super::RedisCache;
use super::board::Board;
use super::mark::Validity;
use super::scripts::{self, Run, millis};
use super::terms::{Failure, Held};
use super::value::{self, Value};
use crate::link::{Link, LinkName, Version};

/// How long a read claim lives: longer than a query waits for the store.
const READ_CLAIM: Duration = Duration::from_secs(5);

/// The text of a read claim.
#[derive(Debug)]
pub(in crate::links) struct Claim(String);

impl RedisCache {
    /// What Redis holds for each of these names, in one call.
    pub(in crate::links) async fn get_many(
        &self,
        names: &[&LinkName],
    ) -> Vec<Result<Held, Failure>> {
        let keys: Vec<String> = names.iter().map(|name| self.keys.link(name)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        // Taken before the call: if the Redis server is replaced meanwhile, its values are judged too strictly,
        // not too leniently.
        let Some(validity) = self.client.trusted() else {
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
            // The value may be older than what this node has written.
            Ok(_) if self.repairs.contains(name) => Err(Failure::Skipped),
            Ok(value) => Ok(held_of(name, value.as_deref(), validity)),
            Err(failure) => Err(failure),
        })
        .collect()
    }

    /// Whether Redis holds a link for this name, or a claim that replaced one.
    pub(in crate::links) async fn holds_link(&self, name: &LinkName) -> bool {
        let held = self.get_many(&[name]).await.pop();
        matches!(held, Some(Ok(Held::Link(_) | Held::Changing(_))))
    }

    /// Puts a read claim; none if the name has a value, or the call fails.
    pub(in crate::links) async fn claim_read(&self, name: &LinkName) -> Option<Claim> {
        let claim = value::reads(&self.token(), self.mark());
        let args = vec![claim.clone(), millis(READ_CLAIM).to_string()];
        let run = Run::new(&scripts::READ, self.keys.link(name), args);
        match self.fills.ask(run).await {
            Some(Ok(1)) => Some(Claim(claim)),
            _ => None,
        }
    }

    /// Puts what was read from the store, in the background. If the queue is full it is not put, and is read
    /// again.
    pub(in crate::links) fn fill(&self, name: &LinkName, claim: Claim, found: Option<&Link>) {
        let now = self.clock.now();
        let (text, life) = match found {
            Some(link) => (value::link(link, now, self.mark()), self.life(link)),
            None => (value::absent(Version(0), now, self.mark()), self.absent_for),
        };
        // Redis refuses a life of 0, and `absent_for` may be 0: then only the claim is removed.
        let run = match millis(life) {
            0 => Run::new(&scripts::RELEASE, self.keys.link(name), vec![claim.0]),
            life => {
                let args = vec![claim.0, text, life.to_string()];
                Run::new(&scripts::FILL, self.keys.link(name), args)
            }
        };
        self.fills.tell(run);
    }

    /// Drops the value of a name if it is older than `version`: Redis has lost a newer one.
    pub(in crate::links) fn drop_older(&self, name: &LinkName, version: Version) {
        self.fills.tell(self.drop_run(name, version));
    }
}

fn held_of(name: &LinkName, value: Option<&[u8]>, validity: Validity) -> Held {
    match value.and_then(|text| value::parse(name, text, validity)) {
        Some(Value::Link(link)) => Held::Link(Arc::new(link)),
        Some(Value::Absent(version)) => Held::Absent(version),
        Some(Value::Changing(link)) => Held::Changing(Arc::new(link)),
        Some(Value::Claimed) | None => Held::Nothing,
    }
}

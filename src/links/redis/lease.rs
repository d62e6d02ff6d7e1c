//! Leases in Redis: so that one node of a fleet does some work at a time. A lease that is not renewed expires.

use std::time::Duration;

use super::RedisCache;
use super::scripts::{self, Run, millis};
use super::terms::Failure;

/// The right to do some work, until it expires.
#[derive(Debug)]
pub(in crate::links) struct Lease {
    key: String,
    token: String,
}

impl Lease {
    /// The lease under this key that was taken with this token.
    pub(super) fn of(key: String, token: &str) -> Self {
        let token = token.into();
        Self { key, token }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

impl RedisCache {
    /// Takes the lease for some work; none if another node has it. `call` is the name of the work in metrics.
    pub(super) async fn take_lease(
        &self,
        call: &'static str,
        work: &str,
        life: Duration,
    ) -> Result<Option<Lease>, Failure> {
        let (key, token) = (self.keys.other(work), self.token());
        self.set_lease(call, key, token, life).await
    }

    pub(super) async fn set_lease(
        &self,
        call: &'static str,
        key: String,
        token: String,
        life: Duration,
    ) -> Result<Option<Lease>, Failure> {
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(&token).arg("NX");
        set.arg("PX").arg(millis(life));
        let taken: Option<String> = self.client.command(call, &key, &set).await?;
        Ok(taken.map(|_| Lease { key, token }))
    }

    /// Renews a lease; false if it was lost.
    pub(super) async fn renew_lease(
        &self,
        call: &'static str,
        lease: &Lease,
        life: Duration,
    ) -> Result<bool, Failure> {
        let args = vec![lease.token.clone(), millis(life).to_string()];
        let run = Run::new(&scripts::RENEW, lease.key.clone(), args);
        Ok(self.client.run(call, &run).await? == 1)
    }

    /// Gives a lease back.
    pub(super) async fn give_back(&self, call: &'static str, lease: Lease) -> Result<(), Failure> {
        let run = Run::new(&scripts::UNLOCK, lease.key, vec![lease.token]);
        self.client.run(call, &run).await.map(drop)
    }
}

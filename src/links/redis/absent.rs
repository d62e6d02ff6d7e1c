//! Takes the place of [`redis`](self) in a build without the feature `redis`.
//!
//! A [`RedisCache`] cannot exist here, so the rest of [`crate::links`] is the same in both builds and the compiler
//! removes what would use one. A configuration with `[redis]` is refused before [`RedisCache::new`] is called.

mod config;
mod terms;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::{RedisConfig, RedisMode, RedisUrl, RedisUrlError};
pub(super) use self::terms::{Cursor, Failure, Held, LEASE, Written};
use super::deniers::Exchange;
use super::feed::Applied;
use super::memory::Memory;
use super::servers::Own;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::link::{Link, LinkName, Version};
use crate::store::feed::Position;
use crate::store::servers::{Announcement, LiveServer};
use crate::store::statistics::StatisticsStore;
use crate::store::{Seal, Store};

/// The program has no Redis client.
#[derive(Debug, thiserror::Error)]
#[error("built without redis: build with --features redis")]
pub struct RedisOpenError;

/// Refuses every configuration.
///
/// # Errors
/// [`RedisOpenError`], always.
pub fn check(_: &RedisConfig) -> Result<(), RedisOpenError> {
    Err(RedisOpenError)
}

#[derive(Debug)]
pub(super) struct Claim(Infallible);

#[derive(Debug)]
pub(super) struct Lease(Infallible);

/// See [`RedisCache::renew_feed`].
pub(super) const FEED_LEASE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct WriteClaim(Infallible);

/// What would gather statistics.
#[derive(Debug)]
pub(super) struct Gathering(Infallible);

impl Gathering {
    pub(super) fn offer(cache: &Arc<RedisCache>, _: &dyn StatisticsStore) {
        match cache.0 {}
    }
}

#[derive(Debug)]
pub(super) struct RedisCache(Infallible);

impl WriteClaim {
    pub(super) async fn restore(self) {
        match self.0 {}
    }

    pub(super) async fn hold(&self) {
        match self.0 {}
    }

    pub(super) async fn finish(self, _: &Written) {
        match self.0 {}
    }
}

impl RedisCache {
    pub(super) fn new(
        _: &RedisConfig,
        _: Arc<Memory>,
        _: &Arc<dyn Store>,
        _: Duration,
        _: (Arc<Own>, Option<Arc<Applied>>, Arc<Exchange>),
        _: Clock,
        _: Arc<Metrics>,
    ) -> Result<Self, RedisOpenError> {
        Err(RedisOpenError)
    }

    pub(super) fn start(
        self: &Arc<Self>,
        _: &TaskTracker,
        _: &CancellationToken,
        _: impl Fn() + Send + Sync + 'static,
    ) {
        match self.0 {}
    }

    pub(super) fn reload(&self) -> Result<bool, RedisOpenError> {
        match self.0 {}
    }

    pub(super) fn is_visible_elsewhere(&self, _: &LinkName) -> bool {
        match self.0 {}
    }

    pub(super) async fn hand_over(&self, _: &Seal) {
        match self.0 {}
    }

    pub(super) fn down(&self) -> (usize, usize) {
        match self.0 {}
    }

    pub(super) fn repairs_pending(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn troubles(&self) -> Vec<Cow<'static, str>> {
        match self.0 {}
    }

    pub(super) async fn get_many(&self, _: &[&LinkName]) -> Vec<Result<Held, Failure>> {
        match self.0 {}
    }

    pub(super) async fn holds_link(&self, _: &LinkName) -> bool {
        match self.0 {}
    }

    pub(super) async fn claim_read(&self, _: &LinkName) -> Option<Claim> {
        match self.0 {}
    }

    pub(super) fn fill(&self, _: &LinkName, _: Claim, _: Option<&Link>) {
        match self.0 {}
    }

    pub(super) fn drop_older(&self, _: &LinkName, _: Version) {
        match self.0 {}
    }

    pub(super) async fn begin(self: &Arc<Self>, _: &LinkName) -> WriteClaim {
        match self.0 {}
    }

    pub(super) async fn await_notice(&self, _: &LinkName, _: Instant) {
        match self.0 {}
    }

    pub(super) async fn lease_load(&self) -> Result<Option<Lease>, Failure> {
        match self.0 {}
    }

    pub(super) async fn renew_load(&self, _: &Lease) -> Result<bool, Failure> {
        match self.0 {}
    }

    pub(super) async fn end_load(&self, _: Lease, _: bool) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) fn note_fed(&self, _: &LinkName, _: Option<Version>, _: bool) -> bool {
        match self.0 {}
    }

    pub(super) fn has_repaired(&self, _: &LinkName, _: bool) -> bool {
        match self.0 {}
    }

    pub(super) fn has_much_to_repair(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn had_values(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn ignore_older(&self) {
        match self.0 {}
    }

    pub(super) async fn fed_until(&self) -> Result<Option<Position>, Failure> {
        match self.0 {}
    }

    pub(super) async fn keep_fed(&self, _: &Position) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn tell_floor(&self, _: bool) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn beat(&self, _: Instant) {
        match self.0 {}
    }

    pub(super) async fn ask_for_names(&self, _: u64, _: &[LinkName]) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn confirm_names(&self, _: &str, _: &[u64]) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn lease_feed(&self) -> Result<Option<Lease>, Failure> {
        match self.0 {}
    }

    pub(super) async fn renew_feed(&self, _: &Lease) -> Result<bool, Failure> {
        match self.0 {}
    }

    pub(super) async fn end_feed(&self, _: Lease) {
        match self.0 {}
    }

    pub(super) async fn loaded_at(&self) -> Result<Option<UnixTime>, Failure> {
        match self.0 {}
    }

    pub(super) async fn begin_load(&self, _: u32) -> Result<Vec<Cursor>, Failure> {
        match self.0 {}
    }

    pub(super) async fn note_load(&self, _: u32, _: &Cursor) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn load(&self, _: &[Link]) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn changes_end(&self) -> Result<String, Failure> {
        match self.0 {}
    }

    pub(super) async fn drop_changed(&self, _: &str, _: &[LinkName]) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn holds(&self, _: &[LinkName]) -> Result<usize, Failure> {
        match self.0 {}
    }

    pub(super) async fn announce_server(&self, _: &Announcement, _: bool) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn withdraw_server(&self, _: &Announcement) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(super) async fn servers(&self) -> Result<Vec<LiveServer>, Failure> {
        match self.0 {}
    }

    pub(super) fn is_full(&self) -> bool {
        match self.0 {}
    }
}

/// Positions in the stream of changes cannot exist here.
pub(super) fn stream_covers(_: &Position, _: &Position) -> bool {
    false
}

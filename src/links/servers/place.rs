//! Where servers announce themselves, and how the positions in their announcements compare.

use std::sync::Arc;
use std::time::Duration;

use crate::links::deadline::within;
use crate::links::redis::{Failure, RedisCache, stream_covers};
use crate::store::feed::{Feed, Position, Readers};
use crate::store::servers::{Announcement, LiveServer};
use crate::store::{Store, StoreError};

/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Place {
    /// In the store, which servers of several regions may share. Positions are those of its feed.
    Store(Arc<dyn Store>, Arc<dyn Feed>),
    /// In Redis, which the servers of one region share. Positions are ids of entries of the stream of changes.
    Redis(Arc<RedisCache>),
    /// Nowhere: this is the only server that uses the store.
    Alone,
    /// Nowhere: other servers may use the store, and do not know of this one.
    Unknown,
}

/// Why the servers are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They have no place where they could announce themselves.
    NoPlace,
    /// The place cannot be reached, or refuses calls.
    Unreachable,
}

impl Unknown {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPlace => {
                "servers that share this store without Redis do not know of each other; they show the change when \
                 what they have in memory is over"
            }
            Self::Unreachable => {
                "the announcements of the servers cannot be read; there may be others"
            }
        }
    }
}

impl Place {
    /// The place for these servers.
    pub(super) fn of(store: &Arc<dyn Store>, redis: Option<&Arc<RedisCache>>) -> Self {
        let feed = store.feed().filter(|feed| feed.readers() == Readers::Each);
        match (feed, redis) {
            (Some(feed), _) if store.keeps_servers() => Self::Store(store.clone(), feed),
            (_, Some(redis)) if store.takes_notices() => Self::Redis(redis.clone()),
            (_, None) if store.takes_notices() => Self::Unknown,
            _ => Self::Alone,
        }
    }

    /// Why other servers are not known before the announcements were read.
    pub(super) fn unknown_at_start(&self) -> Option<Unknown> {
        match self {
            Self::Store(..) | Self::Redis(_) => Some(Unknown::Unreachable),
            Self::Alone => None,
            Self::Unknown => Some(Unknown::NoPlace),
        }
    }

    /// The same after they were read.
    pub(super) fn unknown_after_read(&self) -> Option<Unknown> {
        match self {
            Self::Store(..) | Self::Redis(_) | Self::Alone => None,
            Self::Unknown => Some(Unknown::NoPlace),
        }
    }

    /// Announces this server. `is_new`: it may not be among those that are announced.
    pub(super) async fn announce(
        &self,
        announcement: &Announcement,
        is_new: bool,
    ) -> Result<(), StoreError> {
        match self {
            Self::Store(store, _) => within(CALL_TIME, store.announce_server(announcement)).await,
            Self::Redis(redis) => redis
                .announce_server(announcement, is_new)
                .await
                .map_err(of_redis),
            Self::Alone | Self::Unknown => Ok(()),
        }
    }

    /// Removes the announcement.
    pub(super) async fn withdraw(&self, announcement: &Announcement) -> Result<(), StoreError> {
        match self {
            Self::Store(store, _) => {
                within(CALL_TIME, store.withdraw_server(&announcement.id)).await
            }
            Self::Redis(redis) => redis.withdraw_server(announcement).await.map_err(of_redis),
            Self::Alone | Self::Unknown => Ok(()),
        }
    }

    /// All servers whose announcements count; none where there is no place for announcements.
    pub(super) async fn servers(&self) -> Result<Vec<LiveServer>, StoreError> {
        match self {
            Self::Store(store, _) => within(CALL_TIME, store.servers()).await,
            Self::Redis(redis) => redis.servers().await.map_err(of_redis),
            Self::Alone | Self::Unknown => Ok(Vec::new()),
        }
    }

    /// Ends when a server may have announced something new, or never.
    pub(super) async fn news(&self) {
        match self {
            Self::Store(store, _) => store.servers_news().await,
            Self::Redis(_) | Self::Alone | Self::Unknown => std::future::pending().await,
        }
    }

    /// A position that covers all changes that were made and announced before the call; none where there is no place for
    /// announcements.
    pub(super) async fn end(&self) -> Result<Option<Position>, StoreError> {
        match self {
            Self::Store(_, feed) => within(CALL_TIME, feed.end()).await.map(Some),
            Self::Redis(redis) => redis
                .changes_end()
                .await
                .map(Position::new)
                .map_err(of_redis),
            Self::Alone | Self::Unknown => Ok(None),
        }
    }

    /// Whether a server at `position` has applied all changes up to `other`.
    pub(super) fn covers(&self, position: &Position, other: &Position) -> bool {
        match self {
            Self::Store(_, feed) => feed.covers(position, other),
            Self::Redis(_) => stream_covers(position, other),
            Self::Alone | Self::Unknown => true,
        }
    }
}

fn of_redis(failure: Failure) -> StoreError {
    match failure {
        Failure::Skipped => StoreError::Unreachable("Redis is not available".into()),
        Failure::Failed => StoreError::Unavailable("a call of Redis failed".into()),
        Failure::Full => StoreError::Refused("too many servers are announced in Redis".into()),
    }
}

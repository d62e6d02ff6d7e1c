//! The announcements of servers in Redis: all of them in one hash, so that they have one slot of a cluster. Their leases
//! are by the clock of the Redis server.
//!
//! The hash belongs to the store with the [mark](super::store_mark) in its key. So servers of another store, or of a
//! history that was undone, do not count.

use std::time::Duration;

use super::RedisCache;
use super::scripts::{self, Run, millis};
use super::terms::Failure;
use crate::links::servers::{from_json, to_json};
use crate::store::feed::Position;
use crate::store::servers::{Announcement, LEASE, LiveServer, MAX_SERVERS};

/// How long the hash is kept after the last announcement.
const KEPT: Duration = Duration::from_secs(60);

impl RedisCache {
    /// Announces this server. `is_new`: it may not be among those that are announced.
    pub(in crate::links) async fn announce_server(
        &self,
        announcement: &Announcement,
        is_new: bool,
    ) -> Result<(), Failure> {
        let most = match is_new {
            true => (MAX_SERVERS - 1).to_string(),
            false => String::new(),
        };
        self.put_server(announcement, LEASE, most).await
    }

    /// Removes the announcement of this server: it is over at once.
    pub(in crate::links) async fn withdraw_server(
        &self,
        announcement: &Announcement,
    ) -> Result<(), Failure> {
        let most = String::new();
        self.put_server(announcement, Duration::ZERO, most).await
    }

    pub(super) async fn put_server(
        &self,
        announcement: &Announcement,
        lease: Duration,
        most: String,
    ) -> Result<(), Failure> {
        let args = vec![
            announcement.id.to_string(),
            to_json(announcement),
            millis(lease).to_string(),
            millis(KEPT).to_string(),
            most,
        ];
        let run = Run::new(&scripts::ANNOUNCE_SERVER, self.servers_key(), args);
        match self.client.run("servers", &run).await? {
            0 => Err(Failure::Full),
            _ => Ok(()),
        }
    }

    /// All servers whose announcements count.
    pub(in crate::links) async fn servers(&self) -> Result<Vec<LiveServer>, Failure> {
        let args = vec![millis(KEPT).to_string()];
        let run = Run::new(&scripts::SERVERS, self.servers_key(), args);
        let texts: Vec<String> = self.client.run_as("servers", &run).await?;
        let (servers, _) = texts.as_chunks::<3>();
        let servers = servers.iter().filter_map(|[left, id, text]| {
            Some(LiveServer {
                announcement: from_json(id, text)?,
                left: Duration::from_millis(left.parse().ok()?).min(LEASE),
            })
        });
        Ok(servers.take(MAX_SERVERS).collect())
    }

    fn servers_key(&self) -> String {
        self.keys.other(&format!("servers:{}", self.mark()))
    }
}

/// Whether a server that has applied all changes up to one entry of the stream has applied those up to another.
pub(in crate::links) fn stream_covers(id: &Position, other: &Position) -> bool {
    super::changes::covers(id, other)
}

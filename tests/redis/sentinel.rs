//! A master, its replica, and three sentinels that watch them.

use std::time::Duration;

use super::RedisServer;
use crate::harness::{eventually, free_port};

/// The name under which the sentinels know the master.
pub const MASTER: &str = "mymaster";
/// How long it may take until all know of all.
const MAKING: Duration = Duration::from_secs(30);
const SENTINELS: usize = 3;

/// See the [module](self).
pub struct Sentinels {
    /// The server that is the master at the start.
    pub first: RedisServer,
    /// Its replica.
    pub second: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub fn start() -> Self {
        let master = RedisServer::with("repl-timeout 5\n");
        let port = master.port;
        let replica = RedisServer::with(&format!("repl-timeout 5\nreplicaof 127.0.0.1 {port}\n"));
        let sentinel = |_| RedisServer::sentinel(port);
        let sentinels: Vec<_> = (0..SENTINELS).map(sentinel).collect();
        let all = Self {
            first: master,
            second: replica,
            sentinels,
        };
        eventually("the sentinels know of all", MAKING, || {
            all.sentinels.iter().all(|sentinel| {
                let master = sentinel.cli(&["sentinel", "master", MASTER]);
                let fields: Vec<_> = master.lines().collect();
                let is = |name, value| fields.chunks(2).any(|pair| pair == [name, value]);
                is("num-slaves", "1") && is("num-other-sentinels", "2") && is("flags", "master")
            })
        });
        eventually("the replica has caught up", MAKING, || {
            let replication = all.second.cli(&["info", "replication"]);
            replication.contains("master_link_status:up")
        });
        all
    }

    /// The URLs of the sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }
}

impl RedisServer {
    /// A sentinel that watches the master on this port.
    fn sentinel(master: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let lines = format!(
            "port {port}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 5000\nsentinel parallel-syncs {MASTER} 1\n"
        );
        let mut server = Self::new(dir, port, &lines);
        server.mode = Some("--sentinel");
        server.launched()
    }
}

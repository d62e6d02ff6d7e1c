//! A Redis Cluster of its own.

use std::time::Duration;

use serde_json::Value;

use super::{RedisServer, key};
use crate::harness::{eventually, free_port, run};

/// After how many milliseconds of silence a node is taken for dead.
const NODE_TIMEOUT: u32 = 1_500;
/// How long the making of a cluster may take.
const MAKING: Duration = Duration::from_secs(30);
const MASTERS: usize = 3;

/// Three masters, and a replica of each.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let node = |_| {
            let bus = free_port();
            RedisServer::with(&format!(
                "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout {NODE_TIMEOUT}\n\
                 repl-timeout 5\n"
            ))
        };
        let nodes: Vec<RedisServer> = (0..2 * MASTERS).map(node).collect();
        let cluster = Self { nodes };
        let addresses: Vec<_> = cluster
            .nodes
            .iter()
            .map(|n| n.address().to_string())
            .collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        run("redis-cli", &create);
        eventually("the cluster is whole", MAKING, || cluster.is_whole());
        cluster
    }

    /// Whether every node agrees that all slots are served, and all replicas have caught up.
    fn is_whole(&self) -> bool {
        let masters = self.nodes.iter().filter(|node| {
            let replication = node.cli(&["info", "replication"]);
            replication.contains("role:master") && replication.contains("state=online")
        });
        masters.count() == MASTERS
            && self.nodes.iter().all(|node| {
                let info = node.cli(&["cluster", "info"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
            })
    }

    /// The URLs of the nodes that run.
    pub fn urls(&self) -> Vec<String> {
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        running.map(RedisServer::url).collect()
    }

    /// Runs a command on the node that has the key.
    pub fn cli(&self, command: &[&str]) -> String {
        let node = self
            .nodes
            .iter()
            .find(|node| node.process.is_some())
            .unwrap();
        node.cli(&[&["-c"], command].concat())
    }

    /// Whether a master serves this key now.
    pub fn serves(&self, key: &str) -> bool {
        let mut running = self.nodes.iter().filter(|node| node.process.is_some());
        running.all(|node| node.try_cli(&["-c", "type", key]).is_some())
    }

    /// The value for a link's name.
    pub fn held(&self, name: &str) -> Option<Value> {
        let text = self.cli(&["get", &key(name)]);
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// All keys, of all masters.
    pub fn keys(&self) -> Vec<String> {
        let masters = self
            .nodes
            .iter()
            .filter(|node| node.process.is_some() && node.cli(&["role"]).starts_with("master"));
        masters.flat_map(RedisServer::keys).collect()
    }

    /// Kills the master that serves a key, without warning.
    pub fn kill_master_of(&mut self, key: &str) {
        let slot = self.cli(&["cluster", "keyslot", key]);
        let port = self.master_of(slot.parse().unwrap());
        let master = self.nodes.iter_mut().find(|node| node.port == port);
        master.unwrap().kill();
    }

    /// Sets something at all nodes.
    pub fn set_all(&self, setting: &str, value: &str) {
        for node in &self.nodes {
            assert_eq!(node.cli(&["config", "set", setting, value]), "OK");
        }
    }

    /// The port of the master that serves a key.
    pub fn master_of_key(&self, key: &str) -> u16 {
        let slot = self.cli(&["cluster", "keyslot", key]);
        self.master_of(slot.parse().unwrap())
    }

    /// Has the master of a key save its data, and kills it and its replica, so that no other master takes its place.
    /// Returns the master's port.
    pub fn stop_shard_of(&mut self, key: &str) -> u16 {
        let port = self.master_of_key(key);
        let nodes = self.cli(&["cluster", "nodes"]);
        let own = format!("127.0.0.1:{port}@");
        let id = nodes.lines().find(|line| line.contains(&own)).unwrap();
        let id = id.split(' ').next().unwrap();
        let is_replica = |node: &RedisServer| {
            let own = format!("127.0.0.1:{}@", node.port);
            let mut lines = nodes.lines();
            lines.any(|line| line.contains(&own) && line.contains(&format!("slave {id}")))
        };
        for node in &mut self.nodes {
            if is_replica(node) {
                node.kill();
            }
        }
        let master = self
            .nodes
            .iter_mut()
            .find(|node| node.port == port)
            .unwrap();
        master.save();
        master.kill();
        port
    }

    /// Starts a master again with its saved data.
    pub fn start_shard(&mut self, port: u16) {
        let master = self.nodes.iter_mut().find(|node| node.port == port);
        master.unwrap().restart_with_saved();
    }

    /// The port of the master that serves a slot.
    fn master_of(&self, slot: u16) -> u16 {
        let nodes = self.cli(&["cluster", "nodes"]);
        let serves = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = (first.parse::<u16>(), last.parse::<u16>());
            matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        };
        let master = nodes.lines().find_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let is_master = fields[2].contains("master") && !fields[2].contains("fail");
            (is_master && fields[8..].iter().any(|range| serves(range))).then(|| {
                let (address, _) = fields[1].split_once('@').unwrap();
                address.rsplit_once(':').unwrap().1.parse().unwrap()
            })
        });
        master.unwrap_or_else(|| panic!("slot {slot} in {nodes}"))
    }
}

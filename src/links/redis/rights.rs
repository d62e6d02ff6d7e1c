//! The rights that tinyns needs in Redis, and whether it has them.
//!
//! A Redis user may be limited to some commands and keys (`ACL SETUSER`). A missing right does not show in any
//! single place: without the right to run scripts, for example, a node can follow the stream, but none of its
//! changes reaches Redis. So tinyns tries every right when it connects, and again after a call was refused. The
//! calls change only keys that exist for this purpose. `ACL DRYRUN` would be simpler, but a limited user has no
//! right to it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::connection::Connection;
use super::error::is_refused;
use super::scripts;

/// A call that needs a right, and the name of the right in `ACL SETUSER`.
type Check = (Cmd, &'static str);

/// What Redis is used for beyond links and their changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uses {
    /// Sentinels are asked for the server.
    pub(super) sentinels: bool,
    /// Statistics are gathered.
    pub(super) gathering: bool,
}

/// The missing rights, as `ACL SETUSER` writes them: `+get`, `~tinyns:*`.
pub(super) type Missing = BTreeSet<String>;

/// Tries all rights; returns the missing ones.
///
/// # Errors
/// If the connection fails meanwhile.
pub(super) async fn missing(
    connection: &mut Connection,
    prefix: &str,
    uses: Uses,
) -> RedisResult<Missing> {
    let mut missing = Missing::new();
    let is_cluster = matches!(connection, Connection::Cluster(_));
    let checks = checks(prefix, uses, is_cluster);
    for (result, right) in try_all(connection, checks).await? {
        let Err(error) = result else {
            continue;
        };
        if !is_refused(&error) {
            continue;
        }
        // "No permissions to access a key", in the wordings of several versions.
        let about_key = error.detail().is_some_and(|detail| detail.contains("key"));
        missing.insert(match about_key {
            true => format!("~{prefix}:*"),
            false => format!("+{right}"),
        });
    }
    Ok(missing)
}

type Tried = Vec<(RedisResult<Value>, &'static str)>;

async fn try_all(connection: &mut Connection, checks: Vec<Check>) -> RedisResult<Tried> {
    match connection {
        Connection::Node(node) => {
            let mut pipe = redis::pipe();
            for (command, _) in &checks {
                pipe.add_command(command.clone());
            }
            let results: Vec<RedisResult<Value>> = pipe.ignore_errors().query_async(node).await?;
            let rights = checks.into_iter().map(|(_, right)| right);
            Ok(results.into_iter().zip(rights).collect())
        }
        Connection::Cluster(cluster) => {
            let tried = checks.into_iter().map(|(command, right)| {
                let mut connection = Connection::Cluster(cluster.clone());
                async move { (connection.command(&command).await, right) }
            });
            Ok(join_all(tried).await)
        }
    }
}

/// A call for each right. The keys look like those in use, but belong to no link: no link's name contains a colon.
fn checks(prefix: &str, uses: Uses, is_cluster: bool) -> Vec<Check> {
    let link = format!("{prefix}:link:tinyns:check");
    let load = format!("{prefix}:warm-load:check");
    let changes = format!("{prefix}:changes");
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    let load_script = {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg("return 1");
        command
    };
    let script = scripts::RELEASE.get_hash();
    let mut checks = vec![
        (command(&["GET", &link]), "get"),
        (command(&["SET", &link, "", "PX", "1"]), "set"),
        (command(&["DEL", &link]), "del"),
        (command(&["EXISTS", &link]), "exists"),
        (load_script, "script|load"),
        (
            command(&["EVALSHA", script, "1", &link, "", "0"]),
            "evalsha",
        ),
        (command(&["HSET", &load, "check", "1"]), "hset"),
        (command(&["HGETALL", &load]), "hgetall"),
        // Redis always refuses this id, but checks the right first.
        (command(&["XADD", &changes, "0-0", "check", "1"]), "xadd"),
        // The stream is never as long as this.
        (
            command(&["XTRIM", &changes, "MAXLEN", "~", "1000000"]),
            "xtrim",
        ),
        (
            command(&["XRANGE", &changes, "-", "+", "COUNT", "1"]),
            "xrange",
        ),
        (
            command(&["XREVRANGE", &changes, "+", "-", "COUNT", "1"]),
            "xrevrange",
        ),
        (
            command(&["XREAD", "COUNT", "1", "STREAMS", &changes, "$"]),
            "xread",
        ),
        (command(&["PTTL", &link]), "pttl"),
        (command(&["TIME"]), "time"),
        (command(&["INFO", "server"]), "info"),
    ];
    if uses.gathering {
        checks.extend([
            (command(&["HINCRBY", &load, "count", "1"]), "hincrby"),
            (command(&["HGET", &load, "count"]), "hget"),
            (command(&["HMGET", &load, "count"]), "hmget"),
            (command(&["HLEN", &load]), "hlen"),
            (command(&["HSCAN", &load, "0"]), "hscan"),
            (command(&["HDEL", &load, "count"]), "hdel"),
            (command(&["RENAME", &load, &load]), "rename"),
        ]);
    }
    checks.extend([
        (command(&["PEXPIRE", &load, "1"]), "pexpire"),
        // Deletes the key even if PEXPIRE was refused.
        (command(&["DEL", &load]), "del"),
    ]);
    if !is_cluster {
        checks.push((command(&["MGET", &link]), "mget"));
    }
    if uses.sentinels {
        checks.push((command(&["ROLE"]), "role"));
    }
    checks
}

/// The rights in one line.
pub(super) fn in_words(missing: &Missing) -> String {
    missing
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

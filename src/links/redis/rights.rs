//! What tinyns needs to be allowed in Redis, and whether it is.
//!
//! A user of Redis may have the right to some commands and keys only (`ACL SETUSER`). What is missing
//! shows in no single place: a user without scripts can read and follow the stream, and yet nothing
//! that it changes is ever put. So every right is tried when a connection is made, with calls that
//! change nothing but keys for this very purpose, and again when a call was refused for that reason.
//! `ACL DRYRUN` would tell the same, but a user with few rights has none to that.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::connection::Connection;
use super::error::is_refused;
use super::scripts;

/// What is asked for with every command, and behind it what Redis calls it in `ACL SETUSER`.
type Check = (Cmd, &'static str);

/// The rights that are missing, as `ACL SETUSER` writes them: `+get`, `~tinyns:*`.
pub(super) type Missing = BTreeSet<String>;

/// Tries all rights; gives those that are missing.
///
/// # Errors
/// Where the connection fails meanwhile.
pub(super) async fn missing(
    connection: &mut Connection,
    prefix: &str,
    is_sentinel: bool,
) -> RedisResult<Missing> {
    let mut missing = Missing::new();
    let is_cluster = matches!(connection, Connection::Cluster(_));
    let checks = checks(prefix, is_sentinel, is_cluster);
    for (result, right) in try_all(connection, checks).await? {
        let Err(error) = result else {
            continue;
        };
        if !is_refused(&error) {
            continue;
        }
        // "No permissions to access a key", in several wordings.
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

/// A call for each right that is used. The keys are such as are used, but of no link: no name has a colon.
fn checks(prefix: &str, is_sentinel: bool, is_cluster: bool) -> Vec<Check> {
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
        (command(&["PEXPIRE", &load, "1"]), "pexpire"),
        // An id that is always refused, but not before the right was looked at.
        (command(&["XADD", &changes, "0-0", "check", "1"]), "xadd"),
        // Longer than it ever is.
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
        // Where it may not be given a life.
        (command(&["DEL", &load]), "del"),
    ];
    if !is_cluster {
        checks.push((command(&["MGET", &link]), "mget"));
    }
    if is_sentinel {
        checks.push((command(&["ROLE"]), "role"));
    }
    checks
}

/// The rights in one line, for a message.
pub(super) fn in_words(missing: &Missing) -> String {
    missing
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

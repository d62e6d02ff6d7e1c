//! `[dns.tcp]`.

use std::time::Duration;

use super::*;

fn limits(lines: &str) -> TcpLimits {
    ok(&format!("[dns.tcp]\n{lines}\n")).dns.tcp
}

#[test]
fn how_many_connections_there_may_be() {
    let lines = "connections = 100000\nconnections_per_client = 1\nidle = 3600\nlifetime = 604800";
    let expected = TcpLimits {
        connections: 100_000,
        connections_per_client: 1,
        idle: Duration::from_secs(3_600),
        lifetime: Some(Duration::from_secs(604_800)),
    };
    assert_eq!(limits(lines), expected);
    assert_eq!(limits("lifetime = 0").lifetime, None);
    let expected = TcpLimits {
        idle: Duration::from_secs(1),
        ..TcpLimits::default()
    };
    assert_eq!(limits("idle = 1"), expected);
}

#[test]
fn how_many_there_cannot_be() {
    let many = "1 to 1000000";
    for (key, value, range) in [
        ("connections", 0, many),
        ("connections", 1_000_001, many),
        ("connections_per_client", 0, many),
        ("idle", 0, "1 to 3600 seconds"),
        ("idle", 3_601, "1 to 3600 seconds"),
        ("lifetime", -1, "0 to 604800 seconds"),
        ("lifetime", 604_801, "0 to 604800 seconds"),
    ] {
        check(
            &format!("[dns.tcp]\n{key} = {value}\n"),
            &format!("t.toml:2: dns.tcp.{key}: {value} is not within {range}"),
        );
    }
    check(
        "[dns.tcp]\nclients = 1\n",
        "t.toml:2: dns.tcp.clients: unknown key. Known here: connections, connections_per_client, idle, \
         lifetime",
    );
    check(
        "[dns]\ntcp = 1\n",
        "t.toml:2: dns.tcp: invalid type: integer `1`, expected a table, [dns.tcp]",
    );
}

//! Configurations that the server and the commands refuse, and the messages.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use super::{DNS, REST, ZONES, finished};
use crate::harness::{Setup, TOKEN, ZONE, free_port, tinyns};

/// Runs `tinyns serve` with a configuration that it must refuse; returns its message.
fn refused(config: &str, zone: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let zone_file = dir.path().join("test.zone");
    std::fs::write(&zone_file, zone).unwrap();
    let file = dir.path().join("tinyns.toml");
    std::fs::write(
        &file,
        config.replace("DIR", &dir.path().display().to_string()),
    )
    .unwrap();
    let mut command = tinyns();
    command
        .args(["serve", "--log-format", "human", "--config"])
        .arg(&file);
    let output = finished(command.env("TINYNS_ADMIN_TOKEN", TOKEN));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said.replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn refusals_are_one_clear_line() {
    let held_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let held_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp_port = held_udp.local_addr().unwrap().to_string();
    let tcp_port = held_tcp.local_addr().unwrap().to_string();
    for (config, zone, wanted) in [
        (
            format!("[dns]\nlisten = [\"{udp_port}\"]\n{ZONES}{REST}"),
            ZONE,
            vec![udp_port.as_str(), "DNS"],
        ),
        (
            format!("[dns]\nlisten = [\"{tcp_port}\"]\n{ZONES}{REST}"),
            ZONE,
            vec![tcp_port.as_str(), "DNS"],
        ),
        (
            format!("{DNS}{ZONES}[admin]\nlisten = \"{tcp_port}\"\n"),
            ZONE,
            vec![tcp_port.as_str(), "admin"],
        ),
        (
            format!("[dns]\nlissten = [\"127.0.0.1:0\"]\n{ZONES}{REST}"),
            ZONE,
            vec!["tinyns.toml:2:1", "lissten", "\"listen\""],
        ),
        (
            format!("{DNS}{ZONES}{REST}\n[cash]\n"),
            ZONE,
            vec!["tinyns.toml", "cash"],
        ),
        (
            format!(
                "{DNS}{ZONES}{}",
                REST.replace("DIR/links", "/proc/nowhere/links")
            ),
            ZONE,
            vec!["/proc/nowhere"],
        ),
        (
            format!(
                "{DNS}{ZONES}{}",
                REST.replace("DIR/links.sqlite", "DIR/test.zone")
            ),
            ZONE,
            vec!["DIR/test.zone", "database"],
        ),
        (
            format!("{DNS}{ZONES}{REST}[query_log]\nfile = \"DIR/test.zone\"\n"),
            ZONE,
            vec!["DIR/test.zone", "no query log"],
        ),
        (
            format!("{DNS}{ZONES}{REST}"),
            "@ 300 IN SOA ns1 hostmaster 1 2 3 4 5\n@ 300 IN NS ns1\nns1 300 IN A 192.0.2.256\n",
            vec!["DIR/test.zone:3"],
        ),
        (
            format!("{DNS}{}{REST}", ZONES.replace("test.zone", "absent.zone")),
            ZONE,
            vec!["DIR/absent.zone"],
        ),
    ] {
        let said = refused(&config, zone);
        let errors: Vec<&str> = said.lines().filter(|l| !l.contains("WARN")).collect();
        assert_eq!(errors.len(), 1, "{config}\n{said}");
        for part in wanted {
            assert!(errors[0].contains(part), "{part:?} in {said}\n{config}");
        }
    }
}

#[test]
fn all_errors_of_a_configuration_are_reported_at_once() {
    let config = format!("[dns]\nlisten = \"localhost:53\"\nnsid = \"\"\n{ZONES}{REST}\n[cash]\n");
    let said = refused(&config, ZONE);
    let places: Vec<_> = said
        .lines()
        .map(|line| line.split_once("tinyns.toml:").unwrap().1)
        .map(|place| place.split(": ").take(2).collect::<Vec<_>>())
        .collect();
    let expected = [
        ["2:10", "dns.listen"],
        ["3:8", "dns.nsid"],
        ["15:2", "cash"],
    ];
    assert_eq!(places, expected, "{said}");
}

/// Opening a pipe without a writer would wait for ever.
#[test]
fn files_that_are_not_regular_are_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let pipe = path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(path("zone"), ZONE).unwrap();
    std::fs::write(path("state.toml"), "").unwrap();
    let zones = ZONES.replace("DIR/test.zone", &path("zone"));
    let rest = REST.replace("DIR", &path(""));
    let redis = "[redis]\nurl = \"rediss://127.0.0.1:1\"\n";
    let tls = "[dns.tls]\nlisten = \"127.0.0.1:0\"\n";
    let token = rest.replace("[admin]\n", &format!("[admin]\ntoken_file = \"{pipe}\"\n"));
    let with = |section: &str| format!("{DNS}{zones}{rest}{section}");
    let device = "/dev/zero";
    for (config, named) in [
        (format!("{DNS}{zones}{token}"), pipe.as_str()),
        (
            format!("{DNS}{}{rest}", zones.replace(&path("zone"), &pipe)),
            &pipe,
        ),
        (
            with(&format!("[cookies]\nsecret_file = \"{pipe}\"\n")),
            &pipe,
        ),
        (
            with(&format!("{redis}password_file = \"{device}\"\n")),
            device,
        ),
        (with(&format!("{redis}ca_file = \"{pipe}\"\n")), &pipe),
        (
            with(&format!(
                "{tls}certificate = \"{pipe}\"\nkey = \"{device}\"\n"
            )),
            &pipe,
        ),
    ] {
        let file = dir.path().join("tinyns.toml");
        std::fs::write(&file, &config).unwrap();
        for command in ["serve", "check"] {
            let mut tinyns = tinyns();
            let output = finished(tinyns.arg(command).arg("--config").arg(&file));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {config}\n{said}");
            let line = said.lines().find(|line| line.contains(named));
            let line = line.unwrap_or_else(|| panic!("{command}: {config}\n{said}"));
            assert!(line.contains("not a regular file"), "{line}");
        }
    }
    // The configuration itself, and the files for clients.
    for arguments in [
        &["check", "--config", &pipe][..],
        &[
            "get",
            "a",
            "--server",
            "http://127.0.0.1:1",
            "--token-file",
            &pipe,
        ],
        &["add", "http://a/", "--config", device],
    ] {
        let output = finished(tinyns().args(arguments));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("this is not a regular file"),
            "{arguments:?}: {said}"
        );
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

/// Compose files and units pass on variables that the caller does not have.
#[test]
fn variables_that_are_empty_count_as_unset() {
    let admin = ([127, 0, 0, 1], free_port()).into();
    let setup = Setup::new().admin(admin).env("TINYNS_ADMIN_TOKEN", "");
    let server = setup.start();
    let empty = |command: &mut Command| {
        for name in ["CONFIG", "SERVER", "ADMIN_TOKEN", "REDIS_PASSWORD", "LOG"] {
            command.env(format!("TINYNS_{name}"), "");
        }
        let output = finished(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut add = tinyns();
    add.args(["add", "https://example.net/", "--config"]);
    let said = empty(add.arg(server.config()));
    assert!(said.contains("s.example.com"), "{said}");
    let mut health = tinyns();
    health.args(["health", "--config"]);
    empty(health.arg(server.config()));
    // Without a file, the defaults.
    let mut check = tinyns();
    check.arg("check").current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(empty(&mut check).contains("ok: s.example.com: zones/s.example.com.zone"));
}

#[test]
fn check_says_ok_or_where_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let zone = dir.path().join("test.zone");
    let config = dir.path().join("tinyns.toml");
    std::fs::write(
        &config,
        ZONES.replace("DIR", &dir.path().display().to_string()),
    )
    .unwrap();
    let check = || {
        let output = tinyns()
            .args(["check", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    std::fs::write(&zone, ZONE).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("s.example.com"), "{said}");
    std::fs::write(&zone, format!("{ZONE}www IN A 192.0.2.1\n")).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("test.zone:20: www"), "{said}");
    assert!(said.contains("CNAME"), "{said}");
}

//! The password and the certificates for Redis: which files are refused, and the reload by SIGHUP.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{Answer, PATIENCE, Server, Setup, eventually, tinyns};
use crate::redis::{Fleet, LINES, PASSWORD, RedisServer, followed, setup};

fn state(server: &Server) -> String {
    let ready = server.api("GET", "/readyz", None).json();
    ready["redis"].as_str().unwrap().into()
}

#[test]
fn a_changed_password_is_read_on_sighup() {
    let fleet = Fleet::start();
    let give = |password: &str| {
        let password = format!(">{password}");
        let user = [
            "acl", "setuser", "tinyns", "reset", "on", &password, "~*", "+@all",
        ];
        assert_eq!(fleet.redis.cli(&user), "OK");
    };
    give("first-password");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first-password\n").unwrap();
    let url = format!("redis://tinyns@{}", fleet.redis.address());
    let lines = format!("{LINES}password_file = {:?}\n", file.path());
    let server = followed(setup(&fleet.emulator.url(), url, &lines).start());
    let other = fleet.node();

    // A file that cannot be used changes nothing.
    std::fs::write(file.path(), "").unwrap();
    server.signal(Signal::SIGHUP);
    let refused = server.log().wait_for("not one line of UTF-8 text");
    assert!(refused.contains("ERROR"), "{refused}");
    server.log().wait_for("not reloaded; the old ones stay");
    let name = server.register("a", "https://example.net/a");
    other.wait_for_answer(&name, &Answer::url("https://example.net/a"), PATIENCE);

    // The new one is used by connections that are made anew.
    give("second-password");
    std::fs::write(file.path(), "second-password\n").unwrap();
    server.signal(Signal::SIGHUP);
    server
        .log()
        .wait_for("reloaded: connecting with the new ones");
    fleet.redis.cli(&["client", "kill", "user", "tinyns"]);
    eventually("it is connected", PATIENCE, || state(&server) == "up");
    let server = followed(server);
    let name = server.register("b", "https://example.net/b");
    other.wait_for_answer(&name, &Answer::url("https://example.net/b"), PATIENCE);
    eventually("Redis has it", PATIENCE, || {
        fleet.redis.held(&name).is_some()
    });
    assert!(!server.log().text().contains("second-password"));
}

/// In the mode of a cluster the client has another error for it.
#[test]
fn a_refused_password_is_named_in_every_mode() {
    let fleet = Fleet::start();
    for mode in ["node", "cluster"] {
        let url = format!("redis://tinyns:wrong-password@{}", fleet.redis.address());
        let lines = format!("{LINES}mode = \"{mode}\"\n");
        let server = setup(&fleet.emulator.url(), url, &lines).start();
        let logged = server.log().wait_for("cannot connect to Redis");
        assert!(
            logged.contains("it refuses the user or the password"),
            "{logged}"
        );
        let log = server.log().text();
        assert!(!log.contains("wrong-password"), "{log}");
    }
}

#[test]
fn clients_with_certificates() {
    let fleet = Fleet::with(RedisServer::that_knows_its_clients());
    let ca = format!("{LINES}ca_file = \"{}\"\n", fleet.redis.ca_file());
    let [certificate, key] = fleet.redis.client_files();
    let lines = format!("{ca}certificate = {certificate:?}\nkey = {key:?}\n");
    let server = fleet.setup(&lines).env("TINYNS_REDIS_PASSWORD", PASSWORD);
    let server = followed(server.start());
    assert_eq!(state(&server), "up");
    let name = server.register("a", "https://example.net/a");
    assert_eq!(
        fleet.redis.held(&name).unwrap()["url"],
        "https://example.net/a"
    );
    // Without one it is refused.
    let plain = fleet
        .setup(&ca)
        .env("TINYNS_REDIS_PASSWORD", PASSWORD)
        .start();
    plain.log().wait_for("cannot connect to Redis");
    assert_eq!(state(&plain), "down");
}

/// What `check` says of a setup that it refuses.
fn refused(setup: &Setup) -> String {
    let config = setup.write();
    let output = tinyns()
        .arg("check")
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn files_without_a_certificate_or_key_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    crate::redis::make_certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("empty.pem"), "nothing\n").unwrap();
    let check = |lines: &[(&str, &Path)], expected: &str| {
        let lines: String = lines
            .iter()
            .map(|(key, file)| format!("{key} = {file:?}\n"))
            .collect();
        let section = format!("[redis]\nurl = \"rediss://127.0.0.1:1\"\n{lines}");
        let said = refused(&Setup::new().section(&section));
        assert!(said.contains(expected), "{said}");
    };
    let no_certificate = "empty.pem: there is no certificate in it (BEGIN CERTIFICATE)";
    check(&[("ca_file", &file("empty.pem"))], no_certificate);
    let [pem, key, ca_key] = ["server.pem", "server.key", "ca.key"].map(file);
    check(
        &[("certificate", &file("empty.pem")), ("key", &key)],
        no_certificate,
    );
    check(
        &[("certificate", &pem), ("key", &file("empty.pem"))],
        "empty.pem: ",
    );
    check(&[("certificate", &pem), ("key", &ca_key)], "ca.key: ");
    check(
        &[("certificate", &pem)],
        "redis.certificate: missing; [redis] needs \"key\"",
    );
    check(
        &[("key", &key)],
        "redis.key: missing; [redis] needs \"certificate\"",
    );
}

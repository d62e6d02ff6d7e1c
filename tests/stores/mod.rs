//! `tinyns store`: which store a configuration names, checks, comparisons, copies, and backups that were put back.

mod backups;
mod copies;
mod databases;
mod statistics;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::dynamo::Emulator;
use crate::harness::{Server, Setup, tinyns};

/// Runs `tinyns store` with these arguments.
pub(super) fn store(args: &[&str]) -> Output {
    tinyns().arg("store").args(args).output().unwrap()
}

/// The same, which must succeed; returns what it printed.
pub(super) fn done(args: &[&str]) -> String {
    let output = store(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, which must fail with exit code 1; returns what it printed, and then what it said.
pub(super) fn failed(args: &[&str]) -> String {
    let output = store(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The identity of the store of a configuration.
pub(super) fn identity(config: &Path) -> Value {
    let shown = done(&["identity", "--json", "--config", text(config)]);
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn the_identity_of_a_file_is_shown_with_and_without_a_server() {
    let mut server = Server::start();
    server.register("a", "https://example.net/");
    let config = server.config().to_owned();
    let with = identity(&config);
    assert_eq!(with["kind"], "sqlite");
    assert_eq!((&with["epoch"], &with["links"]), (&json!(1), &json!(1)));
    assert_eq!(with["in_use"], true);
    let shown = done(&["identity", "--config", text(&config)]);
    let id = with["id"].as_str().unwrap();
    assert!(
        shown.contains(id) && shown.contains("has it open"),
        "{shown}"
    );
    assert!(server.stop().success());
    let mut without = identity(&config);
    assert_eq!(without["in_use"].take(), false);
    without["in_use"] = json!(true);
    assert_eq!(without, with);

    // No command makes a store that is not there.
    let setup = Setup::new();
    let none = setup.write();
    for command in ["identity", "verify", "restored"] {
        let said = failed(&[command, "--config", text(&none)]);
        assert!(said.contains("links.sqlite"), "{said}");
    }
    assert!(!none.with_file_name("data").exists());
}

#[test]
fn the_identity_of_a_table_is_shown_beside_its_servers() {
    let emulator = Emulator::start();
    let server = Setup::new().dynamodb(&emulator.url()).start();
    let shown = identity(server.config());
    assert_eq!(shown["kind"], "dynamodb");
    assert_eq!(
        (&shown["epoch"], &shown["in_use"]),
        (&json!(1), &json!(null))
    );
    assert!(shown["place"].as_str().unwrap().contains("tinyUrl"));
    assert_eq!(identity(server.config()), shown);
    let none = format!(
        "kind = \"dynamodb\"\nendpoint_url = \"{}\"\ntable = \"none\"\n",
        emulator.url()
    );
    let none = Setup::new().store(&none);
    let said = failed(&["identity", "--config", text(&none.write())]);
    assert!(said.contains("does not exist"), "{said}");
}

#[test]
fn a_check_finds_damaged_links_of_a_file_and_of_a_table() {
    let server = Server::start();
    for code in ["a", "b", "c"] {
        server.register(code, "https://example.net/");
    }
    let config = text(server.config()).to_owned();
    let verify = ["verify", "--config", &config];
    let said = done(&verify);
    assert!(
        said.starts_with("ok: ") && said.contains("3 links"),
        "{said}"
    );
    assert!(said.contains("3 entries of the audit log"), "{said}");
    let file = rusqlite::Connection::open(server.dir().join("data/links.sqlite")).unwrap();
    file.execute("UPDATE link SET url = 'ftp://x/' WHERE code = 'b'", [])
        .unwrap();
    let said = failed(&verify);
    assert!(said.contains("fault: b.s.example.com: "), "{said}");
    assert!(
        said.contains("2 links") && said.contains("1 faults"),
        "{said}"
    );

    let emulator = Emulator::start();
    let server = Setup::new().dynamodb(&emulator.url()).start();
    server.register("a", "https://example.net/");
    let config = text(server.config()).to_owned();
    let verify = ["verify", &config];
    let said = done(&verify);
    assert!(
        said.contains("1 links") && said.contains("no audit log"),
        "{said}"
    );
    emulator.insert("b.s.example.com", "ftp://x/");
    let said = failed(&verify);
    assert!(said.contains("fault: b.s.example.com: "), "{said}");
}

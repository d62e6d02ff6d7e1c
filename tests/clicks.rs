//! Clicks, counted by real servers under load.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, eventually, output};

pub const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const X: (&str, &str) = ("http", "x.s.example.com");
pub const COUNTRIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/countries/");

fn clicks(server: &Server, class: &str) -> f64 {
    server.metric("tinyns_statistics_clicks_total", &[("class", class)])
}

/// Sends so many requests for a host by a scheme with h2load, and checks that all of them have succeeded.
pub fn load((scheme, host): (&str, &str), address: SocketAddr, requests: u32, arguments: &[&str]) {
    let connect = format!("--connect-to={address}");
    let url = format!("{scheme}://{host}:{}/", address.port());
    let number = requests.to_string();
    let mut all = vec!["-n", &number, &connect];
    all.extend(arguments);
    all.push(&url);
    let done = output("h2load", &all);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let expected =
        format!("{requests} total, {requests} started, {requests} done, {requests} succeeded");
    assert!(text.contains(&expected), "{text}");
}

/// Every request under load is counted once: one after the other on kept connections, pipelined, and by HTTP/2.
#[test]
fn every_click_is_counted_once_under_load() {
    let server = Server::start();
    server.register("x", "https://example.net/");
    server.register("y", "https://example.net/");
    let person = format!("user-agent: {FIREFOX}");
    let h1 = ["--h1", "-c", "8", "-H", &person];
    load(X, server.redirect, 20_000, &h1);
    load(
        ("http", "y.s.example.com"),
        server.redirect,
        10_000,
        &["--h1", "-c", "4", "-m", "16", "-H", &person],
    );
    load(
        X,
        server.redirect,
        10_000,
        &["-c", "4", "-m", "10", "-H", &person],
    );
    let prefetch = [
        "-c",
        "2",
        "-m",
        "10",
        "-H",
        &person,
        "-H",
        "sec-purpose: prefetch",
    ];
    load(X, server.redirect, 1_000, &prefetch);
    let bot = ["--h1", "-c", "4", "-H", "user-agent: curl/8.14.1"];
    load(X, server.redirect, 5_000, &bot);
    let preview = ["-c", "4", "-H", "user-agent: TelegramBot (like TwitterBot)"];
    load(X, server.redirect, 500, &preview);
    for (class, number) in [
        ("person", 40_000.0),
        ("prefetch", 1_000.0),
        ("bot", 5_000.0),
        ("preview", 500.0),
    ] {
        eventually(class, PATIENCE, || clicks(&server, class) == number);
    }
    assert_eq!(clicks(&server, "head"), 0.0);
    assert_eq!(server.metric("tinyns_statistics_dropped_total", &[]), 0.0);
}

#[test]
fn what_is_off_is_not_counted() {
    let server = Setup::new()
        .section("[statistics]\nenabled = false\n")
        .start();
    server.register("x", "https://example.net/");
    load(X, server.redirect, 1_000, &["--h1", "-c", "2"]);
    for class in ["person", "bot", "preview", "head", "prefetch"] {
        assert_eq!(clicks(&server, class), 0.0);
    }
}

/// A database that cannot be used ends the start, and `tinyns check` says the same. So it is if the store keeps no statistics.
#[test]
fn a_bad_database_of_countries_ends_the_start() {
    let dynamo = Emulator::start();
    let check = |config: Setup, file: &Path, reason: &str| {
        let section = format!("[statistics]\ncountry_database = \"{}\"\n", file.display());
        let config = config.section(&section);
        let named = format!("country_database: {}", file.display());
        config.check_refused(&[&named, reason]);
    };
    check(Setup::new(), Path::new("/none.mmdb"), "No such file");
    let without_statistics = Setup::new().dynamodb(&dynamo.url());
    check(without_statistics, Path::new("/none.mmdb"), "No such file");
    check(
        Setup::new(),
        &Path::new(COUNTRIES).join("README.md"),
        "not in the format of MaxMind",
    );
    check(
        Setup::new(),
        &Path::new(COUNTRIES).join("GeoLite2-ASN-Test.mmdb"),
        "has no countries",
    );
}

/// A reload takes a new database, and keeps the old one if the new one is damaged.
#[test]
fn a_reload_reads_the_database_of_countries_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("country.mmdb");
    let good = Path::new(COUNTRIES).join("GeoLite2-Country-Test.mmdb");
    fs::copy(&good, &file).unwrap();
    let section = format!("[statistics]\ncountry_database = \"{}\"\n", file.display());
    let server = Setup::new().section(&section).start();
    server.add_with(&json!({"url": "https://example.net/", "code": "x"}));
    server.log().wait_for("database of countries read");
    server.signal(Signal::SIGHUP);
    server.log().wait_for("database of countries reloaded");
    fs::write(&file, "damaged").unwrap();
    server.signal(Signal::SIGHUP);
    server
        .log()
        .wait_for("database of countries not reloaded; the old state stays in use");
    let reloads = |outcome| server.metric("tinyns_country_reloads_total", &[("outcome", outcome)]);
    eventually("both are counted", PATIENCE, || {
        (reloads("Success"), reloads("Failure")) == (1.0, 1.0)
    });
    load(
        X,
        server.redirect,
        100,
        &["--h1", "-H", &format!("user-agent: {FIREFOX}")],
    );
    eventually("clicks go on", PATIENCE, || {
        clicks(&server, "person") == 100.0
    });
}

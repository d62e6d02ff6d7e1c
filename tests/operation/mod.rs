//! The process: start, reload, stop, and shortages of the system.

mod refusals;
mod reload;
mod stop;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{PATIENCE, Process, Server, Setup, TOKEN, http, output, query, tinyns, wait};

const REST: &str = "[store]\npath = \"DIR/links.sqlite\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                    [redirect]\nlisten = \"127.0.0.1:0\"\n";

const ZONES: &str =
    "[[zone]]\norigin = \"s.example.com\"\nfile = \"DIR/test.zone\"\nredirect_host = \"r\"\n";

const DNS: &str = "[dns]\nlisten = [\"127.0.0.1:0\"]\n";

/// The output of a program that must end by itself; if it does not, it is killed.
fn finished(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let status = wait(&mut process.0);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    process
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut stderr)
        .unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

#[test]
fn one_store_has_one_server() {
    let server = Server::start();
    let mut command = tinyns();
    command.args(["serve", "--config"]).arg(server.config());
    let output = finished(command.env("TINYNS_ADMIN_TOKEN", TOKEN));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("links.sqlite"), "{said}");
    server.add("https://example.net/still-here");
}

/// RFC 2317 §4: the zone of an address range has a slash in its name. Its names are the same in the configuration, on
/// the wire and in messages.
#[test]
fn a_zone_may_have_any_name() {
    let range = "$ORIGIN 0/25.2.0.192.in-addr.arpa.\n$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 60\n\
                 @ NS ns.example.\n1 PTR a.example.\n1 PTR a.example.\n";
    let root = "$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 60\n@ NS ns.example.\nexample NS ns.example.\n\
                ns.example A 192.0.2.1\nx A 192.0.2.2\n";
    let server = Setup::new()
        .zone("0/25.2.0.192.in-addr.arpa.", "", range)
        .zone(".", "", root)
        .start();
    server
        .log()
        .wait_for("1.0/25.2.0.192.in-addr.arpa. has this PTR record already");
    let dig = |words: &[&str]| {
        let port = server.dns.port().to_string();
        let all = [&["@127.0.0.1", "-p", &port, "+norec"], words].concat();
        String::from_utf8(output("dig", &all).stdout).unwrap()
    };
    let name = "1.0/25.2.0.192.in-addr.arpa.";
    assert_eq!(dig(&["+short", "PTR", name]), "a.example.\n");
    assert_eq!(dig(&["+short", "A", "x."]), "192.0.2.2\n");
    let denied = dig(&["A", "nosuch."]);
    assert!(
        denied.contains("NXDOMAIN") && denied.contains("\n.\t"),
        "{denied}"
    );
    // A link may lead to any name that the root delegates.
    server.add("https://www.example/");
    let mut command = tinyns();
    let checked = finished(command.args(["check", "--config"]).arg(server.config()));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("ok: 0/25.2.0.192.in-addr.arpa: ") && said.contains("ok: .: "),
        "{said}"
    );
    // A signed one, whose keys have files of their own, is found by its name.
    let config = std::fs::read_to_string(server.config()).unwrap();
    let keys = server.dir().join("keys");
    let signed = "file = ";
    let config = config.replacen(
        "[[zone]]\norigin = \".\"",
        &format!("[zone.dnssec]\nkeys = {keys:?}\n[[zone]]\norigin = \".\""),
        1,
    );
    assert!(config.contains("[zone.dnssec]") && config.contains(signed));
    let file = server.dir().join("signed.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = tinyns();
    let made = finished(command.args(["keys", "generate", "--config"]).arg(&file));
    assert!(made.status.success(), "{made:?}");
    let files: Vec<_> = std::fs::read_dir(&keys)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    let is_key = |file: &std::ffi::OsString| {
        file.to_str()
            .unwrap()
            .starts_with("K0%2F25.2.0.192.in-addr.arpa.+013+")
    };
    assert!(files.iter().any(is_key), "{files:?}");
    let mut command = tinyns();
    let ds = finished(command.args(["keys", "ds", "--config"]).arg(&file));
    let ds = String::from_utf8(ds.stdout).unwrap();
    assert!(ds.starts_with("0/25.2.0.192.in-addr.arpa. IN DS "), "{ds}");
    let mut command = tinyns();
    let checked = finished(command.args(["check", "--config"]).arg(&file));
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_stalled_reader_of_the_log_delays_no_reply() {
    let mut server = Server::start();
    server.log().wait_for("redirect host");
    let log = server.log().clone();
    let stalled = log.stall();
    // Each has a line in the log; together they are several times the size of a pipe.
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.redirect).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let get = "GET / HTTP/1.1\r\nHost: absent.s.example.com\r\n\r\n";
        let last = get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        stream
            .write_all((get.repeat(9) + &last).as_bytes())
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert_eq!(reply.matches("HTTP/1.1 404").count(), 10);
    }
    let reply = server.ask("ns1.s.example.com.", RecordType::A);
    assert_eq!(reply.answers.len(), 1);
    let begin = Instant::now();
    assert!(server.stop().success());
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    drop(stalled);
}

#[test]
fn without_descriptors_udp_keeps_working_and_tcp_recovers() {
    let server = Setup::new().limits("ulimit -n 64").start();
    let udp = || {
        let reply = server.ask("ns1.s.example.com.", RecordType::A);
        assert_eq!(reply.answers.len(), 1);
    };
    for listener in [server.redirect, server.dns] {
        let crowd: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(listener).unwrap())
            .collect();
        udp();
        drop(crowd);
        udp();
        // Both wait up to PATIENCE for a connection to be served again.
        let query = query("ns1.s.example.com.", RecordType::A)
            .to_bytes()
            .unwrap();
        assert!(!server.tcp(&query).is_empty());
        let url = format!("http://{}/", server.redirect);
        assert_eq!(http("GET", &url, &[], None).status, 421);
    }
}

#[test]
fn the_command_line_registers_and_reads() {
    let server = Server::start();
    let tinyns = |args: &[&str]| {
        let mut command = tinyns();
        command.arg("--config").arg(server.config()).args(args);
        command.env("TINYNS_ADMIN_TOKEN", TOKEN);
        command.env("TINYNS_SERVER", format!("http://{}", server.admin));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = tinyns(&["add", "https://example.net/cli", "--code", "cli"]);
    assert_eq!(code, Some(0), "{out}{err}");
    for part in [
        "cli.s.example.com",
        "http://cli.s.example.com",
        "https://example.net/cli",
        "dig ",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = tinyns(&["get", "cli"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("https://example.net/cli"), "{out}");
    let (code, out, err) = tinyns(&["get", "nosuch"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err.lines().count(), 1, "{err}");
    let (code, _, err) = tinyns(&["add", "ftp://example.net/"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("ftp") && err.lines().count() == 1, "{err}");
    let (code, _, _) = tinyns(&["frobnicate"]);
    assert_eq!(code, Some(2));
}

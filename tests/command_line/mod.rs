//! The commands about links, as scripts and people call them: their output, their messages about errors, and their
//! exit codes. Also the completions and man pages of all commands.

mod audit;
mod changes;
mod errors;
mod lists;
mod manuals;
mod qr;
mod several;
mod stats;
mod tokens;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, Process, Server, Setup, TOKEN, ZONE, eventually, free_port, run, tinyns,
};

/// The output of a command.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command with this as the URL of the server.
fn at(server: &str, args: &[&str]) -> Said {
    let mut command = tinyns();
    command
        .args(args)
        .env("TINYNS_SERVER", server)
        .env("TINYNS_ADMIN_TOKEN", TOKEN);
    said(command)
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn on(server: &Server, args: &[&str]) -> Said {
    at(&format!("http://{}", server.admin), args)
}

/// The same with this on its standard input.
fn piped(server: &Server, args: &[&str], input: &[u8]) -> Said {
    let mut command = tinyns();
    let child = command
        .args(args)
        .env("TINYNS_SERVER", format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The command may end, or stop reading, before all of it is written.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The end of a question of a command.
const QUESTION: &str = "] ";

/// What a terminal of this width shows of a command, and its exit code. If there are keys, they are typed when the
/// command asks.
fn on_terminal(server: &Server, args: &str, columns: u16, keys: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_tinyns");
    let line = format!("stty rows 24 cols {columns} -echo; exec {program} {args}");
    let mut command = tinyns();
    let env: Vec<_> = command
        .env("TINYNS_SERVER", format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    let mut script = Command::new("script");
    for (name, value) in env {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let child = script
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while !keys.is_empty() && !text.ends_with(QUESTION.as_bytes()) {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "no question: {text:?}");
        text.extend_from_slice(&byte);
    }
    stdin.write_all(keys.as_bytes()).unwrap();
    stdout.read_to_end(&mut text).unwrap();
    let status = child.wait().unwrap();
    drop(stdin);
    let text = String::from_utf8(text).unwrap();
    (status.code(), text.replace("\r\n", "\n"))
}

/// It failed, with one line on standard error that has this.
fn check_failed(said: &Said, code: i32, part: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(said.out, "", "{said:?}");
    assert!(said.err.contains(part), "{part:?} in {said:?}");
    if code == 1 {
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn urls_that_are_refused_say_what_to_type() {
    let server = Server::start();
    let check = |url: &str, part: &str| check_failed(&on(&server, &["add", url]), 1, part);
    check(
        "example.com/path",
        "the URL has no scheme: it has to begin with https:// or http://, as in https://example.com/path",
    );
    check("localhost:8080/x", "as in https://localhost:8080/x");
    check(
        "http://exam ple.com/",
        "the host \"exam ple.com\" has the character ' ', which no host name has",
    );
    check("http://example..com/", "has an empty label");
}

#[test]
fn a_ttl_may_be_a_span() {
    let server = Server::start();
    for (ttl, seconds) in [("5m", 300), ("7d", 604_800), ("60", 60)] {
        let made = on(
            &server,
            &[
                "add",
                "https://example.net/",
                "--code",
                &format!("t{seconds}"),
                "--ttl",
                ttl,
            ],
        );
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(
            made.out.contains(&format!("TTL        {seconds} seconds")),
            "{made:?}"
        );
    }
    let refused = on(&server, &["add", "https://example.net/", "--ttl", "8d"]);
    check_failed(&refused, 2, "a TTL is at most 604800 seconds");
    let refused = on(&server, &["add", "https://example.net/", "--ttl", "soon"]);
    check_failed(
        &refused,
        2,
        "neither seconds such as 300 nor a span such as 90s, 5m, 1h or 7d",
    );
}

#[test]
fn get_accepts_the_output_of_add() {
    let config = "redirect_host = \"r\"\n";
    let other = ZONE.replace("s.example.com", "t.example.net");
    let server = Setup::new().zone("t.example.net", config, &other).start();
    let made = on(
        &server,
        &[
            "add",
            "https://example.net/t",
            "--zone",
            "t.example.net",
            "--code",
            "sale",
            "--json",
        ],
    );
    let link: Value = serde_json::from_str(&made.out).unwrap();
    let name = link["name"].as_str().unwrap();
    assert_eq!(name, "sale.t.example.net");
    let short_url = link["short_url"].as_str().unwrap();
    let with_dot = format!("{name}.");
    let bare = short_url.trim_start_matches("http://");
    for named in [name, &with_dot, short_url, bare] {
        let shown = on(&server, &["get", named]);
        assert_eq!(shown.code, Some(0), "{named}: {shown:?}");
        assert!(
            shown.out.contains("leads to   https://example.net/t\n"),
            "{named}: {shown:?}"
        );
    }
    // The code alone is one of the first zone, unless a zone is named.
    check_failed(&on(&server, &["get", "sale"]), 1, "refused (404 Not Found)");
    let shown = on(&server, &["get", "sale", "--zone", "t.example.net"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let zones = ["get", name, "--zone", "s.example.com"];
    check_failed(
        &on(&server, &zones),
        2,
        "the link is in the zone t.example.net, and --zone is s.example.com",
    );
    check_failed(
        &on(&server, &["get", "x.other.example"]),
        1,
        "no zone of this origin holds links",
    );
}

#[test]
fn ignored_options_are_reported_in_three_ways() {
    let server = Server::start();
    let url = "https://example.net/page";
    let plain = ["add", url, "--code", "page", "--ttl", "60"];
    let made = on(&server, &plain);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
    // The same once more is no harm.
    let again = on(&server, &plain);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""), "{again:?}");
    assert!(
        again
            .out
            .contains("note       the link exists already and was not changed\n"),
        "{again:?}"
    );
    assert!(!again.out.contains("ignored"), "{again:?}");

    let other = [
        "add",
        url,
        "--code",
        "page",
        "--ttl",
        "5m",
        "--expires",
        "30d",
    ];
    let outcome = on(&server, &other);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(
        outcome.out.starts_with("page.s.example.com\n"),
        "{outcome:?}"
    );
    assert!(
        outcome.out.contains("ignored    --expires, --ttl\n"),
        "{outcome:?}"
    );
    assert_eq!(
        outcome.err,
        "tinyns: the link exists already and was not changed; ignored: --expires, --ttl\n"
    );
    let outcome = on(&server, &[&other[..], &["--json"]].concat());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let link: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(link["created"], false);
    assert_eq!(link["ignored"], json!(["expires_at", "ttl"]));
    assert_eq!(
        (&link["ttl"], &link["expires_at"]),
        (&json!(60), &Value::Null)
    );

    let fresh = on(
        &server,
        &[
            "add",
            "https://example.net/fresh",
            "--expires",
            "30d",
            "--json",
        ],
    );
    let link: Value = serde_json::from_str(&fresh.out).unwrap();
    assert_eq!(
        (fresh.code, &link["created"], &link["ignored"]),
        (Some(0), &json!(true), &json!([]))
    );
    // A code of another link is refused, as ever.
    let taken = ["add", "https://example.net/other", "--code", "page"];
    check_failed(&on(&server, &taken), 1, "refused (409 Conflict)");
}

/// A server of HTTPS that is not ours, with a certificate for 127.0.0.1, and the file of the authority that issued
/// it.
struct HttpsServer {
    _process: Process,
    address: SocketAddr,
    authority: PathBuf,
}

fn openssl(args: &str, more: &[&str]) {
    let args: Vec<_> = args.split(' ').chain(more.iter().copied()).collect();
    run("openssl", &args);
}

fn https_server(dir: &Path, authority: &str) -> HttpsServer {
    let file = |name: &str| {
        dir.join(format!("{authority}-{name}"))
            .display()
            .to_string()
    };
    let (ca_key, ca) = (file("ca.key"), file("ca.pem"));
    let (key, request, certificate) = (file("key.pem"), file("request.pem"), file("cert.pem"));
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        &format!("req -x509 {new} -days 2 -subj /CN={authority}"),
        &["-keyout", &ca_key, "-out", &ca],
    );
    let name = "-subj /CN=tests -addext subjectAltName=IP:127.0.0.1";
    openssl(
        &format!("req {new} {name}"),
        &["-keyout", &key, "-out", &request],
    );
    openssl(
        "x509 -req -days 2 -copy_extensions copyall",
        &[
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-out",
            &certificate,
        ],
    );
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let process = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-HTTP",
            "-accept",
            &address.to_string(),
        ])
        .args(["-key", &key, "-cert", &certificate])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(process);
    eventually("the HTTPS server listens", PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    HttpsServer {
        _process: process,
        address,
        authority: ca.into(),
    }
}

/// A private authority works if the system trusts it, here by `SSL_CERT_FILE`.
#[test]
fn the_authorities_of_the_system_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let ours = https_server(dir.path(), "ours");
    let other = https_server(dir.path(), "other");
    // The file is a whole response.
    let ready = r#"{"status":"ready","serves":true,"takes_changes":true}"#;
    let length = ready.len();
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{ready}");
    std::fs::write(dir.path().join("readyz"), response).unwrap();
    let health = |trusted: &Path| {
        let mut command = tinyns();
        command
            .arg("health")
            .env("TINYNS_SERVER", format!("https://{}", ours.address))
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR");
        said(command)
    };
    let trusted = health(&ours.authority);
    assert_eq!(
        (trusted.code, trusted.out.as_str()),
        (Some(0), "ready\n"),
        "{trusted:?}"
    );

    let expected = format!(
        "tinyns: cannot trust the certificate of https://{}/: this system does not trust the authority that issued \
         it; add the authority's certificate to those of the system, or name its file in SSL_CERT_FILE\n",
        ours.address
    );
    check_failed(&health(&other.authority), 1, &expected);
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let expected = "this system has no certificates of authorities; add";
    check_failed(&health(&empty), 1, expected);
}

#[test]
fn a_wrong_scheme_in_the_url_of_the_server_is_reported() {
    let server = Server::start();
    let admin = server.admin;
    let plain = format!("https://{admin}/ does not speak TLS: write http://{admin}/\n");
    let dir = tempfile::tempdir().unwrap();
    let https = https_server(dir.path(), "tests");
    let tls = https.address;
    let secure = format!("http://{tls}/ speaks TLS: write https://{tls}/\n");
    for args in [
        &["add", "https://example.net/"][..],
        &["get", "sale"],
        &["health"],
        &["export"],
    ] {
        check_failed(&at(&format!("https://{admin}"), args), 1, &plain);
        check_failed(&at(&format!("http://{tls}"), args), 1, &secure);
    }
    // An import does not wait for it to change.
    let file = dir.path().join("links.csv");
    std::fs::write(&file, "code,url\n").unwrap();
    let args = ["import", "csv", file.to_str().unwrap()];
    check_failed(&at(&format!("https://{admin}"), &args), 1, &plain);
    // A URL without a scheme is refused before the server is asked.
    let bare = at(&admin.to_string(), &["health"]);
    check_failed(
        &bare,
        2,
        &format!("the URL has no scheme; write http://{admin} or https://{admin}"),
    );
}

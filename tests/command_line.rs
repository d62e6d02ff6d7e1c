//! The commands that make and show links, as scripts and people call them: what they print, what
//! they say where something is wrong, and their exit codes.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, Process, Server, Setup, TOKEN, ZONE, eventually, free_port, run, tinyns,
};

/// What a command has said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
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

fn on(server: &Server, args: &[&str]) -> Said {
    at(&format!("http://{}", server.admin), args)
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
fn get_takes_what_add_printed() {
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
        "the link is one of the zone t.example.net, and --zone says s.example.com",
    );
    check_failed(
        &on(&server, &["get", "x.other.example"]),
        1,
        "no zone of this origin holds links",
    );
}

#[test]
fn options_that_were_ignored_are_told_three_times() {
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
            .contains("note       the link was there already and is unchanged\n"),
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
    let told = on(&server, &other);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.out.starts_with("page.s.example.com\n"), "{told:?}");
    assert!(
        told.out.contains("ignored    --expires, --ttl\n"),
        "{told:?}"
    );
    assert_eq!(
        told.err,
        "tinyns: the link was there already and is unchanged; ignored: --expires, --ttl\n"
    );
    let told = on(&server, &[&other[..], &["--json"]].concat());
    assert_eq!(told.code, Some(3), "{told:?}");
    let link: Value = serde_json::from_str(&told.out).unwrap();
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

/// A server of HTTPS that is not ours.
fn https_server(dir: &Path) -> (Process, SocketAddr) {
    let file = |name: &str| dir.join(name).display().to_string();
    let (key, certificate) = (file("key.pem"), file("cert.pem"));
    let new =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests";
    let mut args: Vec<_> = new.split(' ').collect();
    args.extend(["-keyout", &key, "-out", &certificate]);
    run("openssl", &args);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let process = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &address.to_string(),
        ])
        .args(["-key", &key, "-cert", &certificate])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(process);
    eventually("the HTTPS server listens", PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    (process, address)
}

#[test]
fn the_wrong_scheme_of_a_server_is_called_that() {
    let server = Server::start();
    let admin = server.admin;
    let plain = format!("https://{admin}/ does not speak TLS there: write http://{admin}/\n");
    let dir = tempfile::tempdir().unwrap();
    let (_https, tls) = https_server(dir.path());
    let secure = format!("http://{tls}/ speaks TLS there: write https://{tls}/\n");
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
    // Without a scheme it is said before anything is asked.
    let bare = at(&admin.to_string(), &["health"]);
    check_failed(
        &bare,
        2,
        &format!("the URL has no scheme; write http://{admin} or https://{admin}"),
    );
}

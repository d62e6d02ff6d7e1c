//! `list`.

use std::fmt::Write as _;
use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use super::{on, on_terminal, piped};
use crate::harness::{Server, Setup, TOKEN, ZONE, tinyns};

/// More links than two pages have.
const MANY: usize = 2_345;

fn two_zones() -> Server {
    let other = ZONE.replace("s.example.com", "t.example.net");
    let config = "redirect_host = \"r\"\n";
    Setup::new().zone("t.example.net", config, &other).start()
}

#[test]
fn all_links_of_all_zones() {
    let server = two_zones();
    let add = |code: &str, more: &[&str]| {
        let args = ["add", "https://example.net/", "--code", code];
        let made = on(&server, &[&args[..], more].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
    };
    add("a", &["--ttl", "60"]);
    add("b", &["--expires", "2099-01-01T00:00:00Z"]);
    add("c", &["--zone", "t.example.net"]);
    let names = |args: &[&str]| {
        let said = on(&server, &[&["list"], args].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        let names = said
            .out
            .lines()
            .map(|line| line.split('\t').next().unwrap());
        names.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let (a, b, c) = ("a.s.example.com", "b.s.example.com", "c.t.example.net");
    assert_eq!(names(&[]), [a, b, c]);
    assert_eq!(names(&["--zone", "S.example.com."]), [a, b]);
    assert_eq!(names(&["--zone", "t.example.net"]), [c]);
    assert_eq!(names(&["--limit", "1"]), [a]);
    assert_eq!(names(&["--limit", "3"]), [a, b, c]);

    let said = on(&server, &["list"]);
    let rows: Vec<Vec<_>> = said.out.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(rows[0][1], "https://example.net/");
    assert_eq!(rows[0][3..], ["", "60"]);
    assert_eq!(rows[1][3..], ["2099-01-01T00:00:00Z", ""]);
    // A line of JSON is a link as get shows it.
    let said = on(&server, &["list", "--json"]);
    let lines: Vec<_> = said.out.lines().collect();
    let got = on(&server, &["get", b, "--json"]);
    assert_eq!((lines.len(), lines[1]), (3, got.out.trim_end()));
}

#[test]
fn a_list_has_as_many_pages_as_it_needs() {
    let server = Server::start();
    let urls = (0..MANY).fold(String::new(), |mut urls, i| {
        writeln!(urls, "https://example.net/{i}").unwrap();
        urls
    });
    let made = piped(&server, &["add", "-"], urls.as_bytes());
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
    assert_eq!(made.out.lines().count(), MANY);

    let said = on(&server, &["list", "--json"]);
    let urls = said.out.lines().map(|line| {
        let link: Value = serde_json::from_str(line).unwrap();
        link["url"].as_str().unwrap().to_owned()
    });
    let urls: std::collections::BTreeSet<_> = urls.collect();
    assert_eq!(urls.len(), MANY);
    for limit in [999, 1_000, 1_001, 2_000] {
        let said = on(&server, &["list", "--limit", &limit.to_string()]);
        assert_eq!(said.out.lines().count(), limit);
    }
    // A reader that has enough, such as head.
    let mut child = tinyns()
        .arg("list")
        .env("TINYNS_SERVER", format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn on_a_terminal_the_list_is_a_table() {
    let server = Server::start();
    let (code, shown) = on_terminal(&server, "list", 80, "");
    let none = "tinyns: there are no links; `tinyns add URL` creates one\n";
    assert_eq!((code, shown.as_str()), (Some(0), none));
    let long = format!("https://example.net/{}", "a".repeat(100));
    on(&server, &["add", &long, "--code", "a"]);
    let (code, shown) = on_terminal(&server, "list", 60, "");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(
        shown,
        "LINK             ENDS (UTC)        LEADS TO\n\
         a.s.example.com  never             https://example.net/aaaa…\n"
    );
    let (_, shown) = on_terminal(&server, "list --json", 60, "");
    assert!(shown.contains(&long), "{shown}");
    // Elsewhere nothing is cut off.
    let said = on(&server, &["list"]);
    assert!(said.out.contains(&long), "{said:?}");
}

//! `add` with several URLs, and with lines of standard input.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use super::{check_failed, on, piped};
use crate::harness::{PATIENCE, Server, TOKEN, tinyns};

fn short(code: &str, server: &Server) -> String {
    let said = on(server, &["get", code, "--json"]);
    let link: Value = serde_json::from_str(&said.out).unwrap();
    link["short_url"].as_str().unwrap().to_owned()
}

#[test]
fn each_url_gets_a_line() {
    let server = Server::start();
    let made = on(
        &server,
        &["add", "https://example.net/a", "https://example.net/b"],
    );
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
    let lines: Vec<_> = made.out.lines().collect();
    assert_eq!(lines.len(), 2, "{made:?}");
    for (line, url) in lines.iter().zip(["a", "b"]) {
        let got = on(&server, &["get", line]);
        let row = format!("leads to   https://example.net/{url}\n");
        assert!(got.out.contains(&row), "{got:?}");
        assert_eq!(short(line, &server), *line);
    }
    // The same by standard input, in the same order, with blank lines between.
    let text = "\nhttps://example.net/b\r\n\n  https://example.net/a";
    let again = piped(&server, &["add", "-"], text.as_bytes());
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""), "{again:?}");
    assert_eq!(again.out, format!("{}\n{}\n", lines[1], lines[0]));
    let none = piped(&server, &["add", "-"], b"\n");
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""), "{none:?}");
}

#[test]
fn refused_lines_are_reported_and_the_others_go_on() {
    let server = Server::start();
    let text = [
        &b"https://example.net/a\n\nftp://example.net/\n\xff\n"[..],
        &b"x".repeat(10_000),
        b"\nhttps://example.net/b\n",
    ]
    .concat();
    let said = piped(&server, &["add", "-"], &text);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    let errors: Vec<_> = said.err.lines().collect();
    let expected = [
        "tinyns: line 3: refused (422 Unprocessable Entity): ",
        "tinyns: line 4: the line is not UTF-8 text",
        "tinyns: line 5: the line has more than 8192 bytes",
        "tinyns: 3 of 5 URLs have no link; see above",
    ];
    assert_eq!(errors.len(), expected.len(), "{said:?}");
    // Lines that are not sent are reported first.
    for part in expected {
        assert!(
            errors.iter().any(|line| line.starts_with(part)),
            "{part}: {said:?}"
        );
    }

    let said = on(&server, &["add", "https://example.net/a", "no", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let link: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (
            &link["argument"],
            &link["url"],
            &link["created"],
            &link["ignored"]
        ),
        (
            &json!("https://example.net/a"),
            &json!("https://example.net/a"),
            &json!(false),
            &json!([])
        )
    );
    let errors: Vec<Value> = said
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [refused, total] = &errors[..] else {
        panic!("{said:?}");
    };
    assert_eq!(refused["error"]["argument"], "no");
    assert_eq!(refused["error"]["type"], "urn:tinyns:problem:url-refused");
    assert_eq!(refused["error"]["field"], "url");
    assert_eq!(
        *total,
        json!({"error": {"message": "1 of 2 URLs have no link; see above"}})
    );
}

#[test]
fn ignored_options_of_several_links() {
    let server = Server::start();
    on(&server, &["add", "https://example.net/a"]);
    let both = ["add", "https://example.net/a", "https://example.net/b"];
    let said = on(&server, &[&both[..], &["--ttl", "60"]].concat());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(said.out.lines().count(), 2);
    assert_eq!(
        said.err,
        "tinyns: https://example.net/a: the link exists already and was not changed; ignored: --ttl\n"
    );
    let said = piped(
        &server,
        &["add", "-", "--ttl", "60", "--json"],
        b"https://example.net/a\nhttps://example.net/b\n",
    );
    assert_eq!((said.code, said.err.as_str()), (Some(3), ""), "{said:?}");
    let links: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&links[0]["line"], &links[0]["ignored"]),
        (&json!(1), &json!(["ttl"]))
    );
    assert_eq!(
        (&links[1]["line"], &links[1]["ttl"], &links[1]["ignored"]),
        (&json!(2), &json!(60), &json!([]))
    );
    // A refusal counts more.
    let said = on(&server, &[&both[..], &["no", "--ttl", "61"]].concat());
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn options_of_one_link_are_not_for_several() {
    let server = Server::start();
    let code = [
        "add",
        "https://a.example/",
        "https://b.example/",
        "--code",
        "x",
    ];
    check_failed(&on(&server, &code), 2, "--code is the code of one link");
    let code = ["add", "-", "--code", "x"];
    check_failed(&on(&server, &code), 2, "--code is the code of one link");
    let both = ["add", "-", "https://a.example/"];
    check_failed(
        &on(&server, &both),
        2,
        "- stands for the lines of standard input",
    );
}

/// A program that writes a URL and waits for the short URL does not wait for ever.
#[test]
fn a_line_is_answered_before_the_next_one_comes() {
    let server = Server::start();
    let mut child = tinyns()
        .args(["add", "-"])
        .env("TINYNS_SERVER", format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        stdout
            .lines()
            .try_for_each(|line| sender.send(line.unwrap()))
    });
    for i in 0..3 {
        writeln!(stdin, "https://example.net/{i}").unwrap();
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(".s.example.com"), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_server_that_is_away_ends_the_work() {
    let said = super::at(
        "http://127.0.0.1:1/",
        &["add", "https://a.example/", "https://b.example/"],
    );
    check_failed(
        &said,
        1,
        "tinyns: no answer for https://a.example/ and what follows: cannot reach the admin API at http://127.0.0.1:1/",
    );
}

//! Files of other shorteners and of spreadsheets, and lists of URLs, with the real program.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::Server;
use crate::transfer::{Counts, Said, links, on, run, run_with, url_of};

/// Imports a CSV file with this in it.
fn import_csv(server: &Server, text: &[u8], options: &[&str]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    std::fs::write(&file, text).unwrap();
    let args = ["import", "csv", file.to_str().unwrap()];
    run(on(server.admin, &[&args[..], options].concat()))
}

fn check_made(said: &Said, made: u64) {
    let expected = Counts {
        read: made,
        made,
        ..Counts::default()
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
}

fn utf_16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
    units.flat_map(bytes).collect()
}

#[test]
fn files_of_other_shorteners_are_read_as_they_are() {
    let server = Server::start();
    let shlink = "createdAt,title,shortUrl,domain,shortCode,longUrl,tags,visits\r\n\
                  2026-01-01T00:00:00+01:00,\"A, b\",https://short.example/Shlink1,,Shlink1,\
                  https://example.net/shlink,\"a|b\",7\r\n";
    check_made(&import_csv(&server, shlink.as_bytes(), &[]), 1);
    let shlink =
        "Long URL;Tags;Domain;Short code;Title\nhttps://example.net/shlink2;a|b;;shlink2;\n";
    check_made(&import_csv(&server, shlink.as_bytes(), &[]), 1);
    let yourls = "keyword,url,title,timestamp,ip,clicks\nYourls,https://example.net/yourls,t,\
                  2026-01-01 00:00:00,192.0.2.1,7\n";
    check_made(&import_csv(&server, yourls.as_bytes(), &[]), 1);
    let bitly = "Link,Custom Link,Destination URL,Title\n\
                 https://bit.ly/3Bitly1,,https://example.net/bitly1,\n\
                 bit.ly/3Bitly2,go.example/bitly2,https://example.net/bitly2,\n";
    check_made(&import_csv(&server, bitly.as_bytes(), &[]), 2);
    let api = "{\"created_at\":\"2026-01-01T00:00:00+0000\",\"id\":\"bit.ly/3Bitly3\",\
               \"link\":\"https://bit.ly/3Bitly3\",\"custom_bitlinks\":[],\
               \"long_url\":\"https://example.net/bitly3\"}\n";
    check_made(
        &run_with(on(server.admin, &["import", "ndjson", "-"]), api),
        1,
    );
    for (code, page) in [
        ("shlink1", "shlink"),
        ("shlink2", "shlink2"),
        ("yourls", "yourls"),
        ("3bitly1", "bitly1"),
        ("bitly2", "bitly2"),
        ("3bitly3", "bitly3"),
    ] {
        assert_eq!(url_of(&server, code), format!("https://example.net/{page}"));
    }
    // A code that is no label is renamed, whichever column it stands in.
    let dots =
        "short_code,long_url\nresume.pdf,https://example.net/resume\nv1.2,https://example.net/v\n";
    let said = import_csv(&server, dots.as_bytes(), &[]);
    let counts = said.counts();
    assert_eq!(
        (counts.renamed, counts.refused, said.code),
        (2, 0, Some(0)),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.starts_with(
            "resume.pdf -> https://example.net/resume : a code has only letters, digits and hyphens; this one \
             has '.'; registered as "
        ),
        "{}",
        said.stdout
    );
}

#[test]
fn files_of_spreadsheets_and_of_all_others() {
    let server = Server::start();
    let text = "Code;URL;Notiz\r\nsemi;https://example.net/?a,b;\"ä;b\"\r\n";
    check_made(&import_csv(&server, text.as_bytes(), &[]), 1);
    let marked = format!("\u{feff}{}", text.replace("semi", "marked"));
    check_made(&import_csv(&server, marked.as_bytes(), &[]), 1);
    let text = text.replace(';', "\t");
    let little = utf_16(&text.replace("semi", "little"), u16::to_le_bytes);
    check_made(&import_csv(&server, &little, &[]), 1);
    let big = utf_16(&text.replace("semi", "big"), u16::to_be_bytes);
    check_made(&import_csv(&server, &big, &[]), 1);
    let other = "Target~Slug~Until\nhttps://example.net/o~other~2030-01-01T00:00:00Z\n";
    let options = [
        "--column",
        "code=slug",
        "--column",
        "url=Target",
        "--column",
        "expires_at=until",
    ];
    let said = import_csv(
        &server,
        other.as_bytes(),
        &[&options[..], &["--delimiter", "~"]].concat(),
    );
    check_made(&said, 1);
    let found = links(&server, "s.example.com");
    for code in ["semi", "marked", "little", "big"] {
        assert!(
            found[code].0.starts_with("https://example.net/?a"),
            "{code}"
        );
    }
    let expected = (
        "https://example.net/o".into(),
        json!("2030-01-01T00:00:00Z"),
        Value::Null,
    );
    assert_eq!(found["other"], expected);

    let said = import_csv(
        &server,
        b"a,b\n",
        &["--column", "code=a", "--column", "code=b"],
    );
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("--column code= is given twice; see --help"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_unclosed_quote_spoils_only_its_line() {
    let server = Server::start();
    let mut text = "code,url\na1,https://example.net/1\na2,\"https://example.net/2\n".to_owned();
    // More than a row may have, and quotes that look as if they closed the first one.
    for i in 3..5_000 {
        text += &format!("a{i},https://example.net/{i}\n");
    }
    text += "b1,\"https://example.net/b1\"\nb2,\"https://example.net/b2\nb3,\"https://example.net/b3\"\n\
             b4,\"https://example.net/b4\nb5,https://example.net/b5\n";
    let said = import_csv(&server, text.as_bytes(), &[]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let counts = said.counts();
    assert_eq!(
        (counts.made, counts.refused),
        (4_998 + 3, 3),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let refused: Vec<_> = said.stdout.lines().collect();
    for (line, opened) in refused.iter().zip([3, 5_002, 5_004]) {
        assert_eq!(
            *line,
            format!(
                "(line {opened}) : refused: a quote is opened in line {opened} and not closed; close it, or \
                 double it if it belongs to the text"
            )
        );
    }
    assert!(!said.stderr.contains("to continue"), "{}", said.stderr);
    let found = links(&server, "s.example.com");
    for code in ["a1", "a3", "a4999", "b1", "b3", "b5"] {
        assert!(found.contains_key(code), "{code}");
    }
}

/// The short URL of each URL, by the API.
fn short_url(server: &Server, url: &str) -> String {
    server.add(url)["short_url"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_of_urls_is_shortened() {
    let server = Server::start();
    let there = short_url(&server, "https://example.net/there");
    let list = "https://example.net/1\r\n\n  https://example.net/there  \nexample.net/x\n\
                https://example.net/2,3\nhttps://example.net/1\n";
    let said = run_with(on(server.admin, &["import", "urls", "-"]), list);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let (one, two) = (
        short_url(&server, "https://example.net/1"),
        short_url(&server, "https://example.net/2,3"),
    );
    assert_eq!(
        said.stdout,
        format!(
            "{one}\thttps://example.net/1\n{there}\thttps://example.net/there\n\
             {two}\thttps://example.net/2,3\n{one}\thttps://example.net/1\n"
        )
    );
    let refused = "tinyns: line 4: example.net/x : refused: the URL has no scheme: it has to begin with https:// \
                   or http://, as in https://example.net/x\n";
    assert!(said.stderr.starts_with(refused), "{}", said.stderr);
    assert!(
        said.stderr
            .ends_with("tinyns: refused 1 of 5 links; see above\n"),
        "{}",
        said.stderr
    );
    let counts = said.counts();
    assert_eq!(
        (counts.read, counts.made, counts.renamed),
        (5, 2, 0),
        "{}",
        said.stderr
    );
    // Each short URL leads where its line says.
    for line in said.stdout.lines() {
        let (short, url) = line.split_once('\t').unwrap();
        let code = short
            .trim_start_matches("http://")
            .split('.')
            .next()
            .unwrap();
        assert_eq!(url_of(&server, code), url);
    }

    let said = run_with(on(server.admin, &["import", "urls", "-", "--json"]), list);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let lines: Vec<Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[0],
        json!({"outcome": "there", "line": 1, "url": "https://example.net/1", "short_url": one})
    );
    assert_eq!(
        (&lines[2]["outcome"], &lines[2]["line"]),
        (&json!("refused"), &json!(4))
    );

    // All good is exit code 0, also of a file, and by a state nothing is done twice.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list");
    let list: String = (0..1_200)
        .map(|i| format!("https://example.net/page/{i}\n"))
        .collect();
    std::fs::write(&file, &list).unwrap();
    let state = dir.path().join("state");
    let paths = [&file, &state].map(|path: &std::path::PathBuf| path.to_str().unwrap());
    let args = ["import", "urls", paths[0], "--state", paths[1]];
    let said = run(on(server.admin, &args));
    assert_eq!(
        (said.code, said.counts().made),
        (Some(0), 1_200),
        "{}",
        said.stderr
    );
    let urls: String = said
        .stdout
        .lines()
        .map(|line| format!("{}\n", line.split('\t').nth(1).unwrap()))
        .collect();
    assert_eq!(urls, list);
    assert!(!state.exists());
}

#[test]
fn errors_that_would_repeat_do_not_advise_to_continue() {
    let server = Server::start();
    // A reader of the report that takes nothing.
    let mut command = on(server.admin, &["import", "urls", "-"]);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open(Path::new("/dev/full"))
        .unwrap();
    command.stdout(Stdio::from(full));
    let said = run_with(command, "https://example.net/\n");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("cannot write the report to standard output"),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("to continue"), "{}", said.stderr);
}

#[test]
fn reserved_codes_are_refused_unless_an_admin_wants_them() {
    let server = Server::start();
    let text = b"code,url\nwpad,https://example.net/1\nplain,https://example.net/2\n";
    let refused = import_csv(&server, text, &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stdout.contains("reserve"), "{}", refused.stdout);
    assert_eq!(refused.counts().made, 1);
    let again = import_csv(&server, text, &["--use-reserved"]);
    let (made, there) = (again.counts().made, again.counts().there);
    assert_eq!(
        (again.code, made, there),
        (Some(0), 1, 1),
        "{}",
        again.stderr
    );
    assert_eq!(url_of(&server, "wpad"), "https://example.net/1");

    let body = json!({"name": "ann", "role": "editor"});
    let made = server.api("POST", "/v1/tokens", Some(&body)).json();
    let file = server.dir().join("ann.token");
    std::fs::write(&file, made["token"].as_str().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let text = b"code,url\nautodiscover,https://example.net/3\n";
    let editor = import_csv(&server, text, &["--use-reserved", "--token-file", file]);
    assert_eq!(editor.code, Some(1), "{}", editor.stderr);
    assert!(
        editor.stdout.contains("only the role admin"),
        "{}",
        editor.stdout
    );
}

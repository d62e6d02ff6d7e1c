//! QR codes of links, read by zbarimg as a camera's app reads them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{check_failed, on, on_terminal};
use crate::harness::{Server, Setup, TOKEN, output};

/// What zbarimg reads in an image.
fn read(image: &Path) -> String {
    let image = image.to_str().unwrap();
    let read = output(
        "zbarimg",
        &["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", image],
    );
    assert!(read.status.success(), "{image}: {read:?}");
    String::from_utf8(read.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Makes a PNG of an SVG.
fn rasterise(svg: &Path) -> PathBuf {
    let png = svg.with_extension("svg.png");
    let made = output(
        "rsvg-convert",
        &["-o", png.to_str().unwrap(), svg.to_str().unwrap()],
    );
    assert!(made.status.success(), "{made:?}");
    png
}

/// A drawing in half blocks as an image (PBM), in which a drawn block is dark or, if `inverted`, light.
fn photograph(drawing: &str, inverted: bool, image: &Path) {
    const MODULE: usize = 8;
    let mut rows = Vec::new();
    for line in drawing.lines() {
        let halves = |c| match c {
            '█' => (true, true),
            '▀' => (true, false),
            '▄' => (false, true),
            ' ' => (false, false),
            other => panic!("{other:?} in {drawing}"),
        };
        let (upper, lower): (Vec<_>, Vec<_>) = line.chars().map(halves).unzip();
        rows.extend([upper, lower]);
    }
    let (width, height) = (rows[0].len() * MODULE, rows.len() * MODULE);
    let mut file = fs::File::create(image).unwrap();
    writeln!(file, "P1\n{width} {height}").unwrap();
    for row in rows {
        let bits: Vec<_> = row
            .iter()
            .flat_map(|&drawn| [if drawn != inverted { "1" } else { "0" }; MODULE])
            .collect();
        for _ in 0..MODULE {
            writeln!(file, "{}", bits.join(" ")).unwrap();
        }
    }
}

#[test]
fn a_reader_finds_the_short_url_in_files() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    on(&server, &["add", "https://example.net/", "--code", "sale"]);
    let short = on(&server, &["get", "sale", "--json"]);
    let link: serde_json::Value = serde_json::from_str(&short.out).unwrap();
    let short = link["short_url"].as_str().unwrap();
    let expected = short.trim_end_matches('/').to_ascii_uppercase();
    assert!(expected.starts_with("HTTP://SALE.S.EXAMPLE.COM"));
    let make = |name: &str, options: &[&str]| {
        let path = dir.path().join(name);
        let file = path.to_str().unwrap();
        let made = on(&server, &[&["qr", "sale", "-o", file], options].concat());
        assert_eq!(
            (made.code, made.out, made.err),
            (Some(0), "".into(), "".into())
        );
        path
    };
    for options in [
        &[][..],
        &["--scale", "3", "--margin", "4", "--level", "L"],
        &["--scale", "20", "--margin", "16", "--level", "h"],
    ] {
        assert_eq!(read(&make("a.png", options)), expected, "{options:?}");
        let svg = make("a.svg", options);
        assert_eq!(read(&rasterise(&svg)), expected, "{options:?}");
    }
    // The image of the API is the same.
    let url = format!(
        "http://{}/v1/links/sale/qr?format=png&scale=3",
        server.admin
    );
    let token = format!("Authorization: Bearer {TOKEN}");
    let from_api = output("curl", &["--silent", "--fail", "-H", &token, &url]);
    let ours = make("b.png", &["--scale", "3"]);
    assert_eq!(from_api.stdout, fs::read(&ours).unwrap());
    // The format does not need a file.
    let svg = on(&server, &["qr", "sale", "--format", "svg"]);
    assert_eq!(svg.out, fs::read_to_string(make("c.svg", &[])).unwrap());
}

#[test]
fn a_reader_finds_the_short_url_in_drawings() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    on(&server, &["add", "https://example.net/", "--code", "sale"]);
    // In a file, light text on a dark ground.
    let drawn = on(&server, &["qr", "http://sale.s.example.com/"]);
    assert_eq!((drawn.code, drawn.err.as_str()), (Some(0), ""), "{drawn:?}");
    let (drawing, short) = drawn.out.trim_end().rsplit_once('\n').unwrap();
    let expected = short.trim_end_matches('/').to_ascii_uppercase();
    let image = dir.path().join("file.pbm");
    photograph(drawing, true, &image);
    assert_eq!(read(&image), expected);
    // On a terminal, black on white, whatever its own colours are.
    let (code, shown) = on_terminal(&server, "qr sale", 80, "");
    assert_eq!(code, Some(0), "{shown}");
    let (drawing, below) = shown.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(below, short);
    let lines = drawing.lines().map(|line| {
        let line = line.strip_prefix("\x1b[38;5;16;48;5;231m").unwrap();
        line.strip_suffix("\x1b[0m").unwrap()
    });
    let image = dir.path().join("terminal.pbm");
    photograph(&lines.collect::<Vec<_>>().join("\n"), false, &image);
    assert_eq!(read(&image), expected);
}

/// A code with the longest name that a link can have.
#[test]
fn the_longest_short_url_can_be_read() {
    let label = "a".repeat(57);
    let origin = format!("{label}.{label}.{label}.example");
    let zone = format!(
        "$ORIGIN {origin}.\n$TTL 300\n@ IN SOA ns1 h 1 3600 600 604800 60\n@ IN NS ns1\n\
         ns1 IN A 192.0.2.1\n*.r IN A 192.0.2.10\n"
    );
    let server = Setup::new()
        .zone(&origin, "redirect_host = \"r\"\n", &zone)
        .start();
    let dir = tempfile::tempdir().unwrap();
    let code = "b".repeat(63);
    let add = [
        "add",
        "https://example.net/",
        "--code",
        &code,
        "--zone",
        &origin,
    ];
    let made = on(&server, &add);
    assert_eq!(made.code, Some(0), "{made:?}");
    let name = format!("{code}.{origin}");
    let file = dir.path().join("long.png");
    let made = on(&server, &["qr", &name, "-o", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let found = read(&file);
    assert!(found.contains(&name.to_ascii_uppercase()), "{found}");
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let server = Server::start();
    let fail = |args: &[&str], code: i32, part: &str| check_failed(&on(&server, args), code, part);
    fail(&["qr", "absent"], 1, "refused (404 Not Found)");
    fail(
        &["qr", "sale", "-o", "a.jpg"],
        2,
        "name the format with --format",
    );
    fail(&["qr", "sale", "--scale", "0"], 2, "0 is not in 1..=40");
    fail(&["qr", "sale", "--margin", "17"], 2, "17 is not in 0..=16");
    fail(
        &["qr", "sale", "--level", "x"],
        2,
        "a level is L, M, Q or H",
    );
    on(&server, &["add", "https://example.net/", "--code", "sale"]);
    fail(
        &["qr", "sale", "-o", "/nonexistent/a.svg"],
        1,
        "cannot write /nonexistent/a.svg: ",
    );
    let (code, shown) = on_terminal(&server, "qr sale --format png", 80, "");
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("name a file with -o"), "{shown}");
}

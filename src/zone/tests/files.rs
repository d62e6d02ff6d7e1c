//! Files: includes, and files that are not zone files.

use super::*;

/// All errors of the zone in `z.zone`, without the directory.
#[track_caller]
fn check_file_errors(all: &[(&str, &[u8])], expected: &[&str]) {
    let directory = files(all);
    let config = file_config(directory.path(), "example", "z.zone", false);
    let error = Zone::load(&config).map(|_| ()).unwrap_err().to_string();
    let prefix = format!("{}/", directory.path().display());
    let lines: Vec<_> = error
        .lines()
        .map(|line| line.replace(&prefix, ""))
        .collect();
    let starts = |(line, start): (&String, &&str)| line.starts_with(*start);
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(starts),
        "{lines:#?}\nexpected {expected:#?}"
    );
}

#[test]
fn rfc_1035_5_1_include() {
    let root = format!(
        "{HEAD}$TTL 9\n$INCLUDE inc/a.inc sub\nb A 192.0.2.1\n A 192.0.2.2\n$INCLUDE \"inc/c d.inc\"\n"
    );
    let directory = files(&[
        ("z.zone", root.as_bytes()),
        (
            "inc/a.inc",
            b"@ A 192.0.2.3\n$ORIGIN leak\n$TTL 100\n$INCLUDE b.inc\nd 5 A 192.0.2.6",
        ),
        ("inc/b.inc", b"c A 192.0.2.4\n"),
        ("inc/c d.inc", b"e A 192.0.2.5\n"),
    ]);
    let config = file_config(directory.path(), "example", "z.zone", false);
    let (zone, warnings) = Zone::load(&config).unwrap();
    assert_eq!(warnings, []);
    let ttl = |name: &str| match zone.lookup(&lower(name)) {
        Lookup::Exact(node) => node
            .rrset(RecordType::A)
            .map(|set| (set.ttl, set.rdata.len())),
        _ => None,
    };
    assert_eq!(ttl("sub.example."), Some((9, 1)));
    assert_eq!(ttl("c.leak.sub.example."), Some((100, 1)));
    assert_eq!(ttl("d.leak.sub.example."), Some((5, 1)));
    assert_eq!(ttl("b.example."), Some((9, 2)));
    assert_eq!(ttl("e.example."), Some((9, 1)));
}

#[test]
fn errors_name_the_included_file() {
    let root = format!("{HEAD}$INCLUDE a.inc\nx.test. 1 A 192.0.2.1\n");
    check_file_errors(
        &[("z.zone", root.as_bytes()), ("a.inc", b"\n\nx 1 A 1\n")],
        &["a.inc:3:7: bad A data"],
    );
    check_file_errors(
        &[
            ("z.zone", root.as_bytes()),
            ("a.inc", b"\ny.test. 1 A 192.0.2.1\n"),
        ],
        &[
            "a.inc:2: y.test. is outside",
            "z.zone:4: x.test. is outside",
        ],
    );
    check_file_errors(
        &[("z.zone", root.as_bytes()), ("a.inc", b" 1 A 192.0.2.1\n")],
        &["a.inc:1:2: the line begins with a blank"],
    );
}

#[test]
fn includes_that_lead_nowhere() {
    let root = |path: &str| format!("{HEAD}$INCLUDE {path}\n").into_bytes();
    check_file_errors(
        &[("z.zone", &root("no"))],
        &["z.zone:3:10: the included file no cannot be read"],
    );
    check_file_errors(
        &[("z.zone", &root("."))],
        &["z.zone:3:10: the included file . cannot be read: this is not a regular"],
    );
    check_file_errors(
        &[("z.zone", &root("./z.zone"))],
        &["z.zone:3:10: ./z.zone includes itself"],
    );
    check_file_errors(
        &[
            ("z.zone", &root("a")),
            ("a", b"$INCLUDE b"),
            ("b", b"\n$INCLUDE a"),
        ],
        &["b:2:10: a includes itself"],
    );
    check_file_errors(
        &[("z.zone", &root(""))],
        &["z.zone:3:1: $INCLUDE needs a file name"],
    );
    check_file_errors(
        &[("z.zone", &root("a b c"))],
        &["z.zone:3:12: unexpected \"b\" behind"],
    );
    let chain: Vec<_> = (0..10)
        .map(|i| (i.to_string(), format!("$INCLUDE {}", i + 1)))
        .collect();
    let mut all: Vec<(&str, &[u8])> = chain
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_bytes()))
        .collect();
    let first = root("0");
    all.push(("z.zone", &first));
    check_file_errors(
        &all,
        &["7:1:10: $INCLUDE is nested more than 8 levels deep"],
    );
}

#[test]
fn files_that_are_no_zone() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_config(directory.path(), "example", "none.zone", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(
        error.contains("none.zone: the file cannot be read: No such file"),
        "{error}"
    );
    let config = file_config(directory.path(), "example", ".", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(error.ends_with("this is not a regular file"), "{error}");

    let mut binary = HEAD.as_bytes().to_vec();
    binary.extend_from_slice(b"\x7fELF\x02\x01\x01\0");
    check_file_errors(
        &[("z.zone", &binary)],
        &["z.zone:3:1: the byte 0x7F can stand only in quotes"],
    );
    // Latin-1 in a comment does no harm.
    let mut latin = HEAD.as_bytes().to_vec();
    latin.extend_from_slice(b"; caf\xE9\nx 1 A 1");
    check_file_errors(&[("z.zone", &latin)], &["z.zone:4:7: bad A data"]);
}

#[test]
fn a_zone_of_too_many_bytes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("z.zone")).unwrap();
    // A sparse file, which takes no room on the disk.
    file.set_len(64 * 1024 * 1024 + 1).unwrap();
    let config = file_config(directory.path(), "example", "z.zone", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    assert!(
        error.ends_with("the zone's files have more than 67108864 bytes together"),
        "{error}"
    );
}

#[test]
fn includes_of_empty_files_are_bounded() {
    let many = |file: &str| format!("$INCLUDE {file}\n").repeat(200).into_bytes();
    let root = [HEAD.as_bytes(), &many("a")].concat();
    // 200 of `a`, each with 200 of `b`: the first 49 take 9,849 of them, and the next 150 the rest.
    check_file_errors(
        &[("z.zone", &root), ("a", &many("b")), ("b", b"")],
        &["a:151:10: the zone includes files more than 10000 times"],
    );
}

#[test]
fn a_pipe_is_refused_without_waiting() {
    let directory = files(&[(
        "z.zone",
        format!("{HEAD}$INCLUDE pipe\n$INCLUDE zero\n").as_bytes(),
    )]);
    let made = std::process::Command::new("mkfifo")
        .arg(directory.path().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero")).unwrap();
    let config = file_config(directory.path(), "example", "z.zone", false);
    let error = Zone::load(&config).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    for line in lines {
        assert!(
            line.ends_with("cannot be read: this is not a regular file"),
            "{line}"
        );
    }
    for file in ["pipe", "zero"] {
        let config = file_config(directory.path(), "example", file, false);
        let error = Zone::load(&config).unwrap_err().to_string();
        assert!(error.ends_with("this is not a regular file"), "{error}");
    }
}

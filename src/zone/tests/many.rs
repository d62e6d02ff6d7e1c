//! Several zones: finding, names of links, reload.

use super::*;

const LINKS: &str = "*.r 1 A 192.0.2.1\nwww 1 A 192.0.2.1\na.ent 1 A 192.0.2.1\n\
    sub 1 NS ns.test.\nheld.r 1 A 192.0.2.1\na.b.r 1 A 192.0.2.1\n* 1 TXT a\n";

/// Two zones with links, one of them below the other, and one without.
fn zone_set() -> (tempfile::TempDir, ZoneSet) {
    let links = format!("{HEAD}{LINKS}");
    let directory = files(&[
        ("links", links.as_bytes()),
        ("child", format!("{HEAD}*.r 1 A 192.0.2.1\n").as_bytes()),
        ("plain", HEAD.as_bytes()),
    ]);
    let configs = vec![
        file_config(directory.path(), "plain.test", "plain", false),
        file_config(directory.path(), "example", "links", true),
        file_config(directory.path(), "child.example", "child", true),
    ];
    let (set, warnings) = ZoneSet::load(configs).unwrap();
    assert_eq!(warnings, []);
    (directory, set)
}

#[test]
fn the_deepest_zone_has_the_name() {
    let (_directory, set) = zone_set();
    let zones = set.current();
    let found = |name: &str| {
        zones
            .find(&lower(name), RecordType::A)
            .map(|zone| zone.origin().to_string())
    };
    assert_eq!(found("example."), Some("example.".into()));
    assert_eq!(found("a.b.EXAMPLE."), Some("example.".into()));
    assert_eq!(found("child.example."), Some("child.example.".into()));
    assert_eq!(found("x.child.example."), Some("child.example.".into()));
    assert_eq!(found("xchild.example."), Some("example.".into()));
    assert_eq!(found("a.plain.test."), Some("plain.test.".into()));
    assert_eq!(found("test."), None);
    assert_eq!(found("."), None);
}

#[test]
fn rfc_4035_3_1_4_1_ds_is_answered_by_the_parent() {
    let links = format!("{HEAD}*.r 1 A 192.0.2.1\ncut 1 NS ns.test.\n");
    let directory = files(&[("parent", links.as_bytes()), ("child", HEAD.as_bytes())]);
    let configs = vec![
        file_config(directory.path(), "example", "parent", true),
        file_config(directory.path(), "cut.example", "child", false),
        file_config(directory.path(), "nocut.example", "child", false),
        file_config(directory.path(), "a.cut.example", "child", false),
    ];
    let (set, _) = ZoneSet::load(configs).unwrap();
    let zones = set.current();
    let check = |name: &str, qtype, expected: &str| {
        let zone = zones.find(&lower(name), qtype).unwrap();
        assert_eq!(zone.origin().to_string(), expected, "{name} {qtype}");
    };
    check("cut.example.", RecordType::DS, "example.");
    check("CUT.example.", RecordType::DS, "example.");
    check("cut.example.", RecordType::SOA, "cut.example.");
    check("x.cut.example.", RecordType::DS, "cut.example.");
    // Nothing above delegates these.
    check("example.", RecordType::DS, "example.");
    check("nocut.example.", RecordType::DS, "nocut.example.");
    check("a.cut.example.", RecordType::DS, "a.cut.example.");
}

#[test]
fn origins_are_those_with_links() {
    let (_directory, set) = zone_set();
    let origins: Vec<_> = set.origins().iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["example", "child.example"]);
}

#[test]
fn static_names_are_reserved() {
    let (_directory, set) = zone_set();
    let reserved = |name: &str| set.is_reserved(&LinkName::parse(name).unwrap());
    for name in [
        "www.example",
        "ent.example",
        "sub.example",
        "r.example",
        // They would be taken at the link's other name.
        "held.example",
        "b.example",
        // Another zone has it.
        "child.example",
    ] {
        assert!(reserved(name), "{name}");
    }
    for name in [
        "gh7k2m9x.example",
        "a.example",
        "www.child.example",
        "abc.plain.test",
        "abc.foreign.test",
    ] {
        assert!(!reserved(name), "{name}");
    }
}

#[test]
fn hosts_are_classified() {
    let (_directory, set) = zone_set();
    #[track_caller]
    fn check(set: &ZoneSet, host: &str, expected: Host) {
        assert_eq!(set.classify_host(host), expected, "{host}");
    }
    let link = |name: &str| Host::Link(LinkName::parse(name).unwrap());
    let origin = |name: &str| Host::Origin(Origin::parse(name).unwrap());
    check(&set, "gh7k2m9x.example", link("gh7k2m9x.example"));
    check(&set, "GH7K2M9X.Example.", link("gh7k2m9x.example"));
    check(&set, "gh7k2m9x.r.example", link("gh7k2m9x.example"));
    check(&set, "abc.child.example", link("abc.child.example"));
    check(&set, "abc.r.child.example", link("abc.child.example"));
    check(&set, "example", origin("example"));
    check(&set, "Child.Example.", origin("child.example"));
    for inside in [
        "r.example",
        "www.example",
        "ent.example",
        "sub.example",
        "x.sub.example",
        "a.b.c.example",
        "x.gh7k2m9x.example",
        "x.gh7k2m9x.r.example",
        "_x.example",
        "held.r.example",
        "b.r.example",
        "plain.test",
        "abc.plain.test",
        "*.example",
    ] {
        check(&set, inside, Host::Inside);
    }
    for foreign in [
        "",
        ".",
        "test",
        "example.test",
        "xexample",
        "example..",
        ".example",
        "a..example",
        "\u{e9}.example",
        "192.0.2.1",
        "example:80",
    ] {
        check(&set, foreign, Host::Foreign);
    }
    check(&set, &format!("{}.example", "a".repeat(64)), Host::Foreign);
}

#[test]
fn a_reload_takes_all_zones_or_none() {
    let (directory, set) = zone_set();
    let abc = LinkName::parse("abc.example").unwrap();
    assert!(!set.is_reserved(&abc));
    let write = |file: &str, text: &str| {
        fs::write(directory.path().join(file), format!("{HEAD}{text}")).unwrap();
    };
    // One file is now right, another wrong: all zones stay as they were.
    write("links", &format!("{LINKS}abc 1 A 192.0.2.1\n"));
    write("plain", "\nx 1 A 1\n");
    let held = set.current();
    let error = set.reload().unwrap_err().to_string();
    assert!(
        error.ends_with("plain:4:7: bad A data: ") || error.contains("plain:4:7: bad A data"),
        "{error}"
    );
    assert!(!set.is_reserved(&abc));
    // With the second corrected, both are loaded. Readers of the old zones keep them.
    write("plain", "x 1 A 192.0.2.1\nx 2 A 192.0.2.2\n");
    let warnings = set.reload().unwrap();
    // A TTL, and the serials of two zones that have changed.
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(set.is_reserved(&abc));
    let zone = |zones: &Zones| {
        show(
            &zones
                .find(&lower("x.plain.test."), RecordType::A)
                .unwrap()
                .lookup(&lower("x.plain.test.")),
        )
    };
    assert_eq!(zone(&held), "no name");
    assert_eq!(zone(&set.current()), "exact A");
    // A file that is gone.
    fs::remove_file(directory.path().join("child")).unwrap();
    assert!(
        set.reload()
            .unwrap_err()
            .to_string()
            .contains("child: the file cannot be read")
    );
    assert!(set.is_reserved(&abc));
}

#[test]
fn rfc_1034_4_3_5_a_changed_zone_has_a_higher_serial() {
    let (directory, set) = zone_set();
    let file = directory.path().join("plain");
    let write = |serial: u32, text: &str| {
        let head = HEAD.replace(" 1 2 3 4 5", &format!(" {serial} 2 3 4 5"));
        fs::write(&file, format!("; a comment\n{head}{text}")).unwrap();
        let warnings = set.reload().unwrap();
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&*file.to_string_lossy(), "plain")
    };
    let (a, b) = ("x 1 A 192.0.2.1\n", "x 1 A 192.0.2.2\n");
    let unchanged = |serial: u32| {
        format!(
            "plain:2: the zone has changed and its serial has not; raise it above {serial}, because other programs \
             detect changes by it (RFC 1034 §4.3.5)"
        )
    };
    assert_eq!(write(1, ""), "", "nothing has changed");
    assert_eq!(write(1, a), unchanged(1), "another record");
    assert_eq!(write(1, a), "");
    assert_eq!(write(2, &format!("{a}{b}")), "");
    assert_eq!(write(2, &format!("{b}{a}")), "", "another order");
    assert_eq!(
        write(2, &format!("{b}{b}")).lines().count(),
        2,
        "a record twice, the other gone"
    );
    assert_eq!(write(2, "x 1 TXT a\n"), unchanged(2), "another type");
    assert_eq!(write(2, "x 2 TXT a\n"), unchanged(2), "another TTL");
    assert_eq!(write(2, "y 2 TXT a\n"), unchanged(2), "another name");
    // RFC 1982 §3.2
    let lower = "plain:2: the serial 1 is not higher than 2, which the zone had before (RFC 1982 §3.2); \
                 raise it above 2";
    assert_eq!(write(1, "y 2 TXT a\n"), lower);
    assert_eq!(write(1 << 31, ""), "", "half way round");
    assert_eq!(write(0, "").lines().count(), 1, "neither is higher");
    assert_eq!(write(u32::MAX, "").lines().count(), 1);
    assert_eq!(write(3, a), "", "round");
}

#[test]
fn names_that_files_take_from_links() {
    let (directory, set) = zone_set();
    let shown = |taken: crate::links::TakenNames| {
        assert!(!taken.is_cut);
        let names = taken.names.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(" ")
    };
    // Names of the file, of both places where a link has one; and a zone below.
    let all = shown(set.current().taken_names(None));
    assert_eq!(
        all,
        "r.example www.example ent.example sub.example held.example b.example child.example \
         r.child.example"
    );
    let before = set.snapshot();
    assert_eq!(shown(before.taken_names(Some(&before))), "");
    let text =
        format!("{HEAD}{LINKS}new 1 A 192.0.2.1\n_no 1 A 192.0.2.1\nx.new.r 1 A 192.0.2.1\n");
    fs::write(directory.path().join("links"), text).unwrap();
    set.reload().unwrap();
    let after = set.snapshot();
    assert_eq!(shown(after.taken_names(Some(&before))), "new.example");
    assert_eq!(shown(before.taken_names(Some(&after))), "");
    // There may be a million.
    let many: String = (0..1_001)
        .map(|n| format!("n{n} 1 A 192.0.2.1\n"))
        .collect();
    fs::write(
        directory.path().join("links"),
        format!("{HEAD}{LINKS}{many}"),
    )
    .unwrap();
    set.reload().unwrap();
    let taken = set.current().taken_names(Some(&after));
    assert!(taken.is_cut);
    assert_eq!(taken.names.len(), 1_000);
}

#[test]
fn errors_of_all_zones_are_reported() {
    let directory = files(&[("a", b"x"), ("b", b"y")]);
    let configs = vec![
        file_config(directory.path(), "a.test", "a", false),
        file_config(directory.path(), "b.test", "b", false),
        file_config(directory.path(), "A.test", "b", false),
    ];
    let error = ZoneSet::load(configs).unwrap_err();
    let lines: Vec<_> = error.errors.iter().map(|e| e.defect.to_string()).collect();
    assert_eq!(
        lines,
        [
            "the record has no type",
            "the record has no type",
            "the configuration has another zone a.test"
        ]
    );
}

/// Each link has a name below the redirect host. Another zone there would own all of these names.
#[test]
fn a_zone_at_the_redirect_host_of_another_is_refused() {
    let directory = files(&[
        ("links", format!("{HEAD}{LINKS}").as_bytes()),
        ("other", HEAD.as_bytes()),
    ]);
    let load = |origin: &str| {
        let other = file_config(directory.path(), origin, "other", false);
        let links = file_config(directory.path(), "example", "links", true);
        let set = ZoneSet::load(vec![other, links]);
        set.map(drop).map_err(|error| error.to_string())
    };
    for origin in ["r.example", "R.Example"] {
        let error = load(origin).unwrap_err();
        let defect = "there can be no zone r.example: that name is the redirect host of example, \
                       whose links are below it";
        assert!(error.ends_with(&format!("other: {defect}")), "{error}");
    }
    for origin in [
        "x.r.example",
        "xr.example",
        "r.x.example",
        "example.r",
        "r.example.test",
        "x.example",
    ] {
        load(origin).unwrap();
    }
}

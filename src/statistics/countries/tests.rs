//! Databases of MaxMind's test data, and damaged ones.

use std::fs;

use super::*;

/// Addresses of this database: 89.160.20.112/28 is in Sweden; see `tests/countries/README.md`.
fn test_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/countries")
        .join(name)
}

fn country(countries: &Countries, address: &str) -> Option<String> {
    let country = countries.of(address.parse().unwrap())?;
    Some(String::from_utf8(country.to_vec()).unwrap())
}

#[test]
fn addresses_have_countries() {
    let countries = Countries::open(&test_file("GeoLite2-Country-Test.mmdb")).unwrap();
    let check = |address: &str, expected: Option<&str>| {
        assert_eq!(
            country(&countries, address).as_deref(),
            expected,
            "{address}"
        );
    };
    check("89.160.20.112", Some("SE"));
    check("::ffff:89.160.20.112", Some("SE"));
    check("2001:218::1", Some("JP"));
    check("2.125.160.216", Some("GB"));
    check("127.0.0.1", None);
    check("192.0.2.1", None);
    check("::1", None);
    assert!(countries.built() > UnixTime(1_500_000_000));
}

/// A file that the caller may change, and the countries in it.
fn copy_of(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countries.mmdb");
    fs::copy(test_file(name), &file).unwrap();
    (folder, file)
}

fn refused(file: &Path) -> String {
    Countries::open(file).unwrap_err().to_string()
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let check = |file: &Path, reason: &str, remedy: &str| {
        let error = refused(file);
        let start = format!("country_database: {}: ", file.display());
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(reason) && error.contains(remedy), "{error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let remove = "or remove the key";
    check(&folder.path().join("none"), "No such file", remove);
    check(folder.path(), "not a regular file", remove);
    let asn = test_file("GeoLite2-ASN-Test.mmdb");
    check(&asn, "\"GeoLite2-ASN\"", "use a database of countries");
    let text = folder.path().join("text");
    fs::write(&text, "country_database").unwrap();
    check(&text, "not in the format of MaxMind", "download it again");
    let (_folder, cut) = copy_of("GeoLite2-Country-Test.mmdb");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    check(&cut, "damaged", "download it again");
    // The tree and the metadata are whole, the records are not.
    let mut bytes = bytes;
    let country = bytes.windows(7).position(|at| at == b"country").unwrap();
    bytes[country - 3..country + 64].fill(0xff);
    fs::write(&cut, &bytes).unwrap();
    check(&cut, "damaged", "download it again");
}

/// Damage anywhere is an error or harmless: no panic, no endless loop.
#[test]
fn damaged_files_do_no_harm() {
    let bytes = fs::read(test_file("GeoLite2-Country-Test.mmdb")).unwrap();
    let mut random = fastrand::Rng::with_seed(17);
    let mut refused = 0;
    for _ in 0..500 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
        }
        let reader = maxminddb::Reader::from_source(damaged).ok();
        match reader.and_then(|reader| Database::new(reader).ok()) {
            Some(database) => {
                let countries = Countries {
                    file: PathBuf::new(),
                    database: ArcSwap::from_pointee(database),
                };
                for _ in 0..100 {
                    let _ = countries.of(IpAddr::from(random.u32(..).to_be_bytes()));
                    let _ = countries.of(IpAddr::from(random.u128(..).to_be_bytes()));
                }
            }
            None => refused += 1,
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_reload_takes_the_new_file_or_keeps_the_old_state() {
    let (_folder, file) = copy_of("GeoLite2-Country-Test.mmdb");
    let countries = Countries::open(&file).unwrap();
    let sweden = || country(&countries, "89.160.20.112");
    // The same record, renamed.
    let bytes = fs::read(&file).unwrap();
    let mut changed = bytes.clone();
    let places: Vec<_> = (0..bytes.len() - 2)
        .filter(|&at| &bytes[at..at + 3] == b"BSE")
        .collect();
    assert!(!places.is_empty());
    for at in places {
        changed[at + 1..at + 3].copy_from_slice(b"fi");
    }
    fs::write(&file, &changed[..100]).unwrap();
    countries.reload().unwrap_err();
    assert_eq!(sweden().as_deref(), Some("SE"));
    fs::write(&file, changed).unwrap();
    countries.reload().unwrap();
    // Letters are in upper case however the file has them.
    assert_eq!(sweden().as_deref(), Some("FI"));
    let (_other, asn) = copy_of("GeoLite2-ASN-Test.mmdb");
    fs::copy(asn, &file).unwrap();
    countries.reload().unwrap_err();
    assert_eq!(sweden().as_deref(), Some("FI"));
}

/// The forms of other makers, in files that are made by hand.
#[test]
fn other_forms_of_records() {
    let check = |record: &[u8], expected: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("by-hand.mmdb");
        // The second network is always in Germany, so that the file has countries.
        let germany = map(&[("country_code", text("DE"))]);
        fs::write(&file, database(record, &germany)).unwrap();
        let countries = Countries::open(&file).unwrap();
        assert_eq!(country(&countries, "127.0.0.1").as_deref(), expected);
        assert_eq!(country(&countries, "192.0.2.1").as_deref(), Some("DE"));
        assert_eq!(
            country(&countries, "2001:db8::1"),
            None,
            "the file is of IPv4"
        );
    };
    check(
        &map(&[("country", map(&[("iso_code", text("FR"))]))]),
        Some("FR"),
    );
    check(&map(&[("country", text("FR"))]), Some("FR"));
    check(
        &map(&[("country", text("France")), ("country_code", text("fr"))]),
        Some("FR"),
    );
    check(
        &map(&[("country_code", text("FR")), ("asn", text("AS1"))]),
        Some("FR"),
    );
    check(
        &map(&[("country", map(&[("geoname_id", text("1"))]))]),
        None,
    );
    check(
        &map(&[("registered_country", map(&[("iso_code", text("FR"))]))]),
        None,
    );
    check(
        &map(&[("country", map(&[("iso_code", text("EUR"))]))]),
        None,
    );
    check(&map(&[("country", map(&[("iso_code", text("1A"))]))]), None);
    check(&map(&[]), None);
}

/// A text in MaxMind's format, of at most 28 bytes.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 29);
    [&[0x40 | length], text.as_bytes()].concat()
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0xe0 | u8::try_from(fields.len()).unwrap()];
    for (key, value) in fields {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

/// A file with two networks: 0.0.0.0/1 and 128.0.0.0/1.
fn database(first: &[u8], second: &[u8]) -> Vec<u8> {
    let number = |value: u16| [&[0xa2][..], &value.to_be_bytes()].concat();
    let wide = |value: u32| [&[0x04, 0x02][..], &value.to_be_bytes()].concat();
    let metadata = map(&[
        ("binary_format_major_version", number(2)),
        ("binary_format_minor_version", number(0)),
        ("build_epoch", wide(1_700_000_000)),
        ("database_type", text("By-Hand")),
        ("description", map(&[("en", text("made by hand"))])),
        ("ip_version", number(4)),
        ("languages", vec![0x00, 0x04]),
        ("node_count", vec![0xc4, 0, 0, 0, 1]),
        ("record_size", number(24)),
    ]);
    // One node. Its two records point behind the tree and 16 empty bytes.
    let place = |offset: usize| u32::try_from(1 + 16 + offset).unwrap().to_be_bytes()[1..].to_vec();
    [
        place(0),
        place(first.len()),
        vec![0; 16],
        first.to_vec(),
        second.to_vec(),
        b"\xab\xcd\xefMaxMind.com".to_vec(),
        metadata,
    ]
    .concat()
}

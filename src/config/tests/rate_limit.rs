//! `[rate_limit]` and `[cookies]`.

use super::*;
use crate::dns::limits::rate_limit::{RateLimitConfig, Rates};

/// A section with these lines, which begin in line 2.
fn section(lines: &str) -> String {
    format!("[rate_limit]\n{lines}\n")
}

fn rate_limit(lines: &str) -> RateLimitConfig {
    ok(&section(lines)).dns.settings.rate_limit.unwrap()
}

fn check_rate_limit(lines: &str, expected: &str) {
    check(&section(lines), expected);
}

fn defaults() -> RateLimitConfig {
    RateLimitConfig {
        rates: Rates {
            answers: 50,
            nodata: 50,
            nxdomains: 50,
            referrals: 50,
            errors: 50,
            all: 2_000,
        },
        burst: 2,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        table_bytes: 4 << 20,
        dry_run: false,
    }
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    assert_eq!(ok("").dns.settings.rate_limit, None);
    assert_eq!(rate_limit(""), defaults());
    let documented = documented("rate_limit");
    assert!(documented.lines().count() > 12, "{documented}");
    let documented = documented.replace("exempt = [\"127.0.0.0/8\", \"::1\"]", "");
    let read = ok(&documented).dns.settings.rate_limit;
    assert_eq!(read, Some(defaults()));
}

#[test]
fn every_key_has_an_effect() {
    let all = "\
responses_per_second = 1
nodata_per_second = 2
nxdomains_per_second = 3
referrals_per_second = 4
errors_per_second = 0
all_per_second = 100000
burst = 60
slip = 10
ipv4_prefix_length = 32
ipv6_prefix_length = 1
exempt = [\"127.0.0.0/8\", \"::1\"]
table_mib = 1024
dry_run = true";
    let expected = RateLimitConfig {
        rates: Rates {
            answers: 1,
            nodata: 2,
            nxdomains: 3,
            referrals: 4,
            errors: 0,
            all: 100_000,
        },
        burst: 60,
        slip: 10,
        ipv4_prefix: 32,
        ipv6_prefix: 1,
        exempt: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        table_bytes: 1 << 30,
        dry_run: true,
    };
    assert_eq!(rate_limit(all), expected);
    let exempt = rate_limit("exempt = \"192.0.2.0/24\"").exempt;
    assert_eq!(exempt, ["192.0.2.0/24".parse().unwrap()]);
}

/// By default the other rates equal that of answers, and the rate of all replies is forty times that.
#[test]
fn rates_follow_that_of_answers() {
    let rates = |lines| rate_limit(lines).rates;
    let of = |n, all| Rates {
        answers: n,
        nodata: n,
        nxdomains: n,
        referrals: n,
        errors: n,
        all,
    };
    assert_eq!(rates("responses_per_second = 5"), of(5, 200));
    assert_eq!(rates("responses_per_second = 0"), of(0, 0));
    assert_eq!(rates("responses_per_second = 90000"), of(90_000, 100_000));
    let errors = Rates {
        errors: 1,
        ..of(5, 200)
    };
    assert_eq!(
        rates("responses_per_second = 5\nerrors_per_second = 1"),
        errors
    );
}

#[test]
fn bad_values_are_refused() {
    let ranges = [
        ("responses_per_second", 0, 100_000, " a second"),
        ("nodata_per_second", 0, 100_000, " a second"),
        ("nxdomains_per_second", 0, 100_000, " a second"),
        ("referrals_per_second", 0, 100_000, " a second"),
        ("errors_per_second", 0, 100_000, " a second"),
        ("all_per_second", 0, 100_000, " a second"),
        ("burst", 1, 60, " seconds"),
        ("slip", 0, 10, ""),
        ("ipv4_prefix_length", 1, 32, " bits"),
        ("ipv6_prefix_length", 1, 128, " bits"),
        ("table_mib", 1, 1_024, " MiB"),
    ];
    for (key, min, max, unit) in ranges {
        for value in [min - 1, max + 1] {
            let expected =
                format!("t.toml:2: rate_limit.{key}: {value} is not within {min} to {max}{unit}");
            check_rate_limit(&format!("{key} = {value}"), &expected);
        }
    }
    check_rate_limit(
        "exempt = [\n\"192.0.2.0/24\",\n\"192.0.2.1/24\"]",
        "t.toml:4: rate_limit.exempt: \"192.0.2.1/24\": the address has bits beyond the length of \
         the prefix",
    );
    check_rate_limit(
        "exempt = \"localhost\"",
        "t.toml:2: rate_limit.exempt: \"localhost\": not a prefix, such as \"192.0.2.0/24\" or \
         \"2001:db8::/32\"",
    );
    let many = format!("exempt = [{}]", "\"::1\", ".repeat(1_025));
    check_rate_limit(
        &many,
        "t.toml:2: rate_limit.exempt: 1025 prefixes; at most 1024 are allowed",
    );
    check_rate_limit(
        "exempt = 1",
        "t.toml:2: rate_limit.exempt: invalid type: integer `1`, expected a prefix or a list of \
         prefixes, as strings",
    );
    let message = parse(&section("rate = 1")).unwrap_err().to_string();
    assert!(
        message.starts_with("t.toml:2:1: rate_limit.rate: unknown key"),
        "{message}"
    );
    check(
        "rate_limit = 5",
        "t.toml:1: rate_limit: invalid type: integer `5`, expected a table, [rate_limit]",
    );
}

#[test]
fn cookies() {
    let cookies = |lines| {
        let config = ok(&format!("[cookies]\n{lines}"));
        (config.dns.settings.cookies, config.cookie_secrets)
    };
    let file = "secret_file = \"/etc/tinyns/cookies\"";
    assert_eq!(cookies(""), (true, None));
    assert_eq!(cookies(file), (true, Some("/etc/tinyns/cookies".into())));
    assert_eq!(cookies("enabled = false"), (false, None));
    // One line turns cookies off and on again.
    assert_eq!(cookies(&format!("{file}\nenabled = false")), (false, None));
    check(
        "[cookies]\nsecret_file = \"\"",
        "t.toml:2: cookies.secret_file: a path must not be empty",
    );
    // A secret that has slipped into the wrong key is not shown.
    check(
        "[cookies]\nenabled = \"e5e973e5a6b2a43f48e7dc849e37bfcf\"",
        "t.toml:2: cookies.enabled: invalid type: string, expected a boolean",
    );
    let message = parse("[cookies]\nsecret = \"e5e9\"").unwrap_err();
    let message = message.to_string();
    assert!(
        message.starts_with("t.toml:2:1: cookies.secret: unknown key"),
        "{message}"
    );
    assert!(!message.contains("e5e9"), "{message}");
}

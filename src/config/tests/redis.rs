//! `[redis]`, and what it changes in `[cache]`.

use super::*;

/// A section with these lines, which begin in line 2.
fn section(lines: &str) -> String {
    format!("[redis]\n{lines}\n")
}

fn redis(lines: &str) -> RedisConfig {
    ok(&section(lines)).redis.unwrap()
}

fn check_redis(lines: &str, expected: &str) {
    check(&section(lines), expected);
}

pub(super) fn defaults() -> RedisConfig {
    RedisConfig {
        mode: RedisMode::Node,
        urls: urls(&["redis://127.0.0.1:6379"]),
        password_file: None,
        ca_file: None,
        certificate: None,
        key: None,
        prefix: "tinyns".into(),
        keep: Duration::from_secs(24 * 60 * 60),
        timeout: Duration::from_millis(100),
        warm_load: true,
        warm_load_rate: 20_000,
    }
}

fn documented() -> String {
    super::documented("redis")
}

#[test]
fn the_defaults_of_redis_are_those_of_the_documentation() {
    assert_eq!(ok(&documented()).redis, Some(defaults()));
    let url = "url = \"redis://127.0.0.1:6379\"";
    assert_eq!(redis(url), defaults());
    // Keys without a default are commented out in the example.
    let all = documented()
        .replace("\n# ", "\n")
        .replace("redis://", "rediss://")
        .replace("mode = \"node\"", "mode = \"sentinel\"");
    let expected = RedisConfig {
        mode: RedisMode::Sentinel {
            master: "mymaster".into(),
        },
        urls: urls(&["rediss://127.0.0.1:6379"]),
        password_file: Some("data/redis.password".into()),
        ca_file: Some("ca.pem".into()),
        certificate: Some("data/redis.pem".into()),
        key: Some("data/redis.key".into()),
        ..defaults()
    };
    assert_eq!(ok(&all).redis, Some(expected));
}

#[test]
fn every_key_of_redis_has_an_effect() {
    let config = redis(
        r#"url = ["rediss://tinyns@a.example:26379", "rediss://tinyns@b.example:26379/"]
mode = "sentinel"
sentinel_master = "my.master_1-a"
password_file = "/run/redis.password"
ca_file = "/etc/ca.pem"
certificate = "/etc/client.pem"
key = "/etc/client.key"
prefix = "a-B_c.9"
keep = 604800
timeout_ms = 1000
warm_load = false
warm_load_rate = 0"#,
    );
    let expected = RedisConfig {
        mode: RedisMode::Sentinel {
            master: "my.master_1-a".into(),
        },
        urls: urls(&[
            "rediss://tinyns@a.example:26379",
            "rediss://tinyns@b.example:26379/",
        ]),
        password_file: Some("/run/redis.password".into()),
        ca_file: Some("/etc/ca.pem".into()),
        certificate: Some("/etc/client.pem".into()),
        key: Some("/etc/client.key".into()),
        prefix: "a-B_c.9".into(),
        keep: Duration::from_secs(604_800),
        timeout: Duration::from_secs(1),
        warm_load: false,
        warm_load_rate: 0,
    };
    assert_eq!(config, expected);
}

#[test]
fn modes() {
    let lists = [
        ("url = \"redis://a\"", urls(&["redis://a"])),
        ("url = [\"redis://a\"]", urls(&["redis://a"])),
        (
            "url = [\"redis://u:p@a\", \"redis://u:p@a:7000/0\"]",
            urls(&["redis://u:p@a", "redis://u:p@a:7000/0"]),
        ),
    ];
    for (line, urls) in lists {
        for (mode_lines, mode) in [
            ("mode = \"node\"", RedisMode::Node),
            ("mode = \"cluster\"", RedisMode::Cluster),
            (
                "mode = \"sentinel\"\nsentinel_master = \"m\"",
                RedisMode::Sentinel { master: "m".into() },
            ),
        ] {
            let lines = format!("{line}\n{mode_lines}");
            if mode == RedisMode::Node && urls.len() > 1 {
                let expected = "t.toml:2: redis.url: 2 URLs; the mode \"node\" takes one";
                check_redis(&lines, expected);
                continue;
            }
            let urls = urls.clone();
            let expected = RedisConfig {
                mode,
                urls,
                ..defaults()
            };
            assert_eq!(redis(&lines), expected, "{lines}");
        }
    }
}

#[test]
fn redis_keys_are_known_and_of_their_types() {
    check(
        "\n[redis]\n",
        "t.toml:2: redis: missing; [redis] needs \"url\"",
    );
    check_redis(
        "url = \"redis://a\"\npassword = \"secret\"",
        "t.toml:3: redis.password: unknown key. Known here: url, mode, sentinel_master, password_file, \
         ca_file, certificate, key, prefix, keep, timeout_ms, warm_load, warm_load_rate",
    );
    check(
        "redis = 5\n",
        "t.toml:1: redis: invalid type: integer `5`, expected a table, [redis]",
    );
    check_redis(
        "url = 6379",
        "t.toml:2: redis.url: invalid type: integer `6379`, expected a URL or a list of URLs, as \
         strings",
    );
    check_redis(
        "url = [\n6379]",
        "t.toml:3: redis.url: invalid type: integer `6379`, expected a string",
    );
    check_redis(
        "url = \"redis://a\"\nwarm_load = 1",
        "t.toml:3: redis.warm_load: invalid type: integer `1`, expected a boolean",
    );
}

#[test]
fn redis_urls_are_checked() {
    let rule = "not a redis:// or rediss:// URL with a host, such as \"redis://127.0.0.1:6379\"";
    for bad in [
        "",
        "127.0.0.1:6379",
        "http://a/",
        "redis://u:secret@",
        "redis://u:secret@a/x",
    ] {
        let expected = format!("t.toml:2: redis.url: {rule}");
        check_redis(&format!("url = {bad:?}"), &expected);
    }
    check_redis(
        "url = []",
        "t.toml:2: redis.url: at least one URL is needed",
    );
    let list = |number: u16| {
        let urls = (1..=number).map(|port| format!("\"redis://a:{port}\","));
        format!("mode = \"cluster\"\nurl = [{}]", urls.collect::<String>())
    };
    assert_eq!(redis(&list(64)).urls.len(), 64);
    check_redis(
        &list(65),
        "t.toml:3: redis.url: 65 URLs; at most 64 are allowed",
    );
}

/// Checks the message for the second URL of a cluster; the first is `redis://u:secret@a/`.
fn check_second_url(url: &str, expected: &str) {
    let lines = format!("mode = \"cluster\"\nurl = [\n\"redis://u:secret@a/\",\n\"{url}\"]");
    check_redis(&lines, &format!("t.toml:5: redis.url: {expected}"));
}

#[test]
fn redis_urls_go_together() {
    for same in ["redis://u:secret@a", "redis://u:secret@A:6379/0"] {
        check_second_url(same, "the server a:6379 is listed twice");
    }
    check_second_url(
        "rediss://u:secret@b",
        "redis:// and rediss:// cannot be mixed; use one of them in all URLs",
    );
    for other in [
        "redis://b",
        "redis://u@b",
        "redis://u:secre@b",
        "redis://v:secret@b",
    ] {
        check_second_url(
            other,
            "user, password and database have to be the same in all URLs",
        );
    }
    check_second_url(
        "redis://u:secret@b/1",
        "a cluster has only database 0; leave the number out of the URL",
    );
    let sentinels = "mode = \"sentinel\"\nsentinel_master = \"m\"\nurl = ";
    check_redis(
        &format!("{sentinels}[\n\"redis://a/1\",\n\"redis://b/2\"]"),
        "t.toml:6: redis.url: user, password and database have to be the same in all URLs",
    );
    let config = redis(&format!("{sentinels}[\"redis://a/1\", \"redis://b/1\"]"));
    assert_eq!(config.urls, urls(&["redis://a/1", "redis://b/1"]));
    assert_eq!(redis("url = \"redis://a/1\"").urls, urls(&["redis://a/1"]));
}

#[test]
fn keys_of_another_mode_are_refused() {
    check_redis(
        "url = \"redis://a\"\nmode = \"pair\"",
        "t.toml:3: redis.mode: unknown value \"pair\", expected \"node\", \"cluster\" or \
         \"sentinel\"",
    );
    check_redis(
        "url = \"redis://a\"\nmode = \"sentinel\"",
        "t.toml:1: redis: missing; the mode \"sentinel\" needs \"sentinel_master\"",
    );
    let master = "url = \"redis://a\"\nsentinel_master = \"m\"";
    let expected = "t.toml:3: redis.sentinel_master: belongs to the mode \"sentinel\", and mode is";
    check_redis(master, &format!("{expected} \"node\""));
    let lines = format!("{master}\nmode = \"cluster\"");
    check_redis(&lines, &format!("{expected} \"cluster\""));
}

/// Checks the message for a line after a good URL.
fn check_line(line: &str, expected: &str) {
    let (key, _) = line.split_once(' ').unwrap();
    check_redis(
        &format!("url = \"redis://a\"\n{line}"),
        &format!("t.toml:3: redis.{key}: {expected}"),
    );
}

#[test]
fn the_rest_of_redis_is_checked() {
    check_line("password_file = \"\"", "a path must not be empty");
    let expected = "only for TLS; use rediss:// URLs, or remove this key";
    check_line("ca_file = \"ca.pem\"", expected);
    check_redis(
        "url = \"rediss://a\"\nca_file = \"\"",
        "t.toml:3: redis.ca_file: a path must not be empty",
    );
    let longest = "a".repeat(64);
    let config = redis(&format!("url = \"redis://a\"\nprefix = \"{longest}\""));
    assert_eq!(*config.prefix, *longest);
    for bad in ["", "a:b", "{a}", "a b", "grün", &"a".repeat(65)] {
        let rule = "not 1 to 64 letters, digits, and any of \"_-.\"";
        check_line(&format!("prefix = \"{bad}\""), rule);
        check_line(&format!("sentinel_master = \"{bad}\""), rule);
    }
    for (key, bad, range) in [
        ("keep", ["0", "604801"], "1 to 604800 seconds"),
        ("timeout_ms", ["0", "1001"], "1 to 1000 milliseconds"),
        (
            "warm_load_rate",
            ["-1", "10000001"],
            "0 to 10000000 links a second",
        ),
    ] {
        for bad in bad {
            let expected = format!("{bad} is not within {range}");
            check_line(&format!("{key} = {bad}"), &expected);
        }
    }
    let lowest = redis("url = \"redis://a\"\nkeep = 1\ntimeout_ms = 1\nwarm_load_rate = 10000000");
    let times = (lowest.keep, lowest.timeout, lowest.warm_load_rate);
    let expected = (Duration::from_secs(1), Duration::from_millis(1), 10_000_000);
    assert_eq!(times, expected);
}

/// In every place of the section except the one word of `mode`.
#[test]
fn passwords_are_not_in_messages() {
    let url = "redis://u:secret@a/";
    for text in [
        format!("redis = {url:?}\n"),
        section(&format!("url = {{ a = {url:?} }}")),
        section(&format!("url = [[{url:?}]]")),
        section(&format!("url = {url}")),
        section(&format!("url = {:?}", format!("{url}x"))),
        section(&format!("url = [{url:?}, {url:?}]")),
        section(&format!("mode = \"cluster\"\nurl = [{url:?}, {url:?}]")),
        section(&format!("url = {url:?}\nca_file = \"a\"")),
        section(&format!("url = {url:?}\nprefix = {url:?}")),
        section(&format!("url = {url:?}\nsentinel_master = {url:?}")),
        section(&format!("url = {url:?}\nkeep = {url:?}")),
        section(&format!("url = {url:?}\nwarm_load = \"secret, expected\"")),
        section(&format!("url = {url:?}\npassword = \"secret\"")),
    ] {
        let error = parse(&text).unwrap_err();
        for shown in [format!("{error}"), format!("{error:?}")] {
            assert!(!shown.contains("secret"), "{text}: {shown}");
        }
    }
    check(
        &format!("redis = {url:?}\n"),
        "t.toml:1: redis: invalid type: string, expected a table, [redis]",
    );
}

#[test]
fn times_depend_on_whether_changes_are_announced() {
    let cache = |store: &str, redis: bool, cache: &str| {
        let redis = if redis {
            "[redis]\nurl = \"redis://a\"\n"
        } else {
            ""
        };
        let text = format!("[store]\nkind = {store:?}\n{redis}[cache]\n{cache}");
        let limits = ok(&text).cache;
        [limits.fresh_for, limits.absent_for, limits.unnotified].map(|time| time.as_secs())
    };
    let other = "refresh = 20\nabsent = 30\n";
    for (redis, default) in [(false, [60, 5, 60]), (true, [60, 5, 60])] {
        assert_eq!(cache("sqlite", redis, ""), default);
        assert_eq!(cache("sqlite", redis, other), [20, 30, 30]);
    }
    assert_eq!(cache("dynamodb", false, ""), [1, 1, 1]);
    // The operator has said how old answers may be, and there are no announcements.
    assert_eq!(cache("dynamodb", false, other), [20, 30, 30]);
    assert_eq!(cache("dynamodb", true, ""), [60, 5, 1]);
    assert_eq!(cache("dynamodb", true, other), [20, 30, 1]);
}

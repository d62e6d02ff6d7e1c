//! `tinyns check`: it refuses what the start refuses, with the same messages, and warns of dangerous settings.

use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;

use crate::harness::{Setup, TOKEN, ZONE, output, run, tinyns};

/// A directory with a zone, and a configuration of it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("test.zone", ZONE);
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The sorted output lines of a command for a configuration, in which DIR is this directory.
    fn say(&self, command: &str, config: &str, token: &str) -> (Output, Vec<String>) {
        let dir = self.path().display().to_string();
        self.write("tinyns.toml", &config.replace("DIR", &dir));
        let mut tinyns = tinyns();
        tinyns.args([command, "--log-format", "human", "--config"]);
        tinyns.arg(self.path().join("tinyns.toml"));
        tinyns.env("TINYNS_ADMIN_TOKEN", token);
        let mut timed = std::process::Command::new("timeout");
        timed
            .arg("60")
            .arg(tinyns.get_program())
            .args(tinyns.get_args());
        timed.env_clear().envs(std::env::vars());
        for (name, value) in tinyns.get_envs() {
            match value {
                Some(value) => timed.env(name, value),
                None => timed.env_remove(name),
            };
        }
        let output = timed.output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let lines = said.lines().map(|line| line.replace(&dir, "DIR"));
        (output, lines.collect())
    }
}

const BASE: &str = "[dns]\nlisten = \"127.0.0.1:0\"\n[redirect]\nlisten = []\n";
const ZONES: &str =
    "[[zone]]\norigin = \"s.example.com\"\nfile = \"DIR/test.zone\"\nredirect_host = \"r\"\n";
const STORE: &str = "[store]\npath = \"DIR/links.sqlite\"\n";
const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"DIR/token\"\n";

#[test]
fn check_refuses_what_the_start_refuses_in_the_same_words() {
    let place = Place::new();
    place.write("text", "this is no database, no log and no secret");
    place.write("short", "short\n");
    std::fs::create_dir(place.path().join("directory")).unwrap();
    let path = place.path();
    let foreign = rusqlite::Connection::open(path.join("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(foreign);
    std::os::unix::fs::symlink(path.join("none/links"), path.join("dangling")).unwrap();
    let cut = rusqlite::Connection::open(path.join("cut")).unwrap();
    let ours = "PRAGMA application_id = 0x746E7331; PRAGMA user_version = 1; CREATE TABLE link (a)";
    cut.execute_batch(ours).unwrap();
    drop(cut);
    let cut = std::fs::File::options().write(true).open(path.join("cut"));
    cut.unwrap().set_len(5_000).unwrap();
    std::fs::create_dir(path.join("locked.lock")).unwrap();
    certificate(&place, "a", "20250101000000Z", "20300101000000Z");
    certificate(&place, "b", "20250101000000Z", "20300101000000Z");
    let store = |path: &str| format!("{BASE}{ZONES}{ADMIN}[store]\npath = \"{path}\"\n");
    let token = |path: &str| {
        let admin = ADMIN.replace("DIR/token", path);
        format!("{BASE}{ZONES}{STORE}{admin}")
    };
    let with = |section: &str| format!("{BASE}{ZONES}{STORE}{ADMIN}{section}\n");
    let redis = "[redis]\nurl = \"rediss://127.0.0.1:1\"\n";
    let tls = |certificate: &str, key: &str| {
        with(&format!(
            "[dns.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{certificate}\"\nkey = \"{key}\""
        ))
    };
    let cases = [
        store("DIR/directory"),
        store("DIR/text"),
        store("DIR/foreign"),
        store("DIR/dangling"),
        store("DIR/cut"),
        store("DIR/locked"),
        store("DIR/text/links.sqlite"),
        store("/dev/null/links.sqlite"),
        token("DIR/directory"),
        token("DIR/short"),
        token("/dev/null/token"),
        token("DIR/text/token"),
        with(&format!("{redis}password_file = \"DIR/none\"")),
        with(&format!("{redis}password_file = \"DIR/directory\"")),
        with(&format!("{redis}ca_file = \"DIR/none\"")),
        with(&format!("{redis}ca_file = \"DIR/directory\"")),
        with("[query_log]\nfile = \"DIR/text\""),
        with("[query_log]\nfile = \"DIR/directory\""),
        with("[query_log]\nfile = \"DIR/none/log\""),
        with("[cookies]\nsecret_file = \"DIR/text\""),
        with("[cookies]\nsecret_file = \"DIR/none\""),
        tls("DIR/a.pem", "DIR/b.key"),
        tls("DIR/none", "DIR/a.key"),
        tls("DIR/text", "DIR/a.key"),
        tls("DIR/directory", "DIR/a.key"),
        // A link could take the name.
        with(
            "[https]\nlisten = \"127.0.0.1:0\"\ncertificate = \"DIR/a.pem\"\nkey = \"DIR/a.key\"\n\
             [page]\nhost = \"free.s.example.com\"",
        ),
        with("[process]\nuser = \"nobody-by-this-name\""),
        with("").replace("DIR/test.zone", "DIR/none.zone"),
        with("").replace("DIR/test.zone", "DIR/text"),
    ];
    for config in cases {
        let (checked, errors) = place.say("check", &config, "");
        assert_eq!(checked.status.code(), Some(1), "{config}\n{errors:#?}");
        let (started, said) = place.say("serve", &config, "");
        assert_eq!(started.status.code(), Some(1), "{config}\n{said:#?}");
        let reasons = said.iter().filter_map(|line| line.strip_prefix("tinyns: "));
        let reasons: Vec<_> = reasons.map(reason).collect();
        let errors = errors
            .iter()
            .filter_map(|line| line.strip_prefix("error: "));
        let errors: Vec<_> = errors.map(reason).collect();
        assert_eq!(errors, reasons, "{config}");
        assert!(!reasons.is_empty(), "{config}");
        for made in ["links.sqlite", "token"] {
            // The start makes these files before it finds the fault.
            let _ = std::fs::remove_file(place.path().join(made));
        }
    }
    // A token that comes from the environment.
    let (checked, errors) = place.say("check", &with(""), "short");
    assert_eq!(checked.status.code(), Some(1), "{errors:#?}");
    let (_, said) = place.say("serve", &with(""), "short");
    assert!(errors[0].contains("TINYNS_ADMIN_TOKEN is not a token: it has 5 characters"));
    assert!(
        said.last()
            .unwrap()
            .contains("TINYNS_ADMIN_TOKEN is not a token: it has 5 characters")
    );
}

/// The file and the system's error. The message of a start has more around that.
fn reason(line: &str) -> (String, String) {
    let file = line.split_whitespace().find(|word| word.contains('/'));
    let file = file.unwrap_or_default().trim_matches(':').to_owned();
    let last = line.rsplit(": ").next().unwrap_or_default();
    // The standard library words some of them itself, without the number.
    let last = last.split(" (os error").next().unwrap_or_default();
    (file, last.to_lowercase())
}

/// A certificate and its key, `NAME.pem` and `NAME.key`, for a time.
fn certificate(place: &Place, name: &str, from: &str, until: &str) {
    let path = |end: &str| {
        place
            .path()
            .join(format!("{name}.{end}"))
            .display()
            .to_string()
    };
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=ns1.example.com",
            "-keyout",
            &path("key"),
            "-out",
            &path("req.pem"),
        ],
    );
    // `req` has these options since OpenSSL 3.4 only.
    place.write("index.txt", "");
    place.write("serial", "01\n");
    place.write(
        "ca.cnf",
        "[ca]\ndefault_ca = d\n[d]\ndatabase = DIR/index.txt\nnew_certs_dir = DIR\nserial = DIR/serial\n\
         default_md = sha256\npolicy = p\nunique_subject = no\nx509_extensions = e\n[e]\nbasicConstraints = CA:FALSE\n[p]\ncommonName = supplied\n"
            .replace("DIR", &place.path().display().to_string())
            .as_str(),
    );
    let request = path("csr");
    run(
        "openssl",
        &[
            "req",
            "-new",
            "-key",
            &path("key"),
            "-subj",
            "/CN=ns1.example.com",
            "-out",
            &request,
        ],
    );
    let config = place.path().join("ca.cnf").display().to_string();
    let signed = output(
        "openssl",
        &[
            "ca",
            "-batch",
            "-notext",
            "-config",
            &config,
            "-selfsign",
            "-keyfile",
            &path("key"),
            "-in",
            &request,
            "-out",
            &path("pem"),
            "-startdate",
            from,
            "-enddate",
            until,
        ],
    );
    assert!(signed.status.success(), "{signed:?}");
}

/// So many days from now, as openssl wants it.
fn day(days: i64) -> String {
    let time = format!("{days} days");
    run("date", &["-u", "-d", &time, "+%Y%m%d%H%M%SZ"])
        .trim()
        .to_owned()
}

#[test]
fn certificates_that_clients_refuse_give_a_warning() {
    let place = Place::new();
    let dir = place.path().display().to_string();
    let tls = format!(
        "[dns.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{dir}/c.pem\"\nkey = \"{dir}/c.key\"\n"
    );
    let good = (day(-10), day(15));
    certificate(&place, "c", &good.0, &good.1);
    let server = Setup::new().section(&tls).start();
    let check = || {
        let config = format!("{BASE}{ZONES}{STORE}{ADMIN}{tls}");
        let (checked, lines) = place.say("check", &config, TOKEN);
        assert_eq!(checked.status.code(), Some(0), "{lines:#?}");
        let lines = lines
            .iter()
            .filter_map(|line| line.strip_prefix("warning: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(check(), Vec::<String>::new());
    for (from, until, expected) in [
        (-90, -60, "certificate 1 ended at "),
        (-90, 13, "certificate 1 ends at "),
        (1, 90, "certificate 1 is not valid before "),
    ] {
        certificate(&place, "c", &day(from), &day(until));
        let warnings = check();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with(&format!("DIR/c.pem: {expected}")),
            "{warnings:?}"
        );
        server.signal(Signal::SIGHUP);
        server.log().wait_for(&format!("c.pem: {expected}"));
    }
}

#[test]
fn harmful_settings_give_a_warning() {
    let place = Place::new();
    let admin = ADMIN.replace("127.0.0.1:0", "0.0.0.0:8053");
    let store = STORE.replace("DIR/", "DIR/new/");
    let config = format!("{BASE}{ZONES}{store}{admin}");
    let warnings = |config: &str| {
        let (checked, lines) = place.say("check", config, "");
        assert_eq!(checked.status.code(), Some(0), "{lines:#?}");
        lines
    };
    place.write("token", &format!("{TOKEN}\n"));
    run(
        "chmod",
        &["644", &place.path().join("token").display().to_string()],
    );
    let lines = warnings(&config);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let expected = "warning: DIR/new/links.sqlite: the directory DIR/new does not exist; ";
    assert!(lines[0].starts_with(expected), "{lines:#?}");
    let expected = "warning: DIR/token: users other than its owner can read the token; ";
    assert!(lines[1].starts_with(expected), "{lines:#?}");
    let expected = "warning: admin.listen: the admin API speaks plain HTTP on 0.0.0.0:8053, ";
    assert!(lines[2].starts_with(expected), "{lines:#?}");
    // The check has made nothing.
    assert!(!place.path().join("new").exists());
    run(
        "chmod",
        &["600", &place.path().join("token").display().to_string()],
    );
    let config = format!("{BASE}{ZONES}{STORE}{ADMIN}");
    assert_eq!(warnings(&config), Vec::<String>::new());
}

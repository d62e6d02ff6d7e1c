//! The privileges of the process: its user, capabilities and files. Most of these tests need root; without root they
//! say so and pass.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use nix::unistd::{Group, User, geteuid};
use serde_json::json;

use crate::harness::{PATIENCE, Server, Setup, TOKEN, ZONE, eventually, own_host, tinyns};

/// The user `nobody`.
struct Nobody {
    uid: u32,
    gid: u32,
}

/// The ids of `nobody` for a test that runs as root; a message otherwise.
fn nobody() -> Option<Nobody> {
    if !geteuid().is_root() {
        println!("skipped: only root can change its user");
        return None;
    }
    let user = User::from_name("nobody").unwrap().expect("user nobody");
    Some(Nobody {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    })
}

/// A server on port 53 in a directory of the user `nobody`.
fn setup(nobody: &Nobody) -> Setup {
    let setup = Setup::new().listen(&format!("[\"{}:53\"]", own_host()));
    chown(setup.dir(), Some(nobody.uid), Some(nobody.gid)).unwrap();
    setup
}

/// What `/proc` says of each thread of a process: the values of a line of its status.
fn of_each_thread(server: &Server, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let values = line.unwrap_or_else(|| panic!("no {key} in {status}"));
        values.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    tasks.map(status).collect()
}

/// Every thread is this user, has no group but this and none of root's rights, and can win none.
fn check_threads(server: &Server, uid: u32, gid: u32) {
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    let none = "0000000000000000".to_owned();
    for (key, expected) in [
        ("Uid:", four(uid)),
        ("Gid:", four(gid)),
        ("Groups:", gid.to_string()),
        ("CapInh:", none.clone()),
        ("CapPrm:", none.clone()),
        ("CapEff:", none.clone()),
        ("CapAmb:", none.clone()),
        ("NoNewPrivs:", "1".into()),
    ] {
        let values = of_each_thread(server, key);
        assert!(values.len() > 5, "{key} {values:?}");
        assert!(values.iter().all(|v| *v == expected), "{key} {values:?}");
    }
}

fn check_serves(server: &Server) {
    let ask = |name: &str| server.ask(name, RecordType::A).answers.len();
    assert_eq!(ask("ns1.s.example.com."), 1);
    let zone = server.dir().join("s.example.com.zone");
    std::fs::write(&zone, format!("{ZONE}new IN A 192.0.2.99\n")).unwrap();
    server.signal(Signal::SIGHUP);
    server.log().wait_for("zone files reloaded");
    assert_eq!(ask("new.s.example.com."), 1);
    let link = json!({"url": "https://example.net/", "code": "abc"});
    assert_eq!(server.api("POST", "/v1/links", Some(&link)).status, 201);
    assert_eq!(ask("abc.s.example.com."), 2);
}

#[test]
fn root_binds_port_53_and_changes_its_user() {
    let Some(nobody) = nobody() else { return };
    let server = setup(&nobody)
        .section("[process]\nuser = \"nobody\"\n")
        .start();
    assert_eq!(server.dns.port(), 53);
    server.log().wait_for("root's privileges given up");
    check_serves(&server);
    check_threads(&server, nobody.uid, nobody.gid);
    // Only root and the server itself may write to its files.
    let mut files = 0;
    for file in std::fs::read_dir(server.dir().join("data")).unwrap() {
        let metadata = file.unwrap().metadata().unwrap();
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(owner, (nobody.uid, nobody.gid));
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        files += 1;
    }
    assert!(files >= 3, "the link store has a log and a lock");
}

#[test]
fn numbers_and_another_group_will_do() {
    let Some(nobody) = nobody() else { return };
    let group = Group::from_name("daemon").unwrap().expect("group daemon");
    let process = format!("[process]\nuser = \"{}\"\ngroup = \"daemon\"\n", 64_999);
    let setup = setup(&nobody).section(&process);
    chown(setup.dir(), Some(64_999), None).unwrap();
    let server = setup.start();
    check_serves(&server);
    check_threads(&server, 64_999, group.gid.as_raw());
}

#[test]
fn a_capability_to_bind_port_53_is_given_up() {
    let Some(nobody) = nobody() else { return };
    let setup = setup(&nobody);
    // Copied to where `nobody` can execute it, because the directory of the build may be closed.
    let program = setup.dir().join("tinyns").display().to_string();
    let setup = setup.limits(&format!(
        "cp \"$1\" {program} && shift && exec setpriv --reuid=nobody --regid={} --clear-groups \
         --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service {program} \"$@\"",
        nobody.gid
    ));
    let server = setup.start();
    assert_eq!(server.dns.port(), 53);
    check_serves(&server);
    let groups = of_each_thread(&server, "Groups:");
    assert!(groups.iter().all(String::is_empty), "{groups:?}");
    for key in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        let sets = of_each_thread(&server, key);
        let is_none = |set: &String| set.chars().all(|digit| digit == '0');
        assert!(sets.iter().all(is_none), "{key} {sets:?}");
    }
}

/// Runs the server or `check` with a configuration that it must refuse; returns its output.
fn refused(dir: &Path, section: &str, command: &mut Command, arguments: &[&str]) -> String {
    std::fs::write(dir.join("test.zone"), ZONE).unwrap();
    let config = dir.join("tinyns.toml");
    let text = format!(
        "[dns]\nlisten = \"127.0.0.1:0\"\n\
         [[zone]]\norigin = \"s.example.com\"\nfile = \"DIR/test.zone\"\nredirect_host = \"r\"\n\
         [store]\npath = \"DIR/data/links.sqlite\"\n\
         [admin]\nlisten = []\n[redirect]\nlisten = []\n{section}"
    );
    std::fs::write(&config, text.replace("DIR", &dir.display().to_string())).unwrap();
    let output = command
        .args(arguments)
        .args(["--log-format", "human", "--config"])
        .arg(&config)
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    said.replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_missing_user_is_reported_by_the_check_and_at_the_start() {
    for (section, expected) in [
        (
            "[process]\nuser = \"no-such-user\"\n",
            "[process]: this system has no user \"no-such-user\"\n",
        ),
        (
            "[process]\nuser = \"nobody\"\ngroup = \"no-such-group\"\n",
            "[process]: this system has no group \"no-such-group\"\n",
        ),
    ] {
        for (command, before, behind) in [
            (
                "check",
                "error: ",
                "tinyns: 1 error in what the configuration names\n",
            ),
            ("serve", "tinyns: ", ""),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let said = refused(dir.path(), section, &mut tinyns(), &[command]);
            // The check warns of the store's directory, which is not there yet, as well.
            let without_warnings: String = said
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("warning: "))
                .collect();
            assert_eq!(without_warnings, [before, expected, behind].concat());
            assert!(!dir.path().join("data").exists());
        }
    }
}

#[test]
fn files_that_the_user_may_not_have_fail_the_start() {
    if nobody().is_none() {
        return;
    }
    let section = "[process]\nuser = \"nobody\"\n";
    let dir = tempfile::tempdir().unwrap();
    // The user `nobody` may not even enter it.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let said = refused(dir.path(), section, &mut tinyns(), &["serve"]);
    assert!(said.contains("DIR/test.zone"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    // The zone can be read, but nothing be written.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let said = refused(dir.path(), section, &mut tinyns(), &["serve"]);
    assert!(said.contains("DIR/data/links.sqlite"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

#[test]
fn only_root_can_change_its_user() {
    let Some(nobody) = nobody() else { return };
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
    let program = dir.path().join("tinyns");
    std::fs::copy(env!("CARGO_BIN_EXE_tinyns"), &program).unwrap();
    let ids = [nobody.uid.to_string(), nobody.gid.to_string()];
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &ids[0], "--regid", &ids[1], "--clear-groups"])
        .arg(&program);
    let said = refused(
        dir.path(),
        "[process]\nuser = \"daemon\"\n",
        &mut command,
        &["serve"],
    );
    let daemon = User::from_name("daemon").unwrap().expect("user daemon");
    let expected = format!(
        "tinyns: [process]: cannot become user daemon with group {}: the server runs as user {} with \
         group {}, and only root may change that\n",
        daemon.gid, ids[0], ids[1]
    );
    assert_eq!(said, expected);
}

#[test]
fn root_without_a_user_gives_a_warning() {
    let server = Server::start();
    if geteuid().is_root() {
        server.log().wait_for("running as root");
    } else {
        assert!(!server.log().text().contains("running as root"));
    }
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_it_goes() {
    let server = Setup::new()
        .limits("ulimit -Sn 128; ulimit -Hn 600")
        .start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let fields: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(fields[3..5], ["600", "600"]);
    let line = server.log().wait_for("fewer connections than configured");
    assert!(line.contains("\"files\":600"), "{line}");
    eventually("it serves", PATIENCE, || {
        server
            .ask("ns1.s.example.com.", RecordType::A)
            .answers
            .len()
            == 1
    });
}
